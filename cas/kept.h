/*
 * kept: blobs that were found by name and opened for it, kept open for a few seconds: whoever asks
 * for one chunk of a blob asks for its neighbours next, and opening costs the whole layout.
 *
 * Holds references; knows no names, no files.
 */
#pragma once
#include <pthread.h>
#include <stdint.h>

#define KEPT_MAX 8U
#define KEPT_MS  5000U

struct cas_blob;

struct kept {
	pthread_mutex_t mutex; /* guards all below */
	struct {
		struct cas_blob *blob; /* a reference; NULL: free */
		uint64_t until_ns;
	} slots[KEPT_MAX];
};

void kept_init(struct kept *k);
void kept_fini(struct kept *k); /* lets all go; the writer closes them */

/** [any] Keep it from now on; of too many, the one that was asked for least recently goes. */
void kept_note(struct kept *k, struct cas_blob *blob, uint64_t now_ns);

/** [any] Let go whose time is over. */
void kept_let_go(struct kept *k, uint64_t now_ns);
