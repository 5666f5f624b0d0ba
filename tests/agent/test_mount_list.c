/*
 * The list of mounts on a real disk.
 */
#include "mem.h"
#include "mount_chores.h"
#include "mount_ended.h"
#include "mount_life.h"
#include "mount_list.h"
#include "remove_tree.h"
#include <errno.h>
#include <fcntl.h>
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

static int save_errno; /* not 0: what the next save fails with */

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c): how the linker's --wrap names them. */
int __real_mount_list_save(const char *state_dir, const struct mount_record *rec, struct err *e);
int __wrap_mount_list_save(const char *state_dir, const struct mount_record *rec, struct err *e);

int __wrap_mount_list_save(const char *state_dir, const struct mount_record *rec, struct err *e)
{
	const int code = save_errno;

	save_errno = 0;
	return code != 0 ? err_set(e, code, "cannot write")
	                 : __real_mount_list_save(state_dir, rec, e);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c) */

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

static int teardown(void **state)
{
	struct fixture *f = *state;
	const int r = remove_tree(f->dir);

	free(f);
	return r;
}

static void a_note_counts_for_the_mount_that_was_there(void **state)
{
	struct fixture *f = *state;
	AUTO(free_str) char *socket = xasprintf("%s/api.sock", f->dir);
	AUTO(free_str) char *record = NULL;
	const struct timespec later[2] = { { .tv_sec = 1L << 32 }, { .tv_sec = 1L << 32 } };
	char id[MOUNT_ID_BYTES];
	struct err e = { 0 };

	save(f, "/mnt/a", NULL);
	save(f, "/mnt/b", NULL);
	assert_false(mount_ended_is_noted(socket, f->dir, "/mnt/a"));
	assert_int_equal(mount_ended_note(socket, "/mnt/a", &e), 0);
	assert_int_equal(mount_ended_note(socket, "/mnt/a", &e), 0); /* again */
	assert_int_equal(mount_ended_note(socket, "/mnt/c", &e), 0);
	assert_true(mount_ended_is_noted(socket, f->dir, "/mnt/a"));
	assert_false(mount_ended_is_noted(socket, f->dir, "/mnt/b"));
	assert_false(mount_ended_is_noted(socket, f->dir, "/mnt/c")); /* not listed */
	mount_list_id("/mnt/a", id);
	record = xasprintf("%s/mounts/%s/mount.json", f->dir, id);
	assert_int_equal(utimensat(AT_FDCWD, record, later, 0), 0); /* mounted anew since */
	assert_false(mount_ended_is_noted(socket, f->dir, "/mnt/a"));
	mount_ended_clear(socket);
	save(f, "/mnt/a", NULL);
	assert_false(mount_ended_is_noted(socket, f->dir, "/mnt/a"));
}

static void make_file(const char *path)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
}

/* Whoever put the agent's socket beside a directory of that name has other files there. */
static void what_is_no_note_stays(void **state)
{
	struct fixture *f = *state;
	AUTO(free_str) char *socket = xasprintf("%s/api.sock", f->dir);
	AUTO(free_str) char *notes = xasprintf("%s/ended", f->dir);
	AUTO(free_str) char *elsewhere = xasprintf("%s/elsewhere", f->dir);
	AUTO(free_str) char *other = xasprintf("%s/0123456789abcdeg", notes);
	AUTO(free_str) char *note = xasprintf("%s/0123456789abcdef", notes);
	AUTO(free_str) char *linked = xasprintf("%s/0123456789abcdef", elsewhere);
	struct err e = { 0 };

	save(f, "/mnt/a", NULL);
	assert_int_equal(mount_ended_note(socket, "/mnt/a", &e), 0);
	make_file(other);
	make_file(note);
	mount_ended_clear(socket);
	assert_false(mount_ended_is_noted(socket, f->dir, "/mnt/a"));
	assert_int_equal(access(note, F_OK), -1);
	assert_int_equal(access(other, F_OK), 0);
	/* One that others may write to is not ours. */
	make_file(note);
	assert_int_equal(chmod(notes, 0777), 0);
	mount_ended_clear(socket);
	assert_int_equal(access(note, F_OK), 0);
	assert_int_equal(mount_ended_note(socket, "/mnt/a", &e), -EPERM);
	assert_int_equal(remove_tree(notes), 0);
	assert_int_equal(mkdir(elsewhere, 0700), 0);
	make_file(linked);
	assert_int_equal(symlink(elsewhere, notes), 0);
	mount_ended_clear(socket);
	assert_int_equal(access(linked, F_OK), 0);
	assert_true(mount_ended_note(socket, "/mnt/a", &e) < 0);
	assert_false(mount_ended_is_noted(socket, f->dir, "/mnt/a"));
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

/* Whoever opens a fifo waits for its other end. */
static void a_record_that_is_no_file_costs_one_mount(void **state)
{
	struct fixture *f = *state;
	AUTO(free_str) char *path = NULL;

	save(f, "/m/one", NULL);
	path = record_path(f);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
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

static bool count_call(void *arg)
{
	++*(unsigned *)arg;
	return true;
}

static void a_record_for_which_there_is_no_space_is_written_once_there_is(void **state)
{
	static const int full[] = { ENOSPC, EDQUOT };
	struct fixture *f = *state;
	unsigned n_rooms = 0;
	struct mount_chore chore = { .state_dir = f->dir,
		                     .rec = { .dir = xstrdup("/m/one"),
		                              .reference = xstrdup("h:1/r:t") },
		                     .make_room = count_call,
		                     .make_room_arg = &n_rooms };

	for (unsigned i = 0; i < 2; i++) {
		save_errno = full[i];
		mount_chore_save(&chore.job);
		assert_int_equal(chore.result, 0);
		assert_int_equal(n_rooms, i + 1);
	}
	save_errno = EIO;
	mount_chore_save(&chore.job);
	assert_int_equal(chore.result, -EIO);
	assert_int_equal(n_rooms, 2);
	assert_int_equal(load(f), 1);
	mount_record_clear(&chore.rec);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_note_counts_for_the_mount_that_was_there),
		TEST(what_is_no_note_stays),
		TEST(no_list_is_an_empty_list),
		TEST(what_is_saved_is_loaded),
		TEST(a_directory_has_one_record),
		TEST(what_is_removed_is_gone_and_may_be_removed_again),
		TEST(a_broken_record_costs_one_mount),
		TEST(a_record_that_is_no_file_costs_one_mount),
		TEST(a_half_written_record_is_not_seen),
		TEST(only_the_agent_may_read_a_record),
		TEST(a_record_for_which_there_is_no_space_is_written_once_there_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
