/*
 * block_list: blocks of memory of one size, used over and over, the last one first.
 *
 * So that a read needs no allocation and touches pages that are in the CPU's cache. At most
 * n_spare_max unused blocks are kept; more are made while more are in use. Any thread.
 */
#pragma once
#include "auto.h"
#include <stddef.h>
#include <stdint.h>

struct block_list;

struct block_list *block_list_new(size_t block_size_bytes, uint32_t n_spare_max); /* never NULL */
void block_list_free(struct block_list **list); /* all blocks are back. NULL is fine */

/** Aligned to a page, with what its last user left in it. @return NULL: memory is out */
void *block_take(struct block_list *list);
void block_give(struct block_list *list, void *block);
