/*
 * kept: see the header.
 */
#include "kept.h"
#include "cas.h"
#include <stddef.h>

void kept_init(struct kept *k)
{
	(void)pthread_mutex_init(&k->mutex, NULL);
}

void kept_fini(struct kept *k)
{
	kept_let_go(k, UINT64_MAX);
	(void)pthread_mutex_destroy(&k->mutex);
}

/* With the mutex held: its own slot, a free one, or the oldest. */
static uint32_t slot_for(const struct kept *k, const struct cas_blob *blob)
{
	uint32_t best = 0;

	for (uint32_t i = 0; i < KEPT_MAX; i++) {
		if (k->slots[i].blob == blob)
			return i;
		if (k->slots[i].until_ns < k->slots[best].until_ns) /* a free one has 0 */
			best = i;
	}
	return best;
}

void kept_note(struct kept *k, struct cas_blob *blob, uint64_t now_ns)
{
	struct cas_blob *replaced = NULL;
	uint32_t i;

	(void)pthread_mutex_lock(&k->mutex);
	i = slot_for(k, blob);
	if (k->slots[i].blob != blob) {
		replaced = k->slots[i].blob;
		k->slots[i].blob = cas_blob_ref(blob);
	}
	k->slots[i].until_ns = now_ns + KEPT_MS * NS_PER_MS;
	(void)pthread_mutex_unlock(&k->mutex);
	cas_blob_release(&replaced);
}

void kept_let_go(struct kept *k, uint64_t now_ns)
{
	struct cas_blob *gone[KEPT_MAX] = { NULL };

	(void)pthread_mutex_lock(&k->mutex);
	for (uint32_t i = 0; i < KEPT_MAX; i++) {
		if (k->slots[i].until_ns > now_ns)
			continue;
		gone[i] = k->slots[i].blob;
		k->slots[i].blob = NULL;
		k->slots[i].until_ns = 0;
	}
	(void)pthread_mutex_unlock(&k->mutex);
	for (uint32_t i = 0; i < KEPT_MAX; i++)
		cas_blob_release(&gone[i]);
}
