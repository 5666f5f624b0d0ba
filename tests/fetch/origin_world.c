/*
 * origin_world: sets up what origin_world.h tells of.
 */
#include "origin_world.h"
#include "mem.h"
#include "origin_run.h"
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct blob_layout *origin_layout(uint32_t overlap_bytes)
{
	struct blob_layout *l = layout_new(N_UNITS);

	assert_non_null(l);
	(void)memcpy(l->blob_id, BLOB, sizeof(BLOB));
	l->n_units = N_UNITS;
	l->n_chunks = N_UNITS;
	l->units = xcalloc(N_UNITS, sizeof(*l->units));
	l->members = xcalloc(N_UNITS, sizeof(*l->members));
	for (uint32_t i = 0; i < N_UNITS; i++) {
		const uint32_t more = i + 1 < N_UNITS ? overlap_bytes : 0;

		l->members[i] = i;
		l->chunks[i].plain_size_bytes = UNIT_BYTES;
		l->chunks[i].place = (uint64_t)i << 32;
		l->units[i] = (struct unit_rec){ .packed_offset = (uint64_t)i * UNIT_BYTES,
			                         .packed_size_bytes = UNIT_BYTES + more,
			                         .plain_size_bytes = UNIT_BYTES,
			                         .first_member = i,
			                         .n_members = 1 };
	}
	return l;
}

int origin_setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	void *net = NULL;
	struct origin_source_opts opts = { .clock = clock_real() };
	struct err e;

	(void)net_setup(&net);
	w->net = net;
	for (size_t i = 0; i < BLOB_BYTES; i++)
		w->bytes[i] = (uint8_t)(i * 13 + i / 509);
	net_write(w->net, BLOB, w->bytes, BLOB_BYTES);
	w->layout = origin_layout(0);
	(void)memcpy(w->blob.key, BLOB, sizeof(BLOB));
	opts.loop = w->net->loop;
	opts.pool = w->net->pool;
	opts.http = w->net->http;
	opts.registry = w->net->registry;
	opts.metrics = w->net->metrics;
	assert_int_equal(origin_source_new(&opts, &w->source, &e), 0);
	*state = w;
	return 0;
}

int origin_teardown(void **state)
{
	struct world *w = *state;
	void *net = w->net;

	w->net->runs_on = origin_source_of(w->source)->n_runs > 0;
	if (!w->net->runs_on) /* as net_teardown() */
		origin_source_free(&w->source);
	if (net_teardown(&net) != 0)
		return -1;
	layout_unref(&w->layout);
	free(w);
	return 0;
}

void origin_add_registry(struct world *w, const char *host)
{
	AUTO(free_str) char *text = xasprintf("registry:%s/team/app", host);

	fake_cas_add_origin(&w->blob, text);
}

void origin_add_dir(struct world *w, const char *name)
{
	AUTO(free_str) char *text = xasprintf("dir:%s%s%s", w->net->dir, *name ? "/" : "", name);

	fake_cas_add_origin(&w->blob, text);
}

void origin_on_unit(void *arg, uint32_t unit_idx, uint8_t *bytes)
{
	struct world *w = arg;
	const struct unit_rec *u = &w->layout->units[unit_idx];

	assert_true(unit_idx < N_UNITS);
	assert_false(w->got[unit_idx]);
	w->got[unit_idx] = true;
	w->wrong[unit_idx] = memcmp(bytes, w->bytes + u->packed_offset, u->packed_size_bytes) != 0;
	w->n_units++;
	free(bytes);
	if (w->cancel_at_first) {
		w->source->ops->cancel(w->req);
		w->req = NULL;
		w->end.done = true;
		loop_stop(w->net->loop);
	}
}

void origin_on_end(void *arg, int r, const struct err *why)
{
	struct world *w = arg;

	net_on_end(&w->end, r, why);
}

struct unit_run origin_run_of(struct world *w, uint32_t first, uint32_t n)
{
	return (struct unit_run){ .blob = &w->blob,
		                  .layout = w->layout,
		                  .first_unit = first,
		                  .n_units = n,
		                  .reader = true,
		                  .deadline_ns = net_deadline() };
}

int origin_get(struct world *w, uint32_t first, uint32_t n)
{
	static const struct source_events events = { .unit = origin_on_unit, .end = origin_on_end };
	const struct unit_run run = origin_run_of(w, first, n);
	int r;

	w->n_units = 0;
	memset(w->got, 0, sizeof(w->got));
	w->end = (struct net_result){ .net = w->net };
	r = w->source->ops->get(w->source, &run, &events, w, &w->req, &w->end.why);
	assert_int_equal(w->n_units, 0);
	assert_false(w->end.done);
	if (r != 0)
		return r;
	net_wait(w->net, &w->end);
	return w->end.r;
}

bool origin_distrust_unit(struct world *w, uint32_t unit_idx)
{
	const struct unit_run run = origin_run_of(w, unit_idx, 1);

	return w->source->ops->distrust(w->source, &run, unit_idx, 0);
}

uint32_t origin_n_wrong(const struct world *w)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < N_UNITS; i++)
		n += w->got[i] && w->wrong[i];
	return n;
}
