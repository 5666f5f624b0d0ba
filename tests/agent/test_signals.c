/*
 * test_signals: a program that is ending is not cut short by the signal that began its end.
 */
#include "signals.h"
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	(void)number;
	(void)what;
	++*(int *)arg;
}

static void let_in(int number)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, number);
	assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
}

static void what_comes_after_the_end_of_its_events_is_let_go_by(void **state)
{
	struct event_base *base = event_base_new();
	struct event *events[2] = { NULL };
	int n = 0;

	(void)state;
	assert_non_null(base);
	events[1] = evsignal_new(base, SIGTERM, on_signal, &n);
	assert_non_null(events[1]);
	assert_int_equal(event_add(events[1], NULL), 0);
	assert_int_equal(kill(getpid(), SIGTERM), 0);
	(void)event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(n, 1);
	signals_end(events, 2);
	assert_null(events[1]);
	assert_int_equal(kill(getpid(), SIGTERM), 0);
	let_in(SIGTERM); /* nor does it wait to end it later */
	assert_int_equal(kill(getpid(), SIGTERM), 0);
	assert_int_equal(n, 1);
	event_base_free(base);
	(void)signal(SIGTERM, SIG_DFL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes_after_the_end_of_its_events_is_let_go_by),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
