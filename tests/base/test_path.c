/*
 * Paths as words.
 */
#include "mem.h"
#include "path.h"
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void what_is_in_a_directory_has_that_in_front(void **state)
{
	static const struct {
		const char *path;
		const char *parent;
	} cases[] = { { "/a/b/c", "/a/b/" }, { "/a", "/" },  { "/", "/" },      { "a/b", "a/" },
		      { "a", "./" },         { "a/", "a/" }, { "../a", "../" }, { "", "./" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO(free_str) char *parent = path_parent(cases[i].path);

		assert_string_equal(parent, cases[i].parent);
	}
}

static void a_program_finds_what_is_beside_it(void **state)
{
	AUTO(free_str) char *self = path_beside_program("test_path");
	AUTO(free_str) char *other = path_beside_program("nobody");

	(void)state;
	assert_int_equal(self[0], '/');
	assert_int_equal(access(self, X_OK), 0);
	assert_int_equal(access(other, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_in_a_directory_has_that_in_front),
		cmocka_unit_test(a_program_finds_what_is_beside_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
