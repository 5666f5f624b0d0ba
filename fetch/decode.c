/*
 * decode: decrypt and unpack one unit. Knows which codec a unit wants; the codecs with inner state
 * of their own stand in decode_gzip.c and decode_xts.c. Knows no digests, cache or network.
 */
#include "decode.h"
#include "bytes.h"
#include "decode_codec.h"
#include "mem.h"
#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

struct decoder {
	ZSTD_DCtx *zstd;
};

struct decoder *decoder_new(void)
{
	struct decoder *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->zstd = ZSTD_createDCtx();
	if (d->zstd == NULL)
		decoder_free(&d);
	return d;
}

void decoder_free(struct decoder **d)
{
	if (*d == NULL)
		return;
	ZSTD_freeDCtx((*d)->zstd); /* NULL is fine */
	free(*d);
	*d = NULL;
}

static int unpack_none(const struct decode_io *io, struct err *e)
{
	if (io->in_size_bytes != io->out_size_bytes)
		return err_set(e, EBADMSG, "stored %u bytes where %u are due", io->in_size_bytes,
		               io->out_size_bytes);
	memcpy(io->out, io->in, io->out_size_bytes);
	return 0;
}

static int unpack_zstd(struct decoder *d, const struct decode_io *io, struct err *e)
{
	const size_t r = ZSTD_decompressDCtx(d->zstd, io->out, io->out_size_bytes, io->in,
	                                     io->in_size_bytes);

	if (ZSTD_isError(r))
		return err_set(e, EBADMSG, "zstd: %s", ZSTD_getErrorName(r));
	if (r != io->out_size_bytes)
		return err_set(e, EBADMSG, "zstd gave %zu bytes where %u are due", r,
		               io->out_size_bytes);
	return 0;
}

static int unpack_lz4(const struct decode_io *io, struct err *e)
{
	/* Sizes are held below UNIT_PACKED_MAX_BYTES, far from INT_MAX. */
	const int r = LZ4_decompress_safe((const char *)io->in, (char *)io->out,
	                                  (int)io->in_size_bytes, (int)io->out_size_bytes);

	if (r < 0)
		return err_set(e, EBADMSG, "lz4: corrupt block");
	if ((uint32_t)r != io->out_size_bytes)
		return err_set(e, EBADMSG, "lz4 gave %d bytes where %u are due", r,
		               io->out_size_bytes);
	return 0;
}

static int unpack_zran(const struct blob_layout *l, const struct unit_rec *u,
                       const struct decode_io *io, struct err *e)
{
	if (!range_fits(u->zran.dict_offset, u->zran.dict_size_bytes, l->zran_dicts_size_bytes))
		return err_set(e, EBADMSG, "zran dictionary lies outside its table");
	if (u->zran.dict_size_bytes == 0)
		return inflate_slice(io, &u->zran, NULL, e);
	return inflate_slice(io, &u->zran, l->zran_dicts + u->zran.dict_offset, e);
}

static int unpack(struct decoder *d, const struct blob_layout *l, const struct unit_rec *u,
                  const struct decode_io *io, struct err *e)
{
	if (u->kind == UNIT_ZRAN)
		return unpack_zran(l, u, io, e);
	if (!u->compressed)
		return unpack_none(io, e);
	switch (l->compressor) {
	case COMPRESSOR_NONE:
		return unpack_none(io, e);
	case COMPRESSOR_LZ4_BLOCK:
		return unpack_lz4(io, e);
	case COMPRESSOR_GZIP:
		return gunzip_member(io, e);
	case COMPRESSOR_ZSTD:
		return unpack_zstd(d, io, e);
	case N_COMPRESSORS:
	default:
		return err_set(e, ENOTSUP, "unknown compressor %d", (int)l->compressor);
	}
}

static int unpack_encrypted(struct decoder *d, const struct blob_layout *l,
                            const struct unit_rec *u, const struct decode_io *io, struct err *e)
{
	AUTO(free_bytes) uint8_t *clear = malloc(io->in_size_bytes);
	struct decode_io step = *io;
	int r;

	if (clear == NULL)
		return err_set(e, ENOMEM, "no memory for %u bytes", io->in_size_bytes);
	step.out = clear;
	step.out_size_bytes = io->in_size_bytes;
	r = xts_decrypt(&l->cipher, &step, &step.in_size_bytes, e);
	step.in = clear;
	step.out = io->out;
	step.out_size_bytes = io->out_size_bytes;
	return r == 0 ? unpack(d, l, u, &step, e) : r;
}

int decoder_unit(struct decoder *d, const struct blob_layout *l, uint32_t unit_idx,
                 const uint8_t *packed, uint8_t *ret_plain, struct err *e)
{
	struct unit_rec u;
	struct decode_io io;
	int r;

	if (!layout_unit(l, unit_idx, &u))
		return err_set(e, EBADMSG, "unit %u is a hole", unit_idx);
	if (u.packed_size_bytes > UNIT_PACKED_MAX_BYTES ||
	    u.plain_size_bytes > UNIT_PLAIN_MAX_BYTES)
		return err_set(e, EBADMSG, "unit %u is too large", unit_idx);
	io = (struct decode_io){ .in = packed,
		                 .in_size_bytes = u.packed_size_bytes,
		                 .out = ret_plain,
		                 .out_size_bytes = u.plain_size_bytes };
	r = u.encrypted ? unpack_encrypted(d, l, &u, &io, e) : unpack(d, l, &u, &io, e);
	return r < 0 ? err_wrap(e, "unit %u", unit_idx) : 0;
}

int decoder_chunk(struct decoder *d, const struct chunk_bytes *bytes, uint8_t *ret_plain,
                  uint32_t plain_size_bytes, struct err *e)
{
	const struct decode_io io = { .in = bytes->data,
		                      .in_size_bytes = bytes->size_bytes,
		                      .out = ret_plain,
		                      .out_size_bytes = plain_size_bytes };

	switch ((int)bytes->form) {
	case COMPRESSOR_NONE:
		return unpack_none(&io, e);
	case COMPRESSOR_ZSTD:
		return unpack_zstd(d, &io, e);
	default:
		return err_set(e, EBADMSG, "a form that is not used: %d", (int)bytes->form);
	}
}

int decode_unit(const struct blob_layout *l, uint32_t unit_idx, const uint8_t *packed,
                uint8_t *ret_plain, struct err *e)
{
	struct decoder *d = decoder_new();
	int r;

	if (d == NULL)
		return err_set(e, ENOMEM, "no memory to unpack");
	r = decoder_unit(d, l, unit_idx, packed, ret_plain, e);
	decoder_free(&d);
	return r;
}
