/*
 * sums: what an agent counted since it started, by source, at one moment.
 *
 * Knows the metrics; knows nothing of images, mounts or peers.
 */
#pragma once
#include "fetch.h"
#include "json_util.h"
#include "metrics.h"

enum { SUMS_SAME_ZONE, SUMS_OTHER_ZONE, SUMS_N_ZONES };
enum { SUMS_FIRST, SUMS_AGAIN, SUMS_N_LEASED };

struct sums {
	uint64_t uptime_ms; /* when */
	uint64_t read_bytes[N_FOUND];
	uint64_t chunk_bytes[N_FOUND]; /* unpacked; the cache, the first of them, makes nothing
	                                  ready */
	uint64_t verify_failures[N_FOUND];
	uint64_t peer_received_bytes[SUMS_N_ZONES];
	uint64_t peer_sent_bytes[SUMS_N_ZONES];
	uint64_t origin_received_bytes;
	uint64_t origin_data_bytes;   /* of these: chunks, as they are packed */
	uint64_t origin_unique_bytes; /* the least that this could have been */
	uint64_t origin_requests;
	uint64_t leased_chunks[SUMS_N_LEASED];
	uint64_t dedup_saved_bytes;
	uint64_t waited_ms; /* reads of bytes that peers or origins had, all together */
};

/** What the metrics say now. The counters of peers are brought up to date by peer_count_bytes(). */
void sums_take(const struct metrics *m, uint64_t uptime_ms, struct sums *ret_sums);

/** As members of object. */
void sums_tell(const struct sums *sums, json_t *object);
