/*
 * test_home_claims: what is only told of a lease: progress by who has it, none by who waits there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "home_inside.h"
#include "home_world.h"

enum { STEP_MS = 20 };

/* Node 1 is given a lease of that many chunks, and a reader at node 3 waits for them. */
static struct wire_lease is_waited_for(struct fixture *f, uint32_t n_chunks, uint32_t usual_ms)
{
	struct wire_ask a = home_ask_of(f, 1, 0, n_chunks);
	struct wire_lease lease = { .part = a.part };

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	lease.token = home_must(f, 1, 1, WIRE_LEASE)->token;
	a.flags = WIRE_ASK_READER;
	a.usual_ms = usual_ms;
	(void)home_asks(f, 3, &a);
	return lease;
}

/* Progress is a number that anybody can say. */
static void tells_of_more(struct fixture *f, struct wire_lease *lease)
{
	const struct wire_id one = home_node_id(1);

	lease->progress_bytes += 1000;
	home_lease_progress(f->home, &one, lease);
}

/* Is the reader given the lease as well, in the next STEP_MS? */
static bool is_leased_again(struct fixture *f)
{
	(void)home_after_ms(f, STEP_MS);
	return home_told(f, 3, 1, WIRE_LEASE) != NULL;
}

/* @return after how long it is, of who tells of more all the while */
static uint32_t leased_again_ms(struct fixture *f, struct wire_lease *lease)
{
	bool leased = false;
	uint32_t ms;

	for (ms = 0; ms < 2 * HOME_LEASE_OVERRIDE_MS && !leased; ms += STEP_MS) {
		tells_of_more(f, lease);
		leased = is_leased_again(f);
	}
	return ms;
}

static void who_tells_of_progress_and_brings_nothing_has_a_strike(void **state)
{
	struct fixture *f = *state;
	struct wire_lease lease = is_waited_for(f, 5, 0);
	const struct wire_ask a = home_ask_of(f, 2, 20, 5);

	assert_in_range(leased_again_ms(f, &lease), HOME_LEASE_OVERRIDE_MS - 20,
	                HOME_LEASE_OVERRIDE_MS + 100);
	/* It gives it back, and wants another. */
	home_end_lease(f, 1, lease.token, 0, 0, false);
	(void)home_asks(f, 1, &a);
	assert_null(home_told(f, 1, 2, WIRE_LEASE));
}

/* ... and an asker knows how long it takes from the origin until something comes. */
static void progress_that_is_told_holds_a_reader_up_no_longer_than_is_usual(void **state)
{
	struct fixture *f = *state;
	const uint32_t usual_ms = 2500;
	struct wire_lease lease = is_waited_for(f, 5, usual_ms);
	struct wire_ask b = home_ask_of(f, 2, 20, 5);

	assert_in_range(leased_again_ms(f, &lease), usual_ms - 20, usual_ms + 100);
	/* Once: what it is given next is leased again at the first silence. */
	home_end_lease(f, 1, lease.token, 0, 0, false);
	b.flags = WIRE_ASK_READER;
	(void)home_asks(f, 1, &b);
	assert_non_null(home_told(f, 1, 2, WIRE_LEASE));
	b.usual_ms = usual_ms;
	b.req = 3;
	(void)home_asks(f, 4, &b);
	(void)home_after_ms(f, HOME_PATIENCE_MIN_MS);
	assert_non_null(home_told(f, 4, 3, WIRE_LEASE));
}

/* What comes one by one is on its way, however long all of it takes. What is of no use is not
 * believed of an asker, either. */
static void who_brings_something_in_the_usual_time_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct wire_lease lease = is_waited_for(f, 10, 1);

	for (uint32_t i = 0; i < 5; i++) { /* HOME_LEASE_OVERRIDE_MS is not over then */
		for (uint32_t ms = 0; ms < HOME_LEASE_TERM_MS - 20; ms += STEP_MS) {
			tells_of_more(f, &lease);
			assert_false(is_leased_again(f));
		}
		home_has(f, 1, i, 1);
	}
}

/* A registry may take its time until it begins: who tells of its first bytes then is not late with
 * them, and is waited for no shorter than if it told nothing. */
static void who_tells_late_of_its_first_bytes_is_waited_for(void **state)
{
	struct fixture *f = *state;
	const struct wire_id one = home_node_id(1);
	struct wire_lease lease = is_waited_for(f, 5, 1000);

	for (uint32_t ms = 0; ms < HOME_LEASE_TERM_MS + 1000; ms += STEP_MS) {
		if (ms > HOME_LEASE_TERM_MS - 500)
			tells_of_more(f, &lease);
		home_heard(f->home, &one);
		assert_false(is_leased_again(f));
	}
}

/* A reader that waited at node 1. */
static void saw_nothing_of_one(struct wire_ask *a)
{
	a->flags = WIRE_ASK_READER | WIRE_ASK_STALLED;
	a->avoid[0] = home_node_id(1);
	a->avoid_why[0] = WIRE_AVOID_FAILED;
	a->n_avoid = 1;
}

/* Two that know each other take the first lease, and the second. */
static void who_leases_again_and_brings_nothing_is_let_go_as_well(void **state)
{
	struct fixture *f = *state;
	const struct wire_id one = home_node_id(1), two = home_node_id(2);
	struct wire_ask a = home_ask_of(f, 1, 0, 5);
	bool leased = false;
	uint32_t ms;

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	saw_nothing_of_one(&a);
	(void)home_asks(f, 2, &a);
	assert_non_null(home_told(f, 2, 1, WIRE_LEASE));
	a.flags = WIRE_ASK_READER;
	a.n_avoid = 0;
	a.usual_ms = 1500;
	(void)home_asks(f, 3, &a);
	for (ms = 0; ms < HOME_LEASE_LIFE_MS && !leased; ms += STEP_MS) {
		home_heard(f->home, &one);
		home_heard(f->home, &two);
		leased = is_leased_again(f);
	}
	assert_in_range(ms, HOME_LEASE_TERM_MS - 20, HOME_LEASE_TERM_MS + 500);
}

/* On a slow line one lease takes longer than readers wait, and the others go on beside it. */
static void a_strike_does_not_end_the_other_leases_of_a_slow_line(void **state)
{
	struct fixture *f = *state;
	const struct wire_id one = home_node_id(1);
	struct wire_ask a = home_ask_of(f, 1, 0, 5);
	struct wire_ask b = home_ask_of(f, 2, 0, 5);
	struct wire_lease lease = { .part = a.part };
	struct wire_lease other;
	struct wire_id names[N];
	uint32_t first_ms = 0, second_ms = 0;

	home_tell_names(f, 1);
	for (uint32_t k = 0; k < N; k++)
		names[k] = test_id(6, k);
	home_tell_list(f, &one, names);
	b.part.segment = names[0];
	b.part.list = wire_list_id(names, N);
	other = (struct wire_lease){ .part = b.part };
	(void)home_asks(f, 1, &a);
	lease.token = home_must(f, 1, 1, WIRE_LEASE)->token;
	a.flags = b.flags = WIRE_ASK_READER;
	(void)home_asks(f, 3, &a);
	for (uint32_t ms = 0; ms < 2 * HOME_LEASE_OVERRIDE_MS && second_ms == 0; ms += 20) {
		if (ms == HOME_LEASE_OVERRIDE_MS - 1000) {
			b.flags = 0;
			(void)home_asks(f, 1, &b);
			other.token = home_must(f, 1, 2, WIRE_LEASE)->token;
			b.flags = WIRE_ASK_READER;
			(void)home_asks(f, 3, &b);
		}
		lease.progress_bytes += 500;
		home_lease_progress(f->home, &one, &lease);
		if (other.token != 0) {
			other.progress_bytes += 500;
			home_lease_progress(f->home, &one, &other);
		}
		(void)home_after_ms(f, 20);
		if (first_ms == 0 && home_told(f, 3, 1, WIRE_LEASE) != NULL)
			first_ms = ms;
		if (home_told(f, 3, 2, WIRE_LEASE) != NULL)
			second_ms = ms;
	}
	assert_in_range(first_ms, HOME_LEASE_OVERRIDE_MS - 40, HOME_LEASE_OVERRIDE_MS + 100);
	assert_in_range(second_ms, 2 * HOME_LEASE_OVERRIDE_MS - 1040,
	                2 * HOME_LEASE_OVERRIDE_MS - 900);
}

/* Who waited there saw nothing of it: that is believed for that one's lease alone. */
static void who_saw_nothing_of_the_holder_leases_again_at_once(void **state)
{
	struct fixture *f = *state;
	const struct wire_ask of_one = home_ask_of(f, 1, 0, 5);
	const struct wire_ask of_two = home_ask_of(f, 1, 10, 5);
	struct wire_ask a = home_ask_of(f, 1, 10, 5);

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &of_one);
	(void)home_asks(f, 2, &of_two);
	saw_nothing_of_one(&a);
	(void)home_asks(f, 3, &a);
	assert_null(home_told(f, 3, 1, WIRE_LEASE));
	a.part = home_part(f, 0, 5);
	a.req = 2;
	(void)home_asks(f, 3, &a);
	assert_int_equal(set_count(&home_must(f, 3, 2, WIRE_LEASE)->set), 5);
}

/* It was asked for it too early, and has it now: nobody else is to fetch it once more. */
static void what_a_lease_brought_since_it_was_missed_there_is_had_there(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	assert_int_equal(home_asks(f, 1, &a), HOME_OK);
	assert_non_null(home_told(f, 1, 1, WIRE_LEASE));
	a.avoid[0] = home_node_id(1);
	a.avoid_why[0] = WIRE_AVOID_MISSED;
	a.missed = test_range(N, 0, 5);
	a.n_avoid = 1;
	assert_int_equal(home_asks(f, 2, &a), HOME_OK);
	assert_null(home_told(f, 2, 1, WIRE_LEASE));
	home_has(f, 1, 0, 5);
	assert_null(home_told(f, 2, 1, WIRE_LEASE));
	home_names_node(home_must(f, 2, 1, WIRE_HOLDERS), 1);
}

/* What it says again and again is no news: who missed it there is not sent there once more. */
static void what_is_claimed_again_is_not_had_there(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);
	uint64_t token;

	home_tell_names(f, 1);
	home_has(f, 1, 0, 5);
	a.avoid[0] = home_node_id(1);
	a.avoid_why[0] = WIRE_AVOID_FAILED;
	a.n_avoid = 1;
	assert_int_equal(home_asks(f, 2, &a), HOME_OK);
	token = home_must(f, 2, 1, WIRE_LEASE)->token;
	a.avoid_why[0] = WIRE_AVOID_MISSED;
	a.missed = test_range(N, 0, 5);
	assert_int_equal(home_asks(f, 3, &a), HOME_OK);
	home_names_node(home_must(f, 3, 1, WIRE_WAIT), 2);
	home_has(f, 1, 0, 5);
	home_end_lease(f, 2, token, 0, 0, true);
	assert_null(home_told(f, 3, 1, WIRE_HOLDERS));
	assert_non_null(home_told(f, 3, 1, WIRE_LEASE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, home_setup, home_teardown)
		T(who_tells_of_progress_and_brings_nothing_has_a_strike),
		T(progress_that_is_told_holds_a_reader_up_no_longer_than_is_usual),
		T(who_brings_something_in_the_usual_time_is_waited_for),
		T(who_tells_late_of_its_first_bytes_is_waited_for),
		T(who_leases_again_and_brings_nothing_is_let_go_as_well),
		T(a_strike_does_not_end_the_other_leases_of_a_slow_line),
		T(who_saw_nothing_of_the_holder_leases_again_at_once),
		T(what_a_lease_brought_since_it_was_missed_there_is_had_there),
		T(what_is_claimed_again_is_not_had_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
