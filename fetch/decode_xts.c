/*
 * decode_xts: AES-128-XTS of a unit with OpenSSL, and the padding rule of short units. Knows
 * nothing of what the bytes are.
 */
#include "decode_codec.h"
#include <errno.h>
#include <openssl/evp.h>

/* XTS takes no less than a block: shorter units were padded to 18 bytes, the end marked so. */
#define XTS_MIN_BYTES    16
#define XTS_PADDED_BYTES 18

static void cipher_ctx_free(EVP_CIPHER_CTX **ctx)
{
	EVP_CIPHER_CTX_free(*ctx);
	*ctx = NULL;
}

/* How much of a padded unit is its own: pad bytes say how many they are. */
static uint32_t unpadded_size(const uint8_t clear[XTS_PADDED_BYTES])
{
	const uint8_t n_pad = clear[XTS_MIN_BYTES - 1];

	if (clear[16] != 0x78 || clear[17] != 0x90)
		return XTS_PADDED_BYTES;
	if (n_pad == 0 || n_pad > XTS_MIN_BYTES)
		return XTS_MIN_BYTES;
	for (uint32_t i = XTS_MIN_BYTES - n_pad; i < XTS_MIN_BYTES; i++) {
		if (clear[i] != n_pad)
			return XTS_MIN_BYTES;
	}
	return (uint32_t)XTS_MIN_BYTES - n_pad;
}

int xts_decrypt(const struct blob_cipher *cipher, const struct decode_io *io,
                uint32_t *ret_size_bytes, struct err *e)
{
	AUTO(cipher_ctx_free) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n_out = 0;

	if (ctx == NULL)
		return err_set(e, ENOMEM, "no memory for a cipher context");
	if (!cipher->on)
		return err_set(e, EBADMSG, "encrypted, but the image gives no key");
	if (io->in_size_bytes < XTS_MIN_BYTES || io->in_size_bytes > UNIT_PACKED_MAX_BYTES ||
	    io->out_size_bytes < io->in_size_bytes)
		return err_set(e, EBADMSG, "encrypted unit of %u bytes", io->in_size_bytes);
	if (EVP_DecryptInit_ex(ctx, EVP_aes_128_xts(), NULL, cipher->key, cipher->iv) != 1 ||
	    EVP_DecryptUpdate(ctx, io->out, &n_out, io->in, (int)io->in_size_bytes) != 1 ||
	    n_out != (int)io->in_size_bytes)
		return err_set(e, EBADMSG, "AES-128-XTS failed");
	*ret_size_bytes =
		io->in_size_bytes == XTS_PADDED_BYTES ? unpadded_size(io->out) : io->in_size_bytes;
	return 0;
}
