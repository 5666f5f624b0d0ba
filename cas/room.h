/*
 * room: may the cache grow? Asks the file system now and then, remembers "full" for a while.
 */
#pragma once
#include "clock.h"
#include "disk.h"
#include "log.h"
#include "metrics.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct room {
	const struct disk *disk;
	const struct clock *clock;
	struct log *log;
	struct series *full_gauge;
	int dir_fd;
	uint64_t reserve_bytes;
	_Atomic uint64_t unasked_bytes; /* written since the file system was asked last */
	_Atomic uint64_t ask_again_ns;  /* while full: not before */
	atomic_bool full;
};

void room_init(struct room *room, uint64_t reserve_bytes);

/** [worker] May so many bytes be written now? */
bool room_for(struct room *room, uint64_t n_bytes);

/** A write failed for want of space (ENOSPC, EDQUOT): full until it is asked again. */
void room_ran_out(struct room *room, int code);
