/*
 * decode_codec: the single codecs behind decode.h. Bytes in, exactly so many bytes out.
 *
 * All return 0; -EBADMSG with what is wrong; -ENOMEM. Any thread.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "layout.h"
#include <stddef.h>
#include <stdint.h>

/* Bytes that are packed, and where they go. */
struct decode_io {
	const uint8_t *in;
	uint32_t in_size_bytes;
	uint8_t *out;
	uint32_t out_size_bytes;
};

/** Exactly one gzip member; bytes behind it are not looked at (estargz gives upper bounds). */
MUST_CHECK int gunzip_member(const struct decode_io *io, struct err *e);

/**
 * A slice of a gzip stream that begins in the middle, at a deflate block boundary, and may run
 * across members. dict: ctx->dict_size_bytes of what stood before it.
 * Source: docs/rafs.md, "Packed units"; zlib's zran example explains prime and dictionary.
 */
MUST_CHECK int inflate_slice(const struct decode_io *io, const struct zran_ctx *ctx,
                             const uint8_t *dict, struct err *e);

/**
 * AES-128-XTS, the whole unit as one data unit.
 *
 * @param ret_size_bytes  of what out holds now: less than in where the packer had to pad
 * Source: docs/rafs.md, "Packed units".
 */
MUST_CHECK int xts_decrypt(const struct blob_cipher *cipher, const struct decode_io *io,
                           uint32_t *ret_size_bytes, struct err *e);
