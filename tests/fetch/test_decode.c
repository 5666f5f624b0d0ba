/*
 * Unpacking: every unit of real images gives chunks of the right digests; spoilt units give errors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ZLIB_CONST
#include "blob_meta.h"
#include "data.h"
#include "decode.h"
#include "decode_codec.h"
#include "image.h"
#include "mem.h"
#include <errno.h>
#include <lz4.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define PATH_BYTES 4096

/* An object of the test images. */
static struct data load_object(const char *blob_id)
{
	char path[PATH_BYTES];
	struct data d = { 0 };
	FILE *f;
	long end;

	(void)snprintf(path, sizeof(path), "%s/layout/blobs/sha256/%s", TESTS_DATA, blob_id);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	end = ftell(f);
	assert_true(end >= 0);
	rewind(f);
	d.size_bytes = (size_t)end;
	d.bytes = xcalloc(1, d.size_bytes + 1);
	assert_int_equal(fread(d.bytes, 1, d.size_bytes, f), d.size_bytes);
	assert_int_equal(fclose(f), 0);
	return d;
}

static struct blob_layout *layout_of(const struct image *image, uint32_t blob_idx)
{
	struct image_blob blob;
	struct blob_layout *layout = NULL;
	struct blob_cipher cipher;
	uint8_t *meta = NULL;
	struct err e;

	image_blob(image, blob_idx, &blob);
	if (blob.needs_meta) {
		struct data object = load_object(blob.meta_blob_id);

		image_blob_cipher(image, blob_idx, &cipher);
		assert_int_equal(blob_meta_unpack(&blob, &cipher, object.bytes + blob.ci_offset,
		                                  blob.ci_packed_size_bytes + CI_HEADER_BYTES, NULL,
		                                  &meta, &e),
		                 0);
		data_free(&object);
	}
	if (image_layout(image, blob_idx, meta, meta != NULL ? blob_meta_local_size(&blob) : 0,
	                 NULL, &layout, &e) != 0)
		fail_msg("%s", e.msg);
	free(meta);
	return layout;
}

struct seen {
	uint32_t n_units;
	uint32_t n_kinds[3];
	uint32_t n_encrypted;
	uint32_t n_short; /* encrypted and padded */
	uint32_t n_stored;
	uint32_t n_bits; /* slices that begin inside a byte */
};

static void count(struct seen *seen, const struct unit_rec *u)
{
	seen->n_units++;
	seen->n_kinds[u->kind]++;
	seen->n_encrypted += u->encrypted;
	seen->n_short += u->encrypted && u->packed_size_bytes == 18 && u->plain_size_bytes < 16;
	seen->n_stored += !u->compressed && !u->encrypted;
	seen->n_bits += u->kind == UNIT_ZRAN && (u->zran.n_bits & 7) != 0;
}

static void check_unit(const struct blob_layout *l, uint32_t unit_idx, const struct data *object,
                       struct seen *seen)
{
	struct unit_rec u;
	uint8_t *plain;
	struct err e;

	if (!layout_unit(l, unit_idx, &u))
		return;
	count(seen, &u);
	plain = xcalloc(1, u.plain_size_bytes + (size_t)1);
	assert_true(u.packed_offset + u.packed_size_bytes <= object->size_bytes);
	if (decode_unit(l, unit_idx, object->bytes + u.packed_offset, plain, &e) != 0)
		fail_msg("%s", e.msg);
	for (uint32_t i = 0; i < u.n_members; i++) {
		const uint32_t chunk_idx = layout_member(l, &u, i);
		const struct chunk_rec *c = &l->chunks[chunk_idx];

		assert_true(digest_matches(l->digest_alg,
		                           plain + layout_offset_in_unit(l, chunk_idx),
		                           c->plain_size_bytes, c->digest));
	}
	free(plain);
}

static struct seen check_image(const char *bootstrap)
{
	struct data boot = data_load(bootstrap);
	struct image *image = data_open_image(&boot);
	struct image_info info;
	struct seen seen = { 0 };

	image_info(image, &info);
	for (uint32_t b = 0; b < info.n_blobs; b++) {
		struct blob_layout *l = layout_of(image, b);
		struct data object = load_object(l->blob_id);

		for (uint32_t i = 0; i < l->n_units; i++)
			check_unit(l, i, &object, &seen);
		data_free(&object);
		layout_unref(&l);
	}
	image_close(&image);
	data_free(&boot);
	assert_true(seen.n_units > 0);
	return seen;
}

static void zstd_chunks_unpack(void **state)
{
	(void)state;
	assert_true(check_image("edge-v6.boot").n_kinds[UNIT_CHUNK] > 0);
}

/* ---- made here ---- */

#define MADE_BYTES 5000

/* A layout of one chunk, packed so, and what decode_unit() says of these bytes. */
struct made {
	enum compressor compressor;
	uint32_t flags;
	const struct blob_cipher *cipher;
	const uint8_t *packed;
	uint32_t packed_size_bytes;
	uint32_t plain_size_bytes;
};

static int decode_made(const struct made *m, uint8_t *ret_plain)
{
	struct blob_layout *l = layout_new(1);
	struct err e;
	int r;

	l->compressor = m->compressor;
	if (m->cipher != NULL)
		l->cipher = *m->cipher;
	l->chunks[0] = (struct chunk_rec){ .plain_size_bytes = m->plain_size_bytes,
		                           .packed_size_bytes = m->packed_size_bytes,
		                           .flags = m->flags };
	r = decode_unit(l, 0, m->packed, ret_plain, &e);
	layout_unref(&l);
	return r;
}

static void fill(uint8_t *bytes, uint32_t size_bytes)
{
	for (uint32_t i = 0; i < size_bytes; i++)
		bytes[i] = (uint8_t)(i % 251 * (i / 1000));
}

/* @return how many bytes of ret_packed */
typedef uint32_t pack_fn(const uint8_t *plain, uint8_t *ret_packed);

static uint32_t pack_lz4(const uint8_t *plain, uint8_t *ret_packed)
{
	return (uint32_t)LZ4_compress_default((const char *)plain, (char *)ret_packed, MADE_BYTES,
	                                      2 * MADE_BYTES);
}

static uint32_t pack_zstd(const uint8_t *plain, uint8_t *ret_packed)
{
	return (uint32_t)ZSTD_compress(ret_packed, 2 * (size_t)MADE_BYTES, plain, MADE_BYTES, 3);
}

static uint32_t pack_gzip(const uint8_t *plain, uint8_t *ret_packed)
{
	z_stream z = { .next_in = plain,
		       .avail_in = MADE_BYTES,
		       .next_out = ret_packed,
		       .avail_out = 2 * MADE_BYTES };

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(deflateEnd(&z), Z_OK);
	return 2 * MADE_BYTES - z.avail_out;
}

/* The right size unpacks; one byte more or less due, or the last bytes missing, is an error. */
static void check_codec(enum compressor compressor, pack_fn *pack)
{
	uint8_t plain[MADE_BYTES];
	uint8_t packed[2 * MADE_BYTES];
	uint8_t *out = xcalloc(1, MADE_BYTES);
	struct made m = { .compressor = compressor,
		          .flags = CHUNK_COMPRESSED,
		          .packed = packed,
		          .plain_size_bytes = MADE_BYTES };

	fill(plain, MADE_BYTES);
	m.packed_size_bytes = pack(plain, packed);
	assert_int_equal(decode_made(&m, out), 0);
	assert_memory_equal(out, plain, MADE_BYTES);
	free(out);
	for (uint32_t size = MADE_BYTES - 1; size <= MADE_BYTES + 1; size += 2) {
		m.plain_size_bytes = size;
		out = xcalloc(1, size); /* exactly: the sanitizers see a byte too many */
		if (compressor != COMPRESSOR_GZIP || size > MADE_BYTES)
			assert_int_equal(decode_made(&m, out), -EBADMSG);
		else
			(void)decode_made(&m, out); /* a member's trailer is left to the digest */
		free(out);
	}
	m.plain_size_bytes = MADE_BYTES;
	m.packed_size_bytes /= 2;
	out = xcalloc(1, MADE_BYTES);
	assert_int_equal(decode_made(&m, out), -EBADMSG);
	free(out);
}

static void each_codec_gives_exactly_what_is_due_or_an_error(void **state)
{
	(void)state;
	check_codec(COMPRESSOR_LZ4_BLOCK, pack_lz4);
	check_codec(COMPRESSOR_ZSTD, pack_zstd);
	check_codec(COMPRESSOR_GZIP, pack_gzip);
}

static void a_chunk_by_itself_has_the_forms_that_sources_use_and_its_size(void **state)
{
	struct decoder *d = decoder_new();
	uint8_t plain[MADE_BYTES];
	uint8_t packed[2 * MADE_BYTES];
	uint8_t out[MADE_BYTES + 1];
	struct chunk_bytes bytes = { .data = packed, .form = COMPRESSOR_ZSTD };
	struct err e;

	(void)state;
	assert_non_null(d);
	fill(plain, MADE_BYTES);
	bytes.size_bytes = pack_zstd(plain, packed);
	assert_int_equal(decoder_chunk(d, &bytes, out, MADE_BYTES, &e), 0);
	assert_memory_equal(out, plain, MADE_BYTES);
	assert_int_equal(decoder_chunk(d, &bytes, out, MADE_BYTES + 1, &e), -EBADMSG);
	assert_int_equal(decoder_chunk(d, &bytes, out, MADE_BYTES - 1, &e), -EBADMSG);
	bytes.form = COMPRESSOR_GZIP;
	assert_int_equal(decoder_chunk(d, &bytes, out, MADE_BYTES, &e), -EBADMSG);
	bytes = (struct chunk_bytes){ .data = plain, .size_bytes = MADE_BYTES };
	assert_int_equal(decoder_chunk(d, &bytes, out, MADE_BYTES, &e), 0);
	assert_int_equal(decoder_chunk(d, &bytes, out, MADE_BYTES + 1, &e), -EBADMSG);
	decoder_free(&d);
}

static void stored_chunks_have_one_size(void **state)
{
	uint8_t packed[16] = "0123456789abcde";
	uint8_t plain[17];
	struct made m = { .packed = packed, .packed_size_bytes = 16, .plain_size_bytes = 16 };

	(void)state;
	assert_int_equal(decode_made(&m, plain), 0);
	assert_memory_equal(plain, packed, 16);
	m.plain_size_bytes = 17;
	assert_int_equal(decode_made(&m, plain), -EBADMSG);
}

/* Bytes of size 1 .. 15 are padded to 18 before they are encrypted: docs/rafs.md. */
static void short_encrypted_chunks_lose_their_padding(void **state)
{
	struct blob_cipher cipher = { .on = true };

	(void)state;
	for (uint8_t i = 0; i < 32; i++)
		cipher.key[i] = (uint8_t)(i * 3 + 1);
	for (uint8_t size = 1; size < 16; size++) {
		EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
		uint8_t padded[18];
		uint8_t packed[18];
		uint8_t plain[16];
		int n = 0;
		const struct made m = { .flags = CHUNK_ENCRYPTED,
			                .cipher = &cipher,
			                .packed = packed,
			                .packed_size_bytes = 18,
			                .plain_size_bytes = size };

		memset(padded, 'x', size);
		memset(padded + size, 16 - size, 16U - size);
		padded[16] = 0x78;
		padded[17] = 0x90;
		assert_int_equal(
			EVP_EncryptInit_ex(ctx, EVP_aes_128_xts(), NULL, cipher.key, cipher.iv), 1);
		assert_int_equal(EVP_EncryptUpdate(ctx, packed, &n, padded, 18), 1);
		EVP_CIPHER_CTX_free(ctx);
		assert_int_equal(decode_made(&m, plain), 0);
		assert_memory_equal(plain, padded, size);
	}
}

static void encrypted_bytes_without_a_key_are_an_error(void **state)
{
	uint8_t packed[32] = { 0 };
	uint8_t plain[32];
	const struct made m = { .flags = CHUNK_ENCRYPTED,
		                .packed = packed,
		                .packed_size_bytes = 32,
		                .plain_size_bytes = 32 };

	(void)state;
	assert_int_equal(decode_made(&m, plain), -EBADMSG);
}

/* Two gzip members, one behind the other, seen as one slice. */
static void a_slice_runs_across_gzip_members(void **state)
{
	uint8_t plain[MADE_BYTES];
	uint8_t packed[4 * MADE_BYTES];
	uint8_t out[2 * MADE_BYTES];
	const struct zran_ctx ctx = { 0 };
	struct decode_io io = { .out = out, .out_size_bytes = 2 * MADE_BYTES };
	struct err e;
	uint32_t n;

	(void)state;
	fill(plain, MADE_BYTES);
	n = pack_gzip(plain, packed);
	n += pack_gzip(plain, packed + n);
	io.in = packed + 10; /* behind the first header */
	io.in_size_bytes = n - 10;
	assert_int_equal(inflate_slice(&io, &ctx, NULL, &e), 0);
	assert_memory_equal(out, plain, MADE_BYTES);
	assert_memory_equal(out + MADE_BYTES, plain, MADE_BYTES);
	io.in_size_bytes /= 2;
	assert_int_equal(inflate_slice(&io, &ctx, NULL, &e), -EBADMSG);
}

/* ---- real images ---- */

static void batches_unpack(void **state)
{
	(void)state;
	assert_true(check_image("layers-v6-batch.boot").n_kinds[UNIT_BATCH] > 0);
}

static void encrypted_chunks_unpack_short_ones_too(void **state)
{
	const struct seen seen = check_image("edge-v6-encrypted.boot");

	(void)state;
	assert_true(seen.n_encrypted > 0);
	assert_true(seen.n_short > 0);
}

static void slices_of_gzip_layers_unpack(void **state)
{
	const struct seen seen = check_image("layers-zran.boot");

	(void)state;
	assert_true(seen.n_kinds[UNIT_ZRAN] > 0);
	print_message("zran slices that begin inside a byte: %u\n", seen.n_bits);
}

#define TEST(f) cmocka_unit_test(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(zstd_chunks_unpack),
		TEST(each_codec_gives_exactly_what_is_due_or_an_error),
		TEST(a_chunk_by_itself_has_the_forms_that_sources_use_and_its_size),
		TEST(stored_chunks_have_one_size),
		TEST(short_encrypted_chunks_lose_their_padding),
		TEST(encrypted_bytes_without_a_key_are_an_error),
		TEST(a_slice_runs_across_gzip_members),
		TEST(batches_unpack),
		TEST(encrypted_chunks_unpack_short_ones_too),
		TEST(slices_of_gzip_layers_unpack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
