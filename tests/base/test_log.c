/*
 * test_log: lines as a pipe's other end sees them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "log.h"
#include "mem.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct fixture {
	int ends[2];
	struct log *log;
	char line[8192];
};

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	assert_int_equal(pipe2(f->ends, O_CLOEXEC | O_NONBLOCK), 0);
	f->log = log_new(f->ends[1], LOG_INFO);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	unsigned char *f = *state;
	struct fixture *fixture = *state;

	log_free(&fixture->log);
	close_fd(&fixture->ends[0]);
	close_fd(&fixture->ends[1]);
	free_bytes(&f);
	return 0;
}

static const char *written(struct fixture *f)
{
	const ssize_t n = read(f->ends[0], f->line, sizeof(f->line) - 1);

	f->line[n < 0 ? 0 : n] = '\0';
	return f->line;
}

static void a_line_has_time_level_message_and_fields(void **state)
{
	struct fixture *f = *state;
	const char *line = NULL;

	log_info(f->log, "mounted", "image=%s n=%d", "app:1", 3);
	line = written(f);
	assert_memory_equal(line, "ts=20", 5);
	assert_memory_equal(line + 26, "Z level=info msg=\"mounted\" image=app:1 n=3\n", 44);
	log_warn(f->log, "odd", "%s", "");
	assert_non_null(strstr(written(f), "level=warn msg=\"odd\""));
}

static void what_is_below_the_level_is_not_written(void **state)
{
	struct fixture *f = *state;

	log_debug(f->log, "quiet", "a=%d", 1);
	assert_string_equal(written(f), "");
	log_set_level(f->log, LOG_DEBUG);
	log_debug(f->log, "loud", "a=%d", 1);
	assert_non_null(strstr(written(f), "loud"));
	log_error(NULL, "nobody listens", "a=%d", 1);
}

static void quoted_values_stand_in_one_line(void **state)
{
	(void)state;
	assert_string_equal(LOG_Q("plain/value:1"), "plain/value:1");
	assert_string_equal(LOG_Q(""), "\"\"");
	assert_string_equal(LOG_Q(NULL), "-");
	assert_string_equal(LOG_Q("two words"), "\"two words\"");
	assert_string_equal(LOG_Q("a\"b\\c=d\n\x01"), "\"a\\\"b\\\\c=d\\x0a\\x01\"");
	assert_string_equal(LOG_Q("\x7f\xc3\xa4\xc2\x9b"
	                          "2J\xc2\xa9"),
	                    "\"\\x7f\xc3\xa4\\xc2\\x9b"
	                    "2J\xc2\xa9\"");
}

static void a_long_value_is_cut_and_says_so(void **state)
{
	char text[2000];
	struct log_quoted q;

	(void)state;
	memset(text, '\n', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	q = log_quote(text);
	assert_true(strlen(q.s) < sizeof(q.s));
	assert_string_equal(q.s + strlen(q.s) - 4, "...\"");
}

static void a_raw_newline_forges_no_second_line(void **state)
{
	struct fixture *f = *state;
	const char *line = NULL;

	log_info(f->log, "m", "path=%s", "a\nlevel=error msg=forged\x1b[2J");
	line = written(f);
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	assert_null(strchr(line, 0x1b));
	log_info(f->log, "m", "path=%s",
	         "\xc2\x9b"
	         "2J\xc3\xa4");
	assert_non_null(strstr(written(f), "path=??2J\xc3\xa4\n"));
}

static void a_line_that_is_too_long_is_cut_and_ended(void **state)
{
	struct fixture *f = *state;
	char text[6000];
	const char *line = NULL;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_info(f->log, "m", "path=%s", text);
	line = written(f);
	assert_in_range(strlen(line), 4000, 4096);
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_line_has_time_level_message_and_fields, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(what_is_below_the_level_is_not_written, setup,
		                                teardown),
		cmocka_unit_test(quoted_values_stand_in_one_line),
		cmocka_unit_test(a_long_value_is_cut_and_says_so),
		cmocka_unit_test_setup_teardown(a_raw_newline_forges_no_second_line, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_line_that_is_too_long_is_cut_and_ended, setup,
		                                teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
