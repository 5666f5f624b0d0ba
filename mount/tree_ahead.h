/*
 * tree_ahead: readahead from file to file.
 *
 * A program that lists a directory and reads its small files one after another waits one round trip
 * for each: the kernel reads ahead inside a file alone. Here the listings are remembered; when
 * files are read in their order, those that follow are put into the kernel's page cache before it
 * asks, as far as their chunks are in the cache already.
 */
#pragma once
#include <stdint.h>

struct tree_ahead;

struct tree_ahead *tree_ahead_new(void);         /* never NULL */
void tree_ahead_free(struct tree_ahead **ahead); /* NULL is fine */

/** This directory is being listed from its start. Any thread, as all. */
void tree_ahead_begin(struct tree_ahead *ahead, uint64_t dir);

/** The kernel has learnt of a small file: the next one of this directory's listing. */
void tree_ahead_listed(struct tree_ahead *ahead, uint64_t dir, uint64_t node);

/**
 * A small file was read from its start. @return how many of the files that follow it (at most max)
 * are worth bringing now: ret_nodes.
 */
uint32_t tree_ahead_next(struct tree_ahead *ahead, uint64_t node, uint64_t *ret_nodes,
                         uint32_t max);
