/*
 * test_peer_meta: metadata between whole agents: who is asked, who gives, who is passed over.
 */
#include "holders.h"
#include "mem.h"
#include "peers_world.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LARGE_BYTES (700U << 10) /* several pieces of several frames */
#define SECONDS_20  20000

static uint8_t *pattern(uint32_t size_bytes)
{
	uint8_t *bytes = xcalloc(1, size_bytes);

	for (uint32_t i = 0; i < size_bytes; i++)
		bytes[i] = (uint8_t)(i * 7 + (i >> 9));
	return bytes;
}

static int setup(void **state)
{
	*state = peers_new(3, false);
	return 0;
}

static void give(struct peers *world, uint32_t i, const void *data, uint64_t size_bytes)
{
	world->shelves[i].r = META_FOUND;
	world->shelves[i].data = data;
	world->shelves[i].size_bytes = size_bytes;
	world->shelves[i].is_public = true;
}

static int ask(struct peers *world, uint64_t max_bytes, struct answer *a)
{
	(void)peers_ask(world, max_bytes, SECONDS_20, a);
	assert_int_equal(a->n_done, 0); /* not from inside */
	peers_until(world, &a->n_done, 1);
	assert_int_equal(a->n_done, 1);
	return a->r;
}

/* Everything that was opened is closed in the end. */
static void shelves_are_closed(struct peers *world)
{
	for (uint32_t i = 1; i < world->n; i++) {
		while (world->shelves[i].n_closed < world->shelves[i].n_opened)
			peers_run_ms(world, 1);
		assert_int_equal(world->shelves[i].n_closed, world->shelves[i].n_opened);
	}
}

static void what_one_of_them_has_comes_whole(void **state)
{
	AUTO(free_bytes) uint8_t *bytes = pattern(LARGE_BYTES);
	struct peers *world = *state;
	struct answer a;

	give(world, 2, bytes, LARGE_BYTES);
	assert_int_equal(ask(world, LARGE_BYTES, &a), META_FOUND);
	assert_int_equal(a.got.size_bytes, LARGE_BYTES);
	assert_memory_equal(a.got.bytes, bytes, LARGE_BYTES);
	assert_true(a.got.is_public);
	assert_int_not_equal(a.got.giver, 0);
	assert_string_equal(world->shelves[2].key, "registry.example/app@sha256:00");
	answer_clear(&a);
	shelves_are_closed(world);
}

static void when_all_have_it_one_gives_it(void **state)
{
	AUTO(free_bytes) uint8_t *bytes = pattern(LARGE_BYTES);
	struct peers *world = *state;
	struct answer a;

	give(world, 1, bytes, LARGE_BYTES);
	give(world, 2, bytes, LARGE_BYTES);
	assert_int_equal(ask(world, LARGE_BYTES, &a), META_FOUND);
	assert_memory_equal(a.got.bytes, bytes, LARGE_BYTES);
	answer_clear(&a);
	shelves_are_closed(world); /* also who was cancelled in the middle */
}

static void what_nobody_has_is_nowhere(void **state)
{
	struct answer a;

	assert_int_equal(ask(*state, 1000, &a), META_NOWHERE);
}

static void what_one_withholds_is_said_to_be_withheld(void **state)
{
	struct peers *world = *state;
	struct answer a;

	world->shelves[1].r = META_WITHHELD;
	assert_int_equal(ask(world, 1000, &a), META_WITHHELD);
	give(world, 2, "yes", 3); /* another may give it */
	assert_int_equal(ask(world, 1000, &a), META_FOUND);
	assert_memory_equal(a.got.bytes, "yes", 3);
	answer_clear(&a);
}

static void a_shelf_that_fails_is_no_reason_to_stop(void **state)
{
	struct peers *world = *state;
	struct answer a;

	world->shelves[1].r = -EIO;
	give(world, 2, "yes", 3);
	assert_int_equal(ask(world, 1000, &a), META_FOUND);
	answer_clear(&a);
}

static void what_is_too_large_is_not_taken_and_ends_the_connection(void **state)
{
	AUTO(free_bytes) uint8_t *bytes = pattern(LARGE_BYTES);
	struct peers *world = *state;
	struct answer a;

	give(world, 1, bytes, LARGE_BYTES);
	assert_int_equal(ask(world, 1000, &a), META_NOWHERE);
	shelves_are_closed(world);
}

static void who_is_silent_is_passed_over(void **state)
{
	struct peers *world = *state;
	struct answer a;

	world->shelves[1].blocks = true;
	give(world, 1, "late", 4);
	give(world, 2, "yes", 3);
	assert_int_equal(ask(world, 1000, &a), META_FOUND);
	assert_memory_equal(a.got.bytes, "yes", 3);
	answer_clear(&a);
	world->shelves[2].r = META_NOWHERE;
	assert_int_equal(ask(world, 1000, &a), META_NOWHERE); /* long before its time is over */
	peers_unblock(world);
	shelves_are_closed(world);
}

static void a_deadline_is_kept(void **state)
{
	struct peers *world = *state;
	struct answer a;

	world->shelves[1].blocks = true;
	give(world, 1, "late", 4);
	(void)peers_ask(world, 1000, 100, &a);
	peers_until(world, &a.n_done, 1);
	assert_int_equal(a.r, -EAGAIN);
}

static void a_cancelled_request_is_never_told(void **state)
{
	AUTO(free_bytes) uint8_t *bytes = pattern(LARGE_BYTES);
	struct peers *world = *state;
	struct meta_source *source = peer_meta_source(world->peers[0]);
	struct meta_req *first;
	struct answer a;
	struct answer b;

	give(world, 1, bytes, LARGE_BYTES);
	first = peers_ask(world, LARGE_BYTES, SECONDS_20, &a);
	source->ops->cancel(first);
	first = peers_ask(world, LARGE_BYTES, SECONDS_20, &a);
	assert_int_equal(ask(world, LARGE_BYTES, &b), META_FOUND); /* the first is under way, too */
	if (a.n_done == 0)
		source->ops->cancel(first);
	answer_clear(&a);
	answer_clear(&b);
	shelves_are_closed(world);
	assert_true(a.n_done <= 1);
}

static void who_gave_wrong_bytes_is_not_asked_again(void **state)
{
	struct peers *world = *state;
	struct meta_source *source = peer_meta_source(world->peers[0]);
	struct answer a;

	give(world, 1, "wrong", 5);
	assert_int_equal(ask(world, 1000, &a), META_FOUND);
	source->ops->distrust(source, a.got.giver);
	answer_clear(&a);
	assert_int_equal(ask(world, 1000, &a), META_NOWHERE);
	assert_int_equal(world->shelves[1].n_opened, 1);
}

static void longest_pause(void *arg, const struct peer_info *info)
{
	uint64_t *ms = arg;

	*ms = info->paused_ms > *ms ? info->paused_ms : *ms;
}

/* The time for which others are not blamed stands still with the loop; what is held against them
 * is counted by it as well. */
static void after_this_node_was_late_who_gave_wrong_bytes_is_not_asked_again(void **state)
{
	struct peers *world = *state;
	uint64_t paused_ms = 0;

	fake_clock_advance_ms(&world->clock, 12000);
	peers_run_ms(world, 50);
	peer_list(world->peers[0], longest_pause, &paused_ms);
	assert_int_equal(paused_ms, 0);
	who_gave_wrong_bytes_is_not_asked_again(state);
	peer_list(world->peers[0], longest_pause, &paused_ms);
	assert_in_range(paused_ms, 1, HOLDERS_DISTRUST_MS);
}

static void who_drains_gives_nothing_more(void **state)
{
	struct peers *world = *state;
	struct answer a;

	give(world, 1, "yes", 3);
	peer_drain(world->peers[1], NULL, NULL);
	assert_int_equal(ask(world, 1000, &a), META_NOWHERE);
	assert_int_equal(world->shelves[1].n_opened, 0);
}

static int setup_six(void **state)
{
	*state = peers_new(6, false);
	return 0;
}

static uint32_t n_asked(struct peers *world)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i < world->n; i++)
		n += world->shelves[i].key[0] != '\0';
	return n;
}

static void for_a_hint_three_are_asked_and_no_more(void **state)
{
	struct peers *world = *state;
	struct answer a;

	(void)peers_ask_for(world, META_FIRST_READS, 1000, SECONDS_20, &a);
	peers_until(world, &a.n_done, 1);
	assert_int_equal(a.r, META_NOWHERE);
	assert_int_equal(n_asked(world), 3);
	assert_int_equal(ask(world, 1000, &a), META_NOWHERE); /* for the rest all are */
	assert_int_equal(n_asked(world), 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, peers_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_one_of_them_has_comes_whole),
		TEST(when_all_have_it_one_gives_it),
		TEST(what_nobody_has_is_nowhere),
		TEST(what_one_withholds_is_said_to_be_withheld),
		TEST(a_shelf_that_fails_is_no_reason_to_stop),
		TEST(what_is_too_large_is_not_taken_and_ends_the_connection),
		TEST(who_is_silent_is_passed_over),
		TEST(a_deadline_is_kept),
		TEST(a_cancelled_request_is_never_told),
		TEST(who_gave_wrong_bytes_is_not_asked_again),
		TEST(after_this_node_was_late_who_gave_wrong_bytes_is_not_asked_again),
		TEST(who_drains_gives_nothing_more),
		cmocka_unit_test_setup_teardown(for_a_hint_three_are_asked_and_no_more, setup_six,
		                                peers_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
