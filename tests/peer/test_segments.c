/*
 * test_segments: the rule by which blobs are cut, names that survive changes elsewhere, and the
 * order in which a node wants them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "digest.h"
#include "hex.h"
#include "mem.h"
#include "names.h"
#include "order.h"
#include "segments.h"
#include <stdlib.h>

static struct segments *cut(struct blob_layout *l)
{
	struct segments *s;
	struct err e;

	assert_int_equal(segments_new(l, &s, &e), 0);
	return s;
}

static uint64_t plain_bytes(const struct segments *s, uint32_t segment_idx)
{
	uint64_t sum = 0;

	for (uint16_t pos = 0; pos < segments_at(s, segment_idx)->n_chunks; pos++)
		sum += segments_layout(s)
		               ->chunks[segments_chunk(s, segment_idx, pos)]
		               .plain_size_bytes;
	return sum;
}

static bool is_mark(const struct segments *s, uint32_t chunk_idx)
{
	const uint8_t *d = segments_layout(s)->chunks[chunk_idx].digest;
	uint64_t v = 0;

	for (uint32_t i = 0; i < 8; i++)
		v = v << 8 | d[i];
	return v % 64 == 0;
}

static void check_rule(const struct segments *s)
{
	const uint32_t n = segments_count(s);

	for (uint32_t i = 0; i < n; i++) {
		const struct segment *g = segments_at(s, i);
		uint64_t sum = 0;

		assert_true(g->n_chunks <= 256);
		assert_true(plain_bytes(s, i) <= 8U << 20 || g->n_chunks == 1);
		for (uint16_t pos = 0; pos < g->n_chunks; pos++) {
			const uint32_t c = segments_chunk(s, i, pos);

			assert_false(pos >= 16 && sum >= 1U << 20 && is_mark(s, c));
			sum += segments_layout(s)->chunks[c].plain_size_bytes;
		}
		if (i + 1 < n) {
			const uint32_t next = segments_at(s, i + 1)->first_chunk;
			const uint32_t size = segments_layout(s)->chunks[next].plain_size_bytes;

			assert_true(g->n_chunks == 256 || sum + size > 8U << 20 ||
			            (g->n_chunks >= 16 && sum >= 1U << 20 && is_mark(s, next)));
		}
	}
}

static void segments_end_where_the_rule_says(void **state)
{
	static const uint32_t sizes[] = { 100, 4096, 65536, 1U << 20, 9U << 20 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		AUTO(layout_unref) struct blob_layout *l = test_layout(5000, sizes[i], i * 10000);
		AUTO(segments_free) struct segments *s = cut(l);

		assert_true(segments_count(s) > 5000 / 257);
		check_rule(s);
	}
}

static void every_member_is_found_and_no_hole_is(void **state)
{
	AUTO(layout_unref) struct blob_layout *l = test_layout(3000, 30000, 7);
	AUTO(segments_free) struct segments *s = NULL;
	uint32_t n_members = 0;

	(void)state;
	for (uint32_t i = 0; i < 3000; i += 7)
		test_layout_hole(l, i);
	l->chunks[1].flags &= ~(uint32_t)CHUNK_HAS_DIGEST;
	s = cut(l);
	check_rule(s);
	for (uint32_t i = 0; i < 3000; i++) {
		uint32_t segment_idx;
		uint16_t pos;

		if (i % 7 == 0 || i == 1) {
			assert_false(segments_find(s, i, &segment_idx, &pos));
			continue;
		}
		assert_true(segments_find(s, i, &segment_idx, &pos));
		assert_int_equal(segments_chunk(s, segment_idx, pos), i);
		n_members++;
	}
	for (uint32_t i = 0; i < segments_count(s); i++)
		n_members -= segments_at(s, i)->n_chunks;
	assert_int_equal(n_members, 0);
}

static bool same_segment(const struct segments *a, const struct segments *b, uint32_t i, uint32_t k)
{
	return id_equal(&segments_at(a, i)->name, &segments_at(b, k)->name) &&
	       id_equal(&segments_at(a, i)->list, &segments_at(b, k)->list);
}

static void equal_layouts_give_equal_segments_and_a_change_stays_local(void **state)
{
	AUTO(layout_unref) struct blob_layout *l = test_layout(10000, 30000, 3);
	AUTO(layout_unref) struct blob_layout *same = test_layout(10000, 30000, 3);
	AUTO(layout_unref) struct blob_layout *longer = test_layout(10001, 30000, 2);
	AUTO(segments_free) struct segments *a = cut(l);
	AUTO(segments_free) struct segments *b = cut(same);
	AUTO(segments_free) struct segments *c = cut(longer); /* one chunk more in front */
	uint32_t n_equal = 0;

	(void)state;
	assert_int_equal(segments_count(a), segments_count(b));
	for (uint32_t i = 0; i < segments_count(a); i++)
		assert_true(same_segment(a, b, i, i));
	for (uint32_t i = 0; i < segments_count(a); i++) {
		for (uint32_t k = 0; k < segments_count(c); k++)
			n_equal += same_segment(a, c, i, k);
	}
	assert_true(n_equal + 2 >= segments_count(a));
}

static void a_segment_is_named_by_its_smallest_digest(void **state)
{
	AUTO(layout_unref) struct blob_layout *l = test_layout(1000, 30000, 3);
	AUTO(segments_free) struct segments *s = cut(l);
	struct wire_id names[SEGMENT_MAX_CHUNKS];

	(void)state;
	for (uint32_t i = 0; i < segments_count(s); i++) {
		const struct segment *g = segments_at(s, i);
		uint16_t least = 0;

		for (uint16_t pos = 1; pos < g->n_chunks; pos++) {
			if (memcmp(l->chunks[segments_chunk(s, i, pos)].digest,
			           l->chunks[segments_chunk(s, i, least)].digest, DIGEST_BYTES) < 0)
				least = pos;
		}
		segments_names(s, i, names);
		assert_true(id_equal(&g->name, &names[least]));
		const struct wire_id list = wire_list_id(names, g->n_chunks);

		assert_true(id_equal(&g->list, &list));
	}
}

static void a_blob_without_digests_has_no_segments(void **state)
{
	AUTO(layout_unref) struct blob_layout *l = test_layout(10, 1000, 3);
	AUTO(segments_free) struct segments *s = NULL;
	uint32_t segment_idx;
	uint16_t pos;

	(void)state;
	for (uint32_t i = 0; i < 10; i++)
		l->chunks[i].flags = 0;
	s = cut(l);
	assert_int_equal(segments_count(s), 0);
	assert_false(segments_find(s, 3, &segment_idx, &pos));
}

static uint32_t vector_size(uint32_t i)
{
	if (i >= 720)
		return i == 720 ? 9U << 20 : 1;
	if (i >= 700)
		return 1U << 20;
	return i < 300 ? 1000 : 30000;
}

/* docs/protocol.md, "Test vectors": other implementations cut so. */
static void the_cut_is_that_of_the_protocol(void **state)
{
	enum { N = 722 };
	static const struct {
		uint32_t first, n;
		const char *name, *list;
	} wanted[] = {
		{ 0, 256, "9bf5c4487e5368f5f224611b7d90ad0f", "9582e2e354f08fb3e1eac83736125cf6" },
		{ 257, 128, "3718d5e2b81f19189adc68eeb410b617",
		  "fba72b57c2201b4a61c95422641eeded" },
		{ 385, 46, "3b994e5d0bedade8bfd34c92637c200b", "ad92f90603d3d9f52e9617b128ce231e" },
		{ 431, 158, "ef868e559b984a0afb0a3d1407bfe13b",
		  "5cf7aee4fb6a4c82227f3399097c3979" },
		{ 589, 105, "1f12a66ce8e53408251d2e9cb6836652",
		  "695ad7a9d7e14fa7d4c2437c2af9db38" },
		{ 694, 13, "30a40f8127e70632c7a87dd8d2b7f67c", "e6c414027948c5325ebf70a104245081" },
		{ 707, 8, "c61f2470495d6215b78f479c4d058f1b", "403c4b5cab9a92107e3958e843759964" },
		{ 715, 5, "a62cf53766240a931ce7f6684c2112f1", "9270a9621fb89bcf9b41247c8f481d36" },
		{ 720, 1, "3f6d5e13be59edc4be58d999c350bb96", "475889beb9ff6e4c864cdfdc73f82458" },
		{ 721, 1, "272a0560de7e5eeb6febf2dd54b3c67b", "587fa8e149693cf7a5dab293f137bc0f" },
	};
	AUTO(layout_unref) struct blob_layout *l = test_layout(N, 1000, 0);
	AUTO(segments_free) struct segments *s = NULL;
	char text[2 * WIRE_ID_BYTES + 1];

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		const uint8_t number[4] = { (uint8_t)i, (uint8_t)(i >> 8) };

		digest_compute(DIGEST_SHA256, number, sizeof(number), l->chunks[i].digest);
		l->chunks[i].plain_size_bytes = vector_size(i);
	}
	l->chunks[10].flags = 0;
	s = cut(l);
	assert_int_equal(segments_count(s), ARRAY_LEN(wanted));
	for (uint32_t i = 0; i < segments_count(s); i++) {
		assert_int_equal(segments_at(s, i)->first_chunk, wanted[i].first);
		assert_int_equal(segments_at(s, i)->n_chunks, wanted[i].n);
		hex_encode(segments_at(s, i)->name.b, WIRE_ID_BYTES, text);
		assert_string_equal(text, wanted[i].name);
		hex_encode(segments_at(s, i)->list.b, WIRE_ID_BYTES, text);
		assert_string_equal(text, wanted[i].list);
	}
}

static void runs_are_whole_units_of_at_most_256_kib(void **state)
{
	AUTO(layout_unref) struct blob_layout *l = test_layout(2000, 50000, 11); /* packed: 25000 */
	AUTO(segments_free) struct segments *s = cut(l);

	(void)state;
	l->chunks[20].packed_size_bytes = 400000; /* larger than a run: one of its own */
	for (uint32_t i = 21; i < 2000; i++)
		l->chunks[i].place += 375000;
	for (uint32_t i = 0; i < segments_count(s); i++) {
		const uint32_t n = segments_at(s, i)->n_chunks;
		struct wire_set units;
		struct wire_set runs;

		order_cut(s, i, &units, &runs);
		assert_int_equal(set_count(&units), n);
		for (uint32_t at = set_next(&runs, 0); at < n; at = set_next(&runs, at + 1)) {
			const uint32_t end = set_next(&runs, at + 1);
			uint64_t bytes = 0;

			for (uint32_t pos = at; pos < end; pos++)
				bytes += l->chunks[segments_chunk(s, i, (uint16_t)pos)]
				                 .packed_size_bytes;
			assert_true(bytes <= ORDER_RUN_PACKED_BYTES || end == at + 1);
			if (end < n)
				assert_true(bytes + l->chunks[segments_chunk(s, i, (uint16_t)end)]
				                            .packed_size_bytes >
				            ORDER_RUN_PACKED_BYTES);
		}
	}
}

/* Batches of 3 chunks: units 3k, 3k+1, 3k+2. */
static struct blob_layout *batched(uint32_t n_chunks)
{
	struct blob_layout *l = test_layout(n_chunks, 30000, 5);

	l->n_units = (n_chunks + 2) / 3;
	l->units = xcalloc(l->n_units, sizeof(*l->units));
	l->members = xcalloc(n_chunks, sizeof(*l->members));
	for (uint32_t i = 0; i < n_chunks; i++) {
		l->members[i] = i;
		l->chunks[i].place = (uint64_t)(i / 3) << 32 | (uint64_t)(i % 3) * 30000;
		l->units[i / 3].first_member = i / 3 * 3;
		l->units[i / 3].n_members++;
		l->units[i / 3].packed_size_bytes = 60000;
		l->units[i / 3].plain_size_bytes += 30000;
	}
	return l;
}

static void a_unit_is_leased_where_it_begins_and_nowhere_else(void **state)
{
	AUTO(layout_unref) struct blob_layout *l = batched(3001);
	AUTO(segments_free) struct segments *s = cut(l);
	uint32_t n_crossing = 0;
	uint32_t n_units = 0;

	(void)state;
	for (uint32_t i = 0; i < segments_count(s); i++) {
		const struct segment *g = segments_at(s, i);
		struct wire_set units;
		struct wire_set runs;

		order_cut(s, i, &units, &runs);
		n_crossing += g->first_chunk % 3 != 0;
		n_units += set_count(&units);
		for (uint32_t pos = 0; pos < g->n_chunks; pos++)
			assert_int_equal(wire_set_has(&units, pos),
			                 (g->first_chunk + pos) % 3 == 0);
		const struct wire_set outside = set_minus(runs, &units);

		assert_true(set_empty(&outside));
	}
	assert_true(n_crossing > 0);
	assert_int_equal(n_units, l->n_units);
}

static void units_that_overlap_are_not_leased_apart(void **state)
{
	AUTO(layout_unref) struct blob_layout *l = batched(600);
	AUTO(segments_free) struct segments *s = NULL;
	struct wire_set units;
	struct wire_set runs;
	uint32_t n_runs = 0;

	(void)state;
	for (uint32_t i = 0; i < l->n_units; i++) {
		l->units[i].packed_offset = i * UINT64_C(59000); /* of 60000 */
		l->units[i].packed_size_bytes = 60000;
	}
	s = cut(l);
	for (uint32_t i = 0; i < segments_count(s); i++) {
		order_cut(s, i, &units, &runs);
		n_runs += set_count(&runs);
		assert_true(set_count(&runs) <=
		            1 + set_count(&units) * 60000 / ORDER_RUN_OVERLAP_BYTES);
	}
	assert_true(n_runs < l->n_units / 10);
}

static void nodes_do_not_walk_in_step(void **state)
{
	enum { N = 200, N_NODES = 16 };
	uint32_t order[N_NODES][N];
	struct wire_id names[N];
	uint32_t n_in_step = 0;
	struct err e;

	(void)state;
	for (uint32_t i = 0; i < N; i++)
		names[i] = test_id(3, i);
	for (uint32_t n = 0; n < N_NODES; n++) {
		const struct wire_id node = test_id(4, n);
		bool seen[N] = { false };

		assert_int_equal(order_segments(&node, names, N, order[n], &e), 0);
		for (uint32_t i = 0; i < N; i++) {
			assert_false(seen[order[n][i]]); /* each once */
			seen[order[n][i]] = true;
			for (uint32_t other = 0; other < n; other++)
				n_in_step += order[other][i] == order[n][i];
		}
	}
	/* By chance: one in N of the N places of each pair. */
	assert_true(n_in_step < 2 * N_NODES * (N_NODES - 1) / 2);
	assert_true(n_in_step > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segments_end_where_the_rule_says),
		cmocka_unit_test(every_member_is_found_and_no_hole_is),
		cmocka_unit_test(equal_layouts_give_equal_segments_and_a_change_stays_local),
		cmocka_unit_test(a_segment_is_named_by_its_smallest_digest),
		cmocka_unit_test(a_blob_without_digests_has_no_segments),
		cmocka_unit_test(the_cut_is_that_of_the_protocol),
		cmocka_unit_test(runs_are_whole_units_of_at_most_256_kib),
		cmocka_unit_test(a_unit_is_leased_where_it_begins_and_nowhere_else),
		cmocka_unit_test(units_that_overlap_are_not_leased_apart),
		cmocka_unit_test(nodes_do_not_walk_in_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
