/*
 * slice_heads: a ring of byte strings, by blob, place and origin.
 */
#include "slice_heads.h"
#include "mem.h"
#include "plan.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kept {
	char key[BLOB_ID_MAX + 16];
	char *origin;
	struct slice_head head;
	uint8_t *bytes; /* NULL: a free place */
};

struct slice_heads {
	struct kept all[SLICE_HEADS_MAX];
	uint32_t next;
};

bool slice_head_of(const struct blob_layout *l, uint32_t unit_idx, struct slice_head *ret_head)
{
	const uint64_t bytes = plan_overlap_bytes(l, unit_idx);
	struct unit_rec unit;

	if (bytes == 0 || bytes > SLICE_HEAD_MAX_BYTES || !layout_unit(l, unit_idx, &unit) ||
	    bytes >= unit.packed_size_bytes)
		return false;
	*ret_head =
		(struct slice_head){ .offset = unit.packed_offset, .size_bytes = (uint32_t)bytes };
	return true;
}

struct slice_heads *slice_heads_new(void)
{
	return xcalloc(1, sizeof(struct slice_heads));
}

void slice_heads_free(struct slice_heads **heads)
{
	for (uint32_t i = 0; *heads != NULL && i < SLICE_HEADS_MAX; i++) {
		free_str(&(*heads)->all[i].origin);
		free((*heads)->all[i].bytes);
	}
	free(*heads);
	*heads = NULL;
}

static bool is_it(const struct kept *k, const char *blob_key, const char *origin,
                  const struct slice_head *head)
{
	return k->bytes != NULL && k->head.offset == head->offset &&
	       k->head.size_bytes == head->size_bytes && strcmp(k->key, blob_key) == 0 &&
	       strcmp(k->origin, origin) == 0;
}

void slice_heads_keep(struct slice_heads *heads, const char *blob_key, const char *origin,
                      const struct slice_head *head, const uint8_t *bytes)
{
	struct kept *k = &heads->all[heads->next];
	uint8_t *copy = malloc(head->size_bytes);

	if (copy == NULL)
		return;
	memcpy(copy, bytes, head->size_bytes);
	for (uint32_t i = 0; i < SLICE_HEADS_MAX; i++) {
		if (is_it(&heads->all[i], blob_key, origin, head))
			k = &heads->all[i];
	}
	if (k == &heads->all[heads->next])
		heads->next = (heads->next + 1) % SLICE_HEADS_MAX;
	free(k->bytes);
	free_str(&k->origin);
	k->origin = xstrdup(origin);
	k->bytes = copy;
	k->head = *head;
	(void)snprintf(k->key, sizeof(k->key), "%s", blob_key);
}

const uint8_t *slice_heads_find(const struct slice_heads *heads, const char *blob_key,
                                const char *origin, const struct slice_head *head)
{
	for (uint32_t i = 0; i < SLICE_HEADS_MAX; i++) {
		if (is_it(&heads->all[i], blob_key, origin, head))
			return heads->all[i].bytes;
	}
	return NULL;
}

void slice_heads_forget(struct slice_heads *heads, const char *blob_key)
{
	for (uint32_t i = 0; i < SLICE_HEADS_MAX; i++) {
		struct kept *k = &heads->all[i];

		if (k->bytes == NULL || strcmp(k->key, blob_key) != 0)
			continue;
		free(k->bytes);
		k->bytes = NULL;
	}
}
