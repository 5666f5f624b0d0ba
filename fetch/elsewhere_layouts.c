/*
 * elsewhere_layouts: see the header. A list, for it is short.
 */
#include "elsewhere_layouts.h"
#include "mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define KEPT_MAX     8
#define KEPT_MS      30000
#define NOT_KNOWN_MS 3000 /* an image that tells may be on its way here */

struct kept {
	struct kept *prev, *next; /* used last first */
	char key[BLOB_ID_MAX + 16];
	struct blob_layout *layout;
	bool is_whole;     /* else another image may tell more by now: not kept for being used */
	uint64_t since_ns; /* read; where it is whole, used */
};

struct elsewhere_layouts {
	const struct clock *clock;
	struct kept *first;
	uint32_t n;
	struct timer timer;
};

static void drop(struct elsewhere_layouts *l, struct kept *k)
{
	DL_DELETE(l->first, k);
	l->n--;
	layout_unref(&k->layout);
	free(k);
}

static bool is_over(const struct elsewhere_layouts *l, const struct kept *k)
{
	const uint64_t ms = k->layout == NULL ? NOT_KNOWN_MS : KEPT_MS;

	return clock_now_ns(l->clock) - k->since_ns >= ms * NS_PER_MS;
}

static void on_timer(struct timer *t)
{
	struct elsewhere_layouts *l = container_of(t, struct elsewhere_layouts, timer);
	struct kept *k;
	struct kept *next;

	DL_FOREACH_SAFE(l->first, k, next)
	{
		if (is_over(l, k))
			drop(l, k);
	}
	if (l->first != NULL)
		timer_start(&l->timer, KEPT_MS);
}

struct elsewhere_layouts *elsewhere_layouts_new(struct loop *loop, const struct clock *clock)
{
	struct elsewhere_layouts *l = xcalloc(1, sizeof(*l));

	l->clock = clock;
	timer_init(&l->timer, loop, on_timer);
	return l;
}

void elsewhere_layouts_free(struct elsewhere_layouts **layouts)
{
	struct elsewhere_layouts *l = *layouts;

	*layouts = NULL;
	if (l == NULL)
		return;
	while (l->first != NULL)
		drop(l, l->first);
	timer_fini(&l->timer);
	free(l);
}

bool elsewhere_layouts_find(struct elsewhere_layouts *l, const char *key,
                            struct blob_layout **ret_layout)
{
	struct kept *k = l->first;

	while (k != NULL && strcmp(k->key, key) != 0)
		k = k->next;
	if (k == NULL)
		return false;
	if (is_over(l, k)) {
		drop(l, k);
		return false;
	}
	if (k->is_whole)
		k->since_ns = clock_now_ns(l->clock);
	DL_DELETE(l->first, k);
	DL_PREPEND(l->first, k);
	*ret_layout = k->layout != NULL ? layout_ref(k->layout) : NULL;
	return true;
}

static bool is_whole(const struct blob_layout *layout)
{
	uint32_t i = 0;

	while (i < layout->n_chunks && layout->chunks[i].plain_size_bytes > 0)
		i++;
	return i == layout->n_chunks;
}

void elsewhere_layouts_add(struct elsewhere_layouts *l, const char *key, struct blob_layout *layout)
{
	struct blob_layout *known = NULL;
	struct kept *k;

	if (elsewhere_layouts_find(l, key, &known)) { /* two asked at once */
		layout_unref(&known);
		return;
	}
	if (l->first == NULL) /* else it runs */
		timer_start(&l->timer, KEPT_MS);
	else if (l->n == KEPT_MAX)
		drop(l, l->first->prev);
	k = xcalloc(1, sizeof(*k));
	(void)snprintf(k->key, sizeof(k->key), "%s", key);
	k->layout = layout != NULL ? layout_ref(layout) : NULL;
	k->is_whole = layout != NULL && is_whole(layout);
	k->since_ns = clock_now_ns(l->clock);
	DL_PREPEND(l->first, k);
	l->n++;
}
