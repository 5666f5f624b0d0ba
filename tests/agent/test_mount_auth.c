/*
 * What mounts bring along for their registry: told before the image is loaded, taken back at the
 * end, among fakes that hold each step.
 */
#include "mem.h"
#include "mount_list.h"
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

static void mount_with_credentials(struct world *w)
{
	const struct credentials given = { .username = unconst("first"), .password = unconst("p") };
	const struct mount_record rec = { .dir = w->dir,
		                          .reference = unconst("h:1/r:t"),
		                          .given = true };

	w->given = &given;
	(void)world_add_record(w, &rec);
	w->given = NULL;
}

static void replace_without_credentials(struct world *w, const char *reference)
{
	w->replace = true;
	(void)world_add(w, reference, w->dir);
}

static void a_mount_without_credentials_has_none_of_before_it(void **state)
{
	struct world *w = *state;

	mount_with_credentials(w);
	world_bring_up(w, DIGEST_A);
	w->fuse_pool.up->device = 0; /* unmounted, in use */
	mount_with_credentials(w);
	world_load_done(w, 0, DIGEST_A);
	world_bring_up(w, DIGEST_A);
	assert_true(mounts_first(w->mounts)->hidden);
	assert_string_not_equal(w->registry.given, "");
	replace_without_credentials(w, "h:1/r:t");
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->added, 0);
	assert_string_equal(w->registry.given, "");
}

static void another_image_without_credentials_has_none_of_the_one_before(void **state)
{
	struct world *w = *state;

	mount_with_credentials(w);
	world_bring_up(w, DIGEST_A);
	assert_string_not_equal(w->registry.given, "");
	replace_without_credentials(w, "h:1/r:next");
	world_load_done(w, 0, DIGEST_B);
	assert_string_equal(w->registry.given, "");
	world_bring_up(w, DIGEST_B);
	assert_string_equal(w->registry.given, "");
}

/* Mounted, without a word on its registry; and an auth file, to be freed. */
static char *up_and_file(struct world *w)
{
	char *path = xasprintf("%s/auth.json", w->state_dir);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	(void)fclose(file);
	(void)world_add(w, "h:1/r:t", w->dir);
	world_bring_up(w, DIGEST_A);
	assert_int_equal(w->added, 0);
	return path;
}

/* Mounted once more, with an auth file. */
static void mount_with(struct world *w, const char *auth_file)
{
	const struct mount_record rec = { .dir = w->dir,
		                          .reference = unconst("h:1/r:t"),
		                          .auth_file = unconst(auth_file) };

	(void)world_add_record(w, &rec);
}

static void look(void *arg, const struct mount_record *rec)
{
	mount_record_clear(arg);
	mount_record_copy(arg, rec);
}

/* The mount, and what is on disk of it, say this; and so does its hint, which is the only one. */
static void assert_says(const struct world *w, const char *scheme, const char *auth_file,
                        bool prefetch)
{
	AUTO(free_str) char *hint = xasprintf("h:1 r %s %s", scheme, auth_file);
	AUTO(mount_record_clear) struct mount_record on_disk = { 0 };
	const struct mount_record *rec = &mounts_find(w->mounts, w->dir)->rec;
	struct err e = { 0 };

	assert_int_equal(mount_list_load(w->state_dir, NULL, look, &on_disk, &e), 0);
	assert_string_equal(rec->auth_file != NULL ? rec->auth_file : "-", auth_file);
	assert_string_equal(on_disk.auth_file != NULL ? on_disk.auth_file : "-", auth_file);
	assert_int_equal(rec->prefetch, prefetch);
	assert_int_equal(on_disk.prefetch, prefetch);
	assert_int_equal(w->registry.n_hints, 1);
	assert_string_equal(w->registry.hinted, hint);
	assert_string_equal(w->registry.owner, w->dir);
}

static void an_auth_file_is_renewed_where_the_image_is_mounted_already(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *file = up_and_file(w);
	AUTO(free_str) char *hint = xasprintf("h:1 r - %s", file);
	struct image_mount *const tree = w->fuse_pool.up;

	mount_with(w, file);
	assert_string_equal(w->registry.hinted, hint); /* for the load */
	assert_string_not_equal(w->registry.owner, w->dir);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->n_added, 2);
	assert_int_equal(w->added, MOUNT_WAS_THERE);
	assert_ptr_equal(w->fuse_pool.up, tree);
	assert_says(w, "-", file, false);

	/* Another image is refused as ever, and a file that is not there. */
	mount_with(w, "/none");
	world_load_done(w, 0, DIGEST_B);
	assert_int_equal(w->added, -EBUSY);
	assert_says(w, "-", file, false);
	mount_with(w, "/none");
	assert_int_equal(w->registry.n_hints, 2);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->added, -ENOENT);
	assert_says(w, "-", file, false);
}

/* While a worker looks whether the file is there: the last moment. */
static void credentials_that_come_meanwhile_stay_before_an_auth_file(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *file = up_and_file(w);
	AUTO(free_str) char *expected = xasprintf("h:1 r %s u", w->dir);
	const struct credentials given = { .username = unconst("u"), .password = unconst("p") };
	struct err e = { 0 };

	mount_with(w, file);
	world_load_ends(w, 0, DIGEST_A);
	assert_int_equal(mounts_give(w->mounts, w->dir, &given, &e), 0);
	world_settle(w);
	assert_int_equal(w->added, MOUNT_WAS_THERE);
	assert_string_equal(w->registry.given, expected);
	assert_true(mounts_first(w->mounts)->rec.given);
	assert_says(w, "-", "-", false);
}

static void a_prefetch_that_is_asked_for_meanwhile_goes_on(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *file = up_and_file(w);
	const struct mount_record rec = { .dir = w->dir,
		                          .reference = unconst("h:1/r:t"),
		                          .prefetch = true };

	mount_with(w, file);
	(void)world_add_record(w, &rec);
	world_load_done(w, 0, DIGEST_A); /* the newest first */
	assert_int_equal(w->fetch.n_prefetches, 1);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->n_added, 3);
	assert_int_equal(w->added, MOUNT_WAS_THERE);
	assert_says(w, "-", file, true);
	assert_int_equal(w->fetch.n_prefetches, 1);
	assert_int_equal(w->fetch.n_started, 1);
}

static void another_way_that_is_said_meanwhile_stays(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *file = up_and_file(w);
	const struct mount_record rec = { .dir = w->dir,
		                          .reference = unconst("h:1/r:t"),
		                          .scheme = unconst("http") };

	mount_with(w, file);
	w->replace = true;
	(void)world_add_record(w, &rec);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->added, 0);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->added, MOUNT_WAS_THERE);
	assert_says(w, "http", file, false);
}

/* Its prefetch counts nevertheless. */
static void of_another_repository_by_then_the_auth_file_is_not_the_mounts(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *file = up_and_file(w);
	const struct mount_record rec = {
		.dir = w->dir, .reference = unconst("h:1/r:t"), .auth_file = file, .prefetch = true
	};

	(void)world_add_record(w, &rec);
	w->replace = true;
	(void)world_add(w, "h:1/other:t", w->dir);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->added, 0);
	world_load_done(w, 0, DIGEST_A);
	assert_int_equal(w->added, MOUNT_WAS_THERE);
	assert_null(mounts_first(w->mounts)->rec.auth_file);
	assert_string_equal(mounts_first(w->mounts)->rec.reference, "h:1/other:t");
	assert_true(mounts_first(w->mounts)->rec.prefetch);
	assert_int_equal(w->fetch.n_prefetches, 1);
	assert_int_equal(w->registry.n_hints, 1);
	assert_string_equal(w->registry.hinted, "h:1 other - -");
}

/* The way that a mount names is told last, and so is tried first. */
static void what_a_mount_leaves_open_are_ways_beside_its_own(void **state)
{
	static const struct {
		const char *reference, *plain; /* who is told to the ways without TLS */
		bool skip_verify;
	} cases[] = { { "h:1/r:t", "-", false },
		      { "h:1/r:t", "first", true },
		      { "127.0.0.1:1/r:t", "first", false },
		      { "localhost:1/r:t", "first", false },
		      { "127.example:1/r:t", "-", false } };
	const struct credentials given = { .username = unconst("first"), .password = unconst("p") };
	struct world *w = *state;
	struct registry *r = &w->registry;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct mount_record rec = { .dir = w->dir,
			                          .reference = unconst(cases[i].reference),
			                          .scheme = unconst("any"),
			                          .proxy = unconst("http://p"),
			                          .proxy_fallback = true,
			                          .skip_verify = cases[i].skip_verify,
			                          .given = true };
		AUTO(free_str)
		char *gifts =
			xasprintf("http,direct:%s=%s http:%s=%s direct:%s=first %s=first ", w->dir,
		                  cases[i].plain, w->dir, cases[i].plain, w->dir, w->dir);

		r->gifts[0] = '\0';
		w->given = &given;
		(void)world_add_record(w, &rec);
		world_bring_up(w, DIGEST_A);
		assert_string_equal(r->gifts, gifts);
		assert_int_equal(r->n_hints, 4);
		assert_non_null(strstr(r->hints[0].text, " http "));
		assert_non_null(strstr(r->hints[1].text, " http "));
		assert_non_null(strstr(r->hints[2].text, " https "));
		assert_non_null(strstr(r->hints[3].text, " https "));
		assert_string_equal(r->owner, w->dir);
		world_remove(w, w->dir);
		world_stop_done(w, 0);
		assert_int_equal(r->n_hints, 0);
		assert_string_equal(r->given, "");
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
		TEST(a_mount_without_credentials_has_none_of_before_it),
		TEST(another_image_without_credentials_has_none_of_the_one_before),
		TEST(an_auth_file_is_renewed_where_the_image_is_mounted_already),
		TEST(credentials_that_come_meanwhile_stay_before_an_auth_file),
		TEST(a_prefetch_that_is_asked_for_meanwhile_goes_on),
		TEST(another_way_that_is_said_meanwhile_stays),
		TEST(of_another_repository_by_then_the_auth_file_is_not_the_mounts),
		TEST(what_a_mount_leaves_open_are_ways_beside_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
