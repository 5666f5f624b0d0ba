/*
 * read_log: which chunks of an image its readers came to, in the order in which they came.
 *
 * One log an image in use. Written by whoever serves readers, on any thread; read out by
 * fetch/image_reads.c. Pure but for a clock: knows no disk, no network.
 */
#pragma once
#include "bitmap.h"
#include "clock.h"
#include "fetch.h"

#define READ_LOG_STRETCHES 4096U                /* then it is full */
#define READ_LOG_BYTES     (UINT64_C(32) << 20) /* packed, likewise */

struct read_log;
struct read_log_opts {
	struct fetch_blob *const *blobs; /* borrowed, by the image's index */
	const struct blob_layout *const
		*layouts; /* of these, by the same index; copied; they stay */
	uint32_t n_blobs;
	const struct clock *clock;
};

/** It is closed at first. @return NULL: memory is out */
struct read_log *read_log_new(const struct read_log_opts *opts);
void read_log_free(struct read_log **log); /* NULL is fine */

void read_log_open(struct read_log *log, bool open); /* [any] */
bool read_log_is_open(const struct read_log *log);   /* [any] false: also when it is full */

/** [any] A reader asks for these. While the log is open that costs a look at a bit a piece. NULL is
 * fine: nobody wants to know. */
void read_log_note(struct read_log *log, const struct fetch_piece *pieces, uint32_t n_pieces);

struct read_log_state {
	uint64_t first_ns;     /* when the first was noted; 0: none was */
	uint64_t packed_bytes; /* of what was noted */
	uint32_t n_chunks;     /* likewise */
};
struct read_log_state read_log_state(struct read_log *log); /* [any] */

/** [any] A copy of what was noted, malloc'd. @return how many; 0: *ret_stretches is NULL */
uint32_t read_log_copy(struct read_log *log, struct fetch_stretch **ret_stretches);
