/*
 * elsewhere_round: the units of one other blob that hold what is wanted, from its origins, unpacked
 * and held against the digests of those who want it.
 *
 *   start --> spans asked, so many at once --unit--> a worker unpacks, verifies --> chunk()
 *                     `--end--> the next ones; none is left, and no worker at it: done()
 *
 * Wrong bytes are its own matter: the origins hear of them. Knows no database.
 */
#include "bytes.h"
#include "decode.h"
#include "elsewhere_impl.h"
#include "mem.h"
#include "plan.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPAN_MAX_BYTES (UINT64_C(4) << 20) /* packed; a larger unit goes alone */
#define OPEN_MAX_BYTES (UINT64_C(8) << 20)

/* A unit on its way through a worker. */
struct unpack {
	struct job job;
	struct round *round;
	uint32_t unit_idx;
	uint32_t first_pair, n_pairs;
	uint8_t *packed;
	uint32_t packed_size_bytes;
	uint8_t **plain; /* one a pair; NULL: wrong */
	int result;
	struct err why;
};

static bool step(struct round *round);

/* ---- planning ---- */

static bool fits(const struct round *round, const struct cas_twin *twin)
{
	const struct chunk_rec *ours = &round->layout->chunks[twin->chunk_idx];
	const struct chunk_rec *theirs;

	if (twin->their_idx >= round->theirs->n_chunks)
		return false;
	theirs = &round->theirs->chunks[twin->their_idx];
	if (theirs->plain_size_bytes != ours->plain_size_bytes) /* a hole, too */
		return false;
	return !(theirs->flags & CHUNK_HAS_DIGEST) ||
	       (round->theirs->digest_alg == round->layout->digest_alg &&
	        memcmp(theirs->digest, ours->digest, DIGEST_BYTES) == 0);
}

static int by_unit(const void *a, const void *b)
{
	const struct round_pair *x = a;
	const struct round_pair *y = b;

	if (x->unit_idx != y->unit_idx)
		return x->unit_idx < y->unit_idx ? -1 : 1;
	return (x->chunk_idx > y->chunk_idx) - (x->chunk_idx < y->chunk_idx);
}

/* A unit more, at the end of the last span or in one of its own. */
static void add_unit(struct round *round, const struct round_pair *pair)
{
	const uint32_t unit_idx = pair->unit_idx;
	const struct plan_span unit = plan_unit(round->theirs, unit_idx);
	struct round_span *last = round->n_spans > 0 ? &round->spans[round->n_spans - 1] : NULL;

	if (last != NULL && last->run.first_unit + last->run.n_units == unit_idx &&
	    plan_touches(round->theirs, unit_idx - 1) &&
	    last->packed_bytes + unit.packed_bytes <= SPAN_MAX_BYTES) {
		last->run.n_units++;
		last->first_chunk = (uint32_t)min_u64(last->first_chunk, pair->chunk_idx);
		last->packed_bytes += unit.packed_bytes;
		return;
	}
	round->spans[round->n_spans++] = (struct round_span){
		.round = round,
		.run = { .layout = round->theirs, .first_unit = unit_idx, .n_units = 1 },
		.first_chunk = pair->chunk_idx,
		.packed_bytes = unit.packed_bytes,
	};
}

static int by_chunk(const void *a, const void *b)
{
	const struct round_span *x = a;
	const struct round_span *y = b;

	return (x->first_chunk > y->first_chunk) - (x->first_chunk < y->first_chunk);
}

bool round_plan(struct round *round, bool (*wanted)(void *arg, uint32_t chunk_idx), void *arg)
{
	const struct cas_twin_blob *b = round->blob;

	round->pairs = xcalloc(b->n_twins + (size_t)1, sizeof(*round->pairs));
	for (uint32_t i = 0; i < b->n_twins; i++) {
		const struct cas_twin *t = &b->twins[i];

		if (!wanted(arg, t->chunk_idx) || !fits(round, t))
			continue;
		round->pairs[round->n_pairs++] = (struct round_pair){
			.unit_idx = layout_unit_of(round->theirs, t->their_idx),
			.their_idx = t->their_idx,
			.chunk_idx = t->chunk_idx,
		};
	}
	qsort(round->pairs, round->n_pairs, sizeof(*round->pairs), by_unit);
	round->spans = xcalloc(round->n_pairs + (size_t)1, sizeof(*round->spans));
	assert(round->pairs != NULL && round->spans != NULL);
	for (uint32_t i = 0; i < round->n_pairs; i++)
		if (i == 0 || round->pairs[i].unit_idx != round->pairs[i - 1].unit_idx)
			add_unit(round, &round->pairs[i]);
	qsort(round->spans, round->n_spans, sizeof(*round->spans), by_chunk);
	return round->n_spans > 0;
}

void round_free(struct round *round)
{
	layout_unref(&round->theirs);
	free(round->pairs);
	free(round->spans);
	free(round);
}

/* ---- on a worker ---- */

/* @param ret_plain  a copy; NULL: the bytes are wrong. @return 0; -ENOMEM */
static int copy_right_bytes(const struct round *round, const struct round_pair *pair,
                            const uint8_t *unit, uint8_t **ret_plain, struct err *e)
{
	const struct chunk_rec *c = &round->layout->chunks[pair->chunk_idx];
	const uint8_t *plain = unit + layout_offset_in_unit(round->theirs, pair->their_idx);

	if (!digest_matches(round->layout->digest_alg, plain, c->plain_size_bytes, c->digest))
		return 0;
	*ret_plain = malloc(c->plain_size_bytes);
	if (*ret_plain == NULL)
		return err_set(e, ENOMEM, "no memory for a chunk");
	memcpy(*ret_plain, plain, c->plain_size_bytes);
	return 0;
}

static int unpack(struct unpack *u, struct err *e)
{
	const struct round *round = u->round;
	struct unit_rec rec = { .plain_size_bytes = 0 };
	AUTO(free_bytes) uint8_t *unit = NULL;
	int r;

	(void)layout_unit(round->theirs, u->unit_idx, &rec); /* it was asked for: no hole */
	unit = malloc(rec.plain_size_bytes + (size_t)1);
	if (unit == NULL)
		return err_set(e, ENOMEM, "no memory to unpack");
	r = decode_unit(round->theirs, u->unit_idx, u->packed, unit, e);
	for (uint32_t i = 0; r == 0 && i < u->n_pairs; i++)
		r = copy_right_bytes(round, &round->pairs[u->first_pair + i], unit, &u->plain[i],
		                     e);
	return r;
}

static void unpack_work(struct job *job)
{
	struct unpack *u = container_of(job, struct unpack, job);

	u->result = unpack(u, &u->why);
	free_bytes(&u->packed);
}

/* ---- back on the loop ---- */

static struct origin_target target_of(const struct round *round)
{
	return (struct origin_target){ .key = round->blob->key,
		                       .origins = round->blob->origins,
		                       .n_origins = round->blob->n_origins };
}

static void was_wrong(struct round *round, const struct unpack *u)
{
	static const char *const from_origin[] = { "origin" };
	const struct origin_target target = target_of(round);

	metrics_add(round->s->opts.metrics, METRIC_VERIFY_FAILURES, from_origin, 1);
	(void)err_set(&round->why, EBADMSG, "wrong bytes");
	if (origin_distrust(round->s->origins, &target, u->unit_idx))
		round->again = true;
}

/* The receiver may cancel from inside. */
static void hand_out(struct round *round, struct unpack *u)
{
	bool wrong = u->result != 0 && u->result != -ENOMEM;

	for (uint32_t i = 0; i < u->n_pairs; i++) {
		uint8_t *plain = u->plain[i];

		wrong = wrong || (u->result == 0 && plain == NULL);
		if (round->cancelled || plain == NULL) {
			free(plain);
			continue;
		}
		round->n_given++;
		round->chunk(round->arg, round->pairs[u->first_pair + i].chunk_idx, plain);
	}
	if (wrong && !round->cancelled)
		was_wrong(round, u);
}

static void unpack_after(struct job *job)
{
	struct unpack *u = container_of(job, struct unpack, job);
	struct round *round = u->round;

	hand_out(round, u);
	round->open_bytes -= u->packed_size_bytes;
	free(u->plain);
	free(u);
	round->n_jobs--;
	if (round->cancelled ? round->n_jobs == 0 : !step(round))
		round->done(round->arg);
}

/* The first pair of a unit. */
static uint32_t find_pairs(const struct round *round, uint32_t unit_idx, uint32_t *ret_n)
{
	uint32_t first = 0;
	uint32_t end = round->n_pairs;
	uint32_t n = 0;

	while (first < end) {
		const uint32_t middle = first + (end - first) / 2;

		if (round->pairs[middle].unit_idx < unit_idx)
			first = middle + 1;
		else
			end = middle;
	}
	while (first + n < round->n_pairs && round->pairs[first + n].unit_idx == unit_idx)
		n++;
	*ret_n = n;
	return first;
}

static void on_unit(void *arg, uint32_t unit_idx, uint8_t *bytes)
{
	const struct round_span *span = arg;
	struct round *round = span->round;
	struct unpack *u = xcalloc(1, sizeof(*u));
	struct unit_rec rec = { .packed_size_bytes = 0 };

	(void)layout_unit(round->theirs, unit_idx, &rec);
	u->round = round;
	u->unit_idx = unit_idx;
	u->packed = bytes;
	u->packed_size_bytes = rec.packed_size_bytes;
	u->first_pair = find_pairs(round, unit_idx, &u->n_pairs);
	u->plain = xcalloc(u->n_pairs + (size_t)1, sizeof(*u->plain));
	u->job = (struct job){ .work = unpack_work,
		               .after = unpack_after,
		               .prio = round->asker->reader ? JOB_READER : JOB_NORMAL };
	round->open_bytes += rec.packed_size_bytes;
	round->n_jobs++;
	pool_submit(round->s->opts.pool, &u->job);
}

static void on_wait(void *arg, uint64_t progress_bytes)
{
	struct round_span *span = arg;
	struct round *round = span->round;
	const uint64_t more = progress_bytes - min_u64(span->seen_bytes, progress_bytes);

	span->seen_bytes = progress_bytes;
	if (more == 0)
		return;
	round->progress(round->arg, more);
	/* It was moved: the origins that are asked next for what these lack must know. */
	for (uint32_t i = 0; i < round->next_span; i++)
		round->spans[i].run.deadline_ns = round->asker->deadline_ns;
}

/* What it did not give is asked for at the next blob's. */
static void note_end(struct round *round, const struct round_span *span, int r,
                     const struct err *why)
{
	const struct origin_target target = target_of(round);

	round->open_bytes -= span->packed_bytes;
	if (r == SOURCE_OK)
		return;
	/* Else it was about these units alone. */
	if (origin_is_down(round->s->origins, &target, false))
		round->failed = true;
	round->why = *why;
	if (r < 0)
		round->end = ROUND_TROUBLE;
}

static void on_end(void *arg, int r, const struct err *why)
{
	struct round_span *span = arg;
	struct round *round = span->round;

	span->asked = NULL;
	round->n_open--;
	note_end(round, span, r, why);
	if (!step(round))
		round->done(round->arg);
}

static const struct source_events span_events = { .unit = on_unit, .wait = on_wait, .end = on_end };

static void ask(struct round *round, struct round_span *span)
{
	const struct origin_question q = {
		.target = target_of(round), .run = &span->run, .ev = &span_events, .arg = span
	};
	struct err why = { .code = 0 };
	int r;

	span->run.reader = span->run.reader || round->asker->reader;
	span->run.deadline_ns = round->asker->deadline_ns;
	round->open_bytes += span->packed_bytes;
	r = origin_run_start(round->s->origins, &q, &span->asked, &why);
	if (r == 0)
		round->n_open++;
	else
		note_end(round, span, r, &why);
}

static bool may_ask(const struct round *round)
{
	if (round->failed || round->next_span == round->n_spans)
		return false;
	return round->n_open == 0 ||
	       (round->n_open < SPANS_AT_ONCE &&
	        round->open_bytes + round->spans[round->next_span].packed_bytes <= OPEN_MAX_BYTES);
}

/* @return false: it is over */
static bool step(struct round *round)
{
	while (may_ask(round))
		ask(round, &round->spans[round->next_span++]);
	return round->n_open > 0 || round->n_jobs > 0;
}

/* ---- begin and end ---- */

bool round_start(struct round *round)
{
	return step(round);
}

/* The unit of theirs that brings it. @return false: it is not asked for here */
static bool unit_for(const struct round *round, uint32_t chunk_idx, uint32_t *ret_unit)
{
	for (uint32_t i = 0; i < round->n_pairs; i++) {
		if (round->pairs[i].chunk_idx != chunk_idx)
			continue;
		*ret_unit = round->pairs[i].unit_idx;
		return true;
	}
	return false;
}

/* @return its index; n_spans: none has it */
static uint32_t span_with(const struct round *round, uint32_t unit_idx)
{
	uint32_t i = 0;

	while (i < round->n_spans &&
	       (unit_idx < round->spans[i].run.first_unit ||
	        unit_idx - round->spans[i].run.first_unit >= round->spans[i].run.n_units))
		i++;
	return i;
}

void round_hurry(struct round *round, uint32_t chunk_idx)
{
	struct round_span span;
	uint32_t unit_idx;
	uint32_t i;

	if (!unit_for(round, chunk_idx, &unit_idx))
		return;
	i = span_with(round, unit_idx);
	if (i == round->n_spans)
		return;
	round->spans[i].run.reader = true; /* who has been asked looks at it, too */
	if (i < round->next_span)
		return;
	span = round->spans[i];
	memmove(&round->spans[round->next_span + 1], &round->spans[round->next_span],
	        (i - round->next_span) * sizeof(span));
	round->spans[round->next_span] = span;
}

void round_cancel(struct round *round)
{
	round->cancelled = true;
	for (uint32_t i = 0; i < round->n_spans; i++) {
		if (round->spans[i].asked != NULL)
			origin_run_cancel(round->spans[i].asked);
		round->spans[i].asked = NULL;
	}
}
