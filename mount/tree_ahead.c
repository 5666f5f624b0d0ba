/*
 * tree_ahead: which files a reader wants next, told from listings and from what was read.
 *
 *   listing of a directory:   [ read ... ][ brought already ... ][ not yet ... ]
 *                                          ^ next                ^ brought
 * A read between next and a little behind brought moves the stream on; one that reads the
 * first file of a listing, or two in order, is believed, and the window doubles with each. What the
 * kernel already has it does not ask for, so reads come from the edge of what was brought. A few
 * listings are kept, the least used goes. Knows node ids alone: no bytes, no kernel.
 */
#include "tree_ahead.h"
#include "bytes.h"
#include "mem.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define LISTINGS_MAX 16
#define LISTED_MAX   4096 /* small files of one directory that are remembered */
#define ROOM_FIRST   32
#define SKIPPED_MAX  8 /* files that a reader may leave out and still be in order */
#define WINDOW_FIRST 8

struct listing {
	uint64_t dir;  /* 0: unused */
	uint64_t used; /* the higher, the later */
	uint64_t *nodes;
	uint32_t n_nodes;
	uint32_t room;
	uint32_t next;
	uint32_t brought;
	uint32_t window; /* 0: not believed yet */
	bool begun;
};

struct tree_ahead {
	pthread_mutex_t lock; /* guards all below; held for look-ups alone */
	uint64_t now;
	struct listing listings[LISTINGS_MAX];
};

struct tree_ahead *tree_ahead_new(void)
{
	struct tree_ahead *ahead = xcalloc(1, sizeof(*ahead));

	pthread_mutex_init(&ahead->lock, NULL);
	return ahead;
}

void tree_ahead_free(struct tree_ahead **ahead)
{
	if (*ahead == NULL)
		return;
	for (uint32_t i = 0; i < LISTINGS_MAX; i++)
		free((*ahead)->listings[i].nodes);
	pthread_mutex_destroy(&(*ahead)->lock);
	free(*ahead);
	*ahead = NULL;
}

/* The listing of dir, or the least used one. */
static struct listing *listing_of(struct tree_ahead *ahead, uint64_t dir)
{
	struct listing *oldest = &ahead->listings[0];

	for (uint32_t i = 0; i < LISTINGS_MAX; i++) {
		struct listing *l = &ahead->listings[i];

		if (l->dir == dir)
			return l;
		if (l->used < oldest->used)
			oldest = l;
	}
	return oldest;
}

void tree_ahead_begin(struct tree_ahead *ahead, uint64_t dir)
{
	struct listing *l;

	pthread_mutex_lock(&ahead->lock);
	l = listing_of(ahead, dir);
	*l = (struct listing){
		.dir = dir, .used = ++ahead->now, .nodes = l->nodes, .room = l->room
	};
	pthread_mutex_unlock(&ahead->lock);
}

void tree_ahead_listed(struct tree_ahead *ahead, uint64_t dir, uint64_t node)
{
	struct listing *l;

	pthread_mutex_lock(&ahead->lock);
	l = listing_of(ahead, dir);
	if (l->dir == dir && l->n_nodes < LISTED_MAX) { /* else its beginning is forgotten */
		if (l->n_nodes == l->room) {
			l->room = l->room == 0 ? ROOM_FIRST : l->room * 2;
			l->nodes = xrealloc(l->nodes, l->room, sizeof(l->nodes[0]));
		}
		l->nodes[l->n_nodes++] = node;
	}
	pthread_mutex_unlock(&ahead->lock);
}

/* Is node about the next one of this listing? @return its place, or n_nodes */
static uint32_t place_of(const struct listing *l, uint64_t node)
{
	const uint64_t end = min_u64((uint64_t)l->brought + SKIPPED_MAX, l->n_nodes);

	for (uint32_t i = l->next; i < end; i++) {
		if (l->nodes[i] == node)
			return i;
	}
	return l->n_nodes;
}

/* The reader is at place i: what is to be brought now. */
static uint32_t move_on(struct listing *l, uint32_t i, uint64_t *ret_nodes, uint32_t max)
{
	uint32_t n = 0;

	if (l->begun || i == 0)
		l->window = l->window == 0 ? WINDOW_FIRST : l->window * 2;
	if (l->window > max)
		l->window = max;
	l->begun = true;
	l->next = i + 1;
	if (l->brought < l->next)
		l->brought = l->next;
	while (l->brought < l->n_nodes && l->brought - l->next < l->window)
		ret_nodes[n++] = l->nodes[l->brought++];
	return n;
}

uint32_t tree_ahead_next(struct tree_ahead *ahead, uint64_t node, uint64_t *ret_nodes, uint32_t max)
{
	uint32_t n = 0;
	bool found = false;

	pthread_mutex_lock(&ahead->lock);
	for (uint32_t k = 0; k < LISTINGS_MAX && !found; k++) {
		struct listing *l = &ahead->listings[k];
		const uint32_t i = place_of(l, node);

		found = i < l->n_nodes;
		if (found) {
			l->used = ++ahead->now;
			n = move_on(l, i, ret_nodes, max);
		}
	}
	pthread_mutex_unlock(&ahead->lock);
	return n;
}
