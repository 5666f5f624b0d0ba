/*
 * Mounts that an earlier agent left to a keeper, taken on by the next one, among fakes that hold
 * each step.
 */
#include "mem.h"
#include "mount_world.h"
#include "unconst.h"
#include <errno.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* As after a SIGTERM while it was busy. */
static void restart_with_keeper(struct world *w)
{
	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	w->with_keeper = true;
	world_stop_and_restart(w);
}

static void what_a_keeper_has_is_taken_on_and_its_directory_not_touched(void **state)
{
	struct world *w = *state;

	restart_with_keeper(w);
	assert_int_equal(state_of(w), MOUNT_LOAD);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(state_of(w), MOUNT_UP);
	assert_int_equal(w->fuse_pool.n_adopted, 1);
	assert_int_equal(w->n_settled, 1);
}

static void of_what_is_taken_on_too_it_is_said_that_the_auth_file_is_gone(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *auth_file = xasprintf("%s/auth.json", w->state_dir);
	const struct mount_record rec = { .dir = w->dir,
		                          .reference = unconst("h:1/r:t"),
		                          .auth_file = auth_file };

	assert_int_equal(symlink("/dev/null", auth_file), 0);
	(void)world_add_record(w, &rec);
	world_bring_up(w, DIGEST_A);
	assert_false(mounts_first(w->mounts)->auth_file_gone);
	assert_int_equal(unlink(auth_file), 0);
	w->with_keeper = true;
	world_stop_and_restart(w);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(w->fuse_pool.n_adopted, 1);
	assert_true(mounts_first(w->mounts)->auth_file_gone);
}

static void what_is_being_taken_on_goes_only_as_one_that_is_in_use(void **state)
{
	struct world *w = *state;

	restart_with_keeper(w);
	world_remove(w, w->dir);
	assert_int_equal(w->removed, -EALREADY);
	assert_int_equal(state_of(w), MOUNT_LOAD);
	w->detach = true;
	world_remove(w, w->dir);
	assert_int_equal(w->removed, 0);
	assert_int_equal(state_of(w), MOUNT_GONE);
	assert_int_equal(n_listed(w), 0);
	assert_int_equal(w->loader.n_cancelled, 1);
}

static void what_cannot_be_taken_on_is_mounted_anew(void **state)
{
	struct world *w = *state;

	restart_with_keeper(w);
	world_load_done(w, -ENOENT, NULL); /* lost: its keeper lets go, then all from the start */
	assert_int_equal(state_of(w), MOUNT_LOAD);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(state_of(w), MOUNT_UP);
	assert_int_equal(w->fuse_pool.n_adopted, 0);
}

static void a_busy_mount_is_left_to_its_keeper_at_the_end(void **state)
{
	struct world *w = *state;

	restart_with_keeper(w);
	world_bring_up(w, DIGEST_A);
	world_stop(w);
	world_stop_done(w, -EBUSY);
	assert_int_equal(w->fuse_pool.n_left, 1);
	assert_int_equal(w->fuse_pool.n_lazy, 0);
	assert_int_equal(w->n_stopped, 0);
	world_stop_done(w, 0);
	assert_int_equal(w->n_stopped, 1);
	assert_int_equal(n_listed(w), 1);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_a_keeper_has_is_taken_on_and_its_directory_not_touched),
		TEST(of_what_is_taken_on_too_it_is_said_that_the_auth_file_is_gone),
		TEST(what_is_being_taken_on_goes_only_as_one_that_is_in_use),
		TEST(what_cannot_be_taken_on_is_mounted_anew),
		TEST(a_busy_mount_is_left_to_its_keeper_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
