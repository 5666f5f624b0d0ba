/*
 * read_log: see the header. The bits say what was noted already, so that a warm reader takes no
 * lock.
 */
#include "read_log.h"
#include "mem.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_FIRST 64U

struct read_log {
	struct read_log_opts opts;
	const struct blob_layout **layouts;
	struct bitmap **noted; /* a bit a chunk */
	atomic_bool open;
	pthread_mutex_t lock; /* guards what follows */
	struct fetch_stretch *stretches;
	uint32_t n_stretches;
	uint32_t room;
	struct read_log_state state;
};

struct read_log *read_log_new(const struct read_log_opts *opts)
{
	struct read_log *log = xcalloc(1, sizeof(*log));
	bool whole = true;

	log->opts = *opts;
	log->room = ROOM_FIRST;
	log->stretches = xcalloc(log->room, sizeof(log->stretches[0]));
	(void)pthread_mutex_init(&log->lock, NULL);
	log->layouts = xcalloc(opts->n_blobs + (size_t)1, sizeof(const struct blob_layout *));
	log->noted = xcalloc(opts->n_blobs + (size_t)1, sizeof(struct bitmap *));
	for (uint32_t i = 0; i < opts->n_blobs && whole; i++) {
		log->layouts[i] = opts->layouts[i];
		log->noted[i] = bitmap_new(opts->layouts[i]->n_chunks);
		whole = log->noted[i] != NULL;
	}
	if (!whole)
		read_log_free(&log);
	return log;
}

void read_log_free(struct read_log **log_ptr)
{
	struct read_log *log = *log_ptr;

	*log_ptr = NULL;
	if (log == NULL)
		return;
	for (uint32_t i = 0; i < log->opts.n_blobs; i++)
		bitmap_free(&log->noted[i]);
	free(log->noted);
	free(log->layouts);
	free(log->stretches);
	(void)pthread_mutex_destroy(&log->lock);
	free(log);
}

void read_log_open(struct read_log *log, bool open)
{
	atomic_store(&log->open, open);
}

bool read_log_is_open(const struct read_log *log)
{
	return atomic_load(&log->open);
}

/* Does the chunk stand right behind the last stretch? */
static bool goes_on(const struct read_log *log, uint32_t blob_idx, uint32_t chunk_idx)
{
	const struct fetch_stretch *last;

	if (log->n_stretches == 0)
		return false;
	last = &log->stretches[log->n_stretches - 1];
	return last->blob_idx == blob_idx && last->first_chunk + last->n_chunks == chunk_idx;
}

/* Under the lock. */
static void append(struct read_log *log, uint32_t blob_idx, uint32_t chunk_idx)
{
	if (goes_on(log, blob_idx, chunk_idx)) {
		log->stretches[log->n_stretches - 1].n_chunks++;
		return;
	}
	if (log->n_stretches == log->room) {
		log->room *= 2;
		log->stretches = xrealloc(log->stretches, log->room, sizeof(log->stretches[0]));
	}
	log->stretches[log->n_stretches++] = (struct fetch_stretch){ .blob_idx = blob_idx,
		                                                     .first_chunk = chunk_idx,
		                                                     .n_chunks = 1 };
}

static void note(struct read_log *log, uint32_t blob_idx, uint32_t chunk_idx)
{
	const uint64_t bytes = layout_share_bytes(log->layouts[blob_idx], chunk_idx);

	(void)pthread_mutex_lock(&log->lock);
	if (log->state.first_ns == 0)
		log->state.first_ns = clock_now_ns(log->opts.clock);
	if (log->n_stretches < READ_LOG_STRETCHES && log->state.packed_bytes < READ_LOG_BYTES) {
		append(log, blob_idx, chunk_idx);
		log->state.packed_bytes += bytes;
		log->state.n_chunks++;
	} else {
		read_log_open(log, false);
	}
	(void)pthread_mutex_unlock(&log->lock);
}

/* n_blobs: it is none of these. */
static uint32_t index_of(const struct read_log *log, const struct fetch_blob *blob)
{
	uint32_t i = 0;

	while (i < log->opts.n_blobs && log->opts.blobs[i] != blob)
		i++;
	return i;
}

static bool is_new(const struct read_log *log, uint32_t blob_idx, uint32_t chunk_idx)
{
	struct bitmap *noted = log->noted[blob_idx];

	return chunk_idx < noted->n_bits && !bitmap_get(noted, chunk_idx) &&
	       bitmap_set(noted, chunk_idx);
}

void read_log_note(struct read_log *log, const struct fetch_piece *pieces, uint32_t n_pieces)
{
	uint32_t blob_idx = UINT32_MAX;

	if (log == NULL || !read_log_is_open(log))
		return;
	for (uint32_t i = 0; i < n_pieces; i++) {
		const struct fetch_piece *p = &pieces[i];

		if (p->blob == NULL)
			continue;
		if (blob_idx >= log->opts.n_blobs || log->opts.blobs[blob_idx] != p->blob)
			blob_idx = index_of(log, p->blob);
		if (blob_idx < log->opts.n_blobs && is_new(log, blob_idx, p->chunk_idx))
			note(log, blob_idx, p->chunk_idx);
	}
}

struct read_log_state read_log_state(struct read_log *log)
{
	struct read_log_state state;

	(void)pthread_mutex_lock(&log->lock);
	state = log->state;
	(void)pthread_mutex_unlock(&log->lock);
	return state;
}

uint32_t read_log_copy(struct read_log *log, struct fetch_stretch **ret_stretches)
{
	uint32_t n;

	*ret_stretches = NULL;
	(void)pthread_mutex_lock(&log->lock);
	n = log->n_stretches;
	if (n > 0) {
		*ret_stretches = xcalloc(n, sizeof(log->stretches[0]));
		memcpy(*ret_stretches, log->stretches, n * sizeof(log->stretches[0]));
	}
	(void)pthread_mutex_unlock(&log->lock);
	return n;
}
