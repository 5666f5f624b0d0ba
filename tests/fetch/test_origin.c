/*
 * test_origin: runs of units from real servers and directories: cut, passed on, struck.
 */
#include "mem.h"
#include "origin_world.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- whole runs ---- */

static void a_run_is_one_request_and_every_byte_comes_once(void **state)
{
	struct world *w = *state;

	origin_add_registry(w, w->net->host);
	assert_int_equal(origin_get(w, 1, 6), SOURCE_OK);
	assert_int_equal(w->n_units, 6);
	assert_int_equal(origin_n_wrong(w), 0);
	assert_int_equal(net_n_requests(w->net), 1);
	assert_int_equal(metrics_sum(w->net->metrics, METRIC_ORIGIN_RECEIVED_BYTES),
	                 6 * UNIT_BYTES);
}

static void overlapping_units_share_the_bytes_of_one_request(void **state)
{
	struct world *w = *state;

	layout_unref(&w->layout);
	w->layout = origin_layout(UNIT_BYTES / 2);
	origin_add_registry(w, w->net->host);
	assert_int_equal(origin_get(w, 0, N_UNITS), SOURCE_OK);
	assert_int_equal(w->n_units, N_UNITS);
	assert_int_equal(origin_n_wrong(w), 0);
	assert_int_equal(metrics_sum(w->net->metrics, METRIC_ORIGIN_RECEIVED_BYTES), BLOB_BYTES);
}

static void directories_and_plain_servers_deliver_the_same(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *prefix = xasprintf("http://%s/files/", w->net->host);

	origin_add_dir(w, "");
	assert_int_equal(origin_get(w, 0, N_UNITS), SOURCE_OK);
	assert_int_equal(origin_n_wrong(w), 0);
	w->blob.n_origins = 0;
	fake_cas_add_origin(&w->blob, prefix);
	assert_int_equal(origin_get(w, 2, 3), SOURCE_OK);
	assert_int_equal(w->n_units, 3);
	assert_int_equal(origin_n_wrong(w), 0);
	assert_int_equal(net_n_requests(w->net), 1);
}

static void a_server_without_ranges_still_delivers_the_run_alone(void **state)
{
	struct world *w = *state;

	origin_add_registry(w, w->net->host);
	net_faults(w->net, "{\"ignore_range\":true}");
	assert_int_equal(origin_get(w, 3, 2), SOURCE_OK);
	assert_int_equal(w->n_units, 2);
	assert_int_equal(origin_n_wrong(w), 0);
}

#define UNREADABLE "/sys/bus/cpu/drivers_probe"

/* Only a registry that refuses is one; sysfs has files that root may not read either. */
static void a_directory_that_may_not_be_read_is_no_registry_that_refuses(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *path = xasprintf("%s/%s", w->net->dir, BLOB);

	if (access(UNREADABLE, F_OK) != 0) {
		free_str(&path);
		skip();
	}
	origin_add_dir(w, "");
	(void)unlink(path);
	assert_int_equal(symlink(UNREADABLE, path), 0);
	assert_int_equal(origin_get(w, 0, 1), SOURCE_GONE);
	assert_int_equal(w->end.why.code, EPERM);
	origin_add_registry(w, w->net->host);
	net_faults(w->net, "{\"status\":403}");
	assert_int_equal(origin_get(w, 0, 1), SOURCE_GONE);
	assert_int_equal(w->end.why.code, EACCES);
}

/* ---- several origins ---- */

static void the_next_origin_brings_what_the_first_did_not(void **state)
{
	struct world *w = *state;

	origin_add_registry(w, w->net->host);
	origin_add_dir(w, "");
	net_faults(w->net, "{\"reset_after_bytes\":50000}");
	assert_int_equal(origin_get(w, 0, N_UNITS), SOURCE_OK);
	assert_int_equal(w->n_units, N_UNITS);
	assert_int_equal(origin_n_wrong(w), 0);
	assert_true(metrics_sum(w->net->metrics, METRIC_ORIGIN_RECEIVED_BYTES) <=
	            (int64_t)BLOB_BYTES + UNIT_BYTES);
	/* And while the first one is in trouble, it is not the first to be asked. */
	assert_int_equal(net_n_requests(w->net), 1);
	assert_int_equal(origin_get(w, 0, 1), SOURCE_OK);
	assert_int_equal(net_n_requests(w->net), 0);
}

static void no_origin_having_it_is_final_and_says_what_each_said(void **state)
{
	struct world *w = *state;

	origin_add_registry(w, w->net->host);
	origin_add_dir(w, "manifests");
	net_faults(w->net, "{\"status\":404}");
	assert_int_equal(origin_get(w, 0, 1), SOURCE_GONE);
	assert_non_null(strstr(w->end.why.msg, "registry:"));
	assert_non_null(strstr(w->end.why.msg, "dir:"));
	assert_int_equal(w->end.why.code, ENOENT);
	net_faults(w->net, "{\"status\":403}");
	assert_int_equal(origin_get(w, 0, 1), SOURCE_GONE);
	assert_int_equal(w->end.why.code, EACCES);
	net_faults(w->net, "{}"); /* it has come back */
	assert_int_equal(origin_get(w, 0, 1), SOURCE_OK);
	w->blob.n_origins = 0;
	assert_int_equal(origin_get(w, 0, 1), SOURCE_GONE);
}

static void trouble_at_one_origin_is_never_final(void **state)
{
	struct world *w = *state;

	origin_add_registry(w, w->net->host);
	origin_add_dir(w, "manifests"); /* has nothing */
	net_faults(w->net, "{\"status\":500}");
	assert_int_equal(origin_get(w, 0, 1), -EAGAIN);
	net_faults(w->net, "{\"wrong_range\":1}");
	assert_int_equal(origin_get(w, 0, 1), -EAGAIN);
	origin_add_registry(w, "127.0.0.1:1");
	assert_int_equal(origin_get(w, 0, 1), -EAGAIN);
	assert_non_null(strstr(w->end.why.msg, "127.0.0.1:1"));
}

/* ---- wrong bytes ---- */

static void wrong_bytes_twice_strike_an_origin_and_the_next_one_serves(void **state)
{
	struct world *w = *state;

	origin_add_registry(w, w->net->host);
	net_faults(w->net, "{\"flip\":1}");
	assert_int_equal(origin_get(w, 0, 1), SOURCE_OK);
	assert_int_equal(origin_n_wrong(w), 1);
	assert_true(origin_distrust_unit(w, 0));
	assert_int_equal(origin_get(w, 0, 1), SOURCE_OK);
	assert_false(origin_distrust_unit(w, 0));
	assert_int_equal(origin_get(w, 0, 1), SOURCE_GONE); /* struck, for this unit */
	net_faults(w->net, "{}");
	assert_int_equal(origin_get(w, 1, 1), SOURCE_OK);
	origin_add_dir(w, "");
	assert_int_equal(origin_get(w, 0, N_UNITS),
	                 SOURCE_OK); /* the struck unit from the other one */
	assert_int_equal(w->n_units, N_UNITS);
	assert_int_equal(origin_n_wrong(w), 0);
}

static void an_origin_with_a_strike_is_asked_after_the_others(void **state)
{
	struct world *w = *state;

	origin_add_registry(w, w->net->host);
	origin_add_dir(w, "");
	net_faults(w->net, "{\"flip\":1}");
	assert_int_equal(origin_get(w, 0, 1), SOURCE_OK);
	assert_true(origin_distrust_unit(w, 0));
	assert_int_equal(origin_get(w, 0, 1), SOURCE_OK);
	assert_int_equal(origin_n_wrong(w), 0);
}

/* ---- cancelling, reads, texts ---- */

static void a_run_can_be_cancelled_at_any_moment(void **state)
{
	static const struct source_events events = { .unit = origin_on_unit, .end = origin_on_end };
	struct world *w = *state;
	const struct unit_run run = origin_run_of(w, 0, N_UNITS);

	origin_add_registry(w, w->net->host);
	w->end = (struct net_result){ .net = w->net };
	assert_int_equal(w->source->ops->get(w->source, &run, &events, w, &w->req, &w->end.why), 0);
	w->source->ops->cancel(w->req);
	w->cancel_at_first = true;
	(void)origin_get(w, 0, N_UNITS);
	assert_int_equal(w->n_units, 1);
	w->blob.n_origins = 0;
	origin_add_dir(w, "");
	(void)origin_get(w, 0, N_UNITS);
	assert_int_equal(w->n_units, 1);
	w->cancel_at_first = false;
	assert_int_equal(origin_get(w, 0, N_UNITS), SOURCE_OK);
}

static int read_until(struct world *w, const char *origin, uint64_t offset, uint64_t size_bytes,
                      uint64_t deadline_ns)
{
	const struct origin_read_opts opts = {
		.origin = origin,
		.object = BLOB,
		.offset = offset,
		.size_bytes = size_bytes,
		.kind = "meta",
		.deadline_ns = deadline_ns,
		.body = net_on_body,
		.end = net_on_end,
		.arg = &w->end,
	};
	struct origin_read *read;
	int r;

	net_result_wipe(&w->end);
	w->end = (struct net_result){ .net = w->net };
	r = origin_read_start(w->source, &opts, &read, &w->end.why);
	if (r == 0)
		net_wait(w->net, &w->end);
	return r == 0 ? w->end.r : r;
}

static int read_from(struct world *w, const char *origin, uint64_t offset, uint64_t size_bytes)
{
	return read_until(w, origin, offset, size_bytes, net_deadline());
}

static void on_size(void *arg, int r, uint64_t size_bytes, const struct err *why)
{
	struct net_result *res = arg;

	res->content_length = (int64_t)size_bytes;
	net_on_end(res, r, why);
}

static void objects_are_read_and_measured_at_every_kind_of_origin(void **state)
{
	struct world *w = *state;
	char *origins[] = { xasprintf("registry:%s/team/app", w->net->host),
		            xasprintf("dir:%s", w->net->dir),
		            xasprintf("http://%s/files/", w->net->host) };

	for (size_t i = 0; i < ARRAY_LEN(origins); i++) {
		struct origin_read *read;

		net_faults(w->net, "{\"status\":503,\"retry_after_s\":0,\"count\":1}");
		assert_int_equal(read_from(w, origins[i], 1000, 30000), 0);
		assert_int_equal(w->end.n_bytes, 30000);
		assert_memory_equal(w->end.bytes, w->bytes + 1000, 30000);
		net_result_wipe(&w->end);
		w->end = (struct net_result){ .net = w->net };
		assert_int_equal(origin_size_start(w->source, origins[i], BLOB, net_deadline(),
		                                   on_size, &w->end, &read, &w->end.why),
		                 0);
		net_wait(w->net, &w->end);
		assert_int_equal(w->end.r, 0);
		assert_int_equal(w->end.content_length, BLOB_BYTES);
		/* A short answer is asked again: the deadline ends that. */
		assert_int_not_equal(read_until(w, origins[i], BLOB_BYTES - 10, 20,
		                                clock_now_ns(clock_real()) + NS_PER_S),
		                     0);
		free_str(&origins[i]);
	}
	net_result_wipe(&w->end);
	assert_int_equal(read_from(w, "dir:/nonexistent", 0, 10), -ENOENT);
	assert_int_equal(read_from(w, "dir:/nonexistent", UINT64_MAX, 10), -EINVAL);
}

/* For a blob of another repository. */
static bool is_down(struct world *w, const char *host)
{
	struct cas_blob other = { .key = BLOB };
	AUTO(free_str) char *text = xasprintf("registry:%s/team/other", host);
	struct unit_run run = origin_run_of(w, 0, 1);

	fake_cas_add_origin(&other, text);
	run.blob = &other;
	return w->source->ops->is_down(w->source, &run);
}

static void a_host_is_down_unless_mounts_say_how_it_is_reached(void **state)
{
	struct world *w = *state;
	const struct registry_scope scope = { "localhost:1", "team/app", "/m" };

	registry_hint(w->net->registry, &scope, &(struct registry_hints){ .scheme = "http" });
	origin_add_registry(w, "localhost:1");
	assert_int_not_equal(origin_get(w, 0, 1), 0);
	assert_false(is_down(w, "localhost:1"));
	registry_forget(w->net->registry, &scope);
	assert_int_not_equal(origin_get(w, 0, 1), 0);
	assert_true(is_down(w, "localhost:1"));
}

static void origins_are_checked_before_they_are_believed(void **state)
{
	static const char *const good[] = { "registry:h/r", "registry:127.0.0.1:5000/team/app",
		                            "dir:/srv/blobs", "http://h/", "https://h:8443/a/b/" };
	static const char *const bad[] = { "",
		                           "registry:",
		                           "registry:h",
		                           "registry:h/",
		                           "registry:u@h/r",
		                           "registry:h/../r",
		                           "registry:h/R S",
		                           "dir:srv",
		                           "dir:/srv\n",
		                           "dir:/srv\x7f",
		                           "dir:/srv\xc2\x9b",
		                           "http://h/no-slash",
		                           "http://u:p@h/",
		                           "http://h/?q=/",
		                           "ftp://h/",
		                           "s3://bucket/" };
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_int_equal(origin_check(good[i], &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(origin_check(bad[i], &e), -EINVAL);
}

/* Messages are logged. */
static void what_an_origin_may_hold_of_secrets_is_in_no_message(void **state)
{
	static const char *const texts[] = { "registry:u:secret@h/r", "registry:h/r?k=secret",
		                             "http://u:secret@h/", "http://h/?k=secret" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct err e = { .code = 0 };

		assert_int_equal(origin_check(texts[i], &e), -EINVAL);
		if (strstr(e.msg, "secret") != NULL)
			fail_msg("%s", e.msg);
	}
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, origin_setup, origin_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_run_is_one_request_and_every_byte_comes_once),
		TEST(overlapping_units_share_the_bytes_of_one_request),
		TEST(directories_and_plain_servers_deliver_the_same),
		TEST(a_server_without_ranges_still_delivers_the_run_alone),
		TEST(the_next_origin_brings_what_the_first_did_not),
		TEST(no_origin_having_it_is_final_and_says_what_each_said),
		TEST(trouble_at_one_origin_is_never_final),
		TEST(wrong_bytes_twice_strike_an_origin_and_the_next_one_serves),
		TEST(a_directory_that_may_not_be_read_is_no_registry_that_refuses),
		cmocka_unit_test(what_an_origin_may_hold_of_secrets_is_in_no_message),
		TEST(an_origin_with_a_strike_is_asked_after_the_others),
		TEST(a_run_can_be_cancelled_at_any_moment),
		TEST(objects_are_read_and_measured_at_every_kind_of_origin),
		TEST(a_host_is_down_unless_mounts_say_how_it_is_reached),
		cmocka_unit_test(origins_are_checked_before_they_are_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
