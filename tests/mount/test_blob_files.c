/*
 * test_blob_files: which chunks make up a range of a blob that is served as a file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bitmap.h"
#include "blob_files.h"
#include "layout.h"
#include "tree.h"
#include <errno.h>

#define FILE_NODE 2 /* the first file */

struct fetch_blob {
	struct blob_layout *layout;
};

struct cas_blob *fetch_blob_cas(struct fetch_blob *blob)
{
	return (struct cas_blob *)blob;
}

const struct blob_layout *cas_blob_layout(const struct cas_blob *blob)
{
	return ((const struct fetch_blob *)(const void *)blob)->layout;
}

void tree_op_read(fuse_req_t req, fuse_ino_t node, size_t size_bytes, off_t offset,
                  struct fuse_file_info *fi)
{
	(void)req;
	(void)node;
	(void)size_bytes;
	(void)offset;
	(void)fi;
	fail();
}

struct world {
	struct chunk_rec chunks[6];
	struct blob_layout layout;
	struct fetch_blob blob;
	struct fetch_blob *blobs[1];
	struct bitmap *named[1];
	struct lazy_image image;
	struct blob_files *files;
};

/* Chunks 0, 2, 3 and 5 are described: [0, 100), [4096, 12288), [12288, 12289), [20480, 24576); the
 * address space ends at 24577. */
static void world_init(struct world *w, uint64_t shift)
{
	static const struct chunk_rec chunks[6] = {
		[0] = { .plain_offset = 0, .plain_size_bytes = 100 },
		[2] = { .plain_offset = 4096, .plain_size_bytes = 8192 },
		[3] = { .plain_offset = 12288, .plain_size_bytes = 1 },
		[5] = { .plain_offset = 20480, .plain_size_bytes = 4096 },
	};

	*w = (struct world){ .layout = { .plain_size_bytes = 24577, .n_chunks = 6 } };
	for (uint32_t i = 0; i < 6; i++) {
		w->chunks[i] = chunks[i];
		w->chunks[i].plain_offset += chunks[i].plain_size_bytes > 0 ? shift : 0;
	}
	w->layout.chunks = w->chunks;
	w->blob.layout = &w->layout;
	w->blobs[0] = &w->blob;
	w->image = (struct lazy_image){ .n_blobs = 1, .blobs = w->blobs, .named = w->named };
}

static void expect(const struct world *w, uint64_t offset, int64_t chunk_idx, uint32_t chunk_offset,
                   uint32_t size_bytes)
{
	struct fetch_piece p = { 0 };

	assert_int_equal(blob_files_piece(w->files, FILE_NODE, offset, 1U << 20, &p), 0);
	assert_int_equal(p.size_bytes, size_bytes);
	if (chunk_idx < 0) {
		assert_null(p.blob);
		return;
	}
	assert_ptr_equal(p.blob, &w->blob);
	assert_int_equal(p.chunk_idx, chunk_idx);
	assert_int_equal(p.chunk_offset, chunk_offset);
}

static void every_place_is_a_chunk_or_zeros(void **state)
{
	struct world w;
	struct err e = { 0 };

	(void)state;
	world_init(&w, 0);
	assert_int_equal(blob_files_new(&w.image, &w.files, &e), 0);
	expect(&w, 0, 0, 0, 100);
	expect(&w, 99, 0, 99, 1);
	expect(&w, 100, -1, 0, 3996);
	expect(&w, 4096, 2, 0, 8192);
	expect(&w, 12287, 2, 8191, 1);
	expect(&w, 12288, 3, 0, 1);
	expect(&w, 12289, -1, 0, 8191);
	expect(&w, 24575, 5, 4095, 1);
	expect(&w, 24576, -1, 0, 4096); /* up to a whole block */
	blob_files_free(&w.files);
}

static void what_only_others_name_is_zeros(void **state)
{
	struct world w;
	struct err e = { 0 };

	(void)state;
	world_init(&w, 0);
	w.named[0] = bitmap_new(6);
	assert_non_null(w.named[0]);
	(void)bitmap_set(w.named[0], 0);
	(void)bitmap_set(w.named[0], 3);
	assert_int_equal(blob_files_new(&w.image, &w.files, &e), 0);
	expect(&w, 0, 0, 0, 100);
	expect(&w, 100, -1, 0, 12188);
	expect(&w, 4096, -1, 0, 8192);
	expect(&w, 12288, 3, 0, 1);
	expect(&w, 20480, -1, 0, 8192);
	blob_files_free(&w.files);
	bitmap_free(&w.named[0]);
}

static void a_piece_is_no_longer_than_asked_and_the_file_ends(void **state)
{
	struct world w;
	struct fetch_piece p;
	struct err e = { 0 };

	(void)state;
	world_init(&w, 0);
	assert_int_equal(blob_files_new(&w.image, &w.files, &e), 0);
	assert_int_equal(blob_files_piece(w.files, FILE_NODE, 5000, 7, &p), 0);
	assert_int_equal(p.size_bytes, 7);
	assert_int_equal(blob_files_piece(w.files, FILE_NODE, 200, 7, &p), 0);
	assert_int_equal(p.size_bytes, 7);
	assert_int_equal(blob_files_piece(w.files, FILE_NODE, 28672, 1, &p), 1);
	assert_int_equal(blob_files_piece(w.files, FILE_NODE, UINT64_MAX, 1, &p), 1);
	blob_files_free(&w.files);
}

static void other_nodes_are_no_files(void **state)
{
	struct world w;
	struct fetch_piece p;
	struct err e = { 0 };

	(void)state;
	world_init(&w, 0);
	assert_int_equal(blob_files_new(&w.image, &w.files, &e), 0);
	assert_int_equal(blob_files_piece(w.files, 0, 0, 1, &p), -ENOENT);
	assert_int_equal(blob_files_piece(w.files, 1, 0, 1, &p), -ENOENT);
	assert_int_equal(blob_files_piece(w.files, FILE_NODE + 1, 0, 1, &p), -ENOENT);
	assert_int_equal(blob_files_piece(w.files, UINT64_MAX, 0, 1, &p), -ENOENT);
	blob_files_free(&w.files);
}

static void chunks_between_blocks_are_not_for_the_kernel(void **state)
{
	struct world w;
	struct err e = { 0 };

	(void)state;
	world_init(&w, 512);
	assert_int_equal(blob_files_new(&w.image, &w.files, &e), -ENOTSUP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_place_is_a_chunk_or_zeros),
		cmocka_unit_test(what_only_others_name_is_zeros),
		cmocka_unit_test(a_piece_is_no_longer_than_asked_and_the_file_ends),
		cmocka_unit_test(other_nodes_are_no_files),
		cmocka_unit_test(chunks_between_blocks_are_not_for_the_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
