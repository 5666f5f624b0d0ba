/*
 * engine_world: see the header.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_world.h"
#include "mem.h"
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* [worker] */
static void on_packed(void *arg, struct cas_blob *blob, uint32_t chunk_idx,
                      struct chunk_bytes bytes)
{
	struct engine_world *w = arg;

	assert_ptr_equal(blob, w->cas);
	assert_int_equal(bytes.form, COMPRESSOR_ZSTD);
	w->n_passed_on++;
	w->passed_on = chunk_idx;
	free(bytes.data);
}

void world_open(struct engine_world *w, const struct world_wish *wish)
{
	struct source *sources[2];
	struct fetch_opts opts = { .in_flight_max_bytes = wish->in_flight_max_bytes };
	struct err e;

	fake_clock_init(&w->clock);
	assert_int_equal(loop_new(&w->loop, &e), 0);
	assert_int_equal(pool_new(w->loop, 2, "test", &w->pool, &e), 0);
	w->metrics = metrics_new();
	fake_source_init(&w->peer, "peer");
	fake_source_init(&w->origin, "origin");
	w->peer.refuse = wish->peer_answers ? 0 : SOURCE_MISS;
	sources[0] = &w->peer.source;
	sources[1] = &w->origin.source;
	opts.loop = w->loop;
	opts.pool = w->pool;
	opts.clock = &w->clock.clock;
	opts.metrics = w->metrics;
	opts.sources = sources;
	opts.n_sources = 2;
	opts.read_timeout_ms = wish->read_timeout_ms > 0 ? wish->read_timeout_ms : 30000;
	opts.prefetch_run_bytes = wish->prefetch_run_bytes;
	opts.packed = on_packed;
	opts.packed_arg = w;
	assert_int_equal(fetch_new(&opts, &w->fetch, &e), 0);
	w->cas = fake_cas_blob(wish->n_chunks > 0 ? wish->n_chunks : WORLD_CHUNKS,
	                       wish->chunk_bytes > 0 ? wish->chunk_bytes : WORLD_CHUNK_BYTES);
	if (wish->chunks_per_unit > 0)
		fake_cas_pack(w->cas, wish->chunks_per_unit);
	w->blob = fetch_blob_open(w->fetch, w->cas);
	assert_non_null(w->blob);
}

void world_close(struct engine_world *w)
{
	fetch_blob_release(&w->blob);
	world_settle(w);
	assert_int_equal(metrics_sum(w->metrics, METRIC_FETCHES_IN_FLIGHT), 0);
	assert_int_equal(metrics_sum(w->metrics, METRIC_READERS_WAITING), 0);
	fetch_free(&w->fetch);
	cas_blob_release(&w->cas);
	pool_free(&w->pool);
	metrics_free(&w->metrics);
	loop_free(&w->loop);
}

struct world_blob world_blob_open(struct engine_world *w, uint32_t n_chunks, uint32_t chunk_bytes)
{
	struct cas_blob *cas = fake_cas_blob(n_chunks, chunk_bytes);

	return (struct world_blob){ .cas = cas, .blob = fetch_blob_open(w->fetch, cas) };
}

void world_blob_release(struct engine_world *w, struct world_blob *b)
{
	fetch_blob_release(&b->blob);
	world_settle(w);
	cas_blob_release(&b->cas);
}

void world_swap(struct engine_world *w, struct world_blob *b)
{
	const struct world_blob before = { .cas = w->cas, .blob = w->blob };

	w->cas = b->cas;
	w->blob = b->blob;
	*b = before;
}

int world_set_up(void **state, const struct world_wish *wish)
{
	struct engine_world *w = xcalloc(1, sizeof(*w));

	world_open(w, wish);
	*state = w;
	return 0;
}

int world_set_up_plain(void **state)
{
	return world_set_up(state, &(struct world_wish){ 0 });
}

int world_set_up_with_a_peer(void **state)
{
	return world_set_up(state, &(struct world_wish){ .peer_answers = true });
}

int world_tear_down(void **state)
{
	world_close(*state);
	free(*state);
	return 0;
}

void world_settle(struct engine_world *w)
{
	(void)fake_pool_settle(w->pool);
}

void world_turn(struct engine_world *w)
{
	(void)event_base_loop(loop_base(w->loop), EVLOOP_ONCE);
	world_settle(w);
}

void world_wait(struct engine_world *w, const uint32_t *count, uint32_t n)
{
	while (*count < n)
		world_turn(w);
}

static void give(struct engine_world *w, struct fake_source *s, uint32_t ask_idx, uint32_t unit_idx,
                 uint8_t spoil)
{
	const struct blob_layout *l = cas_blob_layout(w->cas);
	struct unit_rec u;
	uint8_t *bytes;

	assert_true(layout_unit(l, unit_idx, &u));
	bytes = xcalloc(1, u.packed_size_bytes);
	for (uint32_t i = 0; i < u.n_members; i++) {
		const uint32_t chunk_idx = layout_member(l, &u, i);

		fake_cas_fill(chunk_idx, bytes + layout_offset_in_unit(l, chunk_idx),
		              l->chunks[chunk_idx].plain_size_bytes);
	}
	bytes[u.packed_size_bytes / 2] ^= spoil;
	fake_source_give(s, ask_idx, unit_idx, bytes, u.packed_size_bytes);
	free(bytes);
}

void world_chunk(struct engine_world *w, struct fake_source *s, uint32_t ask_idx,
                 uint32_t chunk_idx, uint8_t spoil)
{
	const uint32_t size = cas_blob_layout(w->cas)->chunks[chunk_idx].plain_size_bytes;
	uint8_t *bytes = xcalloc(1, size);

	fake_cas_fill(chunk_idx, bytes, size);
	bytes[size / 2] ^= spoil;
	fake_source_chunk(s, ask_idx, chunk_idx,
	                  &(struct chunk_bytes){ .data = bytes, .size_bytes = size },
	                  WORLD_GIVERS + chunk_idx);
	free(bytes);
}

void world_packed_chunk(struct engine_world *w, struct fake_source *s, uint32_t ask_idx,
                        uint32_t chunk_idx, uint8_t spoil)
{
	const uint32_t size = cas_blob_layout(w->cas)->chunks[chunk_idx].plain_size_bytes;
	const size_t room = ZSTD_compressBound(size);
	uint8_t *plain = xcalloc(1, size);
	struct chunk_bytes bytes = { .data = xcalloc(1, room), .form = COMPRESSOR_ZSTD };

	fake_cas_fill(chunk_idx, plain, size);
	bytes.size_bytes = (uint32_t)ZSTD_compress(bytes.data, room, plain, size, 1);
	assert_true(bytes.size_bytes < size);
	bytes.data[0] ^= spoil;
	fake_source_chunk(s, ask_idx, chunk_idx, &bytes, WORLD_GIVERS + chunk_idx);
	free(bytes.data);
	free(plain);
}

void world_give(struct engine_world *w, struct fake_source *s, uint32_t ask_idx, uint32_t unit_idx)
{
	give(w, s, ask_idx, unit_idx, 0);
}

void world_give_wrong(struct engine_world *w, struct fake_source *s, uint32_t ask_idx,
                      uint32_t unit_idx)
{
	give(w, s, ask_idx, unit_idx, 1);
}

void world_give_all(struct engine_world *w, struct fake_source *s, uint32_t ask_idx)
{
	const struct unit_run *run = &s->asks[ask_idx].run;

	for (uint32_t i = 0; i < run->n_units; i++)
		world_give(w, s, ask_idx, run->first_unit + i);
	fake_source_end(s, ask_idx, SOURCE_OK, NULL);
}

void world_serve(struct engine_world *w)
{
	for (uint32_t i = 0; i < w->origin.n_asks; i++) {
		if (w->origin.asks[i].open)
			world_give_all(w, &w->origin, i);
		world_settle(w);
	}
}

uint32_t world_ask_of(const struct fake_source *s, uint32_t unit_idx)
{
	for (uint32_t i = 0; i < s->n_asks; i++) {
		const struct unit_run *run = &s->asks[i].run;

		if (s->asks[i].open && unit_idx >= run->first_unit &&
		    unit_idx - run->first_unit < run->n_units)
			return i;
	}
	fail_msg("no open question for unit %u", unit_idx);
	return 0;
}

static void on_done(struct fetch_read *read, int result, const struct err *why)
{
	struct world_read *r = container_of(read, struct world_read, read);

	r->n_done++;
	r->result = result;
	(void)snprintf(r->why, sizeof(r->why), "%s", why->msg);
}

int world_read_start(struct engine_world *w, struct world_read *r, uint32_t first_chunk,
                     uint32_t n_chunks)
{
	const uint32_t chunk_bytes = cas_blob_layout(w->cas)->chunks[first_chunk].plain_size_bytes;
	const bool prefetch = r->read.prefetch;
	struct err e;

	*r = (struct world_read){ .read = { .prefetch = prefetch } };
	r->pieces = xcalloc(n_chunks, sizeof(r->pieces[0]));
	r->bytes = xcalloc(n_chunks, chunk_bytes);
	for (uint32_t i = 0; i < n_chunks; i++)
		r->pieces[i] = (struct fetch_piece){
			.blob = w->blob,
			.chunk_idx = first_chunk + i,
			.size_bytes = chunk_bytes,
			.dst = prefetch ? NULL : r->bytes + (size_t)i * chunk_bytes,
		};
	r->read.pieces = r->pieces;
	r->read.n_pieces = n_chunks;
	r->read.done = on_done;
	return fetch_read(w->fetch, &r->read, &e);
}

static void on_prefetch_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	(void)arg;
	(void)done_bytes;
	(void)total_bytes;
}

static void on_prefetch_done(void *arg, int result, const struct err *why)
{
	(void)arg;
	(void)result;
	(void)why;
}

struct fetch_prefetch *world_prefetch_start(struct engine_world *w, struct bitmap *const *named)
{
	const struct fetch_prefetch_opts opts = { .blobs = &w->blob,
		                                  .n_blobs = 1,
		                                  .named = named,
		                                  .progress = on_prefetch_progress,
		                                  .done = on_prefetch_done };

	return fetch_prefetch_start(w->fetch, &opts);
}

void world_read_end(struct engine_world *w, struct world_read *r)
{
	(void)w;
	free(r->pieces);
	free(r->bytes);
}

void world_read_is_right(const struct engine_world *w, const struct world_read *r)
{
	(void)w;
	for (uint32_t i = 0; i < r->read.n_pieces; i++) {
		const struct fetch_piece *p = &r->pieces[i];
		uint8_t *right = xcalloc(1, p->size_bytes);

		fake_cas_fill(p->chunk_idx, right, p->size_bytes);
		assert_memory_equal(p->dst, right, p->size_bytes);
		free(right);
	}
}

void world_read_ends_well(struct engine_world *w, struct world_read *r)
{
	assert_int_equal(r->n_done, 1);
	assert_int_equal(r->result, 0);
	world_read_is_right(w, r);
	world_read_end(w, r);
}
