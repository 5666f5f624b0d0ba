/*
 * read_file: files as a whole, and what is no such file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem.h"
#include "read_file.h"
#include "remove_tree.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT "a\0b\nc"

static int set_up(void **state)
{
	char *dir = xstrdup("/tmp/shoal-test-read-XXXXXX");

	*state = dir;
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)remove_tree(*state);
	free(*state);
	return 0;
}

static char *write_file(const char *dir, size_t n_bytes)
{
	char *path = xasprintf("%s/file", dir);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(TEXT, 1, n_bytes, f), n_bytes);
	assert_int_equal(fclose(f), 0);
	return path;
}

static void all_of_it_is_read_with_a_nul_behind(void **state)
{
	for (size_t n = 0; n < sizeof(TEXT); n++) {
		AUTO(free_str) char *path = write_file(*state, n);
		AUTO(free_str) char *text = NULL;
		size_t size_bytes = 99;
		struct err e;

		assert_int_equal(read_file(path, 0, n, &text, &size_bytes, &e), 0);
		assert_int_equal(size_bytes, n);
		assert_memory_equal(text, TEXT, n);
		assert_int_equal(text[n], '\0');
	}
}

static void refuses(const char *path, int flags, size_t max_bytes, int code)
{
	char *text = NULL;
	size_t size_bytes = 0;
	struct err e;

	assert_int_equal(read_file(path, flags, max_bytes, &text, &size_bytes, &e), -code);
	assert_null(text);
	assert_non_null(strstr(e.msg, path));
}

static void what_is_no_file_of_that_size_is_refused(void **state)
{
	AUTO(free_str) char *path = write_file(*state, sizeof(TEXT));
	AUTO(free_str) char *fifo = xasprintf("%s/fifo", (const char *)*state);
	AUTO(free_str) char *link = xasprintf("%s/link", (const char *)*state);
	AUTO(free_str) char *gone = xasprintf("%s/gone", (const char *)*state);

	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(symlink(path, link), 0);
	refuses(path, 0, sizeof(TEXT) - 1, EINVAL);
	refuses(fifo, 0, 100, EINVAL);
	refuses(*state, 0, 1 << 20, EINVAL);
	refuses(gone, 0, 100, ENOENT);
	refuses(link, O_NOFOLLOW, 100, ELOOP);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_of_it_is_read_with_a_nul_behind),
		TEST(what_is_no_file_of_that_size_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
