/*
 * unpack: decrypt and decompress metadata of a blob, as one piece, to a size known before. Chunks
 * go another way: they have digests, and codecs with state.
 * Source: docs/rafs.md, "Packed units".
 */
#define ZLIB_CONST
#include "unpack.h"
#include "bytes.h"
#include <errno.h>
#include <inttypes.h>
#include <lz4.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#define XTS_BLOCK_BYTES  16
#define GZIP_WINDOW_BITS (15 + 16)

static void cipher_free(EVP_CIPHER_CTX **ctx)
{
	EVP_CIPHER_CTX_free(*ctx);
	*ctx = NULL;
}

static int decrypt(const struct unpack_from *from, uint8_t *clear, struct err *e)
{
	AUTO(cipher_free) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0;

	if (from->packed_size_bytes < XTS_BLOCK_BYTES || from->packed_size_bytes > INT32_MAX)
		return err_set(e, EUCLEAN, "%" PRIu64 " encrypted bytes", from->packed_size_bytes);
	if (ctx == NULL ||
	    EVP_DecryptInit_ex(ctx, EVP_aes_128_xts(), NULL, from->cipher->key, from->cipher->iv) !=
	            1 ||
	    EVP_DecryptUpdate(ctx, clear, &n, from->packed, (int)from->packed_size_bytes) != 1)
		return err_set(e, EUCLEAN, "it cannot be decrypted with the image's key");
	return 0;
}

static bool inflate_all(const uint8_t *packed, uint64_t packed_size_bytes, uint8_t *plain,
                        uint64_t plain_size_bytes)
{
	z_stream z = { 0 };
	bool ok;

	if (packed_size_bytes > UINT32_MAX || plain_size_bytes > UINT32_MAX ||
	    inflateInit2(&z, GZIP_WINDOW_BITS) != Z_OK)
		return false;
	z.next_in = packed;
	z.avail_in = (uInt)packed_size_bytes;
	z.next_out = plain;
	z.avail_out = (uInt)plain_size_bytes;
	ok = inflate(&z, Z_FINISH) == Z_STREAM_END && z.avail_out == 0;
	(void)inflateEnd(&z);
	return ok;
}

static bool decompress(enum compressor compressor, const uint8_t *packed,
                       uint64_t packed_size_bytes, uint8_t *plain, uint64_t plain_size_bytes)
{
	switch (compressor) {
	case COMPRESSOR_NONE:
		if (packed_size_bytes != plain_size_bytes)
			return false;
		memcpy(plain, packed, plain_size_bytes);
		return true;
	case COMPRESSOR_LZ4_BLOCK:
		return packed_size_bytes <= INT32_MAX && plain_size_bytes <= INT32_MAX &&
		       LZ4_decompress_safe((const char *)packed, (char *)plain,
		                           (int)packed_size_bytes,
		                           (int)plain_size_bytes) == (int)plain_size_bytes;
	case COMPRESSOR_GZIP:
		return inflate_all(packed, packed_size_bytes, plain, plain_size_bytes);
	case COMPRESSOR_ZSTD:
		return ZSTD_decompress(plain, plain_size_bytes, packed, packed_size_bytes) ==
		       plain_size_bytes;
	case N_COMPRESSORS:
	default:
		return false;
	}
}

static int unpack_clear(const struct unpack_from *from, const uint8_t *packed, uint8_t *plain,
                        uint64_t plain_size_bytes, struct err *e)
{
	if (decompress(from->compressor, packed, from->packed_size_bytes, plain, plain_size_bytes))
		return 0;
	return err_set(e, EUCLEAN, "%" PRIu64 " bytes (compressor %u) do not unpack to %" PRIu64,
	               from->packed_size_bytes, from->compressor, plain_size_bytes);
}

int unpack(const struct unpack_from *from, uint8_t *plain, uint64_t plain_size_bytes, struct err *e)
{
	uint8_t *clear;
	int r;

	if (from->cipher == NULL || !from->cipher->on || from->packed_size_bytes == 0)
		return unpack_clear(from, from->packed, plain, plain_size_bytes, e);
	clear = malloc(from->packed_size_bytes);
	if (clear == NULL)
		return err_set(e, ENOMEM, "no memory for %" PRIu64 " bytes",
		               from->packed_size_bytes);
	r = decrypt(from, clear, e);
	if (r == 0)
		r = unpack_clear(from, clear, plain, plain_size_bytes, e);
	free(clear);
	return r;
}
