/*
 * What the front's link to the agent reads from its environment.
 */
#include "nydusd_link.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TIMEOUT "SHOAL_MOUNT_TIMEOUT"

/* There is one thread. NULL: it is not set. */
static void set_timeout(const char *value)
{
	// NOLINTNEXTLINE(concurrency-mt-unsafe)
	const int r = value != NULL ? setenv(TIMEOUT, value, 1) : unsetenv(TIMEOUT);

	assert_int_equal(r, 0);
}

/* What a link that is made with this value logs. */
static void log_with(const char *value, char *ret_log, size_t size_bytes)
{
	AUTO(log_free) struct log *log = NULL;
	struct link *link;
	ssize_t n;
	int ends[2];

	set_timeout(value);
	assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	log = log_new(ends[1], LOG_INFO);
	link = link_new(log);
	link_free(&link);
	n = read(ends[0], ret_log, size_bytes - 1);
	ret_log[n > 0 ? n : 0] = '\0';
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void a_mount_timeout_that_is_none_is_told_once(void **state)
{
	static const char *const bad[] = { "0", "601", "700", "abc", "-5", "25s", " 25", "1e1" };
	char text[1024];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		const char *line;

		log_with(bad[i], text, sizeof(text));
		line = strstr(text, "level=warn msg=\"" TIMEOUT " is no whole number of seconds");
		assert_non_null(line);
		assert_non_null(strstr(line, bad[i]));
		assert_non_null(strstr(line, "range=1-600 used=25\n"));
		assert_ptr_equal(strchr(text, '\n'), strrchr(text, '\n'));
	}
}

static void a_mount_timeout_that_is_right_or_not_set_is_not_told(void **state)
{
	static const char *const good[] = { NULL, "", "1", "25", "600" };
	char text[1024];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		log_with(good[i], text, sizeof(text));
		assert_string_equal(text, "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mount_timeout_that_is_none_is_told_once),
		cmocka_unit_test(a_mount_timeout_that_is_right_or_not_set_is_not_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
