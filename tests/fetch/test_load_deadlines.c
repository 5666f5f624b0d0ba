/*
 * How long loads wait for a registry: as long as each of them asks, and together as long as the
 * longest that waits.
 */
#include "image_store.h"
#include "lazy_load.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define EDGE         "08f5e4d3c5ac90abc30120bd4b31e0f1104a6e7cf3bbd5380ee6dac201af2257"
#define BATCH        "614e36cf0f18972a8ace84de71f374c48fb08a027cf5c9275f5385df6df32860"
#define BATCH_BLOB_0 "9ab8ae4471137de8f819db6b74064795e4c0bdff9fc96475f5b70981262d837a"

#define SHORT_MS 10000
#define LONG_MS  60000

static struct image_load *start_within(struct world *w, const char *reference, uint64_t timeout_ms,
                                       struct outcome *o)
{
	const struct image_load_opts opts = {
		.reference = reference, .timeout_ms = timeout_ms, .done = outcome_set, .arg = o
	};
	struct image_load *load = NULL;
	struct err e;

	*o = (struct outcome){ .r = 1 };
	assert_int_equal(image_load_start(w->loader, &opts, &load, &e), 0);
	return load;
}

/* The deadline of the one request that is out; 0: there is none yet. */
static uint64_t asked_ns(const struct world *w)
{
	for (size_t i = 0; i < WORLD_REQUESTS_MAX; i++) {
		if (w->registry.reqs[i].used)
			return w->registry.reqs[i].req.deadline_ns;
		if (w->origins.reads[i].used)
			return w->origins.reads[i].opts.deadline_ns;
	}
	return 0;
}

/* Until something is asked. @return in how many ms its time will be over */
static uint64_t asked_within_ms(struct world *w)
{
	while (asked_ns(w) == 0)
		assert_true(world_step(w));
	return (asked_ns(w) - clock_now_ns(&w->clock.clock)) / NS_PER_MS;
}

/* Its time is over now, and so the registry's and the origin's answers. */
static void its_time_passes(struct world *w, uint64_t ms)
{
	fake_clock_advance_ms(&w->clock, ms);
	w->registry.fail = -EAGAIN;
	w->origins.fail = -EAGAIN;
	assert_true(world_step(w));
	w->registry.fail = 0;
	w->origins.fail = 0;
}

static uint64_t of_one_that_asks(struct world *w, uint64_t timeout_ms)
{
	struct outcome o;
	struct image_load *load = start_within(w, HOST "app@sha256:" EDGE, timeout_ms, &o);
	const uint64_t ms = asked_within_ms(w);

	image_load_cancel(load);
	world_settle(w);
	return ms;
}

static void one_alone_has_what_it_asks_for_to_the_longest_there_is(void **state)
{
	struct world *w = *state;

	assert_int_equal(of_one_that_asks(w, SHORT_MS), SHORT_MS);
	assert_int_equal(of_one_that_asks(w, 0), WORLD_TIMEOUT_MS);
	assert_int_equal(of_one_that_asks(w, LONG_MS), LONG_MS);
	assert_int_equal(of_one_that_asks(w, WORLD_TIMEOUT_MAX_MS + 1), WORLD_TIMEOUT_MAX_MS);
}

static void of_several_the_longest_counts_whoever_came_first(void **state)
{
	static const uint64_t orders[][2] = { { SHORT_MS, LONG_MS }, { LONG_MS, SHORT_MS } };

	for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
		struct world *w = *state;
		struct outcome first, second;

		(void)start_within(w, HOST "app@sha256:" EDGE, orders[i][0], &first);
		assert_int_equal(asked_within_ms(w), orders[i][0]);
		(void)start_within(w, HOST "app@sha256:" EDGE, orders[i][1], &second);
		its_time_passes(w, orders[i][0]);
		if (i == 0) { /* it is asked again, for the second */
			assert_int_equal(asked_within_ms(w), LONG_MS - SHORT_MS);
			its_time_passes(w, LONG_MS - SHORT_MS);
		}
		world_settle(w);
		assert_int_equal(first.r, -EAGAIN);
		assert_int_equal(second.r, -EAGAIN);
		assert_int_equal(first.n_done + second.n_done, 2);
	}
}

static void what_comes_in_the_longer_time_is_everybodys(void **state)
{
	struct world *w = *state;
	struct outcome first, second;

	(void)start_within(w, HOST "app@sha256:" EDGE, SHORT_MS, &first);
	assert_int_equal(asked_within_ms(w), SHORT_MS);
	(void)start_within(w, HOST "app@sha256:" EDGE, LONG_MS, &second);
	its_time_passes(w, SHORT_MS);
	world_settle(w);
	assert_int_equal(first.r, 0);
	assert_int_equal(second.r, 0);
	assert_ptr_equal(first.image, second.image);
	lazy_image_release(&first.image);
	lazy_image_release(&second.image);
}

static void who_has_gone_prolongs_nothing(void **state)
{
	struct world *w = *state;
	struct outcome first, second;
	struct image_load *load;

	(void)start_within(w, HOST "app@sha256:" EDGE, SHORT_MS, &first);
	assert_int_equal(asked_within_ms(w), SHORT_MS);
	load = start_within(w, HOST "app@sha256:" EDGE, LONG_MS, &second);
	image_load_cancel(load);
	its_time_passes(w, SHORT_MS);
	world_settle(w);
	assert_int_equal(first.r, -EAGAIN);
	assert_int_equal(second.n_done, 0);
}

static void also_of_what_is_asked_for_behind_the_manifest(void **state)
{
	struct world *w = *state;
	struct outcome first, second;

	load_and_let_go(w, HOST "app@sha256:" BATCH);
	world_drop_file(w, BATCH, BATCH_BLOB_0 ".blob.meta");
	(void)start_within(w, HOST "app@sha256:" BATCH, SHORT_MS, &first);
	assert_int_equal(asked_within_ms(w), SHORT_MS);
	(void)start_within(w, HOST "app@sha256:" BATCH, LONG_MS, &second);
	its_time_passes(w, SHORT_MS);
	assert_int_equal(asked_within_ms(w), LONG_MS - SHORT_MS);
	world_settle(w);
	assert_int_equal(first.r, 0);
	assert_int_equal(second.r, 0);
	lazy_image_release(&first.image);
	lazy_image_release(&second.image);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lazy_set_up, lazy_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_alone_has_what_it_asks_for_to_the_longest_there_is),
		TEST(of_several_the_longest_counts_whoever_came_first),
		TEST(what_comes_in_the_longer_time_is_everybodys),
		TEST(who_has_gone_prolongs_nothing),
		TEST(also_of_what_is_asked_for_behind_the_manifest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
