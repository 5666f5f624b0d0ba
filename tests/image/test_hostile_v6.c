/*
 * test_hostile_v6: RAFS v6 bootstraps that lie. One lie each, and the call that must find it.
 */
#include "bytes.h"
#include "lie.h"
#include "v6.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define EXT 1152 /* the second superblock of v6 */

static struct v6_inode v6_get(const struct lie *l, uint64_t node)
{
	struct v6_inode inode;
	struct err e;

	assert_int_equal(v6_inode_get(l->im, node, &inode, &e), 0);
	return inode;
}

/* Where a name's 12-byte entry stands in a v6 directory of one block. */
static uint8_t *v6_entry(const struct lie *l, uint64_t dir, const char *name)
{
	const struct v6_inode inode = v6_get(l, dir);
	uint32_t size_bytes;
	const size_t at = (size_t)(v6_flat_block(l->im, &inode, 0, &size_bytes) - l->d.bytes);
	uint8_t *block = l->d.bytes + at;

	for (uint32_t i = 0; i < le16(block + 8) / 12U; i++) {
		const uint32_t start = le16(block + (size_t)12 * i + 8);

		if (strncmp((const char *)block + start, name, strlen(name)) == 0 &&
		    strlen(name) > 2)
			return block + (size_t)12 * i;
	}
	fail();
	return NULL;
}

/* layers-v6 has /etc, /opt/deep, /usr/bin and more, each directory of one block */
static void a_directory_that_contains_its_parent_is_refused(void **state)
{
	struct lie l;
	uint64_t node = 0;

	(void)state;
	begin(&l, "layers-v6.boot");
	put(v6_entry(&l, IMAGE_ROOT, "etc"), l.im->v6.root_nid, 8);
	assert_int_equal(lookup(&l, IMAGE_ROOT, "etc", &node), -EUCLEAN);
	end(&l);
}

/* /etc leads to /usr/lib, whose ".." is /usr. */
static void a_directory_in_two_places_is_refused_in_one(void **state)
{
	struct lie l;
	uint64_t node = 0;
	uint64_t usr;

	(void)state;
	begin(&l, "layers-v6.boot");
	usr = node_of(&l, IMAGE_ROOT, "usr");
	put(v6_entry(&l, IMAGE_ROOT, "etc"), v6_get(&l, node_of(&l, usr, "lib")).nid, 8);
	assert_int_equal(lookup(&l, IMAGE_ROOT, "etc", &node), -EUCLEAN);
	assert_int_equal(lookup(&l, usr, "lib", &node), 0);
	end(&l);
}

static void an_entry_of_another_type_than_its_inode_is_refused(void **state)
{
	struct lie l;
	struct image_dirent entry;
	uint64_t cookie = 0;
	uint64_t node = 0;
	struct err e;
	int r;

	(void)state;
	begin(&l, "layers-v6.boot");
	v6_entry(&l, IMAGE_ROOT, "etc")[10] = 1; /* a regular file, it says */
	assert_int_equal(lookup(&l, IMAGE_ROOT, "etc", &node), -EUCLEAN);
	while ((r = image_readdir(l.im, IMAGE_ROOT, cookie, &entry, &e)) > 0)
		cookie = entry.next_cookie;
	assert_int_equal(r, -EUCLEAN);
	v6_entry(&l, IMAGE_ROOT, "etc")[10] = 9;
	assert_int_equal(lookup(&l, IMAGE_ROOT, "etc", &node), -EUCLEAN);
	end(&l);
}

static void names_with_a_slash_or_nul_or_without_end_are_refused(void **state)
{
	struct lie l;
	uint8_t *block;
	uint8_t *entry;
	uint64_t node = 0;

	(void)state;
	begin(&l, "layers-v6.boot");
	entry = v6_entry(&l, IMAGE_ROOT, "etc");
	block = l.d.bytes + (v6_get(&l, IMAGE_ROOT).tail_offset);
	block[le16(entry + 8) + 1] = '/';
	assert_int_equal(lookup(&l, IMAGE_ROOT, "e/c", &node), -EUCLEAN);
	block[le16(entry + 8) + 1] = '\0';
	assert_int_equal(lookup(&l, IMAGE_ROOT, "etc", &node), -EUCLEAN);
	block[le16(entry + 8) + 1] = 't';
	assert_int_equal(lookup(&l, IMAGE_ROOT, "etc", &node), 0);
	put(entry + 8, 5000, 2); /* the name begins behind the block */
	assert_int_equal(lookup(&l, IMAGE_ROOT, "etc", &node), -EUCLEAN);
	put(block + 8, 13, 2); /* no whole number of entries */
	assert_int_equal(lookup(&l, IMAGE_ROOT, "usr", &node), -EUCLEAN);
	end(&l);
}

static void an_inode_whose_claims_do_not_fit_is_refused(void **state)
{
	static const uint64_t sizes[] = { UINT64_C(1) << 40, INT64_MAX, UINT64_MAX };
	struct lie l;
	struct stat st;
	struct err e;
	uint64_t file;
	uint8_t *inode;

	(void)state;
	begin(&l, "edge-v6.boot");
	file = node_of(&l, node_of(&l, IMAGE_ROOT, "big"), "mixed");
	inode = l.d.bytes + l.im->v6.meta_offset + v6_get(&l, file).nid * 32;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		put(inode + 8, sizes[i], 8);
		assert_int_equal(image_getattr(l.im, file, &st, &e), -EUCLEAN);
	}
	put(inode + 8, 3498178, 8);
	assert_int_equal(image_getattr(l.im, file, &st, &e), 0);
	put(inode + 2, 65535, 2); /* attributes */
	assert_int_equal(image_listxattr(l.im, file, NULL, 0, &e), -EUCLEAN);
	put(inode + 2, 0, 2);
	put(inode, 0x31, 2); /* an unknown form */
	assert_int_equal(image_getattr(l.im, file, &st, &e), -EUCLEAN);
	put(inode, 1 | 1 << 1, 2); /* EROFS compression, which RAFS has not */
	assert_int_equal(image_getattr(l.im, file, &st, &e), -EUCLEAN);
	end(&l);
}

static void a_chunk_address_of_no_chunk_is_refused(void **state)
{
	struct lie l;
	struct image_segment s;
	struct err e;
	uint64_t file;
	uint8_t *address;

	(void)state;
	begin(&l, "edge-v6.boot");
	file = node_of(&l, node_of(&l, IMAGE_ROOT, "big"), "mixed");
	address = l.d.bytes + v6_get(&l, file).chunk_offset;
	address[2] = 0; /* no blob */
	assert_int_equal(image_map(l.im, file, 0, 1, &s, 1, &e), -EUCLEAN);
	address[2] = 2; /* of one */
	assert_int_equal(image_map(l.im, file, 0, 1, &s, 1, &e), -EUCLEAN);
	address[2] = 1;
	address[3] = 0xff; /* chunk 16 million of 3078 */
	assert_int_equal(image_map(l.im, file, 0, 1, &s, 1, &e), -EUCLEAN);
	address[3] = 0;
	address[4] ^= 1; /* another block than the chunk's */
	assert_int_equal(image_map(l.im, file, 0, 1, &s, 1, &e), 1);
	{
		AUTO(layout_unref) struct blob_layout *layout = NULL;

		assert_int_equal(image_layout(l.im, 0, NULL, 0, NULL, &layout, &e), 0);
		assert_false(image_segment_fits(&s, layout));
	}
	end(&l);
}

static void tables_that_overlap_or_do_not_fit_are_refused(void **state)
{
	static const struct field_lie lies[] = {
		{ EXT + 8, 8, 0 },                      /* blobs: offset */
		{ EXT + 8, 8, 4097 },                   /* unaligned */
		{ EXT + 8, 8, UINT64_MAX - 4095 },      /* wraps */
		{ EXT + 16, 4, 255 },                   /* no whole record */
		{ EXT + 16, 4, UINT64_C(256) * 65536 }, /* size */
		{ EXT + 24, 8, 4096 },                  /* chunks: upon the blobs */
		{ EXT + 32, 8, 81 },                    /* no whole record */
		{ EXT + 32, 8, UINT64_C(80) << 50 },
		{ EXT + 48, 4, 40000 },       /* prefetch */
		{ EXT + 20, 4, 1000000 },     /* chunk size: no power of two */
		{ EXT + 20, 4, 1 << 25 },     /* too large */
		{ 1024 + 40, 4, UINT32_MAX }, /* metadata behind the end */
		{ 1024 + 14, 2, 65535 },      /* root */
		{ 1024 + 16, 8, 0 },          /* inodes */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		struct lie l;

		begin(&l, "layers-v6.boot");
		put(l.d.bytes + lies[i].at, lies[i].value, lies[i].n_bytes);
		if (reopen(&l) != -EUCLEAN)
			fail_msg("lie %zu was believed", i);
		end(&l);
	}
}

static void a_prefetch_table_upon_the_chunk_table_is_refused(void **state)
{
	struct lie l;

	(void)state;
	begin(&l, "layers-v6.boot");
	put(l.d.bytes + EXT + 40, le64(l.d.bytes + EXT + 24), 8);
	assert_int_equal(reopen(&l), -EUCLEAN);
	assert_non_null(strstr(l.e.msg, "overlaps"));
	end(&l);
}

static void an_attribute_longer_than_its_inode_says_is_refused(void **state)
{
	struct lie l;
	const uint8_t *value;
	uint32_t size_bytes;
	struct err e;
	uint64_t file;
	uint8_t *entry;

	(void)state;
	begin(&l, "edge-v6.boot");
	file = node_of(&l, node_of(&l, IMAGE_ROOT, "xattr"), "one");
	entry = l.d.bytes + v6_get(&l, file).xattr_offset + 12;
	assert_true(image_listxattr(l.im, file, NULL, 0, &e) > 0);
	put(entry + 2, le16(entry + 2) + 60U, 2);
	assert_int_equal(image_getxattr(l.im, file, "user.a", &value, &size_bytes, &e), -EUCLEAN);
	entry[1] = 5; /* a name space that is none */
	assert_int_equal(image_listxattr(l.im, file, NULL, 0, &e), -EUCLEAN);
	end(&l);
}

static void blobs_of_impossible_size_are_refused(void **state)
{
	static const struct field_lie lies[] = {
		{ 0, 1, '/' },
		{ 0, 8, 0 },                   /* no name */
		{ 64, 4, 1 },                  /* another place */
		{ 68, 4, 65536 },              /* another chunk size */
		{ 72, 4, (1 << 24) + 1 },      /* chunks */
		{ 72, 4, 67 },                 /* more than the index has */
		{ 88, 8, UINT64_MAX },         /* packed */
		{ 96, 8, UINT64_MAX },         /* plain */
		{ 112, 8, UINT64_MAX },        /* index behind the object */
		{ 120, 8, UINT64_C(1) << 32 }, /* index, packed */
		{ 128, 8, UINT64_C(1) << 32 }, /* index, unpacked */
		{ 84, 4, 0x1 | 0x80 },         /* batches, but short records */
		{ 84, 4, 0 },                  /* not aligned */
		{ 216, 4, 1 },                 /* a key, but no encryption */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		struct lie l;

		begin(&l, "layers-v6.boot");
		put(l.d.bytes + le64(l.d.bytes + EXT + 8) + lies[i].at, lies[i].value,
		    lies[i].n_bytes);
		if (reopen(&l) != -EUCLEAN)
			fail_msg("lie %zu was believed", i);
		end(&l);
	}
}

static int layout_of_first_blob(const struct lie *l)
{
	AUTO(layout_unref) struct blob_layout *layout = NULL;
	struct err e;

	return image_layout(l->im, 0, NULL, 0, NULL, &layout, &e);
}

static void chunk_records_that_overlap_or_leave_the_blob_are_refused(void **state)
{
	static const struct field_lie lies[] = {
		{ 40, 4, UINT32_MAX }, /* packed size */
		{ 44, 4, UINT32_MAX }, /* plain size */
		{ 44, 4, 0 },
		{ 48, 8, UINT64_MAX - 4 }, /* packed offset */
		{ 56, 8, UINT64_MAX - 4 }, /* plain offset */
		{ 56, 8, UINT64_C(1) << 30 },
		{ 72, 4, 100 }, /* a chunk that is not there */
	};
	struct lie l;
	uint8_t *record;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		begin(&l, "layers-v6.boot");
		record = l.d.bytes + le64(l.d.bytes + EXT + 24);
		while (le32(record + 32) != 0)
			record += 80;
		assert_int_equal(layout_of_first_blob(&l), 0);
		put(record + lies[i].at, lies[i].value, lies[i].n_bytes);
		if (layout_of_first_blob(&l) != -EUCLEAN)
			fail_msg("lie %zu was believed", i);
		end(&l);
	}
	begin(&l, "layers-v6.boot");
	record = l.d.bytes + le64(l.d.bytes + EXT + 24);
	record[0] ^= 1; /* another digest is another chunk, but no fault that can be seen here */
	assert_int_equal(reopen(&l), 0);
	put(record + 32, 3, 4); /* blob 3 of 0..2 */
	assert_int_equal(reopen(&l), -EUCLEAN);
	end(&l);
}

static void two_records_of_one_chunk_that_differ_are_refused(void **state)
{
	struct lie l;
	uint8_t *first;
	uint8_t *second;

	(void)state;
	begin(&l, "layers-v6.boot");
	first = l.d.bytes + le64(l.d.bytes + EXT + 24);
	while (le32(first + 32) != 0)
		first += 80;
	second = first + 80;
	while (le32(second + 32) != 0)
		second += 80;
	memcpy(second, first, 80); /* the same twice is no harm */
	assert_int_equal(layout_of_first_blob(&l), 0);
	second[0] ^= 1;
	assert_int_equal(layout_of_first_blob(&l), -EUCLEAN);
	end(&l);
}

static void an_inode_without_time_has_that_of_the_mount(void **state)
{
	struct lie l;
	struct stat st;
	struct err e;
	uint64_t file;
	uint8_t *inode;

	(void)state;
	begin(&l, "layers-v6.boot");
	file = node_of(&l, node_of(&l, IMAGE_ROOT, "etc"), "conf.0");
	inode = l.d.bytes + l.im->v6.meta_offset + v6_get(&l, file).nid * 32;
	memset(inode, 0, 32); /* the compact form, of an empty file */
	put(inode, V6_CHUNK_BASED << 1, 2);
	put(inode + 4, S_IFREG | 0640, 2);
	put(inode + 6, 3, 2);
	put(inode + 24, 65535, 2);
	put(inode + 26, 7, 2);
	assert_int_equal(image_getattr(l.im, file, &st, &e), 0);
	assert_int_equal(st.st_mtim.tv_sec, MOUNT_TIME_S);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(st.st_nlink, 3);
	assert_int_equal(st.st_uid, 65535);
	assert_int_equal(st.st_gid, 7);
	assert_int_equal(st.st_size, 0);
	end(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_directory_that_contains_its_parent_is_refused),
		cmocka_unit_test(a_directory_in_two_places_is_refused_in_one),
		cmocka_unit_test(an_entry_of_another_type_than_its_inode_is_refused),
		cmocka_unit_test(names_with_a_slash_or_nul_or_without_end_are_refused),
		cmocka_unit_test(an_inode_whose_claims_do_not_fit_is_refused),
		cmocka_unit_test(a_chunk_address_of_no_chunk_is_refused),
		cmocka_unit_test(tables_that_overlap_or_do_not_fit_are_refused),
		cmocka_unit_test(a_prefetch_table_upon_the_chunk_table_is_refused),
		cmocka_unit_test(an_attribute_longer_than_its_inode_says_is_refused),
		cmocka_unit_test(blobs_of_impossible_size_are_refused),
		cmocka_unit_test(chunk_records_that_overlap_or_leave_the_blob_are_refused),
		cmocka_unit_test(two_records_of_one_chunk_that_differ_are_refused),
		cmocka_unit_test(an_inode_without_time_has_that_of_the_mount),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
