/*
 * chunk_rows: the chunk table: public name -> (blob, index), a row for every chunk of every
 * registered blob. Rows come and go in batches sorted by name, so that neighbours share a page.
 */
#pragma once
#include "db.h"
#include "layout.h"
#include <stdbool.h>
#include <stdint.h>

#define CHUNK_ROWS_A_TX  10000U     /* a transaction; the writer does something else in between */
#define CHUNK_ROWS_GROUP (1U << 18) /* chunks sorted together */

struct chunk_rows;

/** Walk over the chunks of a layout from chunk `first` (a multiple of CHUNK_ROWS_GROUP, or the
 * end). layout: a reference is taken. @return NULL: memory is out */
struct chunk_rows *chunk_rows_new(uint64_t blob_row, struct blob_layout *layout, uint32_t first);
void chunk_rows_free(struct chunk_rows **rows); /* NULL is fine */

enum chunk_rows_do { CHUNK_ROWS_ADD, CHUNK_ROWS_DELETE };

/** [writer] One transaction's worth. Adding notes in the blob's row how far whole groups have come.
 * @return 1 there is more; 0 done; negative */
MUST_CHECK int chunk_rows_step(struct chunk_rows *rows, struct db *db, enum chunk_rows_do what,
                               struct err *e);
