/*
 * test_layout: the layouts of real images: each file's pieces fit them, chunk table and blob index
 * agree, batches and zran slices become units in the order of the object.
 */
#include "blob_meta.h"
#include "bytes.h"
#include "data.h"
#include "tree_lines.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BLOBS_MAX           3
#define CHUNK_TABLE_SIZE_AT 1184 /* in a v6 bootstrap: u64 */

struct blobs {
	struct data boot;
	struct data meta[BLOBS_MAX];
	struct image *im;
	struct blob_layout *layouts[BLOBS_MAX];
	uint32_t n;
};

static void load(struct blobs *b, const char *boot)
{
	*b = (struct blobs){ .boot = data_load(boot) };
}

static void load_meta(struct blobs *b, uint32_t i, const char *name)
{
	b->meta[i] = data_load(name);
}

/* As fetch does it: only what image_blob() asks for is given. */
static void make_layouts(struct blobs *b)
{
	struct image_info info;
	struct err e;

	b->im = data_open_image(&b->boot);
	image_info(b->im, &info);
	b->n = info.n_blobs;
	assert_in_range(b->n, 1, BLOBS_MAX);
	for (uint32_t i = 0; i < b->n; i++) {
		struct image_blob blob;
		int r;

		image_blob(b->im, i, &blob);
		assert_true(!blob.needs_meta || b->meta[i].bytes != NULL);
		r = image_layout(b->im, i, blob.needs_meta ? b->meta[i].bytes : NULL,
		                 b->meta[i].size_bytes, NULL, &b->layouts[i], &e);
		if (r < 0)
			print_error("%s\n", e.msg);
		assert_int_equal(r, 0);
	}
}

static void unload(struct blobs *b)
{
	for (uint32_t i = 0; i < BLOBS_MAX; i++) {
		layout_unref(&b->layouts[i]);
		data_free(&b->meta[i]);
	}
	image_close(&b->im);
	data_free(&b->boot);
}

static unsigned check_file(const struct blobs *b, uint64_t node)
{
	struct image_segment s;
	struct err e;
	uint64_t offset = 0;
	unsigned n = 0;
	int r;

	while ((r = image_map(b->im, node, offset, UINT64_MAX, &s, 1, &e)) == 1) {
		offset += s.size_bytes;
		if (s.blob_idx == IMAGE_BLOB_NONE)
			continue;
		assert_true(s.blob_idx < b->n);
		assert_true(image_segment_fits(&s, b->layouts[s.blob_idx]));
		n++;
	}
	assert_int_equal(r, 0);
	return n;
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the trees of the tests */
static unsigned check_files(const struct blobs *b, uint64_t dir)
{
	struct image_dirent d;
	struct err e;
	uint64_t cookie = 0;
	unsigned n = 0;

	while (image_readdir(b->im, dir, cookie, &d, &e) > 0) {
		cookie = d.next_cookie;
		if (d.type == S_IFREG)
			n += check_file(b, d.node);
		if (d.type == S_IFDIR && d.name[0] != '.')
			n += check_files(b, d.node);
	}
	return n;
}

static unsigned count_chunks(const struct blob_layout *l)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < l->n_chunks; i++)
		n += l->chunks[i].plain_size_bytes > 0;
	return n;
}

static void every_piece_of_every_file_fits_the_layouts(void **state)
{
	static const char *const boots[] = {
		"edge-v6.boot", "edge-v6-encrypted.boot", "edge-v6-chunk-dict.boot",
		"edge-v5.boot", "layers-v6.boot",         "layers-v5.boot"
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(boots); i++) {
		struct blobs b;

		load(&b, boots[i]);
		make_layouts(&b);
		assert_true(check_files(&b, IMAGE_ROOT) >= 60);
		for (uint32_t k = 0; k < b.n; k++) {
			assert_int_equal(b.layouts[k]->trust, TRUST_DIGESTS);
			assert_null(b.layouts[k]->units);
		}
		unload(&b);
	}
}

static void chunks_that_a_merged_image_dropped_are_holes(void **state)
{
	struct blobs b;
	struct unit_rec u;
	unsigned n_units = 0;

	(void)state;
	load(&b, "layers-v6.boot");
	make_layouts(&b);
	assert_int_equal(b.layouts[0]->n_chunks, 66);
	assert_int_equal(count_chunks(b.layouts[0]), 60);
	for (uint32_t i = 0; i < b.layouts[0]->n_units; i++)
		n_units += layout_unit(b.layouts[0], i, &u);
	assert_int_equal(n_units, 60);
	unload(&b);
}

/* As nydus-image 1.0 wrote RAFS v5: no extended blob table, and no index in a chunk record. */
static void take_numbers_away(uint8_t *boot)
{
	const uint8_t *table = boot + le32(boot + 32);
	const uint32_t n_inodes = le32(boot + 56);

	memset(boot + 68, 0, 12); /* entries and place of the extended table */
	for (uint32_t i = 0; i < n_inodes; i++) {
		uint8_t *inode = boot + (size_t)le32(table + 4 * (size_t)i) * 8;
		uint8_t *chunk = inode + 128 + align_up(le32(inode + 100) & 0xffff, 8);

		if ((le32(inode + 60) & S_IFMT) != S_IFREG)
			continue;
		if (inode[80] & 4) /* extended attributes */
			chunk += 8 + align_up(le32(chunk), 8);
		for (uint32_t k = 0; k < le32(inode + 96); k++)
			memset(chunk + 80 * (size_t)k + 72, 0, 8);
	}
}

static void chunks_without_numbers_are_numbered_by_their_place(void **state)
{
	struct blobs numbered;
	struct blobs b;

	(void)state;
	load(&numbered, "edge-v5.boot");
	make_layouts(&numbered);
	load(&b, "edge-v5.boot");
	take_numbers_away(b.boot.bytes);
	make_layouts(&b);
	assert_int_equal(check_files(&b, IMAGE_ROOT), check_files(&numbered, IMAGE_ROOT));
	for (uint32_t i = 0; i < b.n; i++)
		assert_true(layout_agrees(b.layouts[i], numbered.layouts[i]));
	unload(&numbered);
	unload(&b);

	load(&b, "layers-v5.boot"); /* some chunks of its blobs no file has any more */
	take_numbers_away(b.boot.bytes);
	make_layouts(&b);
	assert_true(check_files(&b, IMAGE_ROOT) >= 60);
	for (uint32_t i = 0; i < b.n; i++)
		assert_int_equal(count_chunks(b.layouts[i]), b.layouts[i]->n_chunks);
	unload(&b);
}

static void an_encrypted_blob_has_its_key(void **state)
{
	struct blobs b;
	struct unit_rec u;

	(void)state;
	load(&b, "edge-v6-encrypted.boot");
	make_layouts(&b);
	assert_true(b.layouts[0]->cipher.on);
	assert_true(layout_unit(b.layouts[0], 0, &u));
	assert_true(u.encrypted);
	unload(&b);
}

static void load_batch(struct blobs *b)
{
	load(b, "layers-v6-batch.boot");
	load_meta(b, 0, "layers-v6-batch.0.meta");
	load_meta(b, 1, "layers-v6-batch.1.meta");
	load_meta(b, 2, "layers-v6-batch.2.meta");
}

static void load_zran(struct blobs *b)
{
	load(b, "layers-zran.boot");
	load_meta(b, 0, "layers-zran.0.meta");
	load_meta(b, 1, "layers-zran.1.meta");
	load_meta(b, 2, "layers-zran.2.meta");
}

static unsigned count_kind(const struct blob_layout *l, uint8_t kind, unsigned *ret_members)
{
	uint64_t before = 0;
	unsigned n = 0;

	*ret_members = 0;
	for (uint32_t i = 0; i < l->n_units; i++) {
		struct unit_rec u;

		if (!layout_unit(l, i, &u))
			continue;
		assert_true(u.packed_offset >= before); /* neighbours in number, and on the line */
		before = u.packed_offset;
		for (uint32_t k = 0; k < u.n_members; k++)
			assert_int_equal(layout_unit_of(l, layout_member(l, &u, k)), i);
		n += u.kind == kind;
		*ret_members += u.kind == kind ? u.n_members : 0;
	}
	return n;
}

static void small_chunks_are_members_of_batches(void **state)
{
	struct blobs b;
	unsigned n_members;

	(void)state;
	load_batch(&b);
	make_layouts(&b);
	assert_true(check_files(&b, IMAGE_ROOT) >= 60);
	assert_true(count_kind(b.layouts[0], UNIT_BATCH, &n_members) >= 1);
	assert_true(n_members > 40);
	assert_true(count_kind(b.layouts[0], UNIT_CHUNK, &n_members) >= 1);
	assert_int_equal(count_chunks(b.layouts[0]), 60);
	unload(&b);
}

static void all_chunks_of_a_gzip_layer_are_in_slices(void **state)
{
	struct blobs b;
	unsigned n_members;

	(void)state;
	load_zran(&b);
	make_layouts(&b);
	assert_true(check_files(&b, IMAGE_ROOT) >= 60);
	assert_true(count_kind(b.layouts[0], UNIT_ZRAN, &n_members) >= 2);
	assert_int_equal(n_members, 60);
	assert_int_equal(b.layouts[0]->packed_data_end, 1757676); /* the layer itself */
	assert_true(b.layouts[0]->zran_dicts_size_bytes > 0);
	unload(&b);
}

static void without_blob_meta_a_batch_blob_has_no_layout(void **state)
{
	struct blobs b;
	struct err e;

	(void)state;
	load_batch(&b);
	b.im = data_open_image(&b.boot);
	assert_int_equal(image_layout(b.im, 0, NULL, 0, NULL, &b.layouts[0], &e), -ENODATA);
	unload(&b);
}

/* The same image as if its builder had written no chunk table. */
static void drop_chunk_table(struct blobs *b)
{
	memset(b->boot.bytes + CHUNK_TABLE_SIZE_AT, 0, 8);
}

static void without_chunk_table_the_layout_comes_from_the_index(void **state)
{
	static const char *const boots[] = { "layers-v6", "layers-v6-batch", "layers-zran" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(boots); i++) {
		struct blobs with;
		struct blobs without;
		char name[64];

		(void)snprintf(name, sizeof(name), "%s.boot", boots[i]);
		load(&with, name);
		load(&without, name);
		for (uint32_t k = 0; k < BLOBS_MAX; k++) {
			(void)snprintf(name, sizeof(name), "%s.%u.meta", boots[i], k);
			load_meta(&with, k, name);
			load_meta(&without, k, name);
		}
		drop_chunk_table(&without);
		make_layouts(&with);
		make_layouts(&without);
		assert_int_equal(without.layouts[0]->trust, TRUST_WHOLE_BLOB);
		assert_int_equal(count_chunks(without.layouts[0]), 66);
		assert_true(check_files(&without, IMAGE_ROOT) >= 60);
		for (uint32_t k = 0; k < 66; k++) {
			const struct chunk_rec *c = &with.layouts[0]->chunks[k];

			if (c->plain_size_bytes != 0)
				assert_int_equal(c->plain_offset,
				                 without.layouts[0]->chunks[k].plain_offset);
		}
		unload(&with);
		unload(&without);
	}
}

static void digests_may_come_from_the_table_of_contents(void **state)
{
	static const uint8_t digests[66 * DIGEST_BYTES] = { 1, 2, 3 };
	struct blobs b;
	struct err e;

	(void)state;
	load(&b, "layers-v6.boot");
	load_meta(&b, 0, "layers-v6.0.meta");
	drop_chunk_table(&b);
	b.im = data_open_image(&b.boot);
	assert_int_equal(image_layout(b.im, 0, b.meta[0].bytes, b.meta[0].size_bytes, digests,
	                              &b.layouts[0], &e),
	                 0);
	assert_int_equal(b.layouts[0]->trust, TRUST_DIGESTS);
	assert_memory_equal(b.layouts[0]->chunks[0].digest, digests, DIGEST_BYTES);
	unload(&b);
}

static void digests_are_asked_for_only_where_somebody_vouches_for_them(void **state)
{
	struct blobs b;
	struct image_blob blob;

	(void)state;
	load_zran(&b);
	b.im = data_open_image(&b.boot);
	image_blob(b.im, 0, &blob);
	assert_true(blob.needs_meta && !blob.needs_digests && blob.toc_vouched);
	image_close(&b.im);
	drop_chunk_table(&b);
	b.im = data_open_image(&b.boot);
	image_blob(b.im, 0, &blob);
	assert_true(blob.needs_meta && blob.needs_digests);
	unload(&b);

	load(&b, "layers-v6.boot"); /* its merged table gives no digest of the TOC */
	drop_chunk_table(&b);
	b.im = data_open_image(&b.boot);
	image_blob(b.im, 0, &blob);
	assert_true(blob.needs_meta && !blob.needs_digests && !blob.toc_vouched);
	unload(&b);
}

/* Flip each byte of the index in turn: never a layout in which a chunk of the table moved. */
static void an_index_that_contradicts_the_chunk_table_is_refused(void **state)
{
	struct blobs b;
	unsigned n_refused = 0;
	uint8_t *meta;
	struct err e;

	(void)state;
	load_batch(&b);
	make_layouts(&b);
	meta = b.meta[0].bytes;
	assert(meta != NULL);
	for (size_t at = 0; at < (size_t)66 * 24; at++) {
		AUTO(layout_unref) struct blob_layout *l = NULL;
		int r;

		meta[at] ^= 0x10;
		r = image_layout(b.im, 0, meta, b.meta[0].size_bytes, NULL, &l, &e);
		meta[at] ^= 0x10;
		n_refused += r == -EUCLEAN;
		/* Place and size of a chunk that the table lists. */
		if (at % 24 < 7 && b.layouts[0]->chunks[at / 24].plain_size_bytes > 0)
			assert_int_equal(r, -EUCLEAN);
		if (r == 0)
			assert_true(layout_agrees(l, b.layouts[0]));
	}
	assert_true(n_refused > 700);
	unload(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_piece_of_every_file_fits_the_layouts),
		cmocka_unit_test(chunks_that_a_merged_image_dropped_are_holes),
		cmocka_unit_test(chunks_without_numbers_are_numbered_by_their_place),
		cmocka_unit_test(an_encrypted_blob_has_its_key),
		cmocka_unit_test(small_chunks_are_members_of_batches),
		cmocka_unit_test(all_chunks_of_a_gzip_layer_are_in_slices),
		cmocka_unit_test(without_blob_meta_a_batch_blob_has_no_layout),
		cmocka_unit_test(without_chunk_table_the_layout_comes_from_the_index),
		cmocka_unit_test(digests_may_come_from_the_table_of_contents),
		cmocka_unit_test(digests_are_asked_for_only_where_somebody_vouches_for_them),
		cmocka_unit_test(an_index_that_contradicts_the_chunk_table_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
