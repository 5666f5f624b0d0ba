/*
 * boot_layer: what the bootstrap layer of a nydus image holds: the bootstrap, and blob metas.
 *
 * Bytes in, bytes out; the caller has checked the layer's digest. Any thread.
 * Source: docs/rafs.md, "In a registry".
 */
#pragma once
#include "buffer.h"
#include "digest.h"
#include "image.h"

#define BOOT_LAYER_PACKED_MAX_BYTES (UINT64_C(1) << 30)
/* All that may come out of the layer: the largest bootstrap, all metas, and as much beside them. */
#define BOOT_LAYER_PLAIN_MAX_BYTES (UINT64_C(4) << 30)

struct boot_meta {
	char blob_id[DIGEST_TEXT_BYTES];
	struct buffer bytes; /* local form (blob_meta.h), not looked at */
};

struct boot_layer {
	struct buffer bootstrap;
	uint32_t n_metas;
	struct boot_meta *metas; /* IMAGE_BLOBS_MAX at most */
};

/** @param ret_layer  ended by boot_layer_clear(), also after an error
 * @return 0; -EUCLEAN; -EMSGSIZE; -ENOMEM; -ENOTSUP there is no bootstrap in it */
MUST_CHECK int boot_layer_read(const uint8_t *packed, uint64_t size_bytes,
                               struct boot_layer *ret_layer, struct err *e);
void boot_layer_clear(struct boot_layer *layer); /* all zero is fine */
