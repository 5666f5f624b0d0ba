/*
 * test_loop: posts from here and from other threads, timers, stopping.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "loop.h"
#include "mem.h"
#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define N_POSTS 1000

struct fixture {
	struct loop *loop;
	char order[16];
	unsigned n_order;
};

struct post {
	struct loop_call call;
	struct fixture *f;
	char name;
	struct post *then; /* posted by the call; NULL: it stops the loop */
};

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err e;

	assert_int_equal(loop_new(&f->loop, &e), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_free(&f->loop);
	free(f);
	return 0;
}

static void on_post(struct loop_call *call)
{
	struct post *p = container_of(call, struct post, call);

	assert_true(loop_is_mine(p->f->loop));
	p->f->order[p->f->n_order++] = p->name;
	if (p->name == 'z')
		loop_stop(p->f->loop);
	if (p->then != NULL)
		loop_post(p->f->loop, &p->then->call);
}

static struct post post_of(struct fixture *f, char name, struct post *then)
{
	return (struct post){ .call.fn = on_post, .f = f, .name = name, .then = then };
}

static void calls_run_in_the_order_of_posting(void **state)
{
	struct fixture *f = *state;
	struct post z = post_of(f, 'z', NULL);
	struct post a = post_of(f, 'a', &z);
	struct post b = post_of(f, 'b', NULL);
	struct post c = post_of(f, 'c', NULL);

	loop_post(f->loop, &a.call);
	loop_post(f->loop, &b.call);
	loop_post(f->loop, &c.call);
	loop_run(f->loop);
	assert_string_equal(f->order, "abcz");
}

static void a_stop_before_the_run_ends_it_and_only_it(void **state)
{
	struct fixture *f = *state;
	struct post z = post_of(f, 'z', NULL);
	struct post a = post_of(f, 'a', &z);

	loop_stop(f->loop);
	loop_run(f->loop);
	assert_int_equal(f->n_order, 0);
	loop_post(f->loop, &a.call);
	loop_run(f->loop);
	assert_string_equal(f->order, "az");
}

static void free_self(struct loop_call *call)
{
	struct post *p = container_of(call, struct post, call);

	if (++p->f->n_order == 10)
		loop_stop(p->f->loop);
	free(p);
}

static void a_call_may_free_itself(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 10; i++) {
		struct post *p = xcalloc(1, sizeof(*p));

		p->call.fn = free_self;
		p->f = f;
		loop_post(f->loop, &p->call);
	}
	loop_run(f->loop);
	assert_int_equal(f->n_order, 10);
}

struct crowd {
	struct loop *loop;
	struct loop_call calls[N_POSTS];
};

static void on_crowd_call(struct loop_call *call)
{
	call->fn = NULL; /* called once, and seen after the run */
}

static void *post_crowd(void *arg)
{
	struct crowd *c = arg;

	assert_false(loop_is_mine(c->loop));
	for (unsigned i = 0; i < N_POSTS; i++) {
		c->calls[i].fn = on_crowd_call;
		loop_post(c->loop, &c->calls[i]);
	}
	loop_stop(c->loop);
	return NULL;
}

static void another_thread_wakes_the_loop(void **state)
{
	struct fixture *f = *state;
	struct crowd *c = xcalloc(1, sizeof(*c));
	pthread_t thread;

	c->loop = f->loop;
	assert_int_equal(pthread_create(&thread, NULL, post_crowd, c), 0);
	loop_run(f->loop);
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (unsigned i = 0; i < N_POSTS; i++)
		assert_null(c->calls[i].fn);
	free(c);
}

struct alarm {
	struct timer timer;
	struct fixture *f;
	unsigned n_rings;
};

static void on_alarm(struct timer *t)
{
	struct alarm *a = container_of(t, struct alarm, timer);

	a->n_rings++;
	loop_stop(a->f->loop);
}

static void a_timer_rings_once_a_start(void **state)
{
	struct fixture *f = *state;
	struct alarm a = { .f = f };

	timer_init(&a.timer, f->loop, on_alarm);
	timer_start(&a.timer, 1);
	timer_start(&a.timer, 2); /* replaces */
	loop_run(f->loop);
	(void)event_base_loop(loop_base(f->loop), EVLOOP_NONBLOCK);
	assert_int_equal(a.n_rings, 1);
	timer_start(&a.timer, 0);
	loop_run(f->loop);
	assert_int_equal(a.n_rings, 2);
	timer_fini(&a.timer);
}

static void a_stopped_timer_is_silent(void **state)
{
	struct fixture *f = *state;
	struct alarm stopped = { .f = f };
	struct alarm ended = { .f = f };
	struct alarm later = { .f = f };
	struct alarm never = { .f = f };

	timer_init(&stopped.timer, f->loop, on_alarm);
	timer_init(&ended.timer, f->loop, on_alarm);
	timer_init(&later.timer, f->loop, on_alarm);
	timer_start(&stopped.timer, 1);
	timer_start(&ended.timer, 1);
	timer_start(&later.timer, 5);
	timer_stop(&stopped.timer);
	timer_fini(&ended.timer);
	loop_run(f->loop);
	assert_int_equal(later.n_rings, 1);
	assert_int_equal(stopped.n_rings + ended.n_rings, 0);
	timer_fini(&stopped.timer);
	timer_fini(&later.timer);
	timer_fini(&never.timer);
}

static void a_delay_beyond_all_bounds_does_not_ring_now(void **state)
{
	struct fixture *f = *state;
	struct alarm a = { .f = f };

	timer_init(&a.timer, f->loop, on_alarm);
	timer_start(&a.timer, UINT64_MAX);
	(void)event_base_loop(loop_base(f->loop), EVLOOP_NONBLOCK);
	assert_int_equal(a.n_rings, 0);
	timer_fini(&a.timer);
}

static void *post_late(void *arg)
{
	struct post *p = arg;

	loop_post(p->f->loop, &p->call);
	return NULL;
}

/* What was posted before the end may be gone when somebody, anywhere, posts after it. */
static void after_the_end_nothing_is_held_and_nothing_runs(void **state)
{
	struct fixture *f = *state;
	struct post *early = xcalloc(1, sizeof(*early));
	struct post late = { .call.fn = on_post, .f = f, .name = 'b' };
	struct post later = { .call.fn = on_post, .f = f, .name = 'c' };
	pthread_t thread;

	*early = (struct post){ .call.fn = on_post, .f = f, .name = 'a' };
	loop_post(f->loop, &early->call);
	loop_end(f->loop);
	memset(early, 0xff,
	       sizeof(*early)); /* who calls it, or writes to it, is seen in any build */
	loop_post(f->loop, &late.call);
	assert_int_equal(pthread_create(&thread, NULL, post_late, &later), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (size_t i = 0; i < sizeof(*early); i++)
		assert_int_equal(((unsigned char *)early)[i], 0xff);
	free(early);
	(void)event_base_loop(loop_base(f->loop), EVLOOP_NONBLOCK);
	assert_int_equal(f->n_order, 0);
	loop_end(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(calls_run_in_the_order_of_posting),
		TEST(a_stop_before_the_run_ends_it_and_only_it),
		TEST(a_call_may_free_itself),
		TEST(another_thread_wakes_the_loop),
		TEST(a_timer_rings_once_a_start),
		TEST(a_stopped_timer_is_silent),
		TEST(a_delay_beyond_all_bounds_does_not_ring_now),
		TEST(after_the_end_nothing_is_held_and_nothing_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
