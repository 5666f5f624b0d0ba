/*
 * layout_check: is a layout sound? Once for each layout that is made from outside bytes; what uses
 * it afterwards relies on every rule that is checked here. Time: linear in chunks and members.
 */
#include "bytes.h"
#include "err.h"
#include "hex.h"
#include "layout.h"
#include <errno.h>
#include <inttypes.h>

#define ZRAN_DICT_MAX_BYTES 32768U /* deflate looks back no further */

static bool id_is_sound(const char id[BLOB_ID_MAX + 1])
{
	size_t n = 0;

	while (n <= BLOB_ID_MAX && (unsigned char)id[n] > 0x1f && id[n] != 0x7f && id[n] != '/')
		n++;
	return n > 0 && n <= BLOB_ID_MAX && id[n] == '\0' && strcmp(id, ".") != 0 &&
	       strcmp(id, "..") != 0;
}

static int check_head(const struct blob_layout *l, struct err *e)
{
	const uint64_t packed_max =
		l->packed_size_bytes != 0 ? l->packed_size_bytes : BLOB_PACKED_MAX_BYTES;

	if (!id_is_sound(l->blob_id))
		return err_set(e, EUCLEAN, "a blob id is empty, too long, or no file name");
	if ((unsigned)l->digest_alg >= N_DIGEST_ALGS || (unsigned)l->compressor >= N_COMPRESSORS ||
	    (unsigned)l->trust > TRUST_NONE)
		return err_set(e, EUCLEAN,
		               "blob %s: digest algorithm %u, compressor %u or trust %u unknown",
		               l->blob_id, (unsigned)l->digest_alg, (unsigned)l->compressor,
		               (unsigned)l->trust);
	if (l->trust == TRUST_WHOLE_BLOB && !hex_is_sha256(l->blob_id))
		return err_set(e, EUCLEAN, "blob %s has no chunk digests, and its id is no SHA-256",
		               l->blob_id);
	if (l->n_chunks > BLOB_CHUNKS_MAX || l->n_units > BLOB_CHUNKS_MAX)
		return err_set(e, EUCLEAN,
		               "blob %s has %u chunks in %u units, at most %u are taken",
		               l->blob_id, l->n_chunks, l->n_units, BLOB_CHUNKS_MAX);
	if (l->plain_size_bytes > BLOB_PLAIN_MAX_BYTES || packed_max > BLOB_PACKED_MAX_BYTES ||
	    l->packed_data_end > packed_max)
		return err_set(e, EUCLEAN,
		               "blob %s: sizes out of range (%" PRIu64 " plain, %" PRIu64
		               " packed, data to %" PRIu64 ")",
		               l->blob_id, l->plain_size_bytes, l->packed_size_bytes,
		               l->packed_data_end);
	return 0;
}

/* What must hold of every chunk that is no hole, however it is packed. */
static const char *chunk_fault(const struct blob_layout *l, const struct chunk_rec *c,
                               uint64_t previous_end)
{
	if (c->plain_size_bytes > CHUNK_PLAIN_MAX_BYTES)
		return "is larger than 16 MiB";
	if (c->plain_offset < previous_end)
		return "begins before the end of the one before it";
	if (!range_fits(c->plain_offset, c->plain_size_bytes, l->plain_size_bytes))
		return "ends behind the blob's address space";
	if ((c->flags & ~(uint32_t)(CHUNK_COMPRESSED | CHUNK_ENCRYPTED | CHUNK_HAS_DIGEST)) != 0)
		return "has unknown flags";
	if (l->trust == TRUST_DIGESTS && !(c->flags & CHUNK_HAS_DIGEST))
		return "has no digest";
	return NULL;
}

static const char *unit_fault(const struct blob_layout *l, const struct unit_rec *u)
{
	const uint64_t packed_max =
		l->packed_size_bytes != 0 ? l->packed_size_bytes : BLOB_PACKED_MAX_BYTES;

	if (u->packed_size_bytes == 0 || u->packed_size_bytes > UNIT_PACKED_MAX_BYTES ||
	    u->plain_size_bytes == 0 || u->plain_size_bytes > UNIT_PLAIN_MAX_BYTES)
		return "is empty or larger than 64 MiB";
	if (!range_fits(u->packed_offset, u->packed_size_bytes, packed_max))
		return "ends behind the object";
	if (u->encrypted && !l->cipher.on)
		return "is encrypted, and the image has no key";
	if (u->kind == UNIT_ZRAN)
		return NULL;
	if (u->compressed && l->compressor == COMPRESSOR_NONE)
		return "is compressed in a blob without compressor";
	/* Encryption pads what is shorter than its block, so its sizes may differ. */
	if (!u->compressed && !u->encrypted && u->packed_size_bytes != u->plain_size_bytes)
		return "is not compressed, and its two sizes differ";
	return NULL;
}

/* What only units of several chunks have to keep. */
static const char *group_fault(const struct blob_layout *l, const struct unit_rec *u)
{
	if (u->kind > UNIT_ZRAN)
		return "is of an unknown kind";
	if (u->kind == UNIT_CHUNK && u->n_members != 1)
		return "is one chunk, and has several members";
	if (u->kind != UNIT_ZRAN)
		return NULL;
	if (u->zran.n_bits > 7)
		return "begins at a bit that no byte has";
	if (u->zran.dict_size_bytes > ZRAN_DICT_MAX_BYTES ||
	    !range_fits(u->zran.dict_offset, u->zran.dict_size_bytes, l->zran_dicts_size_bytes))
		return "has a dictionary outside the dictionaries";
	return NULL;
}

static int check_chunks(const struct blob_layout *l, uint32_t *ret_n_described, struct err *e)
{
	uint64_t end = 0;
	uint32_t n_described = 0;

	for (uint32_t i = 0; i < l->n_chunks; i++) {
		const struct chunk_rec *c = &l->chunks[i];
		const char *fault = NULL;

		if (c->plain_size_bytes == 0)
			continue;
		fault = chunk_fault(l, c, end);
		if (fault != NULL)
			return err_set(e, EUCLEAN, "blob %s: chunk %u %s", l->blob_id, i, fault);
		end = c->plain_offset + c->plain_size_bytes;
		n_described++;
	}
	*ret_n_described = n_described;
	return 0;
}

/* Each chunk its own unit. */
static int check_native(const struct blob_layout *l, struct err *e)
{
	if (l->n_units != l->n_chunks || l->members != NULL)
		return err_set(e, EUCLEAN, "blob %s: %u units for %u chunks", l->blob_id,
		               l->n_units, l->n_chunks);
	for (uint32_t i = 0; i < l->n_units; i++) {
		struct unit_rec u;
		const char *fault = NULL;

		if (layout_unit(l, i, &u))
			fault = unit_fault(l, &u);
		if (fault != NULL)
			return err_set(e, EUCLEAN, "blob %s: chunk %u, as packed, %s", l->blob_id,
			               i, fault);
	}
	return 0;
}

/* Members in ascending order, each of this unit, each inside its plain bytes. */
static const char *members_fault(const struct blob_layout *l, uint32_t unit_idx)
{
	const struct unit_rec *u = &l->units[unit_idx];
	uint32_t least = 0;

	for (uint32_t i = 0; i < u->n_members; i++) {
		const uint32_t idx = l->members[u->first_member + i];
		const struct chunk_rec *c = NULL;

		if (idx < least || idx >= l->n_chunks)
			return "has members out of order";
		c = &l->chunks[idx];
		if (c->plain_size_bytes == 0 || c->place >> 32 != unit_idx)
			return "has a member that belongs elsewhere";
		if (!range_fits((uint32_t)c->place, c->plain_size_bytes, u->plain_size_bytes))
			return "has a member behind its end";
		if (u->kind == UNIT_CHUNK && c->plain_size_bytes != u->plain_size_bytes)
			return "is one chunk, and has another size";
		least = idx + 1;
	}
	return NULL;
}

static const char *grouped_unit_fault(const struct blob_layout *l, uint32_t unit_idx,
                                      uint32_t n_described)
{
	const struct unit_rec *u = &l->units[unit_idx];
	const char *fault = NULL;

	/* Before members is looked at: it has one entry a chunk that is no hole. */
	if (!range_fits(u->first_member, u->n_members, n_described))
		return "has members that are not there";
	fault = group_fault(l, u);
	if (fault == NULL)
		fault = unit_fault(l, u);
	if (fault == NULL)
		fault = members_fault(l, unit_idx);
	return fault;
}

static int check_grouped(const struct blob_layout *l, uint32_t n_described, struct err *e)
{
	uint64_t n_members = 0;

	/* Ends early where units claim more members than there are: that keeps this linear. */
	for (uint32_t i = 0; i < l->n_units && n_members <= n_described; i++) {
		const char *fault = NULL;

		if (l->units[i].n_members > 0)
			fault = grouped_unit_fault(l, i, n_described);
		if (fault != NULL)
			return err_set(e, EUCLEAN, "blob %s: unit %u %s", l->blob_id, i, fault);
		n_members += l->units[i].n_members;
	}
	if (n_members != n_described)
		return err_set(e, EUCLEAN,
		               "blob %s: its units have other chunks than its chunk table",
		               l->blob_id);
	return 0;
}

int layout_check(const struct blob_layout *l, struct err *e)
{
	uint32_t n_described = 0;
	int r;

	r = check_head(l, e);
	if (r == 0)
		r = check_chunks(l, &n_described, e);
	if (r == 0)
		r = l->units == NULL ? check_native(l, e) : check_grouped(l, n_described, e);
	return r;
}
