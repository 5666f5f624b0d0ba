/*
 * Another image, or another way to the same one, in place of what is mounted, among fakes that hold
 * each step.
 */
#include "mem.h"
#include "mount_list.h"
#include "mount_world.h"
#include "unconst.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DIGEST_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

struct listed {
	uint32_t n;
	char scheme[8]; /* of the last; "" for none */
	char digest[DIGEST_TEXT_BYTES];
};

static void look(void *arg, const struct mount_record *rec)
{
	struct listed *l = arg;

	l->n++;
	(void)snprintf(l->scheme, sizeof(l->scheme), "%s", rec->scheme != NULL ? rec->scheme : "");
	memcpy(l->digest, rec->digest, sizeof(l->digest));
}

static struct listed listed(const struct world *w)
{
	struct listed l = { 0 };
	struct err e = { 0 };

	assert_int_equal(mount_list_load(w->state_dir, NULL, look, &l, &e), 0);
	return l;
}

/* Mounted, without a word on how its registry is reached. */
static struct image_mount *up(struct world *w)
{
	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(w->added, 0);
	return w->fuse_pool.up;
}

/* As far as the load. */
static struct mount_op *replace(struct world *w)
{
	const struct mount_record rec = { .dir = w->dir,
		                          .reference = unconst("h:1/r:t"),
		                          .scheme = unconst("http"),
		                          .given = w->given != NULL };

	w->replace = true;
	return world_add_record(w, &rec);
}

static void the_same_image_takes_on_another_way(void **state)
{
	struct world *w = *state;
	const struct credentials given = { .username = unconst("u"), .password = unconst("p") };
	struct image_mount *const tree = up(w);

	w->given = &given;
	(void)replace(w);
	assert_string_equal(w->registry.hinted, "h:1 r http -"); /* for the load */
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->n_added, 2);
	assert_int_equal(w->added, 0);
	assert_int_equal(w->fuse_pool.n_trees, 1);
	assert_ptr_equal(w->fuse_pool.up, tree);
	assert_int_equal(mounts_first(w->mounts)->state, MOUNT_UP);
	assert_string_equal(w->registry.hinted, "h:1 r http -");
	assert_non_null(strstr(w->registry.given, w->dir));
	assert_null(strstr(w->registry.given, "//new"));
	assert_int_equal(listed(w).n, 1);
	assert_string_equal(listed(w).scheme, "http");
	assert_string_equal(listed(w).digest, DIGEST_A);
}

static void another_image_takes_the_directory_and_the_old_one_lives_on(void **state)
{
	struct world *w = *state;
	struct image_mount *const old = up(w);

	(void)replace(w);
	world_load_done(w, 0, DIGEST_B); /* is it the same? */
	assert_int_equal(w->n_added, 1);
	world_bring_up(w, DIGEST_B);
	assert_int_equal(w->n_added, 2);
	assert_int_equal(w->added, 0);
	assert_int_equal(w->fuse_pool.n_trees, 2);
	assert_true(mounts_first(w->mounts)->hidden);
	assert_true(mounts_use_image(w->mounts, DIGEST_A));
	assert_string_equal(mounts_find(w->mounts, w->dir)->rec.digest, DIGEST_B);
	assert_string_equal(listed(w).digest, DIGEST_B);

	old->opts.ended(old->opts.arg, old); /* nobody uses it any more */
	world_stop_done(w, 0);
	assert_false(mounts_use_image(w->mounts, DIGEST_A));
	assert_int_equal(listed(w).n, 1);
	assert_string_equal(w->registry.hinted, "h:1 r http -");
}

static void what_cannot_be_loaded_leaves_all_as_it_was(void **state)
{
	struct world *w = *state;

	(void)up(w);
	(void)replace(w);
	world_load_done(w, -EACCES, NULL);
	assert_int_equal(w->added, -EACCES);
	assert_int_equal(mounts_find(w->mounts, w->dir)->state, MOUNT_UP);
	assert_string_equal(listed(w).scheme, "");
	mounts_cancel(replace(w));
	assert_int_equal(w->n_added, 2);
	assert_int_equal(mounts_find(w->mounts, w->dir)->state, MOUNT_UP);
	assert_int_equal(w->loader.n_cancelled, 1);
}

static void a_record_that_cannot_be_written_is_told_and_readers_read_on(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *list = xasprintf("%s/mounts", w->state_dir);
	AUTO(free_str) char *away = xasprintf("%s/away", w->state_dir);
	AUTO(close_fd) int fd = -1;

	(void)up(w);
	assert_int_equal(rename(list, away), 0);
	fd = open(list, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	(void)replace(w);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->n_added, 2);
	assert_true(w->added < 0);
	assert_int_equal(mounts_find(w->mounts, w->dir)->state, MOUNT_UP);
	assert_int_equal(w->fuse_pool.n_trees, 1);
	assert_int_equal(unlink(list), 0);
	assert_int_equal(rename(away, list), 0);
	(void)replace(w); /* once more */
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->added, 0);
	assert_string_equal(listed(w).scheme, "http");
}

static void where_nothing_is_mounted_it_is_a_mount(void **state)
{
	struct world *w = *state;

	(void)replace(w);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(w->added, 0);
	assert_int_equal(w->fuse_pool.n_trees, 1);
}

static void a_directory_that_was_taken_meanwhile_is_told(void **state)
{
	struct world *w = *state;
	struct image_mount *const old = up(w);

	old->device = DEVICE_COVERED;
	(void)replace(w);
	world_load_done(w, 0, DIGEST_B);
	assert_int_equal(w->n_added, 2);
	assert_int_equal(w->added, -EBUSY);
	assert_int_equal(mounts_find(w->mounts, w->dir)->state, MOUNT_DOWN);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_same_image_takes_on_another_way),
		TEST(another_image_takes_the_directory_and_the_old_one_lives_on),
		TEST(what_cannot_be_loaded_leaves_all_as_it_was),
		TEST(a_record_that_cannot_be_written_is_told_and_readers_read_on),
		TEST(where_nothing_is_mounted_it_is_a_mount),
		TEST(a_directory_that_was_taken_meanwhile_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
