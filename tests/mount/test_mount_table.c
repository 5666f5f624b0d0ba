/*
 * test_mount_table: which overlays use a directory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mount_table.h"

static void a_lower_directory_is_found_wherever_it_stands(void **state)
{
	(void)state;
	assert_true(overlay_names_lower("rw,lowerdir=/m", "/m"));
	assert_true(overlay_names_lower("rw,lowerdir=/a:/m:/b,upperdir=/u,workdir=/w", "/m"));
	assert_true(overlay_names_lower("rw,lowerdir=/a::/m", "/m"));
	assert_true(overlay_names_lower("rw,lowerdir+=/a,lowerdir+=/m,upperdir=/u", "/m"));
	assert_true(overlay_names_lower("rw,lowerdir=/m/usr:/b", "/m"));
	assert_true(overlay_names_lower("rw,lowerdir=/a\\:b:/m\\,1,upperdir=/u", "/m,1"));
	assert_true(overlay_names_lower("rw,lowerdir=/a\\:b", "/a:b"));
}

static void what_only_looks_like_it_is_not(void **state)
{
	(void)state;
	assert_false(overlay_names_lower("", "/m"));
	assert_false(overlay_names_lower("rw,lowerdir=", "/m"));
	assert_false(overlay_names_lower("rw,lowerdir=/mm:/a/m,upperdir=/m,workdir=/m", "/m"));
	assert_false(overlay_names_lower("rw,lowerdir=/a\\:/m", "/m"));
	assert_false(overlay_names_lower("rw,lowerdir=/a,x=lowerdir=/m", "/m"));
	assert_false(overlay_names_lower("rw,lowerdir=/a\\", "/m"));
	assert_false(overlay_names_lower("rw,lowerdir=/mnt", "/mnt2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lower_directory_is_found_wherever_it_stands),
		cmocka_unit_test(what_only_looks_like_it_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
