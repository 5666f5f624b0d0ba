/*
 * Another image, or another way to the same one, in place of what is mounted, among fakes that hold
 * each step.
 */
#include "fake_pool.h"
#include "mem.h"
#include "mount_list.h"
#include "mount_world.h"
#include "unconst.h"
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct listed {
	uint32_t n;
	char scheme[8]; /* of the last; "" for none */
	char digest[DIGEST_TEXT_BYTES];
	bool prefetch;
};

static void look(void *arg, const struct mount_record *rec)
{
	struct listed *l = arg;

	l->n++;
	(void)snprintf(l->scheme, sizeof(l->scheme), "%s", rec->scheme != NULL ? rec->scheme : "");
	memcpy(l->digest, rec->digest, sizeof(l->digest));
	l->prefetch = rec->prefetch;
}

static struct listed listed(const struct world *w)
{
	struct listed l = { 0 };
	struct err e = { 0 };

	assert_int_equal(mount_list_load(w->state_dir, NULL, look, &l, &e), 0);
	return l;
}

/* The list cannot be written while it is away: a file stands in its place. */
static void list_goes_away(const struct world *w)
{
	AUTO(free_str) char *list = xasprintf("%s/mounts", w->state_dir);
	AUTO(free_str) char *away = xasprintf("%s/away", w->state_dir);
	AUTO(close_fd) int fd = -1;

	assert_int_equal(rename(list, away), 0);
	fd = open(list, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
}

static void list_comes_back(const struct world *w)
{
	AUTO(free_str) char *list = xasprintf("%s/mounts", w->state_dir);
	AUTO(free_str) char *away = xasprintf("%s/away", w->state_dir);

	assert_int_equal(unlink(list), 0);
	assert_int_equal(rename(away, list), 0);
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
	assert_non_null(mounts_of_image(w->mounts, DIGEST_A));
	assert_string_equal(mounts_find(w->mounts, w->dir)->rec.digest, DIGEST_B);
	assert_string_equal(listed(w).digest, DIGEST_B);

	old->opts.ended(old->opts.arg, old); /* nobody uses it any more */
	world_stop_done(w, 0);
	assert_null(mounts_of_image(w->mounts, DIGEST_A));
	assert_int_equal(listed(w).n, 1);
	assert_string_equal(w->registry.hinted, "h:1 r http -");
}

/* Two trees at one directory, as a keeper knows them. */
static struct kept kept_of(const struct world *w, const struct image_mount *tree,
                           const char *digest)
{
	struct kept kept = { .fd = -1 };

	kept_fill(&kept, w->dir, digest);
	kept.note.dev = tree->device;
	return kept;
}

static void of_a_mount_that_was_replaced_a_keeper_keeps_nothing(void **state)
{
	struct world *w = *state;
	struct image_mount *old;
	struct image_mount *new;
	struct kept kept;

	(void)up(w);
	w->with_keeper = true;
	world_stop_and_restart(w);
	world_bring_up(w, DIGEST_A);
	old = w->fuse_pool.up;
	old->device = 1;
	kept = kept_of(w, old, DIGEST_A);
	assert_int_equal(mounts_set_kept(w->mounts, &kept), KEEP_HOLD);
	(void)replace(w);
	world_load_done(w, 0, DIGEST_B);
	world_load_done(w, 0, DIGEST_B);
	assert_int_equal(mounts_set_kept(w->mounts, &kept), KEEP_AGAIN); /* not up yet */
	world_tree_done(w, 0);
	new = w->fuse_pool.up;
	new->device = 2;
	assert_int_equal(mounts_set_kept(w->mounts, &kept), KEEP_AGAIN);
	assert_false(image_mount_is_kept(new));
	kept = kept_of(w, new, DIGEST_B);
	assert_int_equal(mounts_set_kept(w->mounts, &kept), KEEP_HOLD);
	assert_true(image_mount_is_kept(new));
	kept_fill(&kept, "/elsewhere", DIGEST_B);
	assert_int_equal(mounts_set_kept(w->mounts, &kept), KEEP_DROP);
}

static void what_was_replaced_is_not_prefetched_any_more(void **state)
{
	struct world *w = *state;
	struct mount_record rec = { .dir = w->dir,
		                    .reference = unconst("h:1/r:t"),
		                    .prefetch = true };

	(void)world_add_record(w, &rec);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(w->fetch.n_prefetches, 1);
	w->replace = true;
	rec.scheme = unconst("http");
	(void)world_add_record(w, &rec);
	world_load_done(w, 0, DIGEST_B);
	world_bring_up(w, DIGEST_B);
	assert_int_equal(w->added, 0);
	assert_int_equal(w->fetch.n_started, 2);
	assert_int_equal(w->fetch.n_prefetches, 1);
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

	(void)up(w);
	list_goes_away(w);
	(void)replace(w);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->n_added, 2);
	assert_true(w->added < 0);
	assert_int_equal(mounts_find(w->mounts, w->dir)->state, MOUNT_UP);
	assert_int_equal(w->fuse_pool.n_trees, 1);
	assert_null(mounts_find(w->mounts, w->dir)->rec.scheme);
	assert_string_equal(mounts_find(w->mounts, w->dir)->rec.digest, DIGEST_A);
	assert_string_equal(w->registry.hinted, "h:1 r - -");
	list_comes_back(w);
	(void)replace(w); /* once more */
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->added, 0);
	assert_string_equal(listed(w).scheme, "http");
}

/* The record that cannot be written is about to be. */
static void until_it_is_being_written(struct world *w)
{
	world_load_ends(w, 0, DIGEST_A);
	assert_int_equal(fake_pool_run_one(w->pool), 1); /* the look at the directory */
	while (state_of(w) != MOUNT_SAVE)
		(void)event_base_loop(loop_base(w->loop), EVLOOP_NONBLOCK);
}

static void credentials_that_come_meanwhile_outlive_a_record_that_cannot_be_written(void **state)
{
	struct world *w = *state;
	const struct credentials given = { .username = unconst("u"), .password = unconst("p") };
	AUTO(free_str) char *expected = xasprintf("h:1 r %s u", w->dir);
	struct err e = { 0 };

	(void)up(w);
	list_goes_away(w);
	(void)replace(w);
	until_it_is_being_written(w);
	assert_int_equal(mounts_give(w->mounts, w->dir, &given, &e), 0);
	world_settle(w);
	assert_true(w->added < 0);
	assert_string_equal(w->registry.given, expected);
	assert_true(mounts_find(w->mounts, w->dir)->rec.given);
	list_comes_back(w);
}

static void of_an_auth_file_whose_record_cannot_be_written_nothing_is_said(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *file = xasprintf("%s/auth", w->state_dir);
	const struct mount_record rec = { .dir = w->dir,
		                          .reference = unconst("h:1/r:t"),
		                          .auth_file = file };
	AUTO(close_fd) int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	(void)up(w);
	list_goes_away(w);
	(void)world_add_record(w, &rec);
	until_it_is_being_written(w);
	assert_int_equal(unlink(file), 0); /* at the last moment */
	world_settle(w);
	assert_true(w->added < 0);
	assert_null(mounts_find(w->mounts, w->dir)->rec.auth_file);
	assert_false(mounts_find(w->mounts, w->dir)->auth_file_gone);
	list_comes_back(w);
}

static void where_nothing_is_mounted_it_is_a_mount(void **state)
{
	struct world *w = *state;

	(void)replace(w);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(w->added, 0);
	assert_int_equal(w->fuse_pool.n_trees, 1);
}

/* The old one was detached: it is mounted anew, from what is here. */
static void the_old_one_comes_back(struct world *w, const struct image_mount *old)
{
	const struct mounted *m = mounts_find(w->mounts, w->dir);

	assert_int_equal(m->state, MOUNT_LOAD);
	assert_true(w->loader.loads->offline_ok);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(m->state, MOUNT_UP);
	assert_string_equal(m->rec.digest, DIGEST_A);
	assert_null(m->rec.scheme);
	assert_ptr_not_equal(w->fuse_pool.up, old);
	assert_int_equal(listed(w).n, 1);
	assert_string_equal(listed(w).digest, DIGEST_A);
	assert_string_equal(listed(w).scheme, "");
	assert_string_equal(w->registry.hinted, "h:1 r - -");
}

static struct mount_op *detached(struct world *w)
{
	const uint32_t n_images = w->loader.n_images;
	struct mount_op *op = replace(w);

	world_load_done(w, 0, DIGEST_B); /* is it the same? */
	assert_int_equal(w->loader.n_images, n_images + 1);
	assert_int_equal(mounts_find(w->mounts, w->dir)->state, MOUNT_LOAD);
	return op;
}

static void what_fails_once_the_old_one_is_detached_brings_it_back(void **state)
{
	struct world *w = *state;
	const struct image_mount *old = up(w);

	(void)detached(w);
	world_load_done(w, -EACCES, NULL);
	assert_int_equal(w->added, -EACCES);
	the_old_one_comes_back(w, old);

	old = w->fuse_pool.up;
	(void)detached(w);
	world_load_done(w, 0, DIGEST_B);
	world_tree_done(w, -EPERM);
	assert_int_equal(w->added, -EPERM);
	the_old_one_comes_back(w, old);

	old = w->fuse_pool.up;
	list_goes_away(w);
	(void)detached(w);
	world_bring_up(w, DIGEST_B);
	world_stop_done(w, 0);
	assert_int_equal(w->n_added, 4);
	assert_true(w->added < 0);
	world_bring_up(w, DIGEST_A); /* its record cannot be written either, and is there */
	assert_int_equal(mounts_find(w->mounts, w->dir)->state, MOUNT_UP);
	list_comes_back(w);
	assert_string_equal(listed(w).digest, DIGEST_A);
	assert_ptr_not_equal(w->fuse_pool.up, old);
}

static void a_cancel_once_the_old_one_is_detached_brings_it_back(void **state)
{
	struct world *w = *state;
	const struct image_mount *old = up(w);
	struct mount_op *op = detached(w);

	mounts_cancel(op);
	world_settle(w);
	the_old_one_comes_back(w, old);

	old = w->fuse_pool.up;
	op = detached(w);
	world_load_done(w, 0, DIGEST_B);
	mounts_cancel(op);
	world_tree_done(w, 0);
	world_stop_done(w, 0);
	the_old_one_comes_back(w, old);
	assert_int_equal(w->n_added, 1);
}

/* The next agent mounts what is listed. */
static void at_the_end_it_does_not_come_back(void **state)
{
	struct world *w = *state;

	(void)up(w);
	(void)detached(w);
	world_stop(w);
	world_stop_done(w, 0);
	assert_int_equal(w->n_stopped, 1);
	assert_int_equal(w->fuse_pool.n_trees, 0);
	assert_string_equal(listed(w).digest, DIGEST_A);
}

static void an_auth_file_that_is_not_there_changes_nothing(void **state)
{
	struct world *w = *state;
	const struct mount_record rec = { .dir = w->dir,
		                          .reference = unconst("h:1/r:t"),
		                          .auth_file = unconst("/no/such/file") };
	const char *const digests[] = { DIGEST_A, DIGEST_B };

	(void)up(w);
	w->replace = true;
	for (size_t i = 0; i < ARRAY_LEN(digests); i++) {
		(void)world_add_record(w, &rec);
		world_load_done(w, 0, digests[i]);
		assert_int_equal(w->n_added, 2 + i);
		assert_int_equal(w->added, -ENOENT);
		assert_int_equal(mounts_find(w->mounts, w->dir)->state, MOUNT_UP);
		assert_null(mounts_find(w->mounts, w->dir)->rec.auth_file);
		assert_int_equal(w->fuse_pool.n_trees, 1);
	}
}

static void a_prefetch_that_is_not_wished_for_any_more_ends(void **state)
{
	struct world *w = *state;
	const struct mount_record rec = { .dir = w->dir,
		                          .reference = unconst("h:1/r:t"),
		                          .prefetch = true };

	(void)world_add_record(w, &rec);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(w->fetch.n_prefetches, 1);
	(void)replace(w);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->added, 0);
	assert_int_equal(w->fetch.n_prefetches, 0);
	assert_int_equal(w->fetch.n_started, 1);
}

static void how_it_is_mounted_stays_with_the_image(void **state)
{
	struct world *w = *state;
	const struct mount_record rec = { .dir = w->dir,
		                          .reference = unconst("h:1/r:t"),
		                          .how = unconst("erofs") };

	(void)up(w);
	w->replace = true;
	(void)world_add_record(w, &rec);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->added, 0);
	assert_null(mounts_find(w->mounts, w->dir)->rec.how);
}

/* Each that is in use counts. */
static void there_are_at_most_so_many_also_where_one_is_replaced(void **state)
{
	struct world *w = *state;

	(void)up(w);
	for (uint32_t i = 1; i < MOUNTS_MAX; i++) {
		const struct mount_record rec = { .dir = unconst("/no/such/dir"),
			                          .reference = unconst("h:1/r:t"),
			                          .digest = DIGEST_A };
		AUTO(mount_record_clear) struct mount_record copy = { 0 };

		mount_record_copy(&copy, &rec);
		free_str(&copy.dir);
		copy.dir = xasprintf("/no/such/dir/%" PRIu32, i);
		mounts_restore(w->mounts, &copy, NULL);
	}
	world_settle(w);
	(void)replace(w);
	world_load_done(w, 0, DIGEST_B);
	assert_int_equal(w->added, -ENOSPC);
	assert_int_equal(mounts_find(w->mounts, w->dir)->state, MOUNT_UP);
	(void)replace(w); /* the same image needs no more */
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->added, 0);
	w->fuse_pool.up->device = 0; /* unmounted from outside, but in use: it is one more */
	w->replace = false;
	(void)world_add(w, "h:1/r:t", w->dir);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->added, -ENOSPC);
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

/* What the second one says opens the registry is its own. */
static void of_two_wishes_at_once_the_one_that_ends_takes_nothing_from_the_other(void **state)
{
	struct world *w = *state;
	struct mount_op *first;

	(void)up(w);
	first = replace(w);
	(void)replace(w);
	mounts_cancel(first);
	assert_string_equal(w->registry.hinted, "h:1 r http -");
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->n_added, 2);
	assert_int_equal(w->added, 0);
	assert_string_equal(listed(w).scheme, "http");
}

static void wish_for_all_of_it(struct world *w)
{
	const struct mount_record rec = { .dir = w->dir,
		                          .reference = unconst("h:1/r:t"),
		                          .prefetch = true };

	(void)world_add_record(w, &rec);
	world_load_done(w, 0, DIGEST_A);
}

static void all_of_what_was_there_is_brought_when_that_is_wished_for(void **state)
{
	struct world *w = *state;

	(void)up(w);
	wish_for_all_of_it(w);
	assert_int_equal(w->added, MOUNT_WAS_THERE);
	assert_int_equal(w->fetch.n_prefetches, 1);
	assert_true(listed(w).prefetch);
	assert_int_equal(w->fuse_pool.n_trees, 1);
	wish_for_all_of_it(w); /* one at a time */
	assert_int_equal(w->added, MOUNT_WAS_THERE);
	assert_int_equal(w->n_added, 3);
	assert_int_equal(w->fetch.n_started, 1);
}

static void a_wish_for_all_of_it_that_cannot_be_listed_is_told(void **state)
{
	struct world *w = *state;

	(void)up(w);
	list_goes_away(w);
	wish_for_all_of_it(w);
	assert_int_equal(w->n_added, 2);
	assert_true(w->added < 0);
	assert_int_equal(mounts_find(w->mounts, w->dir)->state, MOUNT_UP);
	assert_false(mounts_find(w->mounts, w->dir)->rec.prefetch);
	assert_int_equal(w->fetch.n_started, 0);
	list_comes_back(w);
}

static void what_was_unmounted_from_outside_is_mounted_again_and_all_of_it_brought(void **state)
{
	struct world *w = *state;

	up(w)->device = 0;
	wish_for_all_of_it(w);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(w->added, 0);
	assert_int_equal(w->fetch.n_prefetches, 1);
	assert_true(listed(w).prefetch);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_same_image_takes_on_another_way),
		TEST(another_image_takes_the_directory_and_the_old_one_lives_on),
		TEST(of_a_mount_that_was_replaced_a_keeper_keeps_nothing),
		TEST(what_was_replaced_is_not_prefetched_any_more),
		TEST(what_cannot_be_loaded_leaves_all_as_it_was),
		TEST(a_record_that_cannot_be_written_is_told_and_readers_read_on),
		TEST(credentials_that_come_meanwhile_outlive_a_record_that_cannot_be_written),
		TEST(of_an_auth_file_whose_record_cannot_be_written_nothing_is_said),
		TEST(where_nothing_is_mounted_it_is_a_mount),
		TEST(a_directory_that_was_taken_meanwhile_is_told),
		TEST(what_fails_once_the_old_one_is_detached_brings_it_back),
		TEST(a_cancel_once_the_old_one_is_detached_brings_it_back),
		TEST(at_the_end_it_does_not_come_back),
		TEST(an_auth_file_that_is_not_there_changes_nothing),
		TEST(a_prefetch_that_is_not_wished_for_any_more_ends),
		TEST(how_it_is_mounted_stays_with_the_image),
		TEST(there_are_at_most_so_many_also_where_one_is_replaced),
		TEST(of_two_wishes_at_once_the_one_that_ends_takes_nothing_from_the_other),
		TEST(all_of_what_was_there_is_brought_when_that_is_wished_for),
		TEST(a_wish_for_all_of_it_that_cannot_be_listed_is_told),
		TEST(what_was_unmounted_from_outside_is_mounted_again_and_all_of_it_brought),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
