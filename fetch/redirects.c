/*
 * redirects: a direct-mapped table of texts. Does not know what a stale one looks like.
 */
#include "redirects.h"
#include "mem.h"
#include "secret.h"
#include <stdint.h>

#define N_SLOTS 1024

struct slot {
	char *key;
	char *url;
};

struct redirects {
	struct slot slots[N_SLOTS];
};

/* FNV-1a, 32 bit. A key that was made to collide costs its owner's own entry. */
static uint32_t slot_of(const char *key)
{
	uint32_t hash = 2166136261U;

	for (; *key != '\0'; key++)
		hash = (hash ^ (uint8_t)*key) * 16777619U;
	return hash % N_SLOTS;
}

static void clear(struct slot *slot)
{
	free_str(&slot->key);
	free_secret(&slot->url);
}

struct redirects *redirects_new(void)
{
	return xcalloc(1, sizeof(struct redirects));
}

void redirects_free(struct redirects **r)
{
	if (*r == NULL)
		return;
	for (uint32_t i = 0; i < N_SLOTS; i++)
		clear(&(*r)->slots[i]);
	free(*r);
	*r = NULL;
}

const char *redirects_find(const struct redirects *r, const char *key)
{
	const struct slot *slot = &r->slots[slot_of(key)];

	return slot->key != NULL && strcmp(slot->key, key) == 0 ? slot->url : NULL;
}

void redirects_put(struct redirects *r, const char *key, const char *url)
{
	struct slot *slot = &r->slots[slot_of(key)];

	clear(slot);
	slot->key = xstrdup(key);
	slot->url = xstrdup(url);
}

void redirects_drop(struct redirects *r, const char *key)
{
	if (redirects_find(r, key) != NULL)
		clear(&r->slots[slot_of(key)]);
}
