/*
 * The list of mounts on a real disk.
 */
#include "mem.h"
#include "mount_list.h"
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
	char dir[64];
	uint32_t n_seen;
	char last_dir[64];
	char last_auth_file[64];
};

static void see(void *arg, const struct mount_record *rec)
{
	struct fixture *f = arg;

	f->n_seen++;
	(void)snprintf(f->last_dir, sizeof(f->last_dir), "%s", rec->dir);
	(void)snprintf(f->last_auth_file, sizeof(f->last_auth_file), "%s",
	               rec->auth_file != NULL ? rec->auth_file : "");
}

static uint32_t load(struct fixture *f)
{
	struct err e = { 0 };

	f->n_seen = 0;
	assert_int_equal(mount_list_load(f->dir, NULL, see, f, &e), 0);
	return f->n_seen;
}

static void save(struct fixture *f, const char *dir, const char *auth_file)
{
	AUTO(mount_record_clear)
	struct mount_record rec = { .dir = xstrdup(dir), .reference = xstrdup("h:1/r:t") };
	struct err e = { 0 };

	rec.auth_file = auth_file != NULL ? xstrdup(auth_file) : NULL;
	assert_int_equal(mount_list_save(f->dir, &rec, &e), 0);
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/shoal-test-XXXXXX");
	*state = f;
	return mkdtemp(f->dir) == NULL;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	const int r = nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);

	free(f);
	return r;
}

/* The one record's file. */
static char *record_path(const struct fixture *f)
{
	AUTO(free_str) char *pattern = xasprintf("%s/mounts/*/mount.json", f->dir);
	glob_t found = { 0 };
	char *path;

	// NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	assert_int_equal(found.gl_pathc, 1);
	path = xstrdup(found.gl_pathv[0]);
	globfree(&found);
	return path;
}

static void no_list_is_an_empty_list(void **state)
{
	assert_int_equal(load(*state), 0);
}

static void what_is_saved_is_loaded(void **state)
{
	struct fixture *f = *state;

	save(f, "/m/one", "/a/config.json");
	assert_int_equal(load(f), 1);
	assert_string_equal(f->last_dir, "/m/one");
	assert_string_equal(f->last_auth_file, "/a/config.json");
	save(f, "/m/two", NULL);
	assert_int_equal(load(f), 2);
}

static void a_directory_has_one_record(void **state)
{
	struct fixture *f = *state;

	save(f, "/m/one", NULL);
	save(f, "/m/one", "/other");
	assert_int_equal(load(f), 1);
	assert_string_equal(f->last_auth_file, "/other");
}

static void what_is_removed_is_gone_and_may_be_removed_again(void **state)
{
	struct fixture *f = *state;
	struct err e = { 0 };

	save(f, "/m/one", NULL);
	assert_int_equal(mount_list_remove(f->dir, "/m/one", &e), 0);
	assert_int_equal(load(f), 0);
	assert_int_equal(mount_list_remove(f->dir, "/m/one", &e), 0);
}

static void a_broken_record_costs_one_mount(void **state)
{
	struct fixture *f = *state;
	AUTO(free_str) char *path = NULL;
	FILE *file;

	save(f, "/m/one", NULL);
	path = record_path(f);
	file = fopen(path, "w");
	assert_non_null(file);
	(void)fputs("{ half", file);
	(void)fclose(file);
	save(f, "/m/two", NULL);
	assert_int_equal(load(f), 1);
	assert_string_equal(f->last_dir, "/m/two");
}

static void a_half_written_record_is_not_seen(void **state)
{
	struct fixture *f = *state;
	AUTO(free_str) char *path = NULL;
	AUTO(free_str) char *half = NULL;

	save(f, "/m/one", NULL);
	path = record_path(f);
	half = xasprintf("%s.new", path);
	assert_int_equal(rename(path, half), 0);
	assert_int_equal(load(f), 0);
}

static void only_the_agent_may_read_a_record(void **state)
{
	struct fixture *f = *state;
	AUTO(free_str) char *path = NULL;
	struct stat st;

	save(f, "/m/one", NULL);
	path = record_path(f);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_list_is_an_empty_list, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_saved_is_loaded, setup, teardown),
		cmocka_unit_test_setup_teardown(a_directory_has_one_record, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_removed_is_gone_and_may_be_removed_again,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(a_broken_record_costs_one_mount, setup, teardown),
		cmocka_unit_test_setup_teardown(a_half_written_record_is_not_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(only_the_agent_may_read_a_record, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
