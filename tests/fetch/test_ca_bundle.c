/*
 * Several files of CA certificates as one. What is in a certificate is libcurl's business.
 */
#include "ca_bundle.h"
#include "mem.h"
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

#define ONE "-----BEGIN CERTIFICATE-----\none\n-----END CERTIFICATE-----\n"
#define TWO                                                                                        \
	"-----BEGIN CERTIFICATE-----\ntwo\n-----END CERTIFICATE-----" /* the line does not end */

struct fixture {
	char dir[32];
	char *one, *two, *other, *fifo;
};

static char *write_file(const struct fixture *f, const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", f->dir, name);
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
	return path;
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/cas.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->one = write_file(f, "one.pem", ONE);
	f->two = write_file(f, "two of them.pem", TWO);
	f->other = write_file(f, "other", "no certificate\n");
	f->fifo = xasprintf("%s/fifo", f->dir);
	assert_int_equal(mkfifo(f->fifo, 0600), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char *const paths[] = { f->one, f->two, f->other, f->fifo };

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		(void)unlink(paths[i]);
		free(paths[i]);
	}
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void each_file_is_in_it_and_ends_its_line(void **state)
{
	const struct fixture *f = *state;
	AUTO(free_str) char *paths = xasprintf("%s\n%s\n%s", f->two, f->one, f->two);
	AUTO(free_str) char *bad = NULL;
	AUTO(free_str) char *pem = NULL;
	size_t size_bytes = 0;

	pem = ca_bundle_read(paths, &size_bytes, &bad);
	assert_non_null(pem);
	assert_null(bad);
	assert_string_equal(pem, TWO "\n" ONE "\n" TWO "\n");
	assert_int_equal(size_bytes, strlen(pem));
}

static void the_first_that_cannot_be_used_is_named(void **state)
{
	const struct fixture *f = *state;
	AUTO(free_str) char *gone = xasprintf("%s/gone", f->dir);
	const char *const wrong[] = { gone, f->other, f->fifo, f->dir };

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		AUTO(free_str) char *paths = xasprintf("%s\n%s\n/none", f->one, wrong[i]);
		AUTO(free_str) char *bad = NULL;
		size_t size_bytes = 0;

		assert_null(ca_bundle_read(paths, &size_bytes, &bad));
		assert_string_equal(bad, wrong[i]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_file_is_in_it_and_ends_its_line),
		TEST(the_first_that_cannot_be_used_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
