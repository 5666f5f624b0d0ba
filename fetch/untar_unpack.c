/*
 * untar_unpack: gzip, zstd or plain bytes to plain bytes, in slices, with a cap on what comes out.
 *
 * Knows the two formats by their first bytes; knows nothing of what is packed in them.
 */
#define ZLIB_CONST /* zlib promises not to write to its input */
#include "bytes.h"
#include "mem.h"
#include "untar.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#define OUT_BYTES           (256U << 10)
#define ZSTD_WINDOW_LOG_MAX 27 /* 128 MiB: what zstd --ultra and --long need at most */
#define GZIP_WINDOW_BITS    31 /* 32 KiB, with a gzip header and trailer */

struct out {
	int (*fn)(void *arg, const uint8_t *bytes, uint64_t size_bytes, struct err *e);
	void *arg;
	uint64_t left_bytes; /* that may still come out */
	uint8_t *buf;        /* OUT_BYTES */
};

static int out_give(struct out *out, const uint8_t *bytes, uint64_t size_bytes, struct err *e)
{
	if (size_bytes > out->left_bytes)
		return err_set(e, EMSGSIZE, "unpacked, it is larger than is allowed");
	out->left_bytes -= size_bytes;
	return size_bytes > 0 ? out->fn(out->arg, bytes, size_bytes, e) : 0;
}

static void zstd_free(ZSTD_DStream **stream)
{
	(void)ZSTD_freeDStream(*stream);
	*stream = NULL;
}

static int unpack_zstd(const uint8_t *packed, uint64_t size_bytes, struct out *out, struct err *e)
{
	AUTO(zstd_free) ZSTD_DStream *stream = ZSTD_createDStream();
	ZSTD_inBuffer in = { packed, size_bytes, 0 };
	size_t hint = 1;
	int r = 0;

	if (stream == NULL ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX)))
		return err_set(e, ENOMEM, "no memory to unpack zstd");
	/* hint 0: a frame is over, and everything it holds was given. */
	while (r == 0 && (in.pos < in.size || hint != 0)) {
		ZSTD_outBuffer plain = { out->buf, OUT_BYTES, 0 };
		const size_t pos_before = in.pos;

		hint = ZSTD_decompressStream(stream, &plain, &in);
		if (ZSTD_isError(hint))
			return err_set(e, EUCLEAN, "broken zstd: %s", ZSTD_getErrorName(hint));
		if (plain.pos == 0 && in.pos == pos_before)
			return err_set(e, EUCLEAN, "the zstd stream is cut short");
		r = out_give(out, out->buf, plain.pos, e);
	}
	return r;
}

static bool is_gzip(const uint8_t *p, uint64_t size_bytes)
{
	return size_bytes >= 2 && p[0] == 0x1f && p[1] == 0x8b;
}

/* One slice out. *ret_end: a member is over. */
static int inflate_slice(z_stream *z, struct out *out, bool *ret_end, struct err *e)
{
	int r;

	z->next_out = out->buf;
	z->avail_out = OUT_BYTES;
	r = inflate(z, Z_NO_FLUSH);
	if (r == Z_BUF_ERROR)
		return err_set(e, EUCLEAN, "the gzip stream is cut short");
	if (r != Z_OK && r != Z_STREAM_END)
		return err_set(e, EUCLEAN, "broken gzip: %s", z->msg != NULL ? z->msg : "no data");
	*ret_end = r == Z_STREAM_END;
	return out_give(out, out->buf, OUT_BYTES - z->avail_out, e);
}

/* zlib counts input in 32 bits; the descriptor's limit keeps it below. Behind the last member
 * there may be padding, as gzip(1) allows. */
static int unpack_members(z_stream *z, struct out *out, struct err *e)
{
	int r = 0;

	for (;;) {
		bool end = false;

		r = inflate_slice(z, out, &end, e);
		if (r != 0)
			return r;
		if (end && !is_gzip(z->next_in, z->avail_in))
			return 0;
		if (end && inflateReset(z) != Z_OK)
			return err_set(e, EUCLEAN, "broken gzip: bad member");
	}
}

static int unpack_gzip(const uint8_t *packed, uint64_t size_bytes, struct out *out, struct err *e)
{
	z_stream z = { .next_in = packed };
	int r;

	if (size_bytes > UINT32_MAX)
		return err_set(e, EMSGSIZE, "a gzip stream of %" PRIu64 " bytes is too large",
		               size_bytes);
	z.avail_in = (uInt)size_bytes;
	if (inflateInit2(&z, GZIP_WINDOW_BITS) != Z_OK)
		return err_set(e, ENOMEM, "no memory to unpack gzip");
	r = unpack_members(&z, out, e);
	(void)inflateEnd(&z);
	return r;
}

static bool is_zstd(const uint8_t *p, uint64_t size_bytes)
{
	/* A frame, or a skippable frame (RFC 8878, 3.1). */
	return size_bytes >= 4 && (le32(p) == 0xFD2FB528U || (le32(p) & ~0xFU) == 0x184D2A50U);
}

int untar_unpack(const uint8_t *packed, uint64_t size_bytes, uint64_t plain_max_bytes,
                 int (*out)(void *arg, const uint8_t *bytes, uint64_t size_bytes, struct err *e),
                 void *arg, struct err *e)
{
	AUTO(free_bytes) uint8_t *buf = xcalloc(1, OUT_BYTES);
	struct out o = { .fn = out, .arg = arg, .left_bytes = plain_max_bytes, .buf = buf };

	if (is_gzip(packed, size_bytes))
		return unpack_gzip(packed, size_bytes, &o, e);
	if (is_zstd(packed, size_bytes))
		return unpack_zstd(packed, size_bytes, &o, e);
	return out_give(&o, packed, size_bytes, e);
}
