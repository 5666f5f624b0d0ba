/*
 * test_origin_heads: what two runs of overlapping slices share crosses the line once, and nobody
 * who is blocked waits long for it.
 */
#include "mem.h"
#include "origin_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Each has half of the next one, too; at the real server. */
static void use_slices(struct world *w)
{
	layout_unref(&w->layout);
	w->layout = origin_layout(UNIT_BYTES / 2);
	origin_add_registry(w, w->net->host);
}

/* There it is by two names. */
static void use_two_origins(struct world *w)
{
	AUTO(free_str) char *text = xasprintf("registry:%s/team/mute", w->net->host);

	use_slices(w);
	fake_cas_add_origin(&w->blob, text);
}

static void comes_right(struct world *w)
{
	net_wait(w->net, &w->end);
	assert_int_equal(w->end.r, SOURCE_OK);
	assert_int_equal(origin_n_wrong(w), 0);
}

static void on_one_end(void *arg, int r, const struct err *why)
{
	struct world *w = arg;

	assert_int_equal(r, SOURCE_OK);
	if (w->n_others > 0)
		w->n_others--;
	else
		origin_on_end(w, r, why);
}

/* Two runs of slices at once; the second begins where the first one ends. */
static void get_both(struct world *w, bool cancel_first)
{
	static const struct source_events events = { .unit = origin_on_unit, .end = on_one_end };
	struct unit_run first = origin_run_of(w, 0, 3);
	struct unit_run second = origin_run_of(w, 3, N_UNITS - 3);
	struct source_req *req;

	first.reader = false;
	second.reader = false;
	w->end = (struct net_result){ .net = w->net };
	w->n_others = cancel_first ? 0 : 1;
	assert_int_equal(w->source->ops->get(w->source, &first, &events, w, &req, &w->end.why), 0);
	assert_int_equal(w->source->ops->get(w->source, &second, &events, w, &w->req, &w->end.why),
	                 0);
	if (cancel_first)
		w->source->ops->cancel(req);
	comes_right(w);
}

static void slices_of_two_runs_share_the_bytes_of_one_request(void **state)
{
	struct world *w = *state;

	use_slices(w);
	get_both(w, false);
	assert_int_equal(w->n_units, N_UNITS);
	assert_int_equal(metrics_sum(w->net->metrics, METRIC_ORIGIN_RECEIVED_BYTES), BLOB_BYTES);
	/* And what came a while ago. */
	assert_int_equal(origin_get(w, 1, 2), SOURCE_OK);
	assert_int_equal(origin_get(w, 3, 1), SOURCE_OK);
	assert_int_equal(origin_n_wrong(w), 0);
	assert_int_equal(metrics_sum(w->net->metrics, METRIC_ORIGIN_RECEIVED_BYTES),
	                 (int64_t)BLOB_BYTES + (int64_t)3 * UNIT_BYTES);
}

static void a_slice_whose_head_does_not_come_is_asked_for_whole(void **state)
{
	struct world *w = *state;

	use_slices(w);
	get_both(w, true);
	assert_int_equal(w->n_units, N_UNITS - 3);
}

static void stop_on_bytes(void *arg, uint64_t progress_bytes)
{
	const struct world *w = arg;

	(void)progress_bytes;
	loop_stop(w->net->loop);
}

struct late {
	struct world slow; /* of the first one */
	struct unit_run first, second;
	struct source_req *req; /* the first one's */
};

#define SLOW           "{\"bytes_per_s\":2000,\"count\":1}"
#define SLOW_AND_FAILS "{\"bytes_per_s\":2000,\"reset_after_bytes\":15000,\"count\":1}"

/* Two runs, of which the first is slow, and neither a reader's; the second begins where the first
 * one ends, and has all of its own but the head. */
static void get_slow_and_headless(struct world *w, struct late *late, const char *faults)
{
	static const struct source_events events = { .unit = origin_on_unit,
		                                     .wait = stop_on_bytes,
		                                     .end = origin_on_end };
	const struct source_ops *ops = w->source->ops;
	struct net_result *end = &w->end;

	late->slow = (struct world){ .net = w->net, .layout = w->layout };
	late->first = origin_run_of(w, 0, 3);
	late->second = origin_run_of(w, 3, N_UNITS - 3);
	late->first.reader = late->second.reader = false;
	net_faults(w->net, faults);
	assert_int_equal(
		ops->get(w->source, &late->first, &events, &late->slow, &late->req, &end->why), 0);
	loop_run(w->net->loop); /* until it has begun */
	*end = (struct net_result){ .net = w->net };
	assert_int_equal(ops->get(w->source, &late->second, &events, w, &w->req, &end->why), 0);
	while (w->n_units < N_UNITS - 4)
		loop_run(w->net->loop);
	assert_false(w->got[3]);
}

static void a_reader_does_not_wait_behind_a_prefetch_for_a_head(void **state)
{
	struct world *w = *state;
	struct late late;

	use_slices(w);
	get_slow_and_headless(w, &late, SLOW);
	late.second.reader = true;
	w->source->ops->hurry(w->req, 4); /* is here */
	w->source->ops->hurry(w->req, 3);
	comes_right(w);
	assert_true(w->got[3]);
	assert_int_equal(late.slow.n_units, 0);
	w->source->ops->cancel(late.req);
	/* No more than the head was asked for a second time. */
	assert_true(metrics_sum(w->net->metrics, METRIC_ORIGIN_RECEIVED_BYTES) <
	            (int64_t)(N_UNITS - 2) * UNIT_BYTES);
}

static void a_reader_waits_for_another_ones_head_but_not_for_long(void **state)
{
	struct world *w = *state;
	struct late late;

	use_slices(w);
	get_slow_and_headless(w, &late, SLOW);
	late.first.reader = late.second.reader = true;
	w->source->ops->hurry(w->req, 3);
	comes_right(w);
	assert_int_equal(late.slow.n_units, 0);
	w->source->ops->cancel(late.req);
}

static void where_no_head_can_be_had_alone_all_of_it_is_asked_for(void **state)
{
	struct world *w = *state;
	struct late late;

	use_slices(w);
	get_slow_and_headless(w, &late, SLOW);
	net_faults(w->net, "{\"status\":416,\"count\":1}");
	w->source->ops->cancel(late.req);
	comes_right(w);
	assert_true(w->got[3]);
	assert_int_equal(net_n_requests(w->net), 2);
}

static void after_wrong_bytes_a_slice_is_asked_for_whole(void **state)
{
	struct world *w = *state;

	use_slices(w);
	assert_int_equal(origin_get(w, 0, 1), SOURCE_OK);
	assert_true(origin_distrust_unit(w, 0));
	assert_int_equal(origin_get(w, 1, 1), SOURCE_OK);
	assert_int_equal(metrics_sum(w->net->metrics, METRIC_ORIGIN_RECEIVED_BYTES),
	                 (int64_t)3 * UNIT_BYTES);
}

static void a_head_is_not_waited_for_once_its_run_asks_another_origin(void **state)
{
	struct world *w = *state;
	struct late late;

	use_two_origins(w);
	get_slow_and_headless(w, &late, SLOW_AND_FAILS);
	net_faults(w->net, "{\"match\":\"team/mute\",\"stall_head\":1}"); /* and no slow line */
	comes_right(w);
	assert_true(w->got[3]);
	assert_int_equal(late.slow.n_units, 0);
	w->source->ops->cancel(late.req);
}

/* Wrong bytes of a slice are held against who gave it: no part of it may be another one's. */
static void a_head_is_taken_from_no_other_origin(void **state)
{
	struct world *w = *state;

	use_slices(w);
	origin_add_dir(w, "");
	assert_int_equal(origin_get(w, 0, 3), SOURCE_OK); /* and so the head of the next one */
	net_faults(w->net, "{\"status\":404,\"count\":1}");
	assert_int_equal(origin_get(w, 3, 1), SOURCE_OK); /* from the directory */
	assert_int_equal(origin_n_wrong(w), 0);
	assert_int_equal(metrics_sum(w->net->metrics, METRIC_ORIGIN_RECEIVED_BYTES),
	                 (int64_t)3 * UNIT_BYTES + UNIT_BYTES / 2 + UNIT_BYTES + UNIT_BYTES / 2);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, origin_setup, origin_teardown)
	const struct CMUnitTest tests[] = {
		TEST(slices_of_two_runs_share_the_bytes_of_one_request),
		TEST(a_slice_whose_head_does_not_come_is_asked_for_whole),
		TEST(a_reader_does_not_wait_behind_a_prefetch_for_a_head),
		TEST(a_reader_waits_for_another_ones_head_but_not_for_long),
		TEST(where_no_head_can_be_had_alone_all_of_it_is_asked_for),
		TEST(a_head_is_not_waited_for_once_its_run_asks_another_origin),
		TEST(a_head_is_taken_from_no_other_origin),
		TEST(after_wrong_bytes_a_slice_is_asked_for_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
