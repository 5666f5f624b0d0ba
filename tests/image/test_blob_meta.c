/*
 * test_blob_meta: a real chunk index, from the bytes of a blob's tail to the local form; a real
 * table of contents; and what is said of both when a byte is wrong.
 */
#include "blob_meta.h"
#include "data.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct tail {
	struct data boot;
	struct data packed;
	struct image *im;
	struct image_blob blob;
	struct blob_cipher cipher;
};

static void tail_load(struct tail *t, const char *boot, uint32_t blob_idx, const char *packed)
{
	t->boot = data_load(boot);
	t->packed = data_load(packed);
	t->im = data_open_image(&t->boot);
	image_blob(t->im, blob_idx, &t->blob);
	image_blob_cipher(t->im, blob_idx, &t->cipher);
}

static void tail_free(struct tail *t)
{
	image_close(&t->im);
	data_free(&t->packed);
	data_free(&t->boot);
}

static int unpack_tail(const struct tail *t, const struct toc *toc, uint8_t **ret_meta,
                       struct err *e)
{
	return blob_meta_unpack(&t->blob, &t->cipher, t->packed.bytes,
	                        t->blob.ci_packed_size_bytes + CI_HEADER_BYTES, toc, ret_meta, e);
}

static void a_packed_index_becomes_the_local_form(void **state)
{
	AUTO(layout_unref) struct blob_layout *l = NULL;
	struct tail t;
	uint8_t *meta = NULL;
	struct err e;

	(void)state;
	tail_load(&t, "edge-v6-batch.boot", 0, "edge-v6-batch.0.ci");
	assert_false(t.cipher.on);
	assert_int_equal(unpack_tail(&t, NULL, &meta, &e), 0);
	assert_int_equal(image_layout(t.im, 0, meta, blob_meta_local_size(&t.blob), NULL, &l, &e),
	                 0);
	assert_int_equal(l->n_chunks, 3078);
	assert_true(l->n_units < l->n_chunks);
	/* Numbered as they stand in the object, whatever the order of contexts and records. */
	for (uint32_t i = 1; i < l->n_units; i++)
		assert_true(l->units[i - 1].packed_offset <= l->units[i].packed_offset);
	free(meta);
	tail_free(&t);
}

static void an_encrypted_index_needs_its_key(void **state)
{
	struct tail t;
	uint8_t *meta = NULL;
	struct err e;

	(void)state;
	tail_load(&t, "edge-v6-encrypted.boot", 0, "edge-v6-encrypted.0.ci");
	assert_true(t.cipher.on);
	assert_int_equal(unpack_tail(&t, NULL, &meta, &e), 0);
	free(meta);
	t.cipher.key[0] ^= 1;
	assert_int_equal(unpack_tail(&t, NULL, &meta, &e), -EUCLEAN);
	tail_free(&t);
}

static void an_index_of_another_blob_is_refused(void **state)
{
	struct tail t;
	uint8_t *meta = NULL;
	struct err e;

	(void)state;
	tail_load(&t, "edge-v6-batch.boot", 0, "edge-v6-batch.0.ci");
	assert_int_equal(blob_meta_unpack(&t.blob, &t.cipher, t.packed.bytes,
	                                  t.packed.size_bytes - 1, NULL, &meta, &e),
	                 -EUCLEAN);
	t.packed.bytes[t.blob.ci_packed_size_bytes + 12] ^= 1; /* entries */
	assert_int_equal(unpack_tail(&t, NULL, &meta, &e), -EUCLEAN);
	t.packed.bytes[t.blob.ci_packed_size_bytes + 12] ^= 1;
	t.packed.bytes[t.packed.size_bytes - 1] ^= 1; /* the magic at its end */
	assert_int_equal(unpack_tail(&t, NULL, &meta, &e), -EUCLEAN);
	tail_free(&t);
}

static void a_local_form_of_the_wrong_size_is_refused(void **state)
{
	struct data boot = data_load("layers-v6.boot");
	struct data meta = data_load("layers-v6.0.meta");
	struct image *im = data_open_image(&boot);
	struct image_blob blob;
	struct err e;

	(void)state;
	image_blob(im, 0, &blob);
	assert_int_equal(blob_meta_local_size(&blob), meta.size_bytes);
	assert_int_equal(blob_meta_check(&blob, meta.bytes, meta.size_bytes, &e), 0);
	assert_int_equal(blob_meta_check(&blob, meta.bytes, meta.size_bytes - 1, &e), -EUCLEAN);
	assert_int_equal(blob_meta_check(&blob, meta.bytes, 0, &e), -EUCLEAN);
	memset(meta.bytes, 0, meta.size_bytes); /* "not downloaded yet" */
	assert_int_equal(blob_meta_check(&blob, meta.bytes, meta.size_bytes, &e), -EUCLEAN);
	image_close(&im);
	data_free(&meta);
	data_free(&boot);
}

/* layers-zran.1.object is a whole object: index, header, digests, bootstrap, table of contents. */
static int parse(const struct tail *t, struct toc *ret_toc, struct err *e)
{
	return toc_parse(t->packed.bytes, t->packed.size_bytes,
	                 t->blob.toc_vouched ? t->blob.toc_digest : NULL, t->packed.size_bytes,
	                 ret_toc, e);
}

static void a_vouched_toc_leads_to_index_and_digests(void **state)
{
	AUTO(layout_unref) struct blob_layout *l = NULL;
	struct tail t;
	struct toc *toc = calloc(1, sizeof(*toc));
	const struct toc_entry *entry;
	uint8_t *meta = NULL;
	uint8_t *digests = NULL;
	struct err e;

	(void)state;
	tail_load(&t, "layers-zran.boot", 1, "layers-zran.1.object");
	assert_true(t.blob.toc_vouched);
	assert_int_equal(t.blob.meta_blob_size_bytes, t.packed.size_bytes);
	assert_int_equal(parse(&t, toc, &e), 0);
	assert_int_equal(unpack_tail(&t, toc, &meta, &e), 0);
	entry = toc_find(toc, "blob.digest");
	assert_non_null(entry);
	assert_int_equal(entry->plain_size_bytes, t.blob.n_chunks * DIGEST_BYTES);
	assert_int_equal(
		toc_unpack(entry, t.packed.bytes + entry->stored_offset, 1 << 20, &digests, &e), 0);
	assert_int_equal(image_layout(t.im, 1, meta, blob_meta_local_size(&t.blob), NULL, &l, &e),
	                 0);
	/* The bootstrap's chunk table and the blob's own list name the same digests. */
	for (uint32_t i = 0; i < l->n_chunks; i++)
		assert_memory_equal(l->chunks[i].digest, digests + (size_t)i * DIGEST_BYTES,
		                    DIGEST_BYTES);
	assert_null(toc_find(toc, "no.such.part"));
	free(digests);
	free(meta);
	free(toc);
	tail_free(&t);
}

static void a_toc_other_than_the_vouched_one_is_ebadmsg(void **state)
{
	struct tail t;
	struct toc *toc = calloc(1, sizeof(*toc));
	struct err e;

	(void)state;
	tail_load(&t, "layers-zran.boot", 1, "layers-zran.1.object");
	t.packed.bytes[t.packed.size_bytes - 512 - 20] ^= 1;
	assert_int_equal(parse(&t, toc, &e), -EBADMSG);
	free(toc);
	tail_free(&t);
}

static void parts_other_than_the_toc_says_are_ebadmsg(void **state)
{
	struct tail t;
	struct toc *toc = calloc(1, sizeof(*toc));
	const struct toc_entry *entry;
	uint8_t *plain = NULL;
	struct err e;

	(void)state;
	tail_load(&t, "layers-zran.boot", 1, "layers-zran.1.object");
	assert_int_equal(parse(&t, toc, &e), 0);
	entry = toc_find(toc, "blob.digest");
	assert_non_null(entry);
	t.packed.bytes[entry->stored_offset] ^= 1;
	assert_int_equal(
		toc_unpack(entry, t.packed.bytes + entry->stored_offset, 1 << 20, &plain, &e),
		-EBADMSG);
	assert_int_equal(toc_unpack(entry, t.packed.bytes + entry->stored_offset, 10, &plain, &e),
	                 -EUCLEAN);
	/* The header is stored as it is; its reserved bytes are under the digest, too. */
	t.packed.bytes[t.blob.ci_packed_size_bytes + 2000] ^= 1;
	assert_int_equal(unpack_tail(&t, toc, &plain, &e), -EBADMSG);
	free(toc);
	tail_free(&t);
}

/* Where a named entry of a table of contents stands. */
static uint8_t *entry_at(const struct tail *t, const char *name)
{
	uint8_t *p = t->packed.bytes + t->packed.size_bytes - 512;

	do {
		p -= 128;
		assert_true(p > t->packed.bytes);
	} while (strcmp((const char *)p + 8, name) != 0);
	return p;
}

/* As nydus-image writes it for blobs whose chunks are packed so. */
static void a_part_may_be_packed_by_lz4(void **state)
{
	static const uint8_t plain[20] = "twenty bytes to pack";
	uint8_t block[2 + sizeof(plain)] = { 0xf0, sizeof(plain) - 15 }; /* all are literals */
	struct toc *toc = calloc(1, sizeof(*toc));
	struct toc_entry part = { .name = "blob.meta",
		                  .compressor = COMPRESSOR_LZ4_BLOCK,
		                  .stored_size_bytes = sizeof(block),
		                  .plain_size_bytes = sizeof(plain) };
	const struct toc_entry *entry;
	uint8_t *unpacked = NULL;
	struct tail t;
	struct err e;

	(void)state;
	tail_load(&t, "layers-zran.boot", 1, "layers-zran.1.object");
	entry_at(&t, "blob.meta")[0] = 4;
	t.blob.toc_vouched = false;
	assert_int_equal(parse(&t, toc, &e), 0);
	entry = toc_find(toc, "blob.meta");
	assert_non_null(entry);
	assert_int_equal(entry->compressor, COMPRESSOR_LZ4_BLOCK);
	entry_at(&t, "blob.meta")[0] = 8; /* a form of the future */
	assert_int_equal(parse(&t, toc, &e), -EUCLEAN);

	memcpy(block + 2, plain, sizeof(plain));
	digest_compute(DIGEST_SHA256, plain, sizeof(plain), part.digest);
	assert_int_equal(toc_unpack(&part, block, 1 << 20, &unpacked, &e), 0);
	assert_memory_equal(unpacked, plain, sizeof(plain));
	free(unpacked);
	free(toc);
	tail_free(&t);
}

static void a_tail_without_toc_is_enoent(void **state)
{
	struct toc *toc = calloc(1, sizeof(*toc));
	uint8_t tail[512] = { 0 };
	struct err e;

	(void)state;
	assert_int_equal(toc_parse(tail, 0, NULL, 0, toc, &e), -ENOENT);
	assert_int_equal(toc_parse(tail, 512, NULL, 512, toc, &e), -ENOENT);
	free(toc);
}

static void a_toc_longer_than_the_tail_is_corrupt(void **state)
{
	struct tail t;
	struct toc *toc = calloc(1, sizeof(*toc));
	struct err e;

	(void)state;
	tail_load(&t, "layers-zran.boot", 1, "layers-zran.1.object");
	assert_int_equal(toc_parse(t.packed.bytes + t.packed.size_bytes - 512 - 128, 512 + 128,
	                           NULL, t.packed.size_bytes, toc, &e),
	                 -EUCLEAN);
	assert_int_equal(toc_parse(t.packed.bytes, t.packed.size_bytes, NULL, 100, toc, &e),
	                 -EUCLEAN); /* parts outside of the object */
	free(toc);
	tail_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_packed_index_becomes_the_local_form),
		cmocka_unit_test(an_encrypted_index_needs_its_key),
		cmocka_unit_test(an_index_of_another_blob_is_refused),
		cmocka_unit_test(a_local_form_of_the_wrong_size_is_refused),
		cmocka_unit_test(a_vouched_toc_leads_to_index_and_digests),
		cmocka_unit_test(a_toc_other_than_the_vouched_one_is_ebadmsg),
		cmocka_unit_test(parts_other_than_the_toc_says_are_ebadmsg),
		cmocka_unit_test(a_part_may_be_packed_by_lz4),
		cmocka_unit_test(a_tail_without_toc_is_enoent),
		cmocka_unit_test(a_toc_longer_than_the_tail_is_corrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
