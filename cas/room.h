/*
 * room: how much disk space blobs take, and how much they may take.
 *
 * What they may take is the quota, and no more than leaves the reserve free on the file system.
 * Above the high watermark of that somebody is asked to make room, down to the low one. Writes go
 * on while room is made, a little above the high watermark; then they are refused. Knows numbers
 * and the file system; knows no blob.
 */
#pragma once
#include "clock.h"
#include "disk.h"
#include "log.h"
#include "metrics.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct room_limits {
	uint64_t quota_bytes; /* 0: none but the reserve */
	uint64_t reserve_bytes;
	uint32_t high_percent;
	uint32_t low_percent;
};

struct room_opts {
	const struct disk *disk; /* borrowed, as all here */
	const struct clock *clock;
	struct log *log;
	struct metrics *metrics;
	struct room_limits limits;
	void (*crowded)(void *arg); /* [any] the high watermark is passed: make room, soon */
	void *arg;
};

struct room {
	struct room_opts opts; /* but for the limits: they are what follows */
	_Atomic uint64_t quota_bytes;
	_Atomic uint64_t reserve_bytes;
	_Atomic uint32_t high_percent;
	_Atomic uint32_t low_percent;
	struct series *quota_gauge;
	struct series *room_gauge;
	struct series *full_gauge;
	struct series *used_gauge;
	struct series *pinned_gauge;
	int dir_fd;
	_Atomic uint64_t used_bytes;    /* that blobs take; corrected when it is measured */
	_Atomic uint64_t writing_bytes; /* that are being written right now */
	_Atomic uint64_t wrote_bytes;   /* ever */
	_Atomic uint64_t may_bytes;     /* that they may take, as of the last look */
	_Atomic uint64_t pinned_bytes;  /* of what blobs take: images pin it */
	_Atomic uint64_t handed_bytes;  /* ... they do not, but the kernel reads it by itself */
	_Atomic uint64_t ceiling_bytes; /* a write failed for want of space when so much was used */
	_Atomic uint64_t unasked_bytes; /* written since the file system was asked last */
	_Atomic uint64_t ask_again_ns;  /* while full: not before */
	_Atomic uint64_t told_ns;       /* when "full" was logged last */
	_Atomic uint32_t n_failed;   /* writes, other than for want of space, since one did not */
	_Atomic uint32_t n_unsynced; /* syncs that failed, since one did not */
	atomic_bool told;            /* ... and its end was not yet */
	atomic_bool full;
	atomic_bool ran_out;   /* a write failed; cleared by whoever makes room */
	pthread_mutex_t mutex; /* guards nothing but the wait */
	pthread_cond_t freed;
};

void room_init(struct room *room, const struct room_opts *opts);
void room_fini(struct room *room);

/** [any] Other limits from now on. Each is seen by itself: for a moment some may be old. */
void room_set_limits(struct room *room, const struct room_limits *limits);

/** [any] Can so many bytes be written, as far as is known, without any room being made for them? */
bool room_is_wide(const struct room *room, uint64_t n_bytes);

/** [worker] May so many bytes be written now? Waits a little where room is being made. True: then
 * they count, and room_wrote() or room_wrote_not() ends it. */
bool room_for(struct room *room, uint64_t n_bytes);
void room_wrote(struct room *room, uint64_t n_bytes);     /* [any] */
void room_wrote_not(struct room *room, uint64_t n_bytes); /* [any] */

/** [any] So much is free again. */
void room_freed(struct room *room, uint64_t n_bytes);

/** [worker] What was measured, while wrote_bytes was that at its beginning: what came meanwhile
 * counts. */
void room_measured(struct room *room, uint64_t used_bytes, uint64_t wrote_before_bytes);

/** [any] So much of what blobs take may not be evicted, because images are pinned. */
void room_pinned(struct room *room, uint64_t bytes);
/** [any] The same, and what else may not, because the kernel reads it by itself. */
void room_held(struct room *room, uint64_t pinned_bytes, uint64_t handed_bytes);

/** A write failed for want of space (ENOSPC, EDQUOT): full until room was made. */
void room_ran_out(struct room *room, int code);

/** A write failed otherwise. When several did in a row it is not one bad place: full, until one
 * succeeds. They are tried every second. */
void room_write_failed(struct room *room, int code);

/** [writer] A flush could sync no data file: likewise, and what it was about has to be fetched
 * again. For want of space room is made once; where that did not help, it does not help again. */
void room_sync_failed(struct room *room, int code);
void room_synced(struct room *room); /* [writer] */

/** [worker] What blobs may take now: the quota, or less where the file system is full. */
uint64_t room_may_use(struct room *room);

/** [worker] Down to how much is to be evicted. @return UINT64_MAX: no need to */
uint64_t room_target(struct room *room);

/** [evictor] Somebody has made what room there was to make: so much. */
void room_made(struct room *room, uint64_t freed_bytes);

static inline uint64_t room_used(const struct room *room)
{
	return atomic_load_explicit(&room->used_bytes, memory_order_relaxed);
}

/** Of what blobs may take, what no image pins and the kernel does not read by itself. */
static inline uint64_t room_unpinned(const struct room *room)
{
	const uint64_t may = atomic_load_explicit(&room->may_bytes, memory_order_relaxed);
	const uint64_t held = atomic_load_explicit(&room->pinned_bytes, memory_order_relaxed) +
	                      atomic_load_explicit(&room->handed_bytes, memory_order_relaxed);

	return may > held ? may - held : 0;
}

/** A share of n in percent, whatever n. */
static inline uint64_t room_percent(uint64_t n, uint32_t percent)
{
	return n / 100 * percent + n % 100 * percent / 100;
}
