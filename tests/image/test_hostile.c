/*
 * test_hostile: bootstraps that lie. One lie each, and the call that must find it; then thousands
 * of random ones, of which only this is asked: an error or a right answer, and an end.
 */
#include "bytes.h"
#include "data.h"
#include "exercise.h"
#include "v5.h"
#include "v6.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define EXT 1152 /* the second superblock of v6 */

struct lie {
	struct data d;
	struct image *im;
};

static void put(uint8_t *p, uint64_t v, int n_bytes)
{
	for (int i = 0; i < n_bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void begin(struct lie *l, const char *boot)
{
	l->d = data_load(boot);
	l->im = data_open_image(&l->d);
}

/* Open again after a lie in superblock or tables. */
static int reopen(struct lie *l)
{
	const struct image_opts opts = { l->d.bytes, l->d.size_bytes, 0 };
	struct err e;

	image_close(&l->im);
	return image_open(&opts, &l->im, &e);
}

static void end(struct lie *l)
{
	image_close(&l->im);
	data_free(&l->d);
}

static int lookup(const struct lie *l, uint64_t dir, const char *name, uint64_t *ret_node)
{
	struct err e;

	return image_lookup(l->im, dir, name, strlen(name), ret_node, &e);
}

static uint64_t node_of(const struct lie *l, uint64_t dir, const char *name)
{
	uint64_t node = 0;

	assert_int_equal(lookup(l, dir, name, &node), 0);
	return node;
}

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
	static const struct {
		unsigned at;
		int n_bytes;
		uint64_t value;
	} lies[] = {
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

static void blobs_of_impossible_size_are_refused(void **state)
{
	static const struct {
		unsigned at;
		int n_bytes;
		uint64_t value;
	} lies[] = {
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
	static const struct {
		unsigned at;
		int n_bytes;
		uint64_t value;
	} lies[] = {
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

/* ---- v5 ---- */

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
	static const struct {
		unsigned at;
		int n_bytes;
		uint64_t value;
	} lies[] = {
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

/* ---- any lie ---- */

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void mutate(uint8_t *bytes, size_t size_bytes, uint64_t *seed)
{
	static const uint8_t edges[] = { 0, 1, 0x7f, 0x80, 0xff, '/', 4, 8 };
	const uint64_t n = 1 + next_random(seed) % 6;

	for (unsigned i = 0; i < n; i++) {
		const size_t at = next_random(seed) % size_bytes;

		if (next_random(seed) & 1)
			bytes[at] = edges[next_random(seed) % ARRAY_LEN(edges)];
		else
			bytes[at] ^= (uint8_t)(1U << next_random(seed) % 8);
	}
}

static void try_mutations(const char *boot, unsigned n, uint64_t seed)
{
	const struct data good = data_load(boot);
	uint8_t *bad = malloc(good.size_bytes);
	unsigned n_corrupt = 0;

	assert_non_null(bad);
	for (unsigned i = 0; i < n; i++) {
		memcpy(bad, good.bytes, good.size_bytes);
		mutate(bad, good.size_bytes, &seed);
		n_corrupt += exercise_image(bad, good.size_bytes);
	}
	assert_true(n_corrupt > n / 10);
	free(bad);
	free(good.bytes);
}

static void no_mutation_crashes_or_hangs(void **state)
{
	(void)state;
	try_mutations("layers-v6.boot", 6000, 88172645463325252ULL);
	try_mutations("layers-v5.boot", 6000, 1234567890123ULL);
	try_mutations("layers-zran.boot", 2000, 99194853094755497ULL);
	try_mutations("layers-v6-batch.boot", 2000, 6364136223846793005ULL);
}

static void no_truncation_crashes(void **state)
{
	static const char *const boots[] = { "layers-v6.boot", "layers-v5.boot" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(boots); i++) {
		const struct data good = data_load(boots[i]);

		for (size_t size_bytes = 0; size_bytes < good.size_bytes; size_bytes += 512) {
			uint8_t *bad = malloc(size_bytes + 1);

			assert_non_null(bad);
			memcpy(bad, good.bytes, size_bytes);
			assert_true(exercise_image(bad, size_bytes) > 0);
			free(bad);
		}
		free(good.bytes);
	}
}

static void a_good_image_has_no_fault_at_all(void **state)
{
	static const char *const boots[] = { "layers-v6.boot", "layers-v5.boot", "edge-v6.boot",
		                             "edge-v5.boot" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(boots); i++) {
		struct data d = data_load(boots[i]);

		assert_int_equal(exercise_image(d.bytes, d.size_bytes), 0);
		data_free(&d);
	}
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
		cmocka_unit_test(blobs_of_impossible_size_are_refused),
		cmocka_unit_test(chunk_records_that_overlap_or_leave_the_blob_are_refused),
		cmocka_unit_test(two_records_of_one_chunk_that_differ_are_refused),
		cmocka_unit_test(v5_children_that_are_not_theirs_are_refused),
		cmocka_unit_test(v5_tables_and_inodes_that_do_not_fit_are_refused),
		cmocka_unit_test(v5_inodes_that_overlap_cost_no_more_than_the_file_is_long),
		cmocka_unit_test(v5_unsorted_names_are_still_found),
		cmocka_unit_test(v5_gaps_between_chunks_are_zeros),
		cmocka_unit_test(no_mutation_crashes_or_hangs),
		cmocka_unit_test(no_truncation_crashes),
		cmocka_unit_test(a_good_image_has_no_fault_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
