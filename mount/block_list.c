/*
 * block_list: a stack of unused blocks under a lock that is held for a push or a pop.
 *
 * Knows sizes alone.
 */
#include "block_list.h"
#include "mem.h"
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

struct block_list {
	size_t block_size_bytes;
	uint32_t n_spare_max;
	pthread_mutex_t lock; /* guards spare, n_spare */
	uint32_t n_spare;
	void *spare[];
};

struct block_list *block_list_new(size_t block_size_bytes, uint32_t n_spare_max)
{
	struct block_list *list = xcalloc(1, sizeof(*list) + n_spare_max * sizeof(list->spare[0]));

	list->block_size_bytes = block_size_bytes;
	list->n_spare_max = n_spare_max;
	pthread_mutex_init(&list->lock, NULL);
	return list;
}

void block_list_free(struct block_list **list)
{
	struct block_list *l = *list;

	if (l == NULL)
		return;
	*list = NULL;
	while (l->n_spare > 0)
		(void)munmap(l->spare[--l->n_spare], l->block_size_bytes);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void *block_take(struct block_list *list)
{
	void *block = NULL;

	pthread_mutex_lock(&list->lock);
	if (list->n_spare > 0)
		block = list->spare[--list->n_spare];
	pthread_mutex_unlock(&list->lock);
	if (block != NULL)
		return block;
	/* Not malloc: pages that no read ever reaches must cost nothing, whatever the heap does. */
	block = mmap(NULL, list->block_size_bytes, PROT_READ | PROT_WRITE,
	             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return block == MAP_FAILED ? NULL : block;
}

void block_give(struct block_list *list, void *block)
{
	pthread_mutex_lock(&list->lock);
	if (list->n_spare < list->n_spare_max) {
		list->spare[list->n_spare++] = block;
		block = NULL;
	}
	pthread_mutex_unlock(&list->lock);
	if (block != NULL)
		(void)munmap(block, list->block_size_bytes);
}
