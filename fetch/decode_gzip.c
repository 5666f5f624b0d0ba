/*
 * decode_gzip: gzip members, and slices of gzip streams that begin in the middle (zran). Knows
 * zlib; knows nothing of layouts but the context of a slice.
 */
#define ZLIB_CONST /* next_in points to const */
#include "decode_codec.h"
#include <errno.h>
#include <zlib.h>

#define RAW_DEFLATE        (-15) /* zlib's windowBits for each form */
#define GZIP_WRAPPED       31
#define GZIP_TRAILER_BYTES 8

static int inflate_begin(z_stream *z, const struct decode_io *io, int window_bits, struct err *e)
{
	*z = (z_stream){ .next_in = io->in,
		         .avail_in = io->in_size_bytes,
		         .next_out = io->out,
		         .avail_out = io->out_size_bytes };
	if (inflateInit2(z, window_bits) != Z_OK)
		return err_set(e, ENOMEM, "zlib: no memory");
	return 0;
}

int gunzip_member(const struct decode_io *io, struct err *e)
{
	z_stream z;
	int zr;
	int r = inflate_begin(&z, io, GZIP_WRAPPED, e);

	if (r < 0)
		return r;
	zr = inflate(&z, Z_FINISH);
	/* A full output whose trailer was not read yet is complete, too: the digest tells. */
	if (z.avail_out != 0 || (zr != Z_STREAM_END && zr != Z_BUF_ERROR && zr != Z_OK))
		r = err_set(e, EBADMSG, "gzip: %s, %u bytes short",
		            z.msg != NULL ? z.msg : "cut off", z.avail_out);
	(void)inflateEnd(&z);
	return r;
}

/* A member has ended: step over its trailer and the header of the next one. */
static int next_member(z_stream *z, struct err *e)
{
	int zr;

	if (z->avail_in < GZIP_TRAILER_BYTES)
		return err_set(e, EBADMSG, "zran: the slice ends inside a gzip trailer");
	z->next_in += GZIP_TRAILER_BYTES;
	z->avail_in -= GZIP_TRAILER_BYTES;
	if (inflateReset2(z, GZIP_WRAPPED) != Z_OK)
		return err_set(e, EBADMSG, "zran: zlib cannot go on");
	zr = inflate(z, Z_BLOCK); /* stops right behind the header */
	if (zr != Z_OK)
		return err_set(e, EBADMSG, "zran: no gzip header where the next member is due");
	if (inflateReset2(z, RAW_DEFLATE) != Z_OK)
		return err_set(e, EBADMSG, "zran: zlib cannot go on");
	return 0;
}

static int inflate_all(z_stream *z, struct err *e)
{
	int r = 0;

	while (r == 0 && z->avail_out > 0) {
		const uInt in_before = z->avail_in;
		const uInt out_before = z->avail_out;
		const int zr = inflate(z, Z_NO_FLUSH);

		if (zr == Z_STREAM_END && z->avail_out > 0)
			r = next_member(z, e);
		else if (zr != Z_OK && zr != Z_STREAM_END)
			r = err_set(e, EBADMSG, "zran: %s", z->msg != NULL ? z->msg : "cut off");
		else if (z->avail_in == in_before && z->avail_out == out_before)
			r = err_set(e, EBADMSG, "zran: cut off");
	}
	return r;
}

int inflate_slice(const struct decode_io *io, const struct zran_ctx *ctx, const uint8_t *dict,
                  struct err *e)
{
	const int n_bits = ctx->n_bits & 7;
	z_stream z;
	int r = inflate_begin(&z, io, RAW_DEFLATE, e);

	if (r < 0)
		return r;
	if (n_bits != 0 && inflatePrime(&z, n_bits, ctx->prev_byte >> (8 - n_bits)) != Z_OK)
		r = err_set(e, EBADMSG, "zran: bad start bits");
	if (r == 0 && ctx->dict_size_bytes > 0 &&
	    inflateSetDictionary(&z, dict, ctx->dict_size_bytes) != Z_OK)
		r = err_set(e, EBADMSG, "zran: bad dictionary");
	if (r == 0)
		r = inflate_all(&z, e);
	(void)inflateEnd(&z);
	return r;
}
