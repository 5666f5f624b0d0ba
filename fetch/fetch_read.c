/*
 * fetch_read: a read that missed, from its arrival on the loop to its answer.
 *
 * A waiter a unit that it needs; each is placed at a flight, or reads what became ready meanwhile.
 * The last waiter to be filled answers, on the worker that filled it. A deadline or a cancel
 * answers on the loop. st->ended, under st->lock, says that somebody did. Knows no sources.
 */
#include "bytes.h"
#include "engine.h"
#include "mem.h"
#include "metrics.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static void read_begin(struct loop_call *call);

struct fetch_read_state *read_state_new(struct fetch *f, struct fetch_read *r)
{
	struct fetch_read_state *st;
	const size_t waiter_bytes = sizeof(struct waiter) + sizeof(bool);

	if (r->n_pieces > (SIZE_MAX - sizeof(*st)) / waiter_bytes)
		return NULL;
	st = calloc(1, sizeof(*st) + r->n_pieces * waiter_bytes);
	if (st == NULL)
		return NULL;
	st->f = f;
	st->r = r;
	st->waiters = (struct waiter *)(st + 1);
	st->filled = (bool *)(st->waiters + r->n_pieces);
	st->call.fn = read_begin;
	st->timeout_ms = f->read_timeout_ms;
	st->reader = !r->prefetch;
	st->began_ns = clock_now_ns(f->opts.clock);
	st->deadline_ns = st->began_ns + st->timeout_ms * NS_PER_MS;
	st->last_ns = st->deadline_ns + (SLOW_TIMES - 1) * st->timeout_ms * NS_PER_MS;
	(void)pthread_mutex_init(&st->lock, NULL);
	return st;
}

void read_state_free(struct fetch_read_state *st)
{
	if (st->listed)
		DL_DELETE(st->f->readers, st);
	(void)pthread_mutex_destroy(&st->lock);
	free(st);
}

void read_post(struct fetch_read_state *st)
{
	if (!st->r->prefetch)
		series_add(st->f->readers_waiting, 1);
	__atomic_store_n(&st->r->state, st, __ATOMIC_RELEASE);
	loop_post(st->f->opts.loop, &st->call);
}

/* Whoever set st->ended calls this, once, without the lock. r is gone afterwards. */
static void answer(struct fetch_read_state *st, int result, const struct err *why)
{
	struct fetch_read *r = st->r;

	if (!r->prefetch)
		series_add(st->f->readers_waiting, -1);
	__atomic_store_n(&r->state, NULL, __ATOMIC_RELEASE);
	r->done(r, result, why);
}

/* As answer(), from where the loop walks over flights and readers. */
static void answer_on_loop(struct fetch_read_state *st, int result, const struct err *why)
{
	struct fetch *f = st->f;

	f->n_answering++;
	answer(st, result, why);
	f->n_answering--;
}

static bool end_once(struct fetch_read_state *st)
{
	bool mine;

	(void)pthread_mutex_lock(&st->lock);
	mine = !st->ended;
	st->ended = true;
	(void)pthread_mutex_unlock(&st->lock);
	return mine;
}

/* One of the things that st waits for is there. */
static void close_one(struct fetch_read_state *st)
{
	static const struct err none = { .code = 0 };
	bool last;

	(void)pthread_mutex_lock(&st->lock);
	assert(st->n_open > 0);
	st->n_open--;
	last = st->n_open == 0 && !st->ended;
	st->ended = st->ended || last;
	(void)pthread_mutex_unlock(&st->lock);
	if (last)
		answer(st, 0, &none);
}

/* ---- waiters ---- */

static bool piece_is_of(const struct waiter *w, uint32_t piece_idx)
{
	const struct fetch_piece *p = &w->st->r->pieces[piece_idx];

	return !w->st->filled[piece_idx] && p->blob == w->blob &&
	       layout_unit_of(p->blob->layout, p->chunk_idx) == w->unit_idx;
}

bool waiter_wants(struct waiter *w, uint32_t chunk_idx)
{
	struct fetch_read_state *st = w->st;
	bool wants = false;

	(void)pthread_mutex_lock(&st->lock);
	for (uint32_t i = 0; !st->ended && !wants && i < st->r->n_pieces; i++)
		wants = piece_is_of(w, i) && st->r->pieces[i].chunk_idx == chunk_idx;
	(void)pthread_mutex_unlock(&st->lock);
	return wants;
}

bool waiter_is_here(struct waiter *w)
{
	struct fetch_read_state *st = w->st;
	bool here = true;

	(void)pthread_mutex_lock(&st->lock);
	for (uint32_t i = 0; !st->ended && here && i < st->r->n_pieces; i++)
		here = !piece_is_of(w, i) || chunk_is_here(w->blob, st->r->pieces[i].chunk_idx);
	(void)pthread_mutex_unlock(&st->lock);
	return here;
}

static void account(struct waiter *w, uint32_t size_bytes, enum fetch_found found)
{
	read_account(w->st->r, size_bytes, found);
	if (w->blob->layout->trust == TRUST_NONE && w->blocked)
		series_add(w->blob->f->unverified_bytes, size_bytes);
}

void waiter_fill(struct waiter *w, const uint8_t *plain, enum fetch_found found)
{
	struct fetch_read_state *st = w->st;
	const struct blob_layout *l = w->blob->layout;

	(void)pthread_mutex_lock(&st->lock);
	for (uint32_t i = 0; !st->ended && i < st->r->n_pieces; i++) {
		const struct fetch_piece *p = &st->r->pieces[i];

		if (!piece_is_of(w, i))
			continue;
		if (p->dst != NULL)
			memcpy(p->dst,
			       plain + layout_offset_in_unit(l, p->chunk_idx) + p->chunk_offset,
			       p->size_bytes);
		account(w, p->size_bytes, found);
	}
	(void)pthread_mutex_unlock(&st->lock);
	close_one(st);
}

bool waiter_fill_chunk(struct waiter *w, uint32_t chunk_idx, const uint8_t *plain,
                       enum fetch_found found)
{
	struct fetch_read_state *st = w->st;
	bool more = false;

	(void)pthread_mutex_lock(&st->lock);
	for (uint32_t i = 0; !st->ended && i < st->r->n_pieces; i++) {
		const struct fetch_piece *p = &st->r->pieces[i];

		if (!piece_is_of(w, i))
			continue;
		if (p->chunk_idx != chunk_idx) {
			more = true;
			continue;
		}
		if (p->dst != NULL)
			memcpy(p->dst, plain + p->chunk_offset, p->size_bytes);
		account(w, p->size_bytes, found);
		st->filled[i] = true;
	}
	(void)pthread_mutex_unlock(&st->lock);
	if (more)
		return false;
	w->blob->f->n_answering++;
	close_one(st);
	w->blob->f->n_answering--;
	return true;
}

void waiter_note(struct waiter *w, const struct err *why)
{
	w->st->why = *why;
}

void waiter_fail(struct waiter *w, const struct err *why)
{
	if (end_once(w->st))
		answer_on_loop(w->st, -EIO, why);
}

bool waiter_is_live(struct waiter *w)
{
	bool live;

	(void)pthread_mutex_lock(&w->st->lock);
	live = !w->st->ended;
	(void)pthread_mutex_unlock(&w->st->lock);
	return live;
}

void waiter_release(struct waiter *w)
{
	struct fetch_read_state *st = w->st;

	assert(w->placed && st->n_placed > 0);
	w->placed = false;
	st->n_placed--;
	if (st->n_placed == 0)
		read_state_free(st);
}

/* ---- what became ready between the miss and the loop ---- */

/* What the reader wants of it. @return 0; CAS_MISS; -EIO */
static int read_unit(struct waiter *w, const struct unit_rec *u, uint8_t *ret_plain,
                     bool *ret_shared)
{
	const struct blob_layout *l = w->blob->layout;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < u->n_members; i++) {
		const uint32_t chunk_idx = layout_member(l, u, i);

		if (waiter_wants(w, chunk_idx))
			r = share_read(w->blob, chunk_idx,
			               ret_plain + layout_offset_in_unit(l, chunk_idx), ret_shared,
			               &w->job_err);
	}
	return r;
}

/* Not straight to the reader: it may be answered, and gone, at any moment. */
static void ready_work(struct job *job) /* worker */
{
	struct waiter *w = container_of(job, struct waiter, job);
	struct unit_rec u = { .plain_size_bytes = 0 };
	bool shared = false;
	uint8_t *plain;

	(void)layout_unit(w->blob->layout, w->unit_idx, &u); /* no hole is ever waited for */
	plain = malloc(u.plain_size_bytes + (size_t)1);
	if (plain == NULL) {
		w->job_result = err_set(&w->job_err, EIO, "no memory for a unit of %u bytes",
		                        u.plain_size_bytes);
		return;
	}
	w->job_result = read_unit(w, &u, plain, &shared);
	if (w->job_result == 0)
		waiter_fill(w, plain, shared ? FOUND_DEDUP : w->found);
	free(plain);
}

static void ready_after(struct job *job)
{
	struct waiter *w = container_of(job, struct waiter, job);
	struct fetch *f = w->st->f;

	if (w->job_result < 0)
		waiter_fail(w, &w->job_err);
	blob_drop(w->blob);
	if (w->job_result == CAS_MISS && waiter_is_live(w)) {
		waiter_place(w);
		runs_pump(f);
		return;
	}
	waiter_release(w);
}

void waiter_read_ready(struct waiter *w)
{
	blob_hold(w->blob);
	w->job = (struct job){ .work = ready_work,
		               .after = ready_after,
		               .prio = w->blocked ? JOB_READER : JOB_PREFETCH };
	pool_submit(w->st->f->opts.pool, &w->job);
}

void waiter_place(struct waiter *w)
{
	struct flight *fl;

	if (!w->placed) {
		w->placed = true;
		w->st->n_placed++;
	}
	if (waiter_is_here(w)) {
		if (w->found == FOUND_CACHE && !unit_is_ready(w->blob, w->unit_idx))
			w->found = FOUND_DEDUP;
		waiter_read_ready(w);
		return;
	}
	fl = flight_find(w->blob, w->unit_idx);
	if (fl != NULL && flight_join(fl, w))
		return;
	demand_plan(w->st, (uint32_t)(w - w->st->waiters));
	fl = flight_find(w->blob, w->unit_idx);
	if (fl == NULL || !flight_join(fl, w))
		abort(); /* a demand makes the flights that it is asked for */
}

/* ---- the beginning ---- */

static void want_unit(struct fetch_read_state *st, struct fetch_blob *blob, uint32_t unit_idx)
{
	for (uint32_t i = st->n_waiters; i > 0; i--) {
		const struct waiter *w = &st->waiters[i - 1];

		if (w->blob == blob && w->unit_idx == unit_idx)
			return;
	}
	st->waiters[st->n_waiters++] = (struct waiter){
		.st = st, .blob = blob, .unit_idx = unit_idx, .blocked = !st->r->prefetch
	};
}

static void arm_timer(struct fetch *f)
{
	const uint64_t now_ns = clock_now_ns(f->opts.clock);
	uint64_t wait_ns = 0;

	if (f->readers == NULL)
		return;
	if (f->readers->deadline_ns > now_ns)
		wait_ns = f->readers->deadline_ns - now_ns;
	timer_start(&f->reader_timer, wait_ns / NS_PER_MS + 1);
}

/* Behind those whose time ends earlier: nearly always that is all of them. */
static void list_reader(struct fetch_read_state *st)
{
	struct fetch *f = st->f;
	struct fetch_read_state *before = f->readers != NULL ? f->readers->prev : NULL;

	while (before != NULL && before->deadline_ns > st->deadline_ns)
		before = before != f->readers ? before->prev : NULL;
	if (before != NULL)
		DL_APPEND_ELEM(f->readers, before, st);
	else
		DL_PREPEND(f->readers, st);
	st->listed = true;
	if (f->readers == st)
		arm_timer(f);
}

uint64_t fetch_waiting_ns(const struct fetch *f)
{
	const uint64_t now_ns = clock_now_ns(f->opts.clock);
	struct fetch_read_state *st;
	uint64_t sum_ns = 0;

	DL_FOREACH(f->readers, st)
	{
		(void)pthread_mutex_lock(&st->lock);
		if (st->reader && !st->ended && now_ns > st->began_ns)
			sum_ns += now_ns - st->began_ns;
		(void)pthread_mutex_unlock(&st->lock);
	}
	return sum_ns;
}

static void read_begin(struct loop_call *call)
{
	struct fetch_read_state *st = container_of(call, struct fetch_read_state, call);
	struct fetch *f = st->f;
	struct fetch_read *r = st->r;

	if (st->ended) { /* cancelled before it began: r is gone */
		read_state_free(st);
		return;
	}
	for (uint32_t i = 0; i < r->n_pieces; i++) {
		const struct fetch_piece *p = &r->pieces[i];

		if (!st->filled[i])
			want_unit(st, p->blob, layout_unit_of(p->blob->layout, p->chunk_idx));
	}
	list_reader(st);
	/* One more than there are, so that it cannot end before all are placed. */
	st->n_open = st->n_waiters + 1;
	st->n_placed = 1;
	for (uint32_t i = 0; i < st->n_waiters; i++)
		waiter_place(&st->waiters[i]);
	close_one(st);
	st->n_placed--;
	if (st->n_placed == 0)
		read_state_free(st);
	runs_pump(f);
}

/* ---- early ends ---- */

/* What it waits for is arriving, or is here and being unpacked. */
static bool is_coming(const struct fetch_read_state *st)
{
	const uint64_t time_ns = st->f->read_timeout_ms * NS_PER_MS;

	for (uint32_t i = 0; i < st->n_waiters; i++) {
		const struct waiter *w = &st->waiters[i];
		const struct flight *fl = w->placed ? flight_find(w->blob, w->unit_idx) : NULL;

		if (fl != NULL &&
		    (fl->run == NULL || run_is_coming(fl->run, fl->unit_idx, time_ns)))
			return true;
	}
	return false;
}

/* @return false: its time is over */
static bool give_time(struct fetch_read_state *st, uint64_t now_ns)
{
	const uint64_t more_ms = st->f->read_timeout_ms / SILENCE_SHARE + 1;

	if (now_ns >= st->last_ns || !waiter_is_live(&st->waiters[0]) || !is_coming(st))
		return false;
	st->timeout_ms += more_ms;
	st->deadline_ns = now_ns + more_ms * NS_PER_MS;
	list_reader(st);
	return true;
}

void reads_expire(struct fetch *f)
{
	const uint64_t now_ns = clock_now_ns(f->opts.clock);
	struct fetch_read_state *st;
	struct fetch_read_state *next;

	DL_FOREACH_SAFE(f->readers, st, next)
	{
		struct err why;

		if (st->deadline_ns > now_ns)
			break;
		DL_DELETE(f->readers, st);
		st->listed = false; /* the waiters hold it until their flights end */
		if (give_time(st, now_ns) || !end_once(st))
			continue;
		(void)err_set(&why, EIO, "no source gave the bytes within %llu ms (last: %s)",
		              (unsigned long long)st->timeout_ms,
		              st->why.code != 0 ? st->why.msg : "silence");
		answer_on_loop(st, -EIO, &why);
	}
	arm_timer(f);
}

void fetch_cancel(struct fetch *f, struct fetch_read *r)
{
	struct fetch_read_state *st = __atomic_load_n(&r->state, __ATOMIC_ACQUIRE);
	struct err why;

	(void)f;
	/* Freed on this thread alone, and not before its answer: st is there, or NULL. */
	if (st == NULL || !end_once(st))
		return;
	(void)err_set(&why, ECANCELED, "cancelled");
	answer(st, -ECANCELED, &why);
}
