/*
 * ci: the forms of a blob's chunk index: records of version 1 and 2, contexts of batches and of
 * zran slices. Knows no chunk table and no layout.
 * Source: docs/rafs.md, "Chunk index (CI)".
 */
#include "ci.h"
#include "blob_meta.h"
#include "bootstrap.h"
#include <errno.h>
#include <inttypes.h>

#define RECORD_V1_BYTES 16
#define RECORD_V2_BYTES 24
#define CONTEXT_BYTES   40
#define BLOCK_BITS      12
#define SIZE_HIGH_SHIFT 20
#define PACKED_MASK     ((UINT64_C(1) << 40) - 1)

static bool takes_units(const struct image_blob *b)
{
	return (b->features & (BLOB_ZRAN | BLOB_BATCH)) != 0;
}

/* Contexts stand behind the records, dictionaries behind the contexts. */
static int open_contexts(struct ci *ci, const uint8_t *meta, const uint8_t *header, struct err *e)
{
	const uint64_t offset = le64(header + 40);
	const uint64_t size_bytes = le64(header + 48);
	const uint64_t used = (uint64_t)le32(header + 56) * CONTEXT_BYTES;

	if (offset < (uint64_t)ci->n_records * RECORD_V2_BYTES ||
	    !range_fits(offset, size_bytes, ci->blob->ci_plain_size_bytes) || used > size_bytes ||
	    le32(header + 56) > ci->n_records)
		return err_set(e, EUCLEAN,
		               "blob %s: its index has %u contexts of %" PRIu64
		               " bytes at %" PRIu64,
		               ci->blob->blob_id, le32(header + 56), size_bytes, offset);
	ci->contexts = meta + offset;
	ci->n_contexts = le32(header + 56);
	if (ci->blob->features & BLOB_ZRAN) {
		ci->dicts = ci->contexts + used;
		ci->dicts_size_bytes = size_bytes - used;
	}
	return 0;
}

int ci_open(const struct image_blob *blob, const uint8_t *meta, uint64_t size_bytes,
            struct ci *ret_ci, struct err *e)
{
	const bool v2 = blob->features & BLOB_CI_V2;
	struct ci ci = { .blob = blob, .records = meta, .n_records = blob->n_chunks, .v2 = v2 };
	int r = blob_meta_check(blob, meta, size_bytes, e);

	if (r < 0)
		return r;
	if ((uint64_t)ci.n_records * (v2 ? RECORD_V2_BYTES : RECORD_V1_BYTES) >
	    blob->ci_plain_size_bytes)
		return err_set(e, EUCLEAN, "blob %s: an index of %" PRIu64 " bytes for %u chunks",
		               blob->blob_id, blob->ci_plain_size_bytes, ci.n_records);
	if (takes_units(blob))
		r = open_contexts(&ci, meta, meta + size_bytes - CI_HEADER_BYTES, e);
	if (r == 0)
		*ret_ci = ci;
	return r;
}

/* A size less one: 20 bits at the top of a word, 4 more below. */
static uint32_t v1_size(uint64_t word, unsigned high_at)
{
	return (uint32_t)((word >> 44) | (word >> high_at & 0xf) << SIZE_HIGH_SHIFT) + 1;
}

static void read_v1(const uint8_t *p, struct ci_record *c)
{
	const uint64_t plain = le64(p);
	const uint64_t packed = le64(p + 8);

	*c = (struct ci_record){
		.plain_offset = plain & UINT64_C(0x00000ffffffff000),
		.plain_size_bytes = v1_size(plain, 8),
		.packed_offset = packed & PACKED_MASK,
		.packed_size_bytes = v1_size(packed, 40),
	};
	c->flags = c->packed_size_bytes != c->plain_size_bytes ? CI_COMPRESSED : 0;
}

static void read_v2(const uint8_t *p, struct ci_record *c)
{
	const uint64_t plain = le64(p);
	const uint64_t packed = le64(p + 8);

	*c = (struct ci_record){
		.plain_offset = (plain & UINT32_MAX) << BLOCK_BITS,
		.plain_size_bytes = (uint32_t)(plain >> 32 & 0xffffff) + 1,
		.packed_offset = packed & PACKED_MASK,
		.packed_size_bytes = (uint32_t)(packed >> 40),
		.flags = (uint32_t)(plain >> 56) &
		         (CI_COMPRESSED | CI_ZRAN | CI_BATCH | CI_ENCRYPTED),
		.offset_in_unit = le32(p + 16),
		.ctx_idx = le32(p + 20),
	};
}

static const char *record_fault(const struct ci *ci, const struct ci_record *c)
{
	const uint32_t features = ci->blob->features;

	if (c->flags & CI_ZRAN && (!(features & BLOB_ZRAN) || c->flags & (CI_BATCH | CI_ENCRYPTED)))
		return "is a zran slice's in a blob without";
	if (features & BLOB_ZRAN && !(c->flags & CI_ZRAN))
		return "is no zran slice's in a blob of them";
	if (c->flags & CI_BATCH && !(features & BLOB_BATCH))
		return "is a batch's in a blob without";
	if (c->flags & CI_ENCRYPTED && !(features & BLOB_ENCRYPTED))
		return "is encrypted in a blob that is not";
	if (c->flags & (CI_ZRAN | CI_BATCH) && c->ctx_idx >= ci->n_contexts)
		return "names a context that is not there";
	if (!(c->flags & (CI_ZRAN | CI_BATCH)) && c->packed_size_bytes == 0)
		return "has no packed bytes";
	return NULL;
}

int ci_record(const struct ci *ci, uint32_t i, struct ci_record *ret_record, struct err *e)
{
	const char *fault;

	if (ci->v2)
		read_v2(ci->records + (uint64_t)i * RECORD_V2_BYTES, ret_record);
	else
		read_v1(ci->records + (uint64_t)i * RECORD_V1_BYTES, ret_record);
	fault = record_fault(ci, ret_record);
	if (fault != NULL)
		return err_set(e, EUCLEAN, "blob %s: record %u of its index %s", ci->blob->blob_id,
		               i, fault);
	return 0;
}

void ci_context(const struct ci *ci, uint32_t i, struct unit_rec *ret_unit)
{
	const uint8_t *p = ci->contexts + (uint64_t)i * CONTEXT_BYTES;

	if (!(ci->blob->features & BLOB_ZRAN)) {
		*ret_unit = (struct unit_rec){
			.kind = UNIT_BATCH,
			.packed_size_bytes = le32(p),
			.plain_size_bytes = le32(p + 4),
			.compressed = le32(p) != le32(p + 4),
		};
		return;
	}
	*ret_unit = (struct unit_rec){
		.kind = UNIT_ZRAN,
		.packed_offset = le64(p),
		.packed_size_bytes = le32(p + 24),
		.plain_size_bytes = le32(p + 28),
		.compressed = true,
		.zran = { .dict_offset = le64(p + 16),
		          .dict_size_bytes = le32(p + 32),
		          .prev_byte = p[36],
		          .n_bits = p[37] & 7 },
	};
}
