/*
 * hooks: who is told of chunks that come and go, and the end of that. Private to cas/.
 *
 * [any] but for what says otherwise.
 */
#pragma once
#include "cas.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct hooks {
	struct cas_hooks to; /* does not change while is_on */
	atomic_bool is_on;
	atomic_uint n_running;
	pthread_mutex_t lock; /* for the condition alone */
	pthread_cond_t none;  /* of them runs */
};

void hooks_init(struct hooks *h);
void hooks_fini(struct hooks *h);
void hooks_on(struct hooks *h, const struct cas_hooks *to);
/** [blocks] As cas_hooks_off(). */
void hooks_off(struct hooks *h);

void hooks_ready(struct hooks *h, struct cas_blob *blob, uint32_t chunk_idx);
void hooks_gone(struct hooks *h, struct cas_blob *blob, uint32_t chunk_idx);
