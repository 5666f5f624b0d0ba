/*
 * Whether somebody listens at a socket's name.
 */
#include "mem.h"
#include "unix_socket.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void who_is_busy_listens_and_who_has_ended_does_not(void **state)
{
	char dir[] = "/tmp/shoal-test-XXXXXX";
	AUTO(free_str) char *path = NULL;
	AUTO(close_fd) int listener = -1;
	AUTO(close_fd) int caller = -1;
	struct err e = { 0 };

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = xasprintf("%s/s.sock", dir);
	assert_false(unix_is_served(path));
	assert_int_equal(unix_listen("test", path, 0, &listener, &e), 0);
	caller = unix_connect(path); /* nobody accepts: there is no room for another one */
	assert_true(caller >= 0);
	assert_int_equal(unix_connect(path), -EAGAIN);
	assert_true(unix_is_served(path));
	close_fd(&listener);
	assert_false(unix_is_served(path));
	(void)unlink(path);
	(void)rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_busy_listens_and_who_has_ended_does_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
