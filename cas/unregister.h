/*
 * unregister: take a blob's rows away. What it says and its key go at once; its chunk rows, of
 * which there can be a million, a transaction at a time behind everything else.
 */
#pragma once
#include "err.h"
#include "pool.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct cas;
struct chunk_rows;

/* What goes on behind unregister_blob(). [writer] */
struct removal {
	struct job job;
	bool queued;
	atomic_bool stopped;     /* [any] an error did it: unregister_retry() */
	uint64_t row;            /* 0: none is at hand */
	struct chunk_rows *rows; /* NULL: its layout cannot be read */
	unsigned next_byte;      /* then: names that begin so are looked through next */
};

/**
 * [writer] Forget a registered blob, whatever is wrong with its rows. In one synced transaction it
 * loses its ready and dedup maps and its images, is "dying", and gives up its key: nothing finds it
 * any more, its file may go, and another can be registered under the key.
 *
 * @return 0; CAS_MISS not registered; negative: all is as before
 */
MUST_CHECK int unregister_blob(struct cas *cas, const char *key, struct err *e);

/** [worker, not the writer] Now and then: go on with what an error has stopped. */
void unregister_retry(struct cas *cas);

/** [writer] At the start: go on where the last agent was cut off. */
MUST_CHECK int unregister_resume(struct cas *cas, struct err *e);
