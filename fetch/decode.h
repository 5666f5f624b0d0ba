/*
 * decode: from a unit as an origin packs it to its plain bytes: decrypt, unpack.
 *
 * Knows layouts and bytes alone. Verifies nothing: that is cas's part. All input is hostile; no
 * output beyond unit.plain_size_bytes whatever comes in. Any thread; blocks for the time of the
 * work, so never the loop.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "layout.h"
#include "source.h"
#include <stdint.h>

/* What unpacking needs again and again, so that it is made once: one thread at a time. */
struct decoder;
struct decoder *decoder_new(void); /* NULL: memory is out */
void decoder_free(struct decoder **d);

/**
 * Unpack one unit.
 *
 * @param packed  unit.packed_size_bytes; borrowed
 * @param ret_plain  unit.plain_size_bytes; on failure its content is undefined
 * @return 0; -EBADMSG the bytes are not what the layout says; -ENOTSUP; -ENOMEM
 */
MUST_CHECK int decoder_unit(struct decoder *d, const struct blob_layout *l, uint32_t unit_idx,
                            const uint8_t *packed, uint8_t *ret_plain, struct err *e);

/**
 * Unpack one chunk that came by itself.
 *
 * @param ret_plain  plain_size_bytes; on failure its content is undefined
 * @return 0; -EBADMSG it is not that in a form that sources use
 */
MUST_CHECK int decoder_chunk(struct decoder *d, const struct chunk_bytes *bytes, uint8_t *ret_plain,
                             uint32_t plain_size_bytes, struct err *e);

/** As decoder_unit(), with a decoder of its own: for the one unit now and then. */
MUST_CHECK int decode_unit(const struct blob_layout *l, uint32_t unit_idx, const uint8_t *packed,
                           uint8_t *ret_plain, struct err *e);
