/*
 * ci: a blob's chunk index in its local form, record by record.
 *
 * Every record and context is checked before it is handed out. Pure functions on bytes.
 * Source: docs/rafs.md, "Chunk index (CI)".
 */
#pragma once
#include "image.h"

enum ci_record_flags {
	CI_COMPRESSED = 1,
	CI_ZRAN = 2,
	CI_BATCH = 4,
	CI_ENCRYPTED = 8,
};

struct ci {
	const struct image_blob *blob;
	const uint8_t *records;
	uint32_t n_records;
	bool v2;
	const uint8_t *contexts; /* of batches or of zran slices */
	uint32_t n_contexts;
	const uint8_t *dicts; /* zran */
	uint64_t dicts_size_bytes;
};

struct ci_record {
	uint64_t plain_offset;
	uint64_t packed_offset;
	uint32_t plain_size_bytes;
	uint32_t packed_size_bytes; /* of a batch member: 0 */
	uint32_t flags;
	uint32_t ctx_idx;        /* CI_ZRAN, CI_BATCH: < n_contexts */
	uint32_t offset_in_unit; /* CI_ZRAN, CI_BATCH */
};

/** meta: the local form, borrowed as long as *ret_ci is used. @return 0; -EUCLEAN */
MUST_CHECK int ci_open(const struct image_blob *blob, const uint8_t *meta, uint64_t size_bytes,
                       struct ci *ret_ci, struct err *e);

/** i < n_records. @return 0; -EUCLEAN */
MUST_CHECK int ci_record(const struct ci *ci, uint32_t i, struct ci_record *ret_record,
                         struct err *e);

/** The unit that a context describes, without its members; i < n_contexts. A batch context does
 * not say where the batch stands: packed_offset is 0 then. */
void ci_context(const struct ci *ci, uint32_t i, struct unit_rec *ret_unit);
