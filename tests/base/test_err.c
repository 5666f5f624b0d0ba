/*
 * test_err: messages are put together and cut as promised.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "err.h"
#include <errno.h>
#include <string.h>

static void setting_an_error_returns_its_negative_code(void **state)
{
	struct err e = { 0 };

	(void)state;
	assert_int_equal(err_set(&e, EIO, "disk %d", 3), -EIO);
	assert_int_equal(e.code, EIO);
	assert_string_equal(e.msg, "disk 3");
}

static void an_errno_is_told_in_words(void **state)
{
	struct err e = { 0 };

	(void)state;
	assert_int_equal(err_errno(&e, ENOENT, "open %s", "/x"), -ENOENT);
	assert_string_equal(e.msg, "open /x: No such file or directory");
	assert_int_equal(err_errno(&e, 99999, "odd"), -99999);
	assert_string_equal(e.msg, "odd: unknown error");
	assert_int_equal(err_errno(&e, EACCES, "open %s", "/x"), -EPERM); /* no registry's word */
	assert_string_equal(e.msg, "open /x: Permission denied");
	assert_int_equal(err_errno(&e, EINVAL, "mount"), -EIO); /* nor a wrong wish */
	assert_string_equal(e.msg, "mount: Invalid argument");
}

static void a_fact_goes_before_the_message_and_keeps_the_code(void **state)
{
	struct err e = { 0 };

	(void)state;
	(void)err_set(&e, EPROTO, "bad digest");
	assert_int_equal(err_wrap(&e, "chunk %u", 7), -EPROTO);
	assert_string_equal(e.msg, "chunk 7: bad digest");
}

static void the_old_message_can_be_an_argument_of_the_new(void **state)
{
	struct err e = { 0 };

	(void)state;
	(void)err_set(&e, EIO, "inner");
	(void)err_set(&e, EAGAIN, "outer (%s)", e.msg);
	assert_string_equal(e.msg, "outer (inner)");
}

static void a_message_that_is_too_long_is_cut_and_ended(void **state)
{
	char text[2 * ERR_MSG_BYTES];
	struct err e = { 0 };

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(err_set(&e, EIO, "%s", text), -EIO);
	assert_int_equal(strlen(e.msg), ERR_MSG_BYTES - 1);
	assert_int_equal(err_errno(&e, EIO, "%s", text), -EIO);
	assert_int_equal(strlen(e.msg), ERR_MSG_BYTES - 1);
	assert_int_equal(err_wrap(&e, "fact"), -EIO);
	assert_int_equal(strlen(e.msg), ERR_MSG_BYTES - 1);
	assert_memory_equal(e.msg, "fact: xxx", 9);
}

static void a_hint_stands_behind_once_and_whole_or_not_at_all(void **state)
{
	char text[ERR_MSG_BYTES];
	struct err e;

	(void)state;
	(void)err_set(&e, ENOENT, "no such thing");
	assert_int_equal(err_hint(&e, "look for it"), -ENOENT);
	assert_string_equal(e.msg, "no such thing (look for it)");
	assert_int_equal(err_hint(&e, "look again"), -ENOENT);
	assert_string_equal(e.msg, "no such thing (look for it)");
	memset(text, 'x', sizeof(text));
	text[ERR_MSG_BYTES - 1 - strlen(" (hint)")] = '\0';
	(void)err_set(&e, EIO, "%s", text);
	assert_int_equal(err_hint(&e, "hint"), -EIO);
	assert_int_equal(strlen(e.msg), ERR_MSG_BYTES - 1);
	assert_int_equal(e.msg[ERR_MSG_BYTES - 2], ')');
	(void)err_set(&e, EIO, "x%s", text);
	assert_int_equal(err_hint(&e, "hint"), -EIO);
	assert_int_equal(e.msg[ERR_MSG_BYTES - 2 - strlen(" (hint)")], 'x');
	assert_int_equal(strlen(e.msg), ERR_MSG_BYTES - strlen(" (hint)"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(setting_an_error_returns_its_negative_code),
		cmocka_unit_test(an_errno_is_told_in_words),
		cmocka_unit_test(a_fact_goes_before_the_message_and_keeps_the_code),
		cmocka_unit_test(the_old_message_can_be_an_argument_of_the_new),
		cmocka_unit_test(a_message_that_is_too_long_is_cut_and_ended),
		cmocka_unit_test(a_hint_stands_behind_once_and_whole_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
