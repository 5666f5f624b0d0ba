/*
 * layout: what a blob consists of: its chunks, where they stand in the cache's address space, and
 * the units in which an origin packs them.
 *
 * The word that image (which reads it), cas (which keeps the chunks), fetch (which brings the
 * units) and peer share. Immutable once made (but see layout_set_digest), reference-counted; any
 * thread.
 *
 * A *unit* is the smallest thing that can be fetched and unpacked by itself: one chunk, one batch
 * of chunks, or one slice of a gzip stream (zran). All members of a unit become ready together.
 * Source: docs/rafs.md, "Chunk records" and "Chunk index (CI)".
 */
#pragma once
#include "auto.h"
#include "digest.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BLOB_ID_MAX           64 /* characters: a SHA-256 in hex, or an older free name */
#define CHUNK_PLAIN_MAX_BYTES (16U << 20)
#define UNIT_PLAIN_MAX_BYTES  (64U << 20) /* a batch or a zran slice, unpacked */
#define UNIT_PACKED_MAX_BYTES (64U << 20) /* any unit, as it crosses the line */
#define BLOB_CHUNKS_MAX       (1U << 24)
#define BLOB_PLAIN_MAX_BYTES  (UINT64_C(1) << 44)
#define BLOB_PACKED_MAX_BYTES (UINT64_C(1) << 40)

enum compressor {
	COMPRESSOR_NONE,
	COMPRESSOR_LZ4_BLOCK,
	COMPRESSOR_GZIP,
	COMPRESSOR_ZSTD,
	N_COMPRESSORS
}; /* the codes of a RAFS blob table */
const char *compressor_name(enum compressor c);

enum chunk_flags {
	CHUNK_COMPRESSED = 1 << 0, /* its unit is this chunk alone, packed by layout.compressor */
	CHUNK_ENCRYPTED = 1 << 1,  /* ... and then encrypted as one XTS data unit */
	CHUNK_HAS_DIGEST = 1 << 2, /* digest is set */
};

/* One chunk. plain_size_bytes 0: a hole in the index; the image says nothing of this chunk, and no
 * file of it can name it. */
struct chunk_rec {
	uint8_t digest[DIGEST_BYTES];
	uint64_t plain_offset; /* in the blob's uncompressed address space = in the data file */
	uint64_t place;        /* layout.units == NULL: packed offset in the object;
	                        * else unit_idx << 32 | offset in the unit's plain bytes */
	uint32_t plain_size_bytes;
	uint32_t packed_size_bytes; /* layout.units == NULL only */
	uint32_t flags;             /* enum chunk_flags */
	uint32_t reserved;
};

enum unit_kind { UNIT_CHUNK, UNIT_BATCH, UNIT_ZRAN };

/* A slice of a gzip stream. Source: docs/rafs.md, "Packed units". */
struct zran_ctx {
	uint64_t dict_offset; /* into layout.zran_dicts */
	uint32_t dict_size_bytes;
	uint8_t prev_byte;
	uint8_t n_bits; /* 0..7 */
};

/* One unit, as layout_unit() tells it. */
struct unit_rec {
	uint64_t packed_offset; /* in the object at the origin */
	uint32_t packed_size_bytes;
	uint32_t plain_size_bytes;
	uint32_t first_member; /* the members are layout.members[first_member ..+ n_members], or, */
	uint32_t n_members;    /* where layout.units is NULL, the one chunk first_member */
	uint8_t kind;          /* enum unit_kind */
	bool compressed;
	bool encrypted;
	struct zran_ctx zran;
};

enum layout_trust {
	TRUST_DIGESTS,    /* every chunk that a file can name has a digest */
	TRUST_WHOLE_BLOB, /* none has: fetch whole, hold against blob_id, then set the digests */
	TRUST_NONE,       /* not even that: only with images.allow_unverified */
};

struct blob_cipher {
	bool on; /* AES-128-XTS over each unit after packing */
	uint8_t key[32];
	uint8_t iv[16];
};

struct blob_layout {
	char blob_id[BLOB_ID_MAX + 1]; /* no '/', no control byte, never "." or ".." */
	enum digest_alg digest_alg;
	enum compressor compressor;
	enum layout_trust trust;
	struct blob_cipher cipher;
	uint64_t plain_size_bytes;  /* of the address space = of the data file */
	uint64_t packed_size_bytes; /* of the object at the origin; 0: not known */
	uint64_t packed_data_end;   /* end of chunk data in it */
	uint32_t n_chunks;          /* <= BLOB_CHUNKS_MAX */
	uint32_t n_units;           /* = n_chunks where units is NULL */
	struct chunk_rec *chunks;   /* ordered by index; plain ranges never overlap */
	struct unit_rec *units;     /* NULL: each chunk is its own unit */
	uint32_t *members;          /* chunk indices, grouped by unit */
	uint8_t *zran_dicts;
	uint64_t zran_dicts_size_bytes;
	atomic_uint refs;
};

/** A zeroed layout with one reference and room for n_chunks. @return NULL: memory is out */
struct blob_layout *layout_new(uint32_t n_chunks);
struct blob_layout *layout_ref(struct blob_layout *l);
void layout_unref(struct blob_layout **l); /* NULL is fine; wipes the key */

/** The unit that holds chunk_idx. chunk_idx < n_chunks and not a hole. */
uint32_t layout_unit_of(const struct blob_layout *l, uint32_t chunk_idx);

/** unit_idx < n_units. @return false: a hole */
bool layout_unit(const struct blob_layout *l, uint32_t unit_idx, struct unit_rec *ret_unit);

/** Where member i (0 .. n_members - 1) of a unit stands: its chunk index. */
uint32_t layout_member(const struct blob_layout *l, const struct unit_rec *unit, uint32_t i);

/** Offset of a chunk in its unit's plain bytes. */
uint32_t layout_offset_in_unit(const struct blob_layout *l, uint32_t chunk_idx);

/** What of its unit's packed bytes is a chunk's, by its plain size. chunk_idx < n_chunks; of a hole
 * nothing is. */
uint64_t layout_share_bytes(const struct blob_layout *l, uint32_t chunk_idx);

/**
 * Is the layout sound: ids, sizes within the limits above, plain ranges in order and inside the
 * address space, units inside the object, members inside their unit? Whoever makes a layout from
 * outside bytes calls this once. @return 0; -EUCLEAN with the first fault
 */
struct err;
MUST_CHECK int layout_check(const struct blob_layout *l, struct err *e);

/**
 * Do two layouts of one blob id agree on algorithm and on every chunk that both describe (place in
 * the address space, size, digest)? If not, they must not share a data file.
 */
bool layout_agrees(const struct blob_layout *a, const struct blob_layout *b);

/** Give a chunk of a TRUST_WHOLE_BLOB layout the digest that was computed here, before it is
 * shared with other threads. */
void layout_set_digest(struct blob_layout *l, uint32_t chunk_idx,
                       const uint8_t digest[DIGEST_BYTES]);
