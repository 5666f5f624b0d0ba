/*
 * test_serve_chunks: what an agent sends when others ask it for chunks, with real bytes.
 */
#include "chunk_world.h"
#include "clock.h"
#include "cpu_time.h"
#include "log.h"
#include "mem.h"
#include "peer_impl.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { WAITING = 100 };

/* Of what is noise; where each place is looked at it is more than 20. */
#define TIMES_MAX 6

struct scene {
	struct chunk_world *w;
	struct actor asker; /* the agent is the home */
	/* what came */
	uint32_t n_grants, n_chunks, n_ends, n_wrong;
	struct wire_set came, missed;
	enum compressor form; /* of the last chunk */
	enum wire_status status;
};

static int setup(void **state)
{
	struct scene *s = xcalloc(1, sizeof(*s));

	s->w = chunk_world_new();
	actor_join(s->w, &s->asker, false);
	s->came = s->missed = set_none(CHUNKS);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct scene *s = *state;

	actor_leave(&s->asker);
	chunk_world_free(&s->w);
	free(s);
	return 0;
}

static void on_answer(void *arg, const struct wire_msg *msg)
{
	struct scene *s = arg;

	s->n_grants += msg->type == WIRE_GRANT;
	if (msg->type == WIRE_MISS)
		s->missed = set_or(s->missed, &msg->u.miss.set);
}

static void on_chunk(void *arg, uint16_t pos, enum compressor form, uint8_t *bytes,
                     uint32_t size_bytes)
{
	struct scene *s = arg;

	s->n_wrong += form != COMPRESSOR_NONE || size_bytes != CHUNK_BYTES || !chunk_is(pos, bytes);
	free(bytes);
	wire_set_add(&s->came, pos);
	s->form = form;
	s->n_chunks++;
}

static void on_end(void *arg, enum wire_status status, uint32_t retry_ms)
{
	struct scene *s = arg;

	(void)retry_ms;
	s->status = status;
	s->n_ends++;
}

static uint32_t get_as(struct scene *s, const struct wire_set *set, uint32_t flags, bool right)
{
	static const struct request_ops ops = { .answer = on_answer,
		                                .chunk = on_chunk,
		                                .end = on_end };
	uint32_t plain_sizes[CHUNKS];
	const struct request_opts opts = { .ops = &ops, .arg = s, .plain_sizes = plain_sizes };

	for (uint32_t i = 0; i < CHUNKS; i++)
		plain_sizes[i] = CHUNK_BYTES;
	s->n_ends = 0;
	return actor_get(&s->asker, set, flags, right, &opts);
}

static uint32_t get(struct scene *s, const struct wire_set *set, uint32_t flags)
{
	return get_as(s, set, flags | WIRE_GET_PLAIN, true);
}

/* Its layout is known to the agent in a moment. */
static void put(struct scene *s, uint32_t first, uint32_t n)
{
	const struct wire_set one = chunks_of(first, 1);

	for (uint32_t i = first; i < first + n; i++)
		chunk_put(s->w, i);
	do {
		(void)get(s, &one, 0);
		peers_until(s->w->peers, &s->n_ends, 1);
	} while (s->status == WIRE_UNKNOWN_LIST);
	assert_int_equal(s->status, WIRE_DONE);
	s->n_chunks = 0;
	s->n_grants = 0;
}

static void who_knows_the_digests_gets_the_bytes(void **state)
{
	struct scene *s = *state;
	const struct wire_set set = chunks_of(2, 6);

	put(s, 0, 10);
	(void)get(s, &set, 0);
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_int_equal(s->status, WIRE_DONE);
	assert_int_equal(s->n_grants, 1);
	assert_int_equal(s->n_chunks, 6);
	assert_int_equal(s->n_wrong, 0);
}

static void who_does_not_gets_nothing(void **state)
{
	struct scene *s = *state;
	const struct wire_set set = chunks_of(0, 2);

	put(s, 0, 4);
	(void)get_as(s, &set, WIRE_GET_PLAIN, false);
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_int_equal(s->status, WIRE_DENIED);
	assert_int_equal(s->n_grants, 0);
	assert_int_equal(s->n_chunks, 0);
}

static void who_is_wrong_again_and_again_is_not_listened_to(void **state)
{
	struct scene *s = *state;
	const struct wire_set set = chunks_of(0, 2);
	uint32_t n = 0;

	put(s, 0, 4);
	for (; s->asker.stranger.n_closed == 0; n++) {
		assert_true(n < 100);
		(void)get_as(s, &set, WIRE_GET_PLAIN, false);
		peers_until(s->w->peers, &s->n_ends, 1);
		peers_run_ms(s->w->peers, 5);
	}
	assert_in_range(n, 2, 20); /* one may be a mistake */
}

/* Whatever else is held against it. */
static void a_lie_is_in_the_log_once_also_of_who_failed_before(void **state)
{
	struct scene *s = *state;
	struct peer *p = s->w->peers->peers[0];
	const struct wire_set set = chunks_of(0, 2);
	char said[1024] = "";
	const char *first;
	int ends[2];

	assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
	p->opts.log = log_new(ends[1], LOG_WARN);
	put(s, 0, 4);
	for (uint32_t i = 0; i < HOLDERS_BREAKER; i++)
		holders_fault(p->holders, &s->asker.stranger.self.self.id, 0, HOLDERS_FAILED);
	for (uint32_t i = 0; i < 2; i++) {
		(void)get_as(s, &set, WIRE_GET_PLAIN, false);
		peers_until(s->w->peers, &s->n_ends, 1);
	}
	assert_true(read(ends[0], said, sizeof(said) - 1) > 0);
	first = strstr(said, "without knowing their digests");
	assert_non_null(first);
	assert_null(strstr(first + 1, "without knowing their digests"));
	log_free(&p->opts.log);
	close(ends[0]);
	close(ends[1]);
}

static void what_goes_over_a_line_that_nobody_knows_is_packed(void **state)
{
	struct scene *s = *state;
	const struct wire_set set = chunks_of(0, 2);

	put(s, 0, 2);
	(void)get_as(s, &set, 0, true);
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_int_equal(s->status, WIRE_DONE);
	assert_int_equal(s->n_chunks, 2);
	assert_int_equal(s->form, COMPRESSOR_ZSTD);
}

/* However late it acknowledges what is sent here. */
static void make_line_fast(struct peer *p)
{
	p->links->rate.bytes = (uint64_t)SEND_RATE_HALVE_BYTES << 10;
	p->links->rate.us = 1;
}

/* Nothing is to be read, hashed or packed for that; other chunks go as they are. */
static void what_came_packed_is_passed_on_so_over_a_fast_line(void **state)
{
	struct scene *s = *state;
	struct peer *p = s->w->peers->peers[0];
	const struct wire_set packed = chunks_of(0, 1);
	const struct wire_set plain = chunks_of(1, 1);
	struct wire_id names[WIRE_LIST_MAX];

	put(s, 0, 2);
	make_line_fast(p);
	segments_names(s->w->segments, 0, names);
	packed_put(p->packed, &names[0], COMPRESSOR_ZSTD, xcalloc(1, 100), 100, peer_now_ns(p));
	(void)get_as(s, &packed, 0, true);
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_int_equal(s->form, COMPRESSOR_ZSTD);
	make_line_fast(p);
	(void)get_as(s, &plain, 0, true);
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_int_equal(s->form, COMPRESSOR_NONE);
}

/* In one frame, which nothing overtakes. */
static void small_chunks_go_together_where_the_line_is_fast(void **state)
{
	struct scene *s = *state;
	const struct wire_set set = chunks_of(0, 6);
	struct link *l = s->w->peers->peers[0]->links;
	uint64_t n_before;

	put(s, 0, 6);
	n_before = conn_counts(l->conn)->n_payloads_out;
	(void)get(s, &set, 0);
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_in_range(conn_counts(l->conn)->n_payloads_out - n_before, 6, 12);
	conn_pace(l->conn, UINT64_MAX);
	n_before = conn_counts(l->conn)->n_payloads_out;
	(void)get(s, &set, 0);
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_int_equal(conn_counts(l->conn)->n_payloads_out - n_before, 2);
	assert_int_equal(s->n_chunks, 12);
	assert_int_equal(s->n_wrong, 0);
}

/* Each of them may be acknowledged 40 ms late: a fast line would be taken for a slow one. */
static void messages_say_nothing_of_a_line(void **state)
{
	struct scene *s = *state;
	const struct wire_set one = chunks_of(0, 1);
	const struct link *l = s->w->peers->peers[0]->links;

	put(s, 0, 1); /* that was looked at before it was sent */
	assert_true(l->rate.seen_bytes > 0);
	assert_int_equal(l->rate.bytes, 0);
	(void)get(s, &one, 0);
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_in_range(l->rate.bytes, CHUNK_BYTES, CHUNK_BYTES + 1024);
}

static void what_is_not_here_is_a_miss_and_the_rest_comes(void **state)
{
	struct scene *s = *state;
	const struct wire_set set = chunks_of(2, 4);

	put(s, 0, 4);
	(void)get(s, &set, WIRE_GET_WAIT); /* nobody brings it: that is no reason to wait */
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_int_equal(s->status, WIRE_NOT_HERE);
	assert_int_equal(s->n_chunks, 2);
	assert_int_equal(set_count(&s->missed), 2);
	assert_true(wire_set_has(&s->missed, 4) && wire_set_has(&s->missed, 5));
}

/* The agent has a lease for chunk 5, and the asker waits for it there. @return its GET */
static uint32_t wait_for_a_lease(struct scene *s)
{
	const struct wire_set set = chunks_of(5, 1);
	uint32_t req;

	put(s, 0, 1);
	chunks_want(s->w, 5, 1);
	peers_until(s->w->peers, &s->w->n_leases, 1);
	req = get(s, &set, WIRE_GET_WAIT);
	peers_until(s->w->peers, &s->n_grants, 1);
	assert_int_equal(s->n_ends, 0);
	return req;
}

static void what_is_waited_for_is_sent_when_it_is_ready(void **state)
{
	struct scene *s = *state;

	(void)wait_for_a_lease(s);
	chunk_put(s->w, 5);
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_int_equal(s->status, WIRE_DONE);
	assert_true(wire_set_has(&s->came, 5));
	assert_int_equal(s->n_wrong, 0);
}

static void what_comes_no_more_is_a_miss(void **state)
{
	struct scene *s = *state;

	(void)wait_for_a_lease(s);
	chunks_lease_end(s->w, false);
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_int_equal(s->status, WIRE_NOT_HERE);
	assert_true(wire_set_has(&s->missed, 5));
	assert_int_equal(s->n_chunks, 0);
}

/* The agent looks so often what of it still comes. @return what that cost */
static uint64_t looks_cost(struct peer *p)
{
	const uint64_t begin_ns = cpu_ns();

	for (uint32_t i = 0; i < 2000; i++) {
		p->look_ns = 0;
		serve_work(p);
	}
	return cpu_ns() - begin_ns;
}

static void who_waits_for_much_costs_no_more_than_who_waits_for_little(void **state)
{
	struct scene *s = *state;
	const struct wire_set set = chunks_of(1, CHUNKS - 1);
	const struct wire_set one = chunks_of(CHUNKS - 1, 1);
	struct peer *p = s->w->peers->peers[0];
	uint64_t one_ns;
	uint64_t set_ns;

	put(s, 0, 1);
	chunks_want(s->w, 1, CHUNKS - 1);
	peers_until(s->w->peers, &s->w->n_leases, 1);
	for (uint32_t i = 0; i < WAITING; i++)
		(void)get(s, &one, WIRE_GET_WAIT);
	peers_until(s->w->peers, &s->n_grants, WAITING);
	one_ns = looks_cost(p);
	for (uint32_t i = 0; i < WAITING; i++)
		(void)get(s, &set, WIRE_GET_WAIT);
	peers_until(s->w->peers, &s->n_grants, 2 * WAITING);
	set_ns = looks_cost(p) - one_ns;
	print_message("one %.1f us, %u %.1f us\n", (double)one_ns / 2e6, CHUNKS - 1,
	              (double)set_ns / 2e6);
	assert_int_equal(s->n_ends, 0);
	assert_true(set_ns < TIMES_MAX * one_ns);
}

static void who_waits_may_cancel(void **state)
{
	struct scene *s = *state;
	const struct wire_set set = chunks_of(5, 1);
	const uint32_t req = wait_for_a_lease(s);

	conn_cancel(s->asker.stranger.conn, req);
	while (!conn_is_idle(s->asker.stranger.conn))
		peers_run_ms(s->w->peers, 1);
	chunk_put(s->w, 5);
	(void)get(s, &set, 0);
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_int_equal(s->n_chunks, 1);
}

static void what_went_bad_on_the_disk_is_not_sent(void **state)
{
	struct scene *s = *state;
	const struct wire_set set = chunks_of(1, 2);
	AUTO(free_str)
	char *path = xasprintf("%s/cache/blobs/%s.blob.data", s->w->peers->dir,
	                       cas_blob_key(s->w->blob));
	const int fd = open(path, O_WRONLY | O_CLOEXEC);

	put(s, 0, 3);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "x", 1, (off_t)CHUNK_BYTES + 100), 1);
	(void)close(fd);
	(void)get(s, &set, 0);
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_int_equal(s->status, WIRE_NOT_HERE);
	assert_true(wire_set_has(&s->missed, 1));
	assert_int_equal(s->n_chunks, 1);
	assert_int_equal(s->n_wrong, 0);
}

static void who_drains_sends_nothing_more(void **state)
{
	struct scene *s = *state;
	const struct wire_set set = chunks_of(0, 2);

	put(s, 0, 2);
	peer_drain(s->w->peers->peers[0], NULL, NULL);
	(void)get(s, &set, 0);
	peers_until(s->w->peers, &s->n_ends, 1);
	assert_int_equal(s->status, WIRE_DRAINING);
	assert_int_equal(s->n_chunks, 0);
}

/* Who asked first has no more of a limit than who asked later. */
static void a_limit_for_uploads_is_shared_by_turns(void **state)
{
	struct scene *s = *state;
	const struct wire_set first = chunks_of(0, CHUNKS / 2);
	const struct wire_set second = chunks_of(CHUNKS / 2, CHUNKS / 2);
	struct wire_set of_first;

	put(s, 0, CHUNKS);
	s->came = set_none(CHUNKS);
	s->w->peers->peers[0]->upload.bytes_per_s = 2UL * CHUNK_BYTES; /* no two at a time */
	(void)get(s, &first, WIRE_GET_READER);
	(void)get(s, &second, WIRE_GET_READER);
	peers_until(s->w->peers, &s->n_chunks, CHUNKS / 2);
	of_first = set_and(s->came, &first);
	assert_in_range(set_count(&of_first), CHUNKS / 4 - 1, CHUNKS / 4 + 1);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(who_knows_the_digests_gets_the_bytes),
		T(who_does_not_gets_nothing),
		T(who_is_wrong_again_and_again_is_not_listened_to),
		T(a_lie_is_in_the_log_once_also_of_who_failed_before),
		T(what_goes_over_a_line_that_nobody_knows_is_packed),
		T(what_came_packed_is_passed_on_so_over_a_fast_line),
		T(small_chunks_go_together_where_the_line_is_fast),
		T(messages_say_nothing_of_a_line),
		T(what_is_not_here_is_a_miss_and_the_rest_comes),
		T(what_is_waited_for_is_sent_when_it_is_ready),
		T(what_comes_no_more_is_a_miss),
		T(who_waits_for_much_costs_no_more_than_who_waits_for_little),
		T(who_waits_may_cancel),
		T(what_went_bad_on_the_disk_is_not_sent),
		T(who_drains_sends_nothing_more),
		T(a_limit_for_uploads_is_shared_by_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
