/*
 * evict: the thread that makes room, and when it does: a write passed the high watermark, the disk
 * is full, somebody asked (gc), or a minute is over (chores).
 *
 * Knows how much is to go and when to stop. Which chunks stand first in line says evict_piles.c,
 * how they go evict_batch.c.
 */
#include "evict.h"
#include "bytes.h"
#include "data_file.h"
#include "gc.h"
#include "mem.h"
#include "state.h"
#include "stored.h"
#include "use_rows.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH_BYTES     (UINT64_C(32) << 20) /* one synced transaction, and the writer's time */
#define BATCH_CHUNKS    8192U
#define LOOKS_MAX       3        /* at what is described of a blob, while more comes than that */
#define IDLE_NS         NS_PER_S /* after a round that freed nothing */
#define CHORES_NS       (60 * NS_PER_S)
#define BALLAST_BYTES   (1 << 20)           /* a transaction that clears is far smaller */
#define ROOM_MORE_BYTES (UINT64_C(2) << 20) /* for directories, the database, what comes next */

struct round {
	struct cas *cas;
	uint64_t target_bytes;
	const struct cas_gc_opts *gc; /* NULL: not by hand */
	struct cas_gc_progress told;
	uint64_t n_chunks;
	uint64_t freed_bytes; /* with dry_run: that would be */
	uint64_t handed_bytes;
};

static bool is_dry(const struct round *r)
{
	return r->gc != NULL && r->gc->dry_run;
}

static uint64_t to_free(const struct round *r)
{
	const uint64_t used = room_used(&r->cas->room) - (is_dry(r) ? r->freed_bytes : 0);

	return used > r->target_bytes ? used - r->target_bytes : 0;
}

static int tell(struct round *r, struct err *e)
{
	r->told.done_bytes = r->freed_bytes;
	if (r->gc != NULL && r->gc->progress != NULL && r->gc->progress(r->gc->arg, &r->told) != 0)
		return err_set(e, ECANCELED, "gc was stopped");
	return 0;
}

/* Up to so many bytes of what was used at this tick or before. */
static void choose(struct evict_batch *b, uint8_t tick, uint64_t n_bytes)
{
	const struct cas_blob *blob = b->blob;
	uint64_t chosen_bytes = 0;
	uint32_t n = 0;

	for (uint32_t i = bitmap_next_set(blob->ready, 0);
	     i < b->layout->n_chunks && chosen_bytes < n_bytes && n < BATCH_CHUNKS;
	     i = bitmap_next_set(blob->ready, i + 1)) {
		if (atomic_load_explicit(&blob->used[i], memory_order_relaxed) > tick ||
		    pinned_has(b->pin, i))
			continue;
		(void)bitmap_set(b->victims, i);
		chosen_bytes += data_file_takes(&b->layout->chunks[i]);
		n++;
	}
}

/* Of what is ready: all that is stored, and what this blob's images say that could not be stored.
 */
static int layout_of_all(struct cas_blob *blob, struct blob_layout **ret_layout, struct err *e)
{
	AUTO(layout_unref) struct blob_layout *mine = layout_ref(blob_layout(blob));
	AUTO(layout_unref) struct blob_layout *stored = NULL;
	int r = 0;

	if (blob->has_unnamed)
		r = stored_layout(blob->cas->readers, blob->key, &stored, e);
	if (r != 0)
		return r;
	if (stored != NULL && layout_says_more(stored, mine)) {
		*ret_layout = layout_union(stored, mine);
	} else {
		*ret_layout = stored != NULL ? stored : mine;
		(void)layout_ref(*ret_layout);
	}
	return *ret_layout != NULL ? 0
	                           : err_set(e, ENOMEM, "layout of %s: out of memory", blob->key);
}

/* At most so many bytes of what was used then or before. */
static int evict_some(struct round *round, struct evict_batch *b, uint8_t tick, struct err *e)
{
	int r;

	bitmap_clear_all(b->victims);
	choose(b, tick, min_u64(to_free(round), BATCH_BYTES));
	r = evict_batch_run(round->cas, b, e);
	round->n_chunks += b->n_chunks;
	round->freed_bytes += b->freed_bytes;
	return r == 0 ? tell(round, e) : r;
}

/* Images that describe more of the blob may be opened meanwhile: then once more, with all that is
 * known by now. */
static int evict_from(struct round *round, struct cas_blob *blob, const struct pile *pile,
                      const struct pinned_blob *pin, struct err *e)
{
	AUTO(layout_unref) struct blob_layout *layout = NULL;
	struct evict_batch b = { .blob = blob, .pin = pin, .trim = pile->used_s != UINT64_MAX };
	AUTO(bitmap_free) struct bitmap *victims = bitmap_new(blob->ready->n_bits);
	AUTO(bitmap_free) struct bitmap *barred_here = bitmap_new(blob->ready->n_bits);
	unsigned n_looked = 0; /* for the layout, since one was good enough */
	int r = 0;

	if (victims == NULL || barred_here == NULL)
		return err_set(e, ENOMEM, "evicting from %s: out of memory", blob->key);
	b.victims = victims;
	b.barred_here = barred_here;
	do {
		if (!b.knows_all) {
			layout_unref(&layout);
			n_looked++;
			r = layout_of_all(blob, &layout, e);
		}
		b.layout = layout;
		if (r == 0)
			r = evict_some(round, &b, pile->tick, e);
		n_looked = b.knows_all ? 0 : n_looked;
	} while (r == 0 && (b.knows_all ? b.n_chunks > 0 : n_looked < LOOKS_MAX) &&
	         to_free(round) > 0 && !atomic_load(&round->cas->closing));
	return r;
}

static int evict_pile(struct round *round, struct piles *piles, const struct pile *pile,
                      struct err *e)
{
	AUTO(cas_blob_release) struct cas_blob *closed = NULL;
	struct cas_blob *blob = piles->blobs[pile->blob].open;
	int r;

	if (is_dry(round)) {
		round->freed_bytes += min_u64(pile->bytes, to_free(round));
		return tell(round, e);
	}
	if (blob == NULL) {
		r = blob_open_registered(round->cas, piles->blobs[pile->blob].key, NULL, NULL,
		                         &closed, e);
		r = stored_pass_over(round->cas->log, piles->blobs[pile->blob].key, r, e);
		if (r != 0)
			return r == CAS_MISS ? 0 : r;
		blob = closed;
	}
	r = evict_from(round, blob, pile, piles->blobs[pile->blob].pin, e);
	r = stored_pass_over(round->cas->log, blob->key, r, e);
	return r == CAS_MISS ? 0 : r;
}

static int run_round(struct round *round, uint64_t *ret_pinned_bytes, struct err *e)
{
	AUTO(piles_free) struct piles piles = { .n_piles = 0 };
	int r = piles_collect(round->cas, &piles, e);

	round->told.total_bytes = to_free(round);
	for (uint32_t i = 0;
	     i < piles.n_piles && r == 0 && to_free(round) > 0 &&
	     !atomic_load(&round->cas->closing) && !atomic_load(&round->cas->evictor.cannot_punch);
	     i++)
		r = evict_pile(round, &piles, &piles.piles[i], e);
	*ret_pinned_bytes = piles.pinned_bytes;
	round->handed_bytes = piles.handed_bytes;
	if (!is_dry(round))
		metrics_add(round->cas->metrics, METRIC_CACHE_EVICTED_BYTES, NULL,
		            (int64_t)round->freed_bytes);
	return r;
}

/* Held ready while there is room, for the transaction that has to come first when there is none. */
static void make_ballast(struct cas *cas)
{
	const int fd = cas->evictor.ballast_fd;

	if (fd >= 0 && measure_fd(fd) < BALLAST_BYTES)
		(void)fallocate(fd, 0, 0, BALLAST_BYTES);
}

static bool give_ballast(struct cas *cas)
{
	const int fd = cas->evictor.ballast_fd;

	return fd >= 0 && measure_fd(fd) > 0 && ftruncate(fd, 0) == 0;
}

bool evict_give_ballast(struct cas *cas)
{
	const bool reused = db_reuse_log(cas->db); /* who else fills the disk cannot take that */

	return give_ballast(cas) || reused;
}

/* ---- by itself ---- */

static void round_work(struct job *job)
{
	struct cas *cas = container_of(job, struct cas, evictor.round_job);
	struct round round = { .cas = cas };
	uint64_t used = 0;
	uint64_t pinned_bytes = 0;
	struct err e = { .code = 0 };
	int r;

	atomic_store(&cas->evictor.round_queued, false);
	r = measure_blobs(cas, &used, &e);
	round.target_bytes = room_target(&cas->room);
	if (r == 0 && round.target_bytes != UINT64_MAX)
		r = run_round(&round, &pinned_bytes, &e);
	if (r == 0 && round.target_bytes != UINT64_MAX)
		room_held(&cas->room, pinned_bytes - round.handed_bytes, round.handed_bytes);
	room_made(&cas->room, round.freed_bytes);
	make_ballast(cas);
	if (round.target_bytes != UINT64_MAX && round.freed_bytes == 0)
		atomic_store(&cas->evictor.not_before_ns, clock_now_ns(cas->clock) + IDLE_NS);
	if (r < 0)
		log_warn(cas->log, "cannot make room in the cache", "why=%s", LOG_Q(e.msg));
	else if (round.n_chunks > 0)
		log_debug(cas->log, "evicted", "chunks=%" PRIu64 " freed_bytes=%" PRIu64,
		          round.n_chunks, round.freed_bytes);
}

void evict_kick(void *arg)
{
	struct cas *cas = arg;
	struct evictor *ev = &cas->evictor;

	if (atomic_load(&ev->round_queued) || atomic_load(&ev->cannot_punch) ||
	    atomic_load(&cas->closing) ||
	    clock_now_ns(cas->clock) < atomic_load(&ev->not_before_ns) ||
	    atomic_exchange(&ev->round_queued, true))
		return;
	ev->round_job = (struct job){ .work = round_work, .prio = JOB_NORMAL };
	pool_submit(ev->pool, &ev->round_job);
}

/* ---- by hand ---- */

struct gc_call {
	const struct cas_gc_opts *opts;
	struct cas_gc_result result;
};

static int gc_on_evictor(struct cas *cas, void *arg, struct err *e)
{
	struct gc_call *call = arg;
	struct cas_gc_result *seen = &call->result;
	struct round round = { .cas = cas, .gc = call->opts };
	uint64_t used = 0;
	int r = measure_blobs(cas, &seen->before_bytes, e);

	if (r == 0)
		r = garbage_sweep(cas, !call->opts->dry_run, &seen->n_garbage, e);
	if (r == 0)
		r = measure_blobs(cas, &used, e);
	round.target_bytes = call->opts->to_bytes;
	if (round.target_bytes == UINT64_MAX)
		round.target_bytes =
			room_percent(room_may_use(&cas->room), atomic_load(&cas->room.low_percent));
	if (r == 0)
		r = run_round(&round, &seen->pinned_bytes, e);
	seen->target_bytes = round.target_bytes;
	seen->n_chunks = round.n_chunks;
	seen->after_bytes = used - (used < round.freed_bytes ? used : round.freed_bytes);
	if (r == 0 && !call->opts->dry_run)
		r = measure_blobs(cas, &seen->after_bytes, e);
	room_made(&cas->room, round.freed_bytes);
	make_ballast(cas);
	return r;
}

int cas_gc(struct cas *cas, const struct cas_gc_opts *opts, struct cas_gc_result *ret_result,
           struct err *e)
{
	struct gc_call call = { .opts = opts };
	const int r = queue_do(cas, cas->evictor.pool, gc_on_evictor, &call, e);

	if (r == 0)
		*ret_result = call.result;
	return r;
}

/* ---- for what is no chunk ---- */

struct wanted {
	uint64_t n_bytes;
	uint64_t freed_bytes; /* with dry_run: that would be */
};

static int make_room(struct cas *cas, void *arg, struct err *e)
{
	struct wanted *wanted = arg;
	struct round round = { .cas = cas };
	uint64_t used = 0;
	uint64_t pinned_bytes;
	int r = measure_blobs(cas, &used, e);

	round.target_bytes = room_percent(used, atomic_load(&cas->room.low_percent));
	if (used < wanted->n_bytes)
		round.target_bytes = 0;
	else if (used - wanted->n_bytes < round.target_bytes)
		round.target_bytes = used - wanted->n_bytes;
	if (r == 0)
		r = run_round(&round, &pinned_bytes, e);
	room_made(&cas->room, round.freed_bytes);
	make_ballast(cas);
	wanted->freed_bytes = round.freed_bytes;
	return r;
}

bool cas_make_room(struct cas *cas, uint64_t n_bytes)
{
	struct wanted wanted = { .n_bytes = n_bytes + ROOM_MORE_BYTES };
	struct err e = { .code = 0 };

	if (pthread_equal(pthread_self(), cas->writer_thread) ||
	    pthread_equal(pthread_self(), cas->evictor.thread))
		return false;
	if (queue_do(cas, cas->evictor.pool, make_room, &wanted, &e) < 0)
		log_warn(cas->log, "cannot make room in the cache", "why=%s", LOG_Q(e.msg));
	return wanted.freed_bytes > 0;
}

void cas_blob_pin(struct cas_blob *blob)
{
	atomic_fetch_add(&blob->n_pins, 1);
	writer_wait(blob->cas); /* behind whatever looked before */
}

void cas_blob_unpin(struct cas_blob *blob)
{
	atomic_fetch_sub(&blob->n_pins, 1);
}

/* ---- chores ---- */

static void halve(struct cas *cas)
{
	struct cas_blob **blobs = NULL;
	uint32_t n;

	if (!use_halve(&cas->use))
		return;
	n = blob_table_all(cas, &blobs);
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t j = 0; j < blobs[i]->ready->n_bits; j++)
			atomic_store_explicit(&blobs[i]->used[j],
			                      use_halved(atomic_load_explicit(
						      &blobs[i]->used[j], memory_order_relaxed)),
			                      memory_order_relaxed);
		cas_blob_release(&blobs[i]);
	}
	free(blobs);
}

/* What cannot be removed, perhaps for long, keeps nothing else from being done. */
static void sweep(struct cas *cas)
{
	uint64_t n = 0;
	struct err e = { .code = 0 };

	if (!atomic_exchange(&cas->evictor.has_garbage, false) ||
	    garbage_sweep(cas, true, &n, &e) == 0)
		return;
	atomic_store(&cas->evictor.sweep_failed, true);
	log_warn(cas->log, "what nobody uses cannot be removed now", "why=%s", LOG_Q(e.msg));
}

static void chore_work(struct job *job)
{
	struct cas *cas = container_of(job, struct cas, evictor.chore_job);
	uint64_t n = 0;
	struct err e = { .code = 0 };
	int r;

	atomic_store(&cas->evictor.chore_queued, false);
	if (atomic_load(&cas->closing))
		return;
	halve(cas);
	sweep(cas);
	r = use_rows_store_all(cas, &e);
	if (r == 0)
		r = measure_blobs(cas, &n, &e);
	if (r == 0)
		r = pinned_measure(cas, &e);
	make_ballast(cas);
	unregister_retry(cas);
	if (r < 0)
		log_warn(cas->log, "keeping order in the cache", "why=%s", LOG_Q(e.msg));
}

void evict_chores_soon(struct cas *cas)
{
	struct evictor *ev = &cas->evictor;

	if (atomic_exchange(&ev->chore_queued, true))
		return;
	ev->chore_job = (struct job){ .work = chore_work, .prio = JOB_NORMAL };
	pool_submit(ev->pool, &ev->chore_job);
}

void evict_on_time(struct cas *cas)
{
	struct evictor *ev = &cas->evictor;
	const uint64_t now_ns = clock_now_ns(cas->clock);

	use_clock_time(&cas->use);
	/* Garbage that somebody has open is swept when it is closed, and once a minute. */
	if (now_ns < atomic_load(&ev->next_chore_ns) && !atomic_load(&cas->use.halve))
		return;
	atomic_store(&ev->next_chore_ns, now_ns + CHORES_NS);
	if (atomic_exchange(&ev->sweep_failed, false))
		atomic_store(&ev->has_garbage, true);
	evict_chores_soon(cas);
}

void evict_lend_ballast(struct cas *cas)
{
	AUTO(free_str) char *path = xasprintf("%s/ballast", cas->state_dir);

	cas->evictor.ballast_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	(void)give_ballast(cas);
}

int evictor_start(struct cas *cas, struct err *e)
{
	struct evictor *ev = &cas->evictor;
	uint64_t n_swept = 0;
	uint64_t used = 0;
	int r = garbage_sweep_files(cas, &n_swept, e);

	if (r == 0)
		r = measure_blobs(cas, &used, e);
	if (r == 0)
		r = pinned_measure(cas, e);
	if (n_swept > 0)
		log_info(cas->log, "data files that the database does not know were removed",
		         "files=%" PRIu64, n_swept);
	if (r == 0)
		r = pool_new(cas->loop, 1, "cas-evict", &ev->pool, e);
	if (r == 0)
		r = queue_thread(cas, ev->pool, &ev->thread, e);
	if (r < 0)
		return r;
	make_ballast(cas);
	atomic_store(&ev->next_chore_ns, clock_now_ns(cas->clock) + CHORES_NS);
	return 0;
}

void evictor_stop(struct cas *cas)
{
	pool_free(&cas->evictor.pool);
	close_fd(&cas->evictor.ballast_fd);
}
