/*
 * rows: the numbering of rows that belong to a part of a blob.
 */
#pragma once
#include "db.h"
#include <stdint.h>

#define PART_BITS 12 /* at most BLOB_CHUNKS_MAX / 4096 parts, BLOB_CHUNKS_MAX / 32768 slices */

static inline uint64_t part_id(uint64_t blob_row, uint32_t part)
{
	return blob_row << PART_BITS | part;
}

static inline uint32_t part_of_id(uint64_t id)
{
	return (uint32_t)(id & ((1U << PART_BITS) - 1));
}

/**
 * Prepare a statement whose first two values are the range of a blob's parts (id >= ? AND id < ?).
 *
 * @param ret_stmt  the caller's to close
 * @return 0; negative as db_prepare()
 */
MUST_CHECK static inline int db_prepare_parts(struct db *db, const char *sql, uint64_t blob_row,
                                              db_stmt **ret_stmt, struct err *e)
{
	const int r = db_prepare(db, sql, ret_stmt, e);

	if (r < 0)
		return r;
	db_bind_u64(*ret_stmt, 1, part_id(blob_row, 0));
	db_bind_u64(*ret_stmt, 2, part_id(blob_row + 1, 0));
	return 0;
}

/** Run a statement whose two values are that range. @return 0; negative as db_run_with() */
MUST_CHECK static inline int db_run_parts(struct db *db, const char *sql, uint64_t blob_row,
                                          struct err *e)
{
	const uint64_t range[] = { part_id(blob_row, 0), part_id(blob_row + 1, 0) };

	return db_run_with(db, sql, range, 2, e);
}
