/*
 * room: see the header. Knows free bytes and a reserve; knows no blob. Who makes room, and by
 * which quota, stands above this.
 */
#include "room.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define ASK_EVERY_BYTES (UINT64_C(16) << 20) /* so far the reserve may be overdrawn */
#define FULL_FOR_NS     NS_PER_S

void room_init(struct room *room, uint64_t reserve_bytes)
{
	room->reserve_bytes = reserve_bytes;
	atomic_store(&room->unasked_bytes, ASK_EVERY_BYTES); /* the first write asks */
}

static void set_full(struct room *room, bool full, const char *why)
{
	atomic_store(&room->ask_again_ns, clock_now_ns(room->clock) + FULL_FOR_NS);
	if (atomic_exchange(&room->full, full) == full)
		return;
	series_set(room->full_gauge, full);
	if (full)
		log_warn(room->log, "the cache takes no more chunks: reads go through memory",
		         "why=%s reserve_bytes=%" PRIu64, LOG_Q(why), room->reserve_bytes);
	else
		log_info(room->log, "the cache takes chunks again", "%s", "");
}

void room_ran_out(struct room *room, int code)
{
	set_full(room, true, code == EDQUOT ? "disk quota used up" : "no space left on the disk");
}

bool room_for(struct room *room, uint64_t n_bytes)
{
	uint64_t free_bytes = 0;

	if (atomic_load(&room->full)) {
		if (clock_now_ns(room->clock) < atomic_load(&room->ask_again_ns))
			return false;
	} else if (atomic_fetch_add(&room->unasked_bytes, n_bytes) + n_bytes < ASK_EVERY_BYTES) {
		return true;
	}
	atomic_store(&room->unasked_bytes, 0);
	if (room->disk->free_bytes(room->disk, room->dir_fd, &free_bytes) != 0)
		return true; /* the write itself will tell */
	set_full(room, free_bytes < room->reserve_bytes + n_bytes,
	         "what is free on the file system has shrunk to cache.reserve_bytes");
	return !atomic_load(&room->full);
}
