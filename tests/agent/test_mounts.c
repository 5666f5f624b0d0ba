/*
 * The life of mounts, from the wish to the tree and back, among fakes that hold each step.
 */
#include "fake_pool.h"
#include "mem.h"
#include "mount_list.h"
#include "mount_world.h"
#include "unconst.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_mount_is_told_when_it_can_be_read_and_is_listed(void **state)
{
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", w->dir);
	assert_int_equal(state_of(w), MOUNT_LOAD);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->n_added, 0);
	assert_int_equal(w->loader.n_reads_begun, 1);
	world_tree_done(w, 0);
	assert_int_equal(w->n_added, 1);
	assert_int_equal(w->added, 0);
	assert_int_equal(state_of(w), MOUNT_UP);
	assert_int_equal(n_listed(w), 1);
	assert_non_null(mounts_of_image(w->mounts, DIGEST_A));
}

static void what_fails_leaves_nothing_behind(void **state)
{
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_load_done(w, -EACCES, NULL);
	assert_int_equal(w->added, -EACCES);
	assert_int_equal(state_of(w), MOUNT_GONE);
	(void)world_add(w, "h:1/r:t", w->dir);
	world_load_done(w, 0, DIGEST_A);
	world_tree_done(w, -EPERM);
	assert_int_equal(w->added, -EPERM);
	assert_int_equal(state_of(w), MOUNT_GONE);
	assert_int_equal(n_listed(w), 0);
	assert_int_equal(w->loader.n_images, 0);
}

static void a_directory_that_is_not_there_is_found_before_the_registry_is_asked(void **state)
{
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", "/no/such/dir");
	assert_int_equal(w->added, -ENOENT);
	assert_int_equal(w->loader.n_started, 0);
}

static void the_same_image_again_is_done_and_another_is_busy(void **state)
{
	struct world *w = *state;
	const struct credentials given = { .username = unconst("u"), .password = unconst("p") };
	struct err e = { 0 };

	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(mounts_give(w->mounts, w->dir, &given, &e), 0); /* its first ones */
	assert_true(mounts_first(w->mounts)->rec.given);
	(void)world_add(w, "h:1/r:t", w->dir);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->n_added, 2);
	assert_int_equal(w->added, MOUNT_WAS_THERE);
	(void)world_add(w, "h:1/r:t", w->dir);
	world_load_done(w, 0, DIGEST_B);
	assert_int_equal(w->added, -EBUSY);
	assert_int_equal(w->fuse_pool.n_trees, 1);
}

static void a_second_wish_meanwhile_is_told_to_try_again(void **state)
{
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", w->dir);
	(void)world_add(w, "h:1/r:t", w->dir);
	assert_int_equal(w->added, -EALREADY);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(w->added, 0);
	world_remove(w, w->dir);
	world_remove(w, w->dir);
	assert_int_equal(w->removed, -EALREADY);
	world_stop_done(w, 0);
	assert_int_equal(w->removed, 0);
}

static void a_mount_can_be_unmounted_on_its_way_up(void **state)
{
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_remove(w, w->dir);
	assert_int_equal(w->loader.n_cancelled, 1);
	assert_int_equal(w->added, -ECANCELED);
	assert_int_equal(w->n_removed, 1);
	assert_int_equal(w->removed, 0);
	assert_int_equal(state_of(w), MOUNT_GONE);

	(void)world_add(w, "h:1/r:t", w->dir);
	world_load_done(w, 0, DIGEST_A);
	world_remove(w, w->dir);
	world_tree_done(w, 0);
	assert_int_equal(w->n_removed, 1);
	world_stop_done(w, 0);
	assert_int_equal(w->n_removed, 2);
	assert_int_equal(w->removed, 0);
	assert_int_equal(w->n_added, 2);
	assert_int_equal(w->added, -ECANCELED);
	assert_int_equal(n_listed(w), 0);
}

static void a_cancel_while_loading_ends_the_load(void **state)
{
	struct world *w = *state;

	mounts_cancel(world_add(w, "h:1/r:t", w->dir));
	assert_int_equal(w->loader.n_cancelled, 1);
	assert_int_equal(w->n_added, 0);
	assert_int_equal(state_of(w), MOUNT_GONE);
}

static void a_cancel_while_mounting_takes_the_tree_down_again(void **state)
{
	struct world *w = *state;
	struct mount_op *op = world_add(w, "h:1/r:t", w->dir);

	world_load_done(w, 0, DIGEST_A);
	mounts_cancel(op);
	world_tree_done(w, 0);
	world_stop_done(w, 0);
	assert_int_equal(w->n_added, 0);
	assert_int_equal(state_of(w), MOUNT_GONE);
	assert_int_equal(n_listed(w), 0);
}

static void a_cancel_while_it_is_being_listed_takes_it_off_again(void **state)
{
	struct world *w = *state;
	struct mount_op *op = world_add(w, "h:1/r:t", w->dir);

	world_load_done(w, 0, DIGEST_A);
	world_tree_up(w);
	assert_int_equal(state_of(w), MOUNT_SAVE);
	mounts_cancel(op);
	world_settle(w);
	assert_int_equal(n_listed(w), 1);
	world_stop_done(w, 0);
	assert_int_equal(n_listed(w), 0);
	assert_int_equal(state_of(w), MOUNT_GONE);
}

static void an_umount_takes_it_off_the_list(void **state)
{
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	world_remove(w, w->dir);
	assert_int_equal(w->n_removed, 0);
	world_stop_done(w, 0);
	assert_int_equal(w->removed, 0);
	assert_int_equal(n_listed(w), 0);
	assert_int_equal(state_of(w), MOUNT_GONE);
	world_remove(w, w->dir);
	assert_int_equal(w->removed, -ENOENT);
}

static void a_busy_umount_leaves_it_mounted_and_listed(void **state)
{
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	world_remove(w, w->dir);
	world_stop_done(w, -EBUSY);
	assert_int_equal(w->removed, -EBUSY);
	assert_int_equal(state_of(w), MOUNT_UP);
	assert_int_equal(n_listed(w), 1);
	assert_int_equal(w->fuse_pool.n_lazy, 0);
}

static void an_end_from_outside_is_noticed_and_stays_listed(void **state)
{
	struct world *w = *state;
	struct image_mount *tree;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	tree = w->fuse_pool.up;
	tree->opts.ended(tree->opts.arg, tree);
	world_stop_done(w, 0);
	assert_int_equal(state_of(w), MOUNT_DOWN);
	assert_int_equal(n_listed(w), 1);
	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(w->added, 0);
}

static void an_end_from_outside_is_noticed_while_it_is_being_listed_too(void **state)
{
	struct world *w = *state;
	struct image_mount *tree;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_load_done(w, 0, DIGEST_A);
	world_tree_up(w);
	tree = w->fuse_pool.up;
	tree->opts.ended(tree->opts.arg, tree);
	world_settle(w);
	world_stop_done(w, 0);
	assert_int_equal(state_of(w), MOUNT_DOWN);
}

static void a_restart_mounts_what_is_listed_without_the_registry(void **state)
{
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	world_stop(w);
	world_stop_done(w, 0);
	assert_int_equal(w->n_stopped, 1);
	world_restart(w);
	assert_false(mounts_are_settled(w->mounts));
	assert_int_equal(w->n_settled, 0);
	assert_true(w->loader.loads->offline_ok);
	assert_string_equal(w->loader.loads->reference, "h:1/r:t");
	world_bring_up(w, DIGEST_A);
	assert_int_equal(state_of(w), MOUNT_UP);
	assert_true(mounts_are_settled(w->mounts));
	assert_int_equal(w->n_settled, 1);
	assert_int_equal(w->loader.n_reads_begun, 1); /* what is read now is no start */
}

static void a_restart_stays_with_its_image_when_the_tag_has_moved(void **state)
{
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	world_stop_and_restart(w);
	world_load_done(w, 0, DIGEST_B);
	assert_string_equal(w->loader.loads->reference, "h:1/r@sha256:" DIGEST_A);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(state_of(w), MOUNT_UP);
	assert_string_equal(mounts_find(w->mounts, w->dir)->rec.digest, DIGEST_A);
}

static void what_comes_back_can_be_unlisted_while_its_registry_is_silent(void **state)
{
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	world_stop_and_restart(w);
	assert_int_equal(state_of(w), MOUNT_LOAD);
	world_remove(w, w->dir);
	assert_int_equal(w->n_removed, 1);
	assert_int_equal(w->removed, 0);
	assert_int_equal(state_of(w), MOUNT_GONE);
	assert_int_equal(n_listed(w), 0);
	assert_int_equal(w->n_settled, 1);
}

static void what_cannot_come_back_stays_listed_and_can_be_unlisted(void **state)
{
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	world_stop_and_restart(w);
	world_load_done(w, -EAGAIN, NULL);
	assert_int_equal(state_of(w), MOUNT_DOWN);
	assert_int_equal(w->n_settled, 1);
	assert_int_equal(n_listed(w), 1);
	world_remove(w, w->dir);
	assert_int_equal(w->removed, 0);
	assert_int_equal(n_listed(w), 0);
}

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c): the linker wants these names */
static bool time_flies;

void __real_timer_start(struct timer *t, uint64_t delay_ms);
void __wrap_timer_start(struct timer *t, uint64_t delay_ms);

void __wrap_timer_start(struct timer *t, uint64_t delay_ms)
{
	__real_timer_start(t, time_flies ? 0 : delay_ms);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c) */

static void what_wants_for_what_others_took_comes_back_later(void **state)
{
	static const int wants[] = { EAGAIN, ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM };
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	world_stop_and_restart(w);
	time_flies = true;
	for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
		world_load_done(w, -wants[i], NULL);
		assert_int_equal(state_of(w), MOUNT_LOAD);
	}
	world_load_done(w, -EUCLEAN, NULL); /* will not pass */
	time_flies = false;
	assert_int_equal(state_of(w), MOUNT_DOWN);
}

static void the_end_detaches_what_is_in_use_and_keeps_the_list(void **state)
{
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	world_stop(w);
	assert_int_equal(w->fuse_pool.n_lazy, 0);
	world_stop_done(w, -EBUSY);
	assert_int_equal(w->fuse_pool.n_lazy, 1);
	assert_int_equal(w->n_stopped, 0);
	world_stop_done(w, 0);
	assert_int_equal(w->n_stopped, 1);
	assert_int_equal(n_listed(w), 1);
	world_restart(w);
	world_bring_up(w, DIGEST_A);
}

static void the_end_waits_for_a_mount_half_way_up(void **state)
{
	struct world *w = *state;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_load_done(w, 0, DIGEST_A);
	world_stop(w);
	assert_int_equal(w->n_stopped, 0);
	world_tree_done(w, 0);
	world_stop_done(w, 0);
	assert_int_equal(w->n_stopped, 1);
	assert_true(w->added < 0);
	world_restart(w);
}

static void prefetch_begins_when_it_is_up_and_ends_with_it(void **state)
{
	struct world *w = *state;
	AUTO(mount_record_clear)
	struct mount_record rec = { .dir = xstrdup(w->dir),
		                    .reference = xstrdup("h:1/r:t"),
		                    .prefetch = true };

	(void)world_add_record(w, &rec);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->fetch.n_prefetches, 0);
	world_tree_done(w, 0);
	assert_int_equal(w->fetch.n_prefetches, 1);
	world_remove(w, w->dir);
	world_stop_done(w, 0);
	assert_int_equal(w->fetch.n_prefetches, 0);
}

static void a_transient_mount_that_ended_goes_from_the_list(void **state)
{
	struct world *w = *state;
	AUTO(mount_record_clear)
	struct mount_record rec = { .dir = xstrdup(w->dir),
		                    .reference = xstrdup("h:1/r:t"),
		                    .transient = true };

	(void)world_add_record(w, &rec);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(n_listed(w), 1);
	w->fuse_pool.up->opts.ended(w->fuse_pool.up->opts.arg, w->fuse_pool.up);
	world_stop_done(w, 0);
	world_settle(w);
	assert_null(mounts_first(w->mounts));
	assert_int_equal(n_listed(w), 0);
}

static void a_transient_mount_without_its_directory_is_not_waited_for(void **state)
{
	struct world *w = *state;
	AUTO(mount_record_clear)
	struct mount_record rec = { .dir = xstrdup(w->dir),
		                    .reference = xstrdup("h:1/r:t"),
		                    .transient = true };

	(void)world_add_record(w, &rec);
	world_bring_up(w, DIGEST_A);
	world_stop(w);
	world_stop_done(w, 0);
	assert_int_equal(rmdir(w->dir), 0);
	world_restart(w);
	world_settle(w);
	assert_null(mounts_first(w->mounts));
	assert_true(mounts_are_settled(w->mounts));
	assert_int_equal(n_listed(w), 0);
	assert_int_equal(w->n_settled, 1);
}

static void what_was_unmounted_below_an_overlay_is_mounted_again(void **state)
{
	struct world *w = *state;
	struct image_mount *old;

	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	old = w->fuse_pool.up;
	old->device = 0;
	(void)world_add(w, "h:1/r:t", w->dir);
	world_load_done(w, 0, DIGEST_A); /* is it the same? */
	world_bring_up(w, DIGEST_A);
	assert_int_equal(w->added, 0);
	assert_int_equal(w->n_added, 2);
	assert_int_equal(w->fuse_pool.n_trees, 2);
	assert_ptr_not_equal(w->fuse_pool.up, old);
	assert_int_equal(n_listed(w), 1);

	old->opts.ended(old->opts.arg, old); /* the overlay has gone */
	world_stop_done(w, 0);
	assert_int_equal(w->fuse_pool.n_trees, 1);
	assert_int_equal(state_of(w), MOUNT_UP);
	assert_int_equal(n_listed(w), 1);
}

static void must_resolve(const struct world *w, const char *path, const char *dir, const char *rest)
{
	const char *got = NULL;
	const struct mounted *m = mounts_resolve(w->mounts, path, &got);

	if (dir == NULL) {
		assert_null(m);
		return;
	}
	assert_non_null(m);
	assert_string_equal(m->rec.dir, dir);
	assert_string_equal(got, rest);
}

static void a_path_belongs_to_the_mount_with_the_longest_directory(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *file = xasprintf("%s/a/b", w->dir);
	AUTO(free_str) char *beside = xasprintf("%sx", w->dir);
	AUTO(free_str) char *outer = xasprintf("%s/x", w->state_dir);

	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	(void)world_add(w, "h:1/r:t", w->state_dir);
	world_bring_up(w, DIGEST_A);
	must_resolve(w, file, w->dir, "/a/b");
	must_resolve(w, w->dir, w->dir, "");
	must_resolve(w, beside, w->state_dir, "/mntx");
	must_resolve(w, outer, w->state_dir, "/x");
	must_resolve(w, "/tmp", NULL, NULL);
}

/* As the agent does it, which ends then. */
static void free_at_once(void *arg)
{
	struct world *w = arg;

	mounts_free(&w->mounts);
}

/* The worker's job outlives the question, and what it belongs to must outlive the job. */
static void a_cancelled_question_that_a_worker_looks_into_is_waited_for_at_the_end(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 2; i++) {
		struct mount_op *op;

		w->replace = i == 1;
		(void)world_add(w, "h:1/r:t", w->dir);
		world_bring_up(w, DIGEST_A);
		op = world_add(w, "h:1/r:t", w->dir);
		world_load_ends(w, 0, DIGEST_A);
		assert_int_equal(fake_pool_n_waiting(w->pool), 1); /* the look */
		mounts_cancel(op);
		mounts_stop(w->mounts, free_at_once, w);
		world_stop_done(w, 0);
		assert_null(w->mounts);
		world_restart(w);
		world_bring_up(w, DIGEST_A);
		world_remove(w, w->dir);
		world_stop_done(w, 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_mount_is_told_when_it_can_be_read_and_is_listed),
		TEST(what_fails_leaves_nothing_behind),
		TEST(a_mount_can_be_unmounted_on_its_way_up),
		TEST(what_comes_back_can_be_unlisted_while_its_registry_is_silent),
		TEST(a_directory_that_is_not_there_is_found_before_the_registry_is_asked),
		TEST(the_same_image_again_is_done_and_another_is_busy),
		TEST(a_second_wish_meanwhile_is_told_to_try_again),
		TEST(a_cancel_while_loading_ends_the_load),
		TEST(a_cancel_while_mounting_takes_the_tree_down_again),
		TEST(a_cancel_while_it_is_being_listed_takes_it_off_again),
		TEST(a_cancelled_question_that_a_worker_looks_into_is_waited_for_at_the_end),
		TEST(an_umount_takes_it_off_the_list),
		TEST(a_busy_umount_leaves_it_mounted_and_listed),
		TEST(an_end_from_outside_is_noticed_and_stays_listed),
		TEST(an_end_from_outside_is_noticed_while_it_is_being_listed_too),
		TEST(a_restart_mounts_what_is_listed_without_the_registry),
		TEST(a_restart_stays_with_its_image_when_the_tag_has_moved),
		TEST(what_cannot_come_back_stays_listed_and_can_be_unlisted),
		TEST(what_wants_for_what_others_took_comes_back_later),
		TEST(the_end_detaches_what_is_in_use_and_keeps_the_list),
		TEST(the_end_waits_for_a_mount_half_way_up),
		TEST(prefetch_begins_when_it_is_up_and_ends_with_it),
		TEST(what_was_unmounted_below_an_overlay_is_mounted_again),
		TEST(a_transient_mount_that_ended_goes_from_the_list),
		TEST(a_transient_mount_without_its_directory_is_not_waited_for),
		TEST(a_path_belongs_to_the_mount_with_the_longest_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
