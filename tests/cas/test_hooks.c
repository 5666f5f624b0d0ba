/*
 * test_hooks: who is told of chunks may go while other threads tell.
 */
#include "hooks.h"
#include <sched.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct hearer {
	struct hooks hooks;
	atomic_uint n_begun, n_ended;
	atomic_bool stop;
};

/* Goes on for a while after the hooks were turned off. */
static void on_gone(void *arg, struct cas_blob *blob, uint32_t chunk_idx)
{
	struct hearer *h = arg;

	(void)blob;
	(void)chunk_idx;
	atomic_fetch_add(&h->n_begun, 1);
	while (atomic_load(&h->hooks.is_on))
		(void)sched_yield();
	for (int i = 0; i < 1000; i++)
		(void)sched_yield();
	atomic_fetch_add(&h->n_ended, 1);
}

static void *tell(void *arg)
{
	struct hearer *h = arg;

	while (!atomic_load(&h->stop)) {
		hooks_gone(&h->hooks, NULL, 0);
		hooks_ready(&h->hooks, NULL, 0);
	}
	return NULL;
}

static void no_hook_runs_once_they_are_off(void **state)
{
	struct hearer h = { .n_begun = 0 };
	pthread_t threads[2];

	(void)state;
	hooks_init(&h.hooks);
	hooks_gone(&h.hooks, NULL, 0); /* not on yet: nobody is told */
	assert_int_equal(atomic_load(&h.n_begun), 0);
	hooks_on(&h.hooks, &(struct cas_hooks){ .on_gone = on_gone, .arg = &h });
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, tell, &h), 0);
	while (atomic_load(&h.n_begun) < 2)
		(void)sched_yield();
	hooks_off(&h.hooks);
	assert_int_equal(atomic_load(&h.n_ended), 2);
	for (int i = 0; i < 1000; i++)
		(void)sched_yield();
	atomic_store(&h.stop, true);
	for (int i = 0; i < 2; i++)
		(void)pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&h.n_begun), 2); /* and none began */
	hooks_off(&h.hooks);                          /* twice is fine */
	hooks_fini(&h.hooks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_hook_runs_once_they_are_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
