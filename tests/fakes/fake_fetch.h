/*
 * fake_fetch: in place of fetch/ (and of cas/): it has the bytes of fake_tree_image, and answers
 * when it is told to.
 */
#pragma once
#include "fetch.h"
#include <pthread.h>

#define FAKE_HELD_MAX 256

struct fetch {
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	bool hold;  /* reads wait for fake_fetch_answer() */
	bool fail;  /* reads fail at once */
	bool early; /* reads are done before they are said to be pending */
	uint32_t n_reads, n_cancelled, n_held;
	uint32_t n_strays; /* cancels of what is not held */
	uint64_t n_bytes;
	struct fetch_read *held[FAKE_HELD_MAX];
};

void fake_fetch_init(struct fetch *f);
void fake_fetch_fini(struct fetch *f);
void fake_fetch_set_hold(struct fetch *f, bool hold); /* what is held stays so */
void fake_fetch_set_fail(struct fetch *f, bool fail);
void fake_fetch_set_early(struct fetch *f, bool early);
void fake_fetch_wait_held(struct fetch *f, uint32_t n); /* until so many are held, or more */
uint32_t fake_fetch_n_reads(struct fetch *f);
uint32_t fake_fetch_n_cancelled(struct fetch *f);
uint32_t fake_fetch_n_strays(struct fetch *f);

/* End all that is held: with their bytes (0), or with -errno. On the calling thread. */
void fake_fetch_answer(struct fetch *f, int result);
