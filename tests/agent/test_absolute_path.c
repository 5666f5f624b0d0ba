/*
 * One directory has one name.
 */
#include "commands.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void must_be(const char *path, const char *want)
{
	AUTO(free_str) char *got = absolute_path(path);

	assert_string_equal(got, want);
}

static void what_exists_is_named_without_links(void **state)
{
	char dir[] = "/tmp/shoal-test-XXXXXX";
	AUTO(free_str) char *link = NULL;
	AUTO(free_str) char *below = NULL;
	AUTO(free_str) char *want = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	link = xasprintf("%s-link", dir);
	assert_int_equal(symlink(dir, link), 0);
	must_be(link, dir);
	below = xasprintf("%s/not-here", link);
	want = xasprintf("%s/not-here", dir);
	must_be(below, want);
	(void)unlink(link);
	(void)rmdir(dir);
}

static void what_does_not_exist_is_tidied(void **state)
{
	(void)state;
	must_be("/no-such/./a//b/../c/", "/no-such/a/c");
	must_be("/no-such/../../x-not-here", "/x-not-here");
	must_be("/x-not-here", "/x-not-here");
	must_be("/no-such/a", "/no-such/a");
}

static void a_relative_path_begins_where_we_are(void **state)
{
	(void)state;
	assert_int_equal(chdir("/usr"), 0);
	must_be("no-such-thing", "/usr/no-such-thing");
	must_be("./bin/..", "/usr");
	must_be("no-such/../other-not-here", "/usr/other-not-here");
}

/* Whoever says "umount mnt" there does not mean /mnt. */
static void where_we_are_may_be_gone(void **state)
{
	char dir[] = "/tmp/shoal-test-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(rmdir(dir), 0);
	must_be("usr", "usr");
	must_be("/usr", "/usr");
	assert_int_equal(chdir("/"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_exists_is_named_without_links),
		cmocka_unit_test(what_does_not_exist_is_tidied),
		cmocka_unit_test(a_relative_path_begins_where_we_are),
		cmocka_unit_test(where_we_are_may_be_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
