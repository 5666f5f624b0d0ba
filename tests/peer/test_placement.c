/*
 * test_placement: homes are spread evenly, and move only where they must.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "names.h"
#include "placement.h"

enum { N_NAMES = 20000, N_NODES = 50 };

static void place(struct placement *p, uint32_t first, uint32_t n, uint32_t n_zones)
{
	static const char *const zones[] = { "a", "b", "c" };
	struct place_node nodes[N_NODES + 1];
	struct err e;

	for (uint32_t i = 0; i < n; i++)
		nodes[i] =
			(struct place_node){ test_id(1, first + i), zones[(first + i) % n_zones] };
	assert_int_equal(placement_set(p, nodes, n, &e), 0);
}

static struct wire_id home_of(const struct placement *p, enum place_level level, uint32_t asker,
                              uint32_t name)
{
	const struct wire_id id = test_id(1, asker);
	const struct wire_id segment = test_id(2, name);
	struct wire_id home;

	assert_true(placement_home(p, level, &id, &segment, &home));
	return home;
}

static void every_node_gets_its_share(void **state)
{
	AUTO(placement_free) struct placement *p = placement_new();
	uint32_t counts[N_NODES] = { 0 };

	(void)state;
	place(p, 0, N_NODES, 1);
	for (uint32_t i = 0; i < N_NAMES; i++) {
		const struct wire_id home = home_of(p, PLACE_CLUSTER, 0, i);

		for (uint32_t n = 0; n < N_NODES; n++) {
			const struct wire_id id = test_id(1, n);

			counts[n] += id_equal(&id, &home);
		}
	}
	for (uint32_t n = 0; n < N_NODES; n++) { /* 400 each; five sigma: 100 */
		assert_in_range(counts[n], 300, 500);
	}
}

static void only_the_share_of_who_came_or_went_moves(void **state)
{
	AUTO(placement_free) struct placement *before = placement_new();
	AUTO(placement_free) struct placement *after = placement_new();
	const struct wire_id newcomer = test_id(1, N_NODES);
	uint32_t n_moved = 0;

	(void)state;
	place(before, 0, N_NODES, 1);
	place(after, 0, N_NODES + 1, 1);
	for (uint32_t i = 0; i < N_NAMES; i++) {
		const struct wire_id a = home_of(before, PLACE_CLUSTER, 0, i);
		const struct wire_id b = home_of(after, PLACE_CLUSTER, 0, i);

		if (id_equal(&a, &b))
			continue;
		assert_true(id_equal(&b, &newcomer)); /* and back when it goes */
		n_moved++;
	}
	assert_in_range(n_moved, 300, 490);
}

static void the_second_in_rank_stands_in_when_the_first_goes(void **state)
{
	AUTO(placement_free) struct placement *all = placement_new();
	AUTO(placement_free) struct placement *rest = placement_new();
	const struct wire_id self = test_id(1, 1);
	const struct wire_id lost = test_id(1, 0);
	uint32_t n_of_lost = 0;

	(void)state;
	place(all, 0, N_NODES, 1);
	place(rest, 1, N_NODES - 1, 1);
	for (uint32_t i = 0; i < 5000; i++) {
		const struct wire_id name = test_id(2, i);
		const struct wire_id next = home_of(rest, PLACE_CLUSTER, 1, i);
		struct wire_id ranked[3];

		assert_int_equal(placement_rank(all, PLACE_CLUSTER, &self, &name, 3, ranked), 3);
		assert_false(id_equal(&ranked[0], &ranked[1]));
		if (id_equal(&ranked[0], &lost)) {
			assert_true(id_equal(&ranked[1], &next));
			n_of_lost++;
		} else {
			assert_true(id_equal(&ranked[0], &next));
		}
	}
	assert_true(n_of_lost > 0);
}

static void the_zone_comes_first_and_the_cluster_second(void **state)
{
	AUTO(placement_free) struct placement *p = placement_new();

	(void)state;
	place(p, 0, 30, 3);
	assert_true(placement_has_zones(p));
	for (uint32_t i = 0; i < 1000; i++) {
		const struct wire_id self = test_id(1, i % 30);
		const struct wire_id zone = home_of(p, PLACE_ZONE, i % 30, i);
		const struct wire_id neighbour = home_of(p, PLACE_ZONE, (i + 3) % 30, i);
		const struct wire_id cluster = home_of(p, PLACE_CLUSTER, i % 30, i);
		const struct wire_id other = home_of(p, PLACE_CLUSTER, (i + 1) % 30, i);

		assert_true(placement_same_zone(p, &self, &zone));
		assert_true(id_equal(&zone, &neighbour)); /* all of the zone agree */
		assert_true(id_equal(&cluster, &other));  /* all of the cluster agree */
		if (placement_same_zone(p, &self, &cluster))
			assert_true(id_equal(&zone, &cluster));
	}
	place(p, 0, 30, 1);
	assert_false(placement_has_zones(p));
}

static void the_version_moves_with_the_list_alone(void **state)
{
	AUTO(placement_free) struct placement *p = placement_new();
	uint64_t version;

	(void)state;
	place(p, 0, 10, 1);
	version = placement_version(p);
	place(p, 0, 10, 1);
	assert_int_equal(placement_version(p), version);
	place(p, 1, 10, 1);
	assert_int_not_equal(placement_version(p), version);
}

static void scores_are_those_of_the_protocol(void **state)
{
	struct wire_id name = { { 1 } };
	struct wire_id id = { { 0, 0, 0, 0, 0, 0, 0, 0, 2 } };
	/* docs/protocol.md, "Test vectors" */
	const struct wire_id chunk = { { 0x69, 0xbf, 0xc0, 0xc3, 0x57, 0x45, 0xa7, 0x8f, 0xb2, 0x45,
		                         0x3d, 0x3d, 0x6a, 0xb6, 0x89, 0x5d } };
	const uint64_t scores[] = { UINT64_C(0x1084ee309396bf32), UINT64_C(0xdbb399345e6a6b90),
		                    UINT64_C(0xb41ab17e66a0f8ed) };

	(void)state;
	/* mix(mix(1) + 2), computed elsewhere: part of the protocol, so it must never change. */
	assert_int_equal(placement_score(&name, &id), UINT64_C(0xef30b01c2974aeeb));
	for (uint8_t i = 0; i < 3; i++) {
		memset(id.b, i + 1, WIRE_ID_BYTES);
		assert_int_equal(placement_score(&chunk, &id), scores[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_node_gets_its_share),
		cmocka_unit_test(only_the_share_of_who_came_or_went_moves),
		cmocka_unit_test(the_second_in_rank_stands_in_when_the_first_goes),
		cmocka_unit_test(the_zone_comes_first_and_the_cluster_second),
		cmocka_unit_test(the_version_moves_with_the_list_alone),
		cmocka_unit_test(scores_are_those_of_the_protocol),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
