/*
 * test_tree: real images, walked through the public calls, equal the lists that were made from
 * mounts of them; and what the calls say of single nodes.
 */
#include "data.h"
#include "tree_lines.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void assert_tree_equals(const char *boot, const char *expected)
{
	struct data d = data_load(boot);
	struct data want = data_load(expected);
	struct image *im = data_open_image(&d);
	struct tree_lines got;
	struct err e;
	size_t i = 0;
	char *rest = (char *)want.bytes;

	want.bytes[want.size_bytes - 1] = '\0'; /* the last newline */
	assert_int_equal(tree_lines_read(im, &got, &e), 0);
	for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
		assert_true(i < got.n);
		assert_string_equal(got.lines[i].text, line);
		i++;
	}
	assert_int_equal(i, got.n);
	tree_lines_free(&got);
	image_close(&im);
	data_free(&want);
	data_free(&d);
}

static void v6_trees_equal_their_lists(void **state)
{
	(void)state;
	assert_tree_equals("edge-v6.boot", "edge.txt");
	assert_tree_equals("edge-v6-batch.boot", "edge.txt");
	assert_tree_equals("edge-v6-encrypted.boot", "edge.txt");
	assert_tree_equals("edge-v6-chunk-dict.boot", "edge-next.txt");
	assert_tree_equals("layers-v6.boot", "layers.txt");
	assert_tree_equals("layers-v6-batch.boot", "layers.txt");
	assert_tree_equals("layers-zran.boot", "layers.txt");
}

static void v5_trees_equal_their_lists(void **state)
{
	(void)state;
	assert_tree_equals("edge-v5.boot", "edge.txt");
	assert_tree_equals("layers-v5.boot", "layers.txt");
}

struct tree {
	struct data d;
	struct image *im;
};

static uint64_t find(const struct tree *t, const char *path)
{
	uint64_t node = IMAGE_ROOT;
	struct err e;

	while (*path == '/') {
		const size_t n = strcspn(path + 1, "/");

		assert_int_equal(image_lookup(t->im, node, path + 1, n, &node, &e), 0);
		path += n + 1;
	}
	return node;
}

static void tree_open(struct tree *t, const char *boot)
{
	t->d = data_load(boot);
	t->im = data_open_image(&t->d);
}

static void tree_close(struct tree *t)
{
	image_close(&t->im);
	data_free(&t->d);
}

static const char *const edges[] = { "edge-v6.boot", "edge-v5.boot" };

static void every_entry_is_found_by_its_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
		struct tree t;
		struct tree_lines lines;
		struct err e;

		tree_open(&t, edges[i]);
		assert_int_equal(tree_lines_read(t.im, &lines, &e), 0);
		for (size_t k = 1; k < lines.n; k++)
			assert_true(find(&t, lines.lines[k].path) > IMAGE_ROOT);
		tree_lines_free(&lines);
		tree_close(&t);
	}
}

static void a_name_that_is_not_there_is_enoent(void **state)
{
	static const char *const names[] = { "", "a", "zzzz", "\xff\xff", "bi", "bigger" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
		struct tree t;
		uint64_t node = 0;
		struct err e;

		tree_open(&t, edges[i]);
		for (size_t k = 0; k < ARRAY_LEN(names); k++)
			assert_int_equal(image_lookup(t.im, IMAGE_ROOT, names[k], strlen(names[k]),
			                              &node, &e),
			                 -ENOENT);
		assert_int_equal(image_lookup(t.im, find(&t, "/sizes/1"), "x", 1, &node, &e),
		                 -ENOTDIR);
		tree_close(&t);
	}
}

static void dot_and_dotdot_lead_where_they_should(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
		struct tree t;

		tree_open(&t, edges[i]);
		assert_int_equal(find(&t, "/."), IMAGE_ROOT);
		assert_int_equal(find(&t, "/.."), IMAGE_ROOT);
		assert_int_equal(find(&t, "/big/.."), IMAGE_ROOT);
		assert_int_equal(find(&t, "/big/."), find(&t, "/big"));
		tree_close(&t);
	}
}

static void hard_links_share_one_node(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
		struct tree t;
		struct stat st;
		struct err e;

		tree_open(&t, edges[i]);
		assert_int_equal(find(&t, "/links/one"), find(&t, "/links/two"));
		assert_int_equal(image_getattr(t.im, find(&t, "/links/one"), &st, &e), 0);
		assert_int_equal(st.st_nlink, 4);
		tree_close(&t);
	}
}

static void node_ids_from_outside_are_checked(void **state)
{
	static const uint64_t strange[] = { 0, 2, 3000000, UINT64_C(1) << 39, UINT64_MAX };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
		struct tree t;
		struct stat st;
		struct err e;

		tree_open(&t, edges[i]);
		assert_int_equal(image_getattr(t.im, 0, &st, &e), -ENOENT);
		for (size_t k = 2; k < ARRAY_LEN(strange); k++)
			assert_int_equal(image_getattr(t.im, strange[k], &st, &e), -ENOENT);
		tree_close(&t);
	}
}

static void readdir_goes_on_from_any_of_its_cookies(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
		struct tree t;
		struct image_dirent d;
		struct err e;
		uint64_t cookie = 0;
		unsigned n = 0;

		tree_open(&t, edges[i]);
		while (image_readdir(t.im, find(&t, "/big"), cookie, &d, &e) > 0) {
			cookie = d.next_cookie;
			n++;
		}
		assert_true(n >= 5);
		assert_int_equal(image_readdir(t.im, find(&t, "/big"), cookie, &d, &e), 0);
		assert_int_equal(image_readdir(t.im, find(&t, "/big"), UINT64_MAX, &d, &e), 0);
		assert_int_equal(image_readdir(t.im, find(&t, "/sizes/1"), 0, &d, &e), -ENOTDIR);
		tree_close(&t);
	}
}

static void a_map_is_cut_at_end_of_file_and_at_max_segments(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
		struct tree t;
		struct image_segment s[8];
		struct err e;
		uint64_t node;

		tree_open(&t, edges[i]);
		node = find(&t, "/big/mixed"); /* 3,498,178 bytes: four chunks */
		assert_int_equal(image_map(t.im, node, 0, UINT64_MAX, s, 8, &e), 4);
		assert_int_equal(s[3].file_offset + s[3].size_bytes, 3498178);
		assert_int_equal(image_map(t.im, node, 0, UINT64_MAX, s, 2, &e), 2);
		assert_int_equal(image_map(t.im, node, 1048576 - 1, 2, s, 8, &e), 2);
		assert_int_equal(s[0].chunk_offset, 1048575);
		assert_int_equal(s[0].size_bytes, 1);
		assert_int_equal(s[1].chunk_offset, 0);
		assert_int_equal(image_map(t.im, node, 3498178, 1, s, 8, &e), 0);
		assert_int_equal(image_map(t.im, node, UINT64_MAX, 1, s, 8, &e), 0);
		assert_int_equal(image_map(t.im, IMAGE_ROOT, 0, 1, s, 8, &e), -EISDIR);
		tree_close(&t);
	}
}

static void an_attribute_that_is_not_there_is_enodata(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
		struct tree t;
		const uint8_t *value;
		uint32_t size_bytes;
		struct err e;

		tree_open(&t, edges[i]);
		assert_int_equal(
			image_getxattr(t.im, IMAGE_ROOT, "user.none", &value, &size_bytes, &e),
			-ENODATA);
		tree_close(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v6_trees_equal_their_lists),
		cmocka_unit_test(v5_trees_equal_their_lists),
		cmocka_unit_test(every_entry_is_found_by_its_name),
		cmocka_unit_test(a_name_that_is_not_there_is_enoent),
		cmocka_unit_test(dot_and_dotdot_lead_where_they_should),
		cmocka_unit_test(hard_links_share_one_node),
		cmocka_unit_test(node_ids_from_outside_are_checked),
		cmocka_unit_test(readdir_goes_on_from_any_of_its_cookies),
		cmocka_unit_test(a_map_is_cut_at_end_of_file_and_at_max_segments),
		cmocka_unit_test(an_attribute_that_is_not_there_is_enodata),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
