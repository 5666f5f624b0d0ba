/*
 * test_hostile_v5: RAFS v5 bootstraps that lie. One lie each, and the call that must find it.
 */
#include "bytes.h"
#include "lie.h"
#include "v5.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint8_t *v5_inode_at(const struct lie *l, uint64_t pos)
{
	return l->d.bytes +
	       (size_t)le32(l->d.bytes + l->im->v5.inode_table_offset + (pos - 1) * 4) * 8;
}

static void v5_children_that_are_not_theirs_are_refused(void **state)
{
	struct lie l;
	uint64_t etc;
	uint64_t node = 0;
	struct image_dirent entry;
	struct err e;

	(void)state;
	begin(&l, "layers-v5.boot");
	etc = node_of(&l, IMAGE_ROOT, "etc");
	put(v5_inode_at(&l, etc) + 32, etc, 8); /* its own parent */
	assert_int_equal(lookup(&l, IMAGE_ROOT, "etc", &node), -EUCLEAN);
	assert_int_equal(image_readdir(l.im, IMAGE_ROOT, 2, &entry, &e), -EUCLEAN);
	put(v5_inode_at(&l, etc) + 32, IMAGE_ROOT, 8);
	put(v5_inode_at(&l, etc) + 92, IMAGE_ROOT, 4); /* the root for its first child */
	assert_int_equal(lookup(&l, IMAGE_ROOT, "etc", &node), -EUCLEAN);
	put(v5_inode_at(&l, etc) + 92, 2, 4);
	put(v5_inode_at(&l, etc) + 96, UINT32_MAX, 4); /* more children than inodes */
	assert_int_equal(reopen(&l), -EUCLEAN);
	end(&l);
}

static void v5_tables_and_inodes_that_do_not_fit_are_refused(void **state)
{
	static const struct field_lie lies[] = {
		{ 8, 4, 4096 },        /* superblock */
		{ 12, 4, 12345 },      /* chunk size */
		{ 32, 8, UINT64_MAX }, /* inode table */
		{ 56, 4, UINT32_MAX }, /* entries */
		{ 56, 4, 0 },
		{ 40, 8, UINT64_MAX - 3 }, /* prefetch */
		{ 60, 4, UINT32_MAX },
		{ 48, 8, UINT64_MAX - 9 }, /* blobs */
		{ 64, 4, 75 },
		{ 68, 4, 2 }, /* sizes of two blobs, of three */
		{ 72, 8, UINT64_MAX },
		{ 8192, 4, 3 }, /* an inode inside the superblock */
		{ 8192, 4, UINT32_MAX },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		struct lie l;

		begin(&l, "layers-v5.boot");
		put(l.d.bytes + lies[i].at, lies[i].value, lies[i].n_bytes);
		if (reopen(&l) != -EUCLEAN)
			fail_msg("lie %zu was believed", i);
		end(&l);
	}
}

static void v5_inodes_that_overlap_cost_no_more_than_the_file_is_long(void **state)
{
	struct lie l;
	uint64_t file;
	uint8_t *inode;

	(void)state;
	begin(&l, "layers-v5.boot");
	file = node_of(&l, node_of(&l, IMAGE_ROOT, "etc"), "conf.0");
	inode = v5_inode_at(&l, file);
	/* As many chunk records as reach to the end of the file, in many files. */
	for (uint64_t pos = file; pos < file + 20; pos++) {
		uint8_t *other = v5_inode_at(&l, pos);

		if (S_ISREG(le32(other + 60)))
			put(other + 96, (l.d.size_bytes - (size_t)(other - l.d.bytes) - 400) / 80,
			    4);
	}
	assert_true(S_ISREG(le32(inode + 60)));
	assert_int_equal(reopen(&l), -EUCLEAN);
	assert_non_null(strstr(l.e.msg, "overlap"));
	end(&l);
}

static void v5_unsorted_names_are_still_found(void **state)
{
	struct lie l;
	uint64_t etc;
	uint8_t *inode;

	(void)state;
	begin(&l, "layers-v5.boot");
	assert_true(l.im->v5.names_sorted);
	etc = node_of(&l, IMAGE_ROOT, "etc");
	inode = v5_inode_at(&l, node_of(&l, etc, "conf.0"));
	inode[128] = 'z';
	assert_int_equal(reopen(&l), 0);
	assert_false(l.im->v5.names_sorted);
	assert_true(node_of(&l, etc, "zonf.0") > IMAGE_ROOT);
	assert_true(node_of(&l, etc, "conf.1") > IMAGE_ROOT);
	end(&l);
}

static void v5_gaps_between_chunks_are_zeros(void **state)
{
	struct lie l;
	struct image_segment s[4];
	struct v5_inode inode;
	struct err e;
	uint64_t file;
	uint8_t *p;

	(void)state;
	begin(&l, "edge-v5.boot");
	file = node_of(&l, node_of(&l, IMAGE_ROOT, "big"), "mixed");
	assert_int_equal(v5_inode_get(l.im, file, &inode, &e), 0);
	p = l.d.bytes + inode.chunk_offset;
	put(p + 36, le32(p + 36) | CHUNK_INFO_HOLE, 4); /* the first chunk is none */
	assert_int_equal(reopen(&l), 0);
	assert_int_equal(image_map(l.im, file, 0, UINT64_MAX, s, 4, &e), 4);
	assert_int_equal(s[0].blob_idx, IMAGE_BLOB_NONE);
	assert_int_equal(s[0].size_bytes, 1048576);
	put(p + 80 + 44, 1000, 4); /* the second ends early */
	assert_int_equal(image_map(l.im, file, 1048576, 4096, s, 4, &e), 2);
	assert_int_equal(s[0].size_bytes, 1000);
	assert_int_equal(s[1].blob_idx, IMAGE_BLOB_NONE);
	assert_int_equal(s[1].size_bytes, 3096);
	put(p + 160 + 64, 1048576, 8); /* the third goes back to where the second is */
	assert_int_equal(image_map(l.im, file, 1048576, 1200000, s, 4, &e), -EUCLEAN);
	end(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v5_children_that_are_not_theirs_are_refused),
		cmocka_unit_test(v5_tables_and_inodes_that_do_not_fit_are_refused),
		cmocka_unit_test(v5_inodes_that_overlap_cost_no_more_than_the_file_is_long),
		cmocka_unit_test(v5_unsorted_names_are_still_found),
		cmocka_unit_test(v5_gaps_between_chunks_are_zeros),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
