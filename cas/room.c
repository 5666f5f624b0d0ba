/*
 * room: see the header. Who makes room stands above this, and is called through opts.crowded.
 */
#include "room.h"
#include "bytes.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#define ASK_EVERY_BYTES (UINT64_C(4) << 20)  /* so far the reserve may be overdrawn */
#define OVER_HIGH_BYTES (UINT64_C(64) << 20) /* so far writes go on while room is made ... */
#define OVER_HIGH_PART  16                   /* ... and no more than this part of the room */
#define FULL_FOR_NS     NS_PER_S
#define TELL_EVERY_NS   (60 * NS_PER_S)
#define WAIT_MS         200 /* a reader may be behind it */
#define FAILED_MAX      4   /* a bad place on a disk that otherwise works is not the disk */

void room_set_limits(struct room *room, const struct room_limits *limits)
{
	atomic_store(&room->quota_bytes, limits->quota_bytes);
	atomic_store(&room->reserve_bytes, limits->reserve_bytes);
	atomic_store(&room->high_percent, limits->high_percent);
	atomic_store(&room->low_percent, limits->low_percent);
	series_set(room->quota_gauge, (int64_t)limits->quota_bytes);
}

void room_init(struct room *room, const struct room_opts *opts)
{
	pthread_condattr_t attr;

	room->opts = *opts;
	room->quota_gauge = metrics_series(opts->metrics, METRIC_CACHE_QUOTA_BYTES, NULL);
	room_set_limits(room, &opts->limits);
	room->room_gauge = metrics_series(opts->metrics, METRIC_CACHE_ROOM_BYTES, NULL);
	room->full_gauge = metrics_series(opts->metrics, METRIC_CACHE_FULL, NULL);
	room->used_gauge = metrics_series(opts->metrics, METRIC_CACHE_BYTES, NULL);
	room->pinned_gauge = metrics_series(opts->metrics, METRIC_CACHE_PINNED_BYTES, NULL);
	atomic_store(&room->ceiling_bytes, UINT64_MAX);
	atomic_store(&room->unasked_bytes, ASK_EVERY_BYTES); /* the first write asks */
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_mutex_init(&room->mutex, NULL);
	(void)pthread_cond_init(&room->freed, &attr);
	(void)pthread_condattr_destroy(&attr);
}

void room_fini(struct room *room)
{
	(void)pthread_cond_destroy(&room->freed);
	(void)pthread_mutex_destroy(&room->mutex);
}

/* Would it still be full without everything that may be evicted? */
static bool is_all_pinned(struct room *room)
{
	return atomic_load(&room->pinned_bytes) + atomic_load(&room->handed_bytes) >
	       room_percent(atomic_load(&room->may_bytes), atomic_load(&room->low_percent));
}

/* Then only a write, or a sync, that succeeds shows that it is over. */
static bool is_failing(const struct room *room)
{
	return atomic_load(&room->n_failed) >= FAILED_MAX ||
	       atomic_load(&room->n_unsynced) >= FAILED_MAX;
}

static void tell(struct room *room, bool full, const char *why)
{
	const uint64_t now_ns = clock_now_ns(room->opts.clock);
	const uint64_t told_ns = atomic_load(&room->told_ns);

	if (!full) {
		if (atomic_exchange(&room->told, false))
			log_info(room->opts.log, "the cache takes chunks again", "%s", "");
		return;
	}
	if (told_ns != 0 && now_ns - told_ns < TELL_EVERY_NS)
		return; /* it comes and goes */
	atomic_store(&room->told_ns, now_ns);
	atomic_store(&room->told, true);
	log_warn(room->opts.log,
	         is_all_pinned(room) && !is_failing(room)
	                 ? "the cache takes no more chunks: pinned images take what it may"
	                 : "the cache takes no more chunks: reads go through memory",
	         "why=%s used_bytes=%" PRIu64 " pinned_bytes=%" PRIu64 " quota_bytes=%" PRIu64
	         " reserve_bytes=%" PRIu64,
	         LOG_Q(why), room_used(room), atomic_load(&room->pinned_bytes),
	         atomic_load(&room->quota_bytes), atomic_load(&room->reserve_bytes));
}

static void ask_later(struct room *room)
{
	atomic_store(&room->ask_again_ns, clock_now_ns(room->opts.clock) + FULL_FOR_NS);
}

static void set_full(struct room *room, bool full, const char *why)
{
	if (full)
		ask_later(room);
	if (atomic_exchange(&room->full, full) == full)
		return;
	series_set(room->full_gauge, full);
	tell(room, full, why);
}

static void show_used(struct room *room)
{
	series_set(room->used_gauge, (int64_t)room_used(room));
}

void room_pinned(struct room *room, uint64_t bytes)
{
	atomic_store(&room->pinned_bytes, bytes);
	series_set(room->pinned_gauge, (int64_t)bytes);
}

void room_held(struct room *room, uint64_t pinned_bytes, uint64_t handed_bytes)
{
	atomic_store(&room->handed_bytes, handed_bytes);
	room_pinned(room, pinned_bytes);
}

void room_ran_out(struct room *room, int code)
{
	atomic_store(&room->ceiling_bytes, room_used(room));
	atomic_store(&room->ran_out, true);
	set_full(room, true, code == EDQUOT ? "disk quota used up" : "no space left on the disk");
	room->opts.crowded(room->opts.arg);
}

void room_write_failed(struct room *room, int code)
{
	if (!is_failing(room))
		(void)atomic_fetch_add(&room->n_failed, 1);
	if (is_failing(room))
		set_full(room, true, strerrordesc_np(code));
}

void room_sync_failed(struct room *room, int code)
{
	const uint32_t n_before = atomic_load(&room->n_unsynced);

	if (n_before < FAILED_MAX)
		atomic_store(&room->n_unsynced, n_before + 1);
	if (is_failing(room))
		set_full(room, true, strerrordesc_np(code));
	else if (err_is_no_space(code) && n_before == 0)
		room_ran_out(room, code);
}

void room_synced(struct room *room)
{
	if (atomic_exchange(&room->n_unsynced, 0) >= FAILED_MAX && !is_failing(room))
		set_full(room, false, NULL);
}

uint64_t room_may_use(struct room *room)
{
	const uint64_t used = room_used(room);
	const uint64_t ceiling = atomic_load(&room->ceiling_bytes);
	const uint64_t reserve = atomic_load(&room->reserve_bytes);
	const uint64_t quota = atomic_load(&room->quota_bytes);
	uint64_t may = quota != 0 ? quota : UINT64_MAX;
	uint64_t free_bytes = 0;

	if (room->opts.disk->free_bytes(room->opts.disk, room->dir_fd, &free_bytes) == 0) {
		const uint64_t here = used + free_bytes > reserve ? used + free_bytes - reserve : 0;

		may = here < may ? here : may;
	}
	may = ceiling < may ? ceiling : may;
	atomic_store(&room->may_bytes, may);
	series_set(room->room_gauge, (int64_t)min_u64(may, INT64_MAX));
	return may;
}

/* From there on room is made. */
static uint64_t high_bytes(const struct room *room, uint64_t may)
{
	return room_percent(may, atomic_load(&room->high_percent));
}

/* How far may writes go? What is larger than that may be written alone. */
static uint64_t limit(const struct room *room, uint64_t may, uint64_t n_bytes)
{
	const uint64_t high = high_bytes(room, may);
	uint64_t over = min_u64(OVER_HIGH_BYTES, may / OVER_HIGH_PART);

	over = max_u64(over, n_bytes);
	return may - high < over ? may : high + over;
}

bool room_is_wide(const struct room *room, uint64_t n_bytes)
{
	return !atomic_load(&room->full) &&
	       room_used(room) + atomic_load(&room->writing_bytes) + n_bytes <=
	               high_bytes(room, atomic_load(&room->may_bytes));
}

/* Is there room for what is being written, n_bytes of it by who asks? */
static bool fits(struct room *room, uint64_t n_bytes)
{
	return room_used(room) + atomic_load(&room->writing_bytes) <=
	       limit(room, atomic_load(&room->may_bytes), n_bytes);
}

/* Until somebody has made room, or it takes too long for a reader that may be behind this. */
static bool wait_for_room(struct room *room, uint64_t n_bytes)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += WAIT_MS * (long)NS_PER_MS;
	until.tv_sec += until.tv_nsec / (long)NS_PER_S;
	until.tv_nsec %= (long)NS_PER_S;
	(void)pthread_mutex_lock(&room->mutex);
	while (!fits(room, n_bytes) && !atomic_load(&room->full))
		if (pthread_cond_timedwait(&room->freed, &room->mutex, &until) != 0)
			break;
	(void)pthread_mutex_unlock(&room->mutex);
	return fits(room, n_bytes);
}

bool room_for(struct room *room, uint64_t n_bytes)
{
	const bool was_full = atomic_load(&room->full);

	if (was_full && clock_now_ns(room->opts.clock) < atomic_load(&room->ask_again_ns))
		return false;
	if (was_full ||
	    atomic_fetch_add(&room->unasked_bytes, n_bytes) + n_bytes >= ASK_EVERY_BYTES) {
		atomic_store(&room->unasked_bytes, 0);
		(void)room_may_use(room);
	}
	if (room_used(room) + n_bytes > high_bytes(room, atomic_load(&room->may_bytes)))
		room->opts.crowded(room->opts.arg);
	atomic_fetch_add(&room->writing_bytes, n_bytes);
	if (!fits(room, n_bytes) && (was_full || !wait_for_room(room, n_bytes))) {
		room_wrote_not(room, n_bytes);
		set_full(room, true,
		         atomic_load(&room->may_bytes) == atomic_load(&room->quota_bytes)
		                 ? "cache.quota_bytes is used up"
		                 : "what is free on the file system has shrunk to "
		                   "cache.reserve_bytes");
		return false;
	}
	if (!is_failing(room))
		set_full(room, false, NULL);
	else
		ask_later(room); /* whether this one comes to the disk tells */
	return true;
}

void room_wrote(struct room *room, uint64_t n_bytes)
{
	(void)atomic_fetch_add(&room->wrote_bytes, n_bytes);
	(void)atomic_fetch_add(&room->used_bytes, n_bytes);
	(void)atomic_fetch_sub(&room->writing_bytes, n_bytes);
	show_used(room);
	if (atomic_load_explicit(&room->n_failed, memory_order_relaxed) == 0)
		return;
	if (atomic_exchange(&room->n_failed, 0) >= FAILED_MAX && !is_failing(room))
		set_full(room, false, NULL);
}

void room_wrote_not(struct room *room, uint64_t n_bytes)
{
	(void)atomic_fetch_sub(&room->writing_bytes, n_bytes);
}

static void wake_waiting(struct room *room)
{
	(void)pthread_mutex_lock(&room->mutex);
	(void)pthread_cond_broadcast(&room->freed);
	(void)pthread_mutex_unlock(&room->mutex);
}

void room_freed(struct room *room, uint64_t n_bytes)
{
	uint64_t used = room_used(room);

	while (!atomic_compare_exchange_weak(&room->used_bytes, &used,
	                                     used > n_bytes ? used - n_bytes : 0))
		;
	show_used(room);
	wake_waiting(room);
}

void room_measured(struct room *room, uint64_t used_bytes, uint64_t wrote_before_bytes)
{
	atomic_store(&room->used_bytes,
	             used_bytes + atomic_load(&room->wrote_bytes) - wrote_before_bytes);
	show_used(room);
	(void)room_may_use(room); /* so that its gauge is a minute old at most */
}

uint64_t room_target(struct room *room)
{
	const uint64_t may = room_may_use(room);

	if (room_used(room) <= high_bytes(room, may) && !atomic_load(&room->ran_out))
		return UINT64_MAX;
	return room_percent(may, atomic_load(&room->low_percent));
}

void room_made(struct room *room, uint64_t freed_bytes)
{
	bool ran_out;

	atomic_store(&room->ceiling_bytes, UINT64_MAX);
	ran_out = atomic_exchange(&room->ran_out, false);
	(void)room_may_use(room);
	/* Whoever writes next finds out whether the disk takes it. */
	if (fits(room, 0) && (freed_bytes > 0 || !ran_out) && !is_failing(room))
		set_full(room, false, NULL);
	wake_waiting(room);
}
