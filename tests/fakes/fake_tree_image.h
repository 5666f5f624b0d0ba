/*
 * fake_tree_image: a small image in place of image/, and the lazy_image around it.
 *
 *   /hello 11 bytes; /big 4 MiB; /zeros 1 MiB without chunks; /link -> hello; /xattrs;
 *   /dir with 2,000 empty files e0000 ..; /broken its inode cannot be read; /unmapped its chunks
 *   cannot; /opaque/hidden, where /opaque is opaque to overlayfs
 * Byte o of /big is fake_byte(o); /hello is "hello world".
 */
#pragma once
#include "image.h"
#include "lazy_image.h"
#include <stdatomic.h>

#define FAKE_CHUNK_BYTES 65536U
#define FAKE_BIG_BYTES   (4U << 20)
#define FAKE_BIG_CHUNKS  (FAKE_BIG_BYTES / FAKE_CHUNK_BYTES)
#define FAKE_HELLO_CHUNK FAKE_BIG_CHUNKS
#define FAKE_HELLO       "hello world"
#define FAKE_ZEROS_BYTES (1U << 20)
#define FAKE_DIR_ENTRIES 2000U

struct fake_counts {
	atomic_uint n_lookups, n_xattr_asked;
};

struct image {
	uint64_t flags;
	struct fake_counts *counts;
};

static inline uint8_t fake_byte(uint64_t offset)
{
	return (uint8_t)(offset * 31 + (offset >> 12));
}

/* Fill in image and lazy; flags 0x20: it has xattrs. counts: borrowed. */
void fake_tree_image_init(struct image *image, struct fake_counts *counts, struct lazy_image *lazy);
