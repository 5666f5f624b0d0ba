/*
 * dir: all names of a directory, and a disk that fails in the middle of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broken_dir.h"
#include "dir.h"
#include "mem.h"
#include "remove_tree.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_NAMES 3

static const char *const names[N_NAMES] = { "a", ".b", "c" };

struct seen {
	uint32_t names, n_calls;
	int say;
};

static int set_up(void **state)
{
	char *dir = xstrdup("/tmp/shoal-test-dir-XXXXXX");

	*state = dir;
	assert_non_null(mkdtemp(dir));
	for (uint32_t i = 0; i < N_NAMES; i++) {
		AUTO(free_str) char *path = xasprintf("%s/%s", dir, names[i]);

		assert_int_equal(mkdir(path, 0700), 0);
	}
	return 0;
}

static int tear_down(void **state)
{
	break_dir(NULL);
	(void)remove_tree(*state);
	free(*state);
	return 0;
}

static int see(void *arg, int dir_fd, const struct dirent *entry)
{
	struct seen *seen = arg;
	struct stat st;
	uint32_t i = 0;

	assert_int_equal(fstatat(dir_fd, entry->d_name, &st, 0), 0);
	while (i < N_NAMES && strcmp(entry->d_name, names[i]) != 0)
		i++;
	assert_in_range(i, 0, N_NAMES - 1);
	seen->names |= BIT(i);
	seen->n_calls++;
	return seen->say;
}

static void each_name_comes_once(void **state)
{
	struct seen seen = { .say = 0 };

	assert_int_equal(dir_each(AT_FDCWD, *state, 0, see, &seen), 0);
	assert_int_equal(seen.names, BIT(N_NAMES) - 1);
	assert_int_equal(seen.n_calls, N_NAMES);
}

static void it_ends_where_it_is_told_to(void **state)
{
	struct seen seen = { .say = -ENOTTY };

	assert_int_equal(dir_each(AT_FDCWD, *state, 0, see, &seen), -ENOTTY);
	assert_int_equal(seen.n_calls, 1);
	seen.say = 7;
	assert_int_equal(dir_each(AT_FDCWD, *state, 0, see, &seen), 7);
	assert_int_equal(seen.n_calls, 2);
}

static void what_is_no_directory_is_an_error(void **state)
{
	AUTO(free_str) char *link = xasprintf("%s-link", (char *)*state);
	struct seen seen = { .say = 0 };

	assert_int_equal(dir_each(AT_FDCWD, "/dev/null", 0, see, &seen), -ENOTDIR);
	assert_int_equal(dir_each(AT_FDCWD, link, 0, see, &seen), -ENOENT);
	assert_int_equal(symlink(*state, link), 0);
	assert_int_equal(dir_each(AT_FDCWD, link, O_NOFOLLOW, see, &seen), -ENOTDIR);
	assert_int_equal(seen.n_calls, 0);
	assert_int_equal(dir_each(AT_FDCWD, link, 0, see, &seen), 0);
	assert_int_equal(seen.n_calls, N_NAMES);
	assert_int_equal(unlink(link), 0);
}

static void a_disk_that_fails_in_the_middle_is_an_error(void **state)
{
	struct seen seen = { .say = 0 };

	break_dir(*state);
	assert_int_equal(dir_each(AT_FDCWD, *state, 0, see, &seen), -EIO);
	assert_in_range(seen.n_calls, 1, 2); /* ".b" is not counted */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_name_comes_once),
		TEST(it_ends_where_it_is_told_to),
		TEST(what_is_no_directory_is_an_error),
		TEST(a_disk_that_fails_in_the_middle_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
