/*
 * toc: the table of contents at the end of a blob: which part of the tail stands where, and its
 * digest. Reads the table; fetches nothing.
 * Source: docs/rafs.md, "Table of contents (TOC)".
 */
#include "blob_meta.h"
#include "bootstrap.h"
#include "mem.h"
#include "unpack.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define ENTRY_BYTES     128
#define ENTRY_NAME      16
#define TAR_NAME_BYTES  100
#define TAR_SIZE_AT     124
#define TAR_SIZE_DIGITS 12
#define TAR_MAGIC_AT    257
#define TAR_TYPE_AT     156
#define FORM_MASK       0xfU /* of an entry's flags: how it is packed */

static const char toc_name[] = "rafs.blob.toc";

/* A size in a tar header: octal digits. @return false: anything else */
static bool tar_size(const uint8_t *header, uint64_t *ret_size_bytes)
{
	uint64_t n = 0;
	int n_digits = 0;

	for (int i = 0; i < TAR_SIZE_DIGITS; i++) {
		const uint8_t c = header[TAR_SIZE_AT + i];

		if (c < '0' || c > '7')
			break;
		n = n * 8 + (c - '0');
		n_digits++;
	}
	*ret_size_bytes = n;
	return n_digits > 0;
}

static bool is_toc_header(const uint8_t *h)
{
	return memcmp(h, toc_name, sizeof(toc_name)) == 0 &&
	       memcmp(h + TAR_MAGIC_AT, "ustar", 5) == 0 &&
	       (h[TAR_TYPE_AT] == '0' || h[TAR_TYPE_AT] == '\0');
}

/* @return false: it is packed in a way that is not known */
static bool read_form(uint32_t flags, enum compressor *ret_compressor)
{
	switch (flags & FORM_MASK) {
	case 1:
		*ret_compressor = COMPRESSOR_NONE;
		return true;
	case 2:
		*ret_compressor = COMPRESSOR_ZSTD;
		return true;
	case 4: /* the chunk index of a blob whose chunks are packed so */
		*ret_compressor = COMPRESSOR_LZ4_BLOCK;
		return true;
	default:
		return false;
	}
}

static int read_entry(const uint8_t *p, uint64_t object_size_bytes, struct toc_entry *t,
                      struct err *e)
{
	const uint32_t flags = le32(p);
	bool known;

	*t = (struct toc_entry){
		.stored_offset = le64(p + 56),
		.stored_size_bytes = le64(p + 64),
		.plain_size_bytes = le64(p + 72),
	};
	memcpy(t->name, p + 8, ENTRY_NAME);
	memcpy(t->digest, p + 24, DIGEST_BYTES);
	/* image.blob gives the end of the chunk data for its offset, and is of no use here. */
	if (strcmp(t->name, "image.blob") == 0)
		return 0;
	known = read_form(flags, &t->compressor);
	if (!known || !range_fits(t->stored_offset, t->stored_size_bytes, object_size_bytes) ||
	    (t->compressor == COMPRESSOR_NONE && t->stored_size_bytes != t->plain_size_bytes))
		return err_set(e, EUCLEAN,
		               "table of contents: an entry of %" PRIu64 " bytes at %" PRIu64
		               " (form 0x%x) in an object of %" PRIu64,
		               t->stored_size_bytes, t->stored_offset, flags, object_size_bytes);
	return 0;
}

static int read_entries(const uint8_t *p, uint64_t size_bytes, uint64_t object_size_bytes,
                        struct toc *toc, struct err *e)
{
	toc->n_entries = (uint32_t)(size_bytes / ENTRY_BYTES);
	for (uint32_t i = 0; i < toc->n_entries; i++) {
		int r = read_entry(p + (size_t)i * ENTRY_BYTES, object_size_bytes, &toc->entries[i],
		                   e);

		if (r < 0)
			return r;
	}
	return 0;
}

/* nydus-image hashes the entries and the header behind them, the converter library the entries
 * alone; either way the entries are vouched for. */
static bool is_vouched(const uint8_t *entries, uint64_t size_bytes, const uint8_t *digest)
{
	return digest_matches(DIGEST_SHA256, entries, size_bytes + TAR_HEADER_BYTES, digest) ||
	       digest_matches(DIGEST_SHA256, entries, size_bytes, digest);
}

int toc_parse(const uint8_t *tail, uint64_t tail_size_bytes, const uint8_t *vouched_digest,
              uint64_t object_size_bytes, struct toc *ret_toc, struct err *e)
{
	const uint8_t *header = tail;
	uint64_t size_bytes;

	if (tail_size_bytes >= TAR_HEADER_BYTES)
		header += tail_size_bytes - TAR_HEADER_BYTES;
	if (tail_size_bytes < TAR_HEADER_BYTES || !is_toc_header(header))
		return err_set(e, ENOENT, "the blob has no table of contents");
	if (!tar_size(header, &size_bytes) || size_bytes % ENTRY_BYTES != 0 ||
	    size_bytes > TOC_MAX_BYTES - TAR_HEADER_BYTES ||
	    size_bytes > tail_size_bytes - TAR_HEADER_BYTES)
		return err_set(e, EUCLEAN,
		               "table of contents: %" PRIu64 " bytes, where %" PRIu64 " were read",
		               size_bytes, tail_size_bytes - TAR_HEADER_BYTES);
	if (vouched_digest != NULL && !is_vouched(header - size_bytes, size_bytes, vouched_digest))
		return err_set(e, EBADMSG,
		               "table of contents: not the one that the bootstrap vouches for");
	return read_entries(header - size_bytes, size_bytes, object_size_bytes, ret_toc, e);
}

const struct toc_entry *toc_find(const struct toc *toc, const char *name)
{
	for (uint32_t i = 0; i < toc->n_entries; i++) {
		if (strcmp(toc->entries[i].name, name) == 0)
			return &toc->entries[i];
	}
	return NULL;
}

int toc_unpack(const struct toc_entry *entry, const uint8_t *stored, uint64_t max_bytes,
               uint8_t **ret_plain, struct err *e)
{
	const struct unpack_from from = {
		.packed = stored,
		.packed_size_bytes = entry->stored_size_bytes,
		.compressor = entry->compressor,
	};
	AUTO(free_bytes) uint8_t *plain = NULL;
	int r;

	if (entry->plain_size_bytes > max_bytes)
		return err_set(e, EUCLEAN,
		               "%s: %" PRIu64 " bytes, at most %" PRIu64 " are possible",
		               entry->name, entry->plain_size_bytes, max_bytes);
	plain = malloc(entry->plain_size_bytes + 1);
	if (plain == NULL)
		return err_set(e, ENOMEM, "no memory for %s", entry->name);
	r = unpack(&from, plain, entry->plain_size_bytes, e);
	if (r < 0)
		return err_wrap(e, "%s", entry->name);
	if (!digest_matches(DIGEST_SHA256, plain, entry->plain_size_bytes, entry->digest))
		return err_set(e, EBADMSG, "%s is not what the table of contents says",
		               entry->name);
	*ret_plain = plain;
	plain = NULL;
	return 0;
}
