/*
 * What mounts bring along for their registry: told before the image is loaded, taken back at the
 * end, among fakes that hold each step.
 */
#include "mem.h"
#include "mount_world.h"
#include "unconst.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void an_auth_file_counts_while_it_is_mounted(void **state)
{
	struct world *w = *state;
	AUTO(mount_record_clear)
	struct mount_record rec = { .dir = xstrdup(w->dir),
		                    .reference = xstrdup("h:1/a/b:t"),
		                    .auth_file = xstrdup("/etc/passwd") };

	(void)world_add_record(w, &rec);
	assert_string_equal(w->registry.hinted, "h:1 a/b - /etc/passwd");
	world_bring_up(w, DIGEST_A);
	assert_string_equal(w->registry.hinted, "h:1 a/b - /etc/passwd");
	world_remove(w, w->dir);
	world_stop_done(w, 0);
	assert_string_equal(w->registry.hinted, "");
}

static void credentials_that_were_given_live_as_long_as_the_mount(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *expected = xasprintf("h:1 a/b %s ", w->dir);
	const struct credentials given = { .username = unconst("first"), .password = unconst("p") };
	const struct credentials other = { .username = unconst("second"),
		                           .password = unconst("q") };
	AUTO(mount_record_clear)
	struct mount_record rec = { .dir = xstrdup(w->dir),
		                    .reference = xstrdup("h:1/a/b:t"),
		                    .scheme = xstrdup("http"),
		                    .given = true };
	struct err e = { 0 };

	w->given = &given;
	(void)world_add_record(w, &rec);
	assert_string_equal(w->registry.hinted, "h:1 a/b http -");
	assert_memory_equal(w->registry.given, expected, strlen(expected));
	assert_string_equal(w->registry.given + strlen(expected), "first");
	world_bring_up(w, DIGEST_A);
	assert_int_equal(mounts_give(w->mounts, w->dir, &other, &e), 0);
	assert_string_equal(w->registry.given + strlen(expected), "second");
	assert_int_equal(mounts_give(w->mounts, "/elsewhere", &other, &e), -ENOENT);

	/* After a restart they are still to come. */
	world_stop(w);
	world_stop_done(w, 0);
	w->n_stopped = 0;
	w->registry.given[0] = '\0';
	world_restart(w);
	world_settle(w);
	assert_string_equal(w->registry.given + strlen(expected), "later");
	assert_int_equal(mounts_give(w->mounts, w->dir, &other, &e), 0);
	world_bring_up(w, DIGEST_A);
	assert_string_equal(w->registry.given + strlen(expected), "second");
	world_remove(w, w->dir);
	world_stop_done(w, 0);
	assert_string_equal(w->registry.given, "");
}

static void an_auth_file_must_be_there_at_first_but_not_at_a_restart(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *path = xasprintf("%s/config.json", w->state_dir);
	AUTO(mount_record_clear)
	struct mount_record rec = { .dir = xstrdup(w->dir),
		                    .reference = xstrdup("h:1/r:t"),
		                    .auth_file = xstrdup(path) };
	FILE *file;

	(void)world_add_record(w, &rec);
	assert_int_equal(w->added, -ENOENT);
	file = fopen(path, "w");
	assert_non_null(file);
	(void)fclose(file);
	(void)world_add_record(w, &rec);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(w->added, 0);
	world_stop(w);
	world_stop_done(w, 0);
	w->n_stopped = 0;
	assert_int_equal(unlink(path), 0);
	world_restart(w);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(mounts_find(w->mounts, w->dir)->state, MOUNT_UP);
	assert_true(mounts_find(w->mounts, w->dir)->auth_file_gone);
}

/* The containers on the hidden one still read, in the way that is said for the directory. */
static void what_a_hidden_mount_said_stays_until_it_is_gone_too(void **state)
{
	struct world *w = *state;
	struct image_mount *old;

	for (int hidden_first = 0; hidden_first < 2; hidden_first++) {
		(void)world_add(w, "h:1/r:t", w->dir);
		world_bring_up(w, DIGEST_A);
		old = w->fuse_pool.up;
		old->device = 0;
		(void)world_add(w, "h:1/r:t", w->dir);
		world_load_done(w, 0, DIGEST_A); /* is it the same? */
		world_bring_up(w, DIGEST_A);
		assert_string_equal(w->registry.hinted, "h:1 r - -");
		if (!hidden_first)
			world_remove(w, w->dir);
		else
			old->opts.ended(old->opts.arg, old); /* the overlay has gone */
		world_stop_done(w, 0);
		assert_string_equal(w->registry.hinted, "h:1 r - -");
		if (hidden_first)
			world_remove(w, w->dir);
		else
			old->opts.ended(old->opts.arg, old);
		world_stop_done(w, 0);
		assert_null(mounts_first(w->mounts));
		assert_string_equal(w->registry.hinted, "");
	}
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(an_auth_file_counts_while_it_is_mounted),
		TEST(credentials_that_were_given_live_as_long_as_the_mount),
		TEST(an_auth_file_must_be_there_at_first_but_not_at_a_restart),
		TEST(what_a_hidden_mount_said_stays_until_it_is_gone_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
