/*
 * test_members: who is a member, from wherever it was heard, and whether it lives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_clock.h"
#include "mem.h"
#include "members.h"
#include "names.h"
#include <stdio.h>
#include <stdlib.h>

struct fixture {
	struct fake_clock clock;
	struct members *m;
	struct members_todo todo[64]; /* of the last drain */
	uint32_t n_todo;
};

static struct wire_member member_of(uint32_t i, uint64_t generation)
{
	struct wire_member w = { .id = test_id(1, i), .generation = generation };

	(void)snprintf(w.address, sizeof(w.address), "10.0.0.%u:9465", i);
	(void)snprintf(w.zone, sizeof(w.zone), "a");
	return w;
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	const struct wire_member self = member_of(0, 1);

	fake_clock_init(&f->clock);
	f->m = members_mesh_new(
		&(struct members_opts){ .clock = &f->clock.clock, .self = &self, .seed = 5 });
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	members_free(&f->m);
	free(f);
	return 0;
}

static void drain(struct fixture *f)
{
	f->n_todo = 0;
	(void)f->m->ops->tick(f->m);
	while (f->m->ops->next(f->m, &f->todo[f->n_todo]))
		assert_true(++f->n_todo < 64);
}

static uint32_t count(const struct fixture *f, enum members_todo_kind kind)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->n_todo; i++)
		n += f->todo[i].kind == kind;
	return n;
}

static const struct members_todo *first(const struct fixture *f, enum members_todo_kind kind)
{
	for (uint32_t i = 0; i < f->n_todo; i++) {
		if (f->todo[i].kind == kind)
			return &f->todo[i];
	}
	fail_msg("nothing of kind %d to do", (int)kind);
	abort();
}

static bool dials(const struct fixture *f, const char *address)
{
	for (uint32_t i = 0; i < f->n_todo; i++) {
		if (f->todo[i].kind == MEMBERS_DIAL && strcmp(f->todo[i].address, address) == 0)
			return true;
	}
	return false;
}

static void opened(struct fixture *f, uint32_t i, uint64_t generation, const char *address,
                   void *conn)
{
	const struct wire_member w = member_of(i, generation);

	f->m->ops->opened(f->m, &w, false, address, conn);
	drain(f);
}

static enum member_state state_of(const struct fixture *f, uint32_t i)
{
	const struct wire_id id = test_id(1, i);
	struct member m;

	assert_true(f->m->ops->find(f->m, &id, &m));
	return m.state;
}

static void resolved(struct fixture *f, const char *name, const char *a, const char *b)
{
	const char *const list[] = { a, b };

	f->m->ops->resolved(f->m, name, list, (a != NULL ? 1U : 0U) + (b != NULL ? 1U : 0U));
	drain(f);
}

static void configured_addresses_are_dialled_and_who_answers_is_a_member(void **state)
{
	struct fixture *f = *state;
	int conn;

	drain(f);
	assert_int_equal(count(f, MEMBERS_CHANGED), 1); /* this node alone */
	resolved(f, "static", "10.0.0.1:9465", "10.0.0.2:9465");
	assert_true(dials(f, "10.0.0.1:9465"));
	assert_true(dials(f, "10.0.0.2:9465"));
	drain(f);
	assert_int_equal(f->n_todo, 0); /* not twice */
	opened(f, 1, 7, "10.0.0.1:9465", &conn);
	assert_int_equal(count(f, MEMBERS_CHANGED), 1);
	assert_int_equal(state_of(f, 1), MEMBER_UP);
	const struct wire_id id = test_id(1, 1);

	assert_ptr_equal(f->m->ops->conn(f->m, &id), &conn);
}

static void who_calls_is_a_member_too(void **state)
{
	struct fixture *f = *state;
	int conn;

	opened(f, 3, 7, NULL, &conn);
	assert_int_equal(state_of(f, 3), MEMBER_UP);
	assert_false(dials(f, "10.0.0.3:9465")); /* there is a connection */
}

/* Where several nodes are behind one address, another one answers there the next time. */
static void this_node_in_its_own_list_is_dialled_again_after_a_minute(void **state)
{
	struct fixture *f = *state;
	int conn;

	resolved(f, "dns", "192.168.1.1:9465", NULL);
	assert_true(dials(f, "192.168.1.1:9465"));
	f->m->ops->dialled_self(f->m, "192.168.1.1:9465");
	fake_clock_advance_ms(&f->clock, 59999);
	drain(f);
	assert_false(dials(f, "192.168.1.1:9465"));
	assert_int_equal(f->m->ops->list(f->m, NULL, 0), 1);
	fake_clock_advance_ms(&f->clock, 1);
	drain(f);
	assert_true(dials(f, "192.168.1.1:9465"));
	opened(f, 1, 1, "192.168.1.1:9465", &conn);
	assert_int_equal(state_of(f, 1), MEMBER_UP);
}

static void two_names_of_one_node_make_one_member_with_one_connection(void **state)
{
	struct fixture *f = *state;
	int one;
	int two;
	struct member m[4];

	resolved(f, "static", "10.0.0.1:9465", "node1.example:9465");
	opened(f, 1, 7, "10.0.0.1:9465", &one);
	opened(f, 1, 7, "node1.example:9465", &two);
	assert_int_equal(count(f, MEMBERS_CLOSE), 1);
	assert_ptr_equal(first(f, MEMBERS_CLOSE)->conn, &one);
	assert_int_equal(first(f, MEMBERS_CLOSE)->reason, WIRE_BYE_TWICE);
	f->m->ops->closed(f->m, &one, true);
	drain(f);
	assert_int_equal(state_of(f, 1), MEMBER_UP);
	assert_int_equal(f->m->ops->list(f->m, m, 4), 2);
	assert_int_equal(m[0].n_addresses + m[1].n_addresses, 3);
}

static void both_sides_keep_the_same_one_of_two_connections(void **state)
{
	struct fixture *f = *state;
	int ours;
	int theirs;

	for (uint32_t i = 1; i < 12; i++) {
		const struct wire_id self = test_id(1, 0);
		const struct wire_id id = test_id(1, i);
		const bool ours_stays = memcmp(self.b, id.b, sizeof(self.b)) < 0;
		char address[32];

		(void)snprintf(address, sizeof(address), "10.0.0.%u:9465", i);
		resolved(f, "static", address, NULL);
		if (i % 2 == 0) {
			opened(f, i, 7, address, &ours);
			opened(f, i, 7, NULL, &theirs);
		} else {
			opened(f, i, 7, NULL, &theirs);
			opened(f, i, 7, address, &ours);
		}
		assert_ptr_equal(first(f, MEMBERS_CLOSE)->conn, ours_stays ? &theirs : &ours);
		f->m->ops->closed(f->m, ours_stays ? &ours : &theirs, true);
		drain(f);
	}
}

static void a_restart_is_seen_by_the_generation(void **state)
{
	struct fixture *f = *state;
	int before;
	int after;
	struct member m;
	const struct wire_id id = test_id(1, 1);

	opened(f, 1, 7, NULL, &before);
	opened(f, 1, 8, NULL, &after);
	assert_true(id_equal(&first(f, MEMBERS_RESTARTED)->id, &id));
	assert_ptr_equal(first(f, MEMBERS_CLOSE)->conn, &before);
	assert_true(f->m->ops->find(f->m, &id, &m));
	assert_int_equal(m.n_restarts, 1);
	assert_ptr_equal(f->m->ops->conn(f->m, &id), &after);
}

static void a_lost_connection_is_dialled_at_once_and_then_the_member_is_down(void **state)
{
	const struct wire_id id = test_id(1, 1);
	struct fixture *f = *state;
	int conn, other;

	opened(f, 1, 7, NULL, &conn);
	f->m->ops->closed(f->m, &conn, false);
	drain(f);
	assert_int_equal(state_of(f, 1), MEMBER_SUSPECT);
	assert_int_equal(count(f, MEMBERS_LOST), 0);
	assert_int_equal(count(f, MEMBERS_CHANGED), 0); /* its homes stay for now */
	assert_true(dials(f, "10.0.0.1:9465"));
	f->m->ops->dial_failed(f->m, "10.0.0.1:9465");
	drain(f);
	assert_int_equal(state_of(f, 1), MEMBER_DOWN);
	assert_int_equal(count(f, MEMBERS_CHANGED), 1);
	assert_int_equal(count(f, MEMBERS_LOST), 1);
	assert_true(id_equal(&first(f, MEMBERS_LOST)->id, &id));
	assert_false(dials(f, "10.0.0.1:9465")); /* after a pause */
	opened(f, 2, 7, NULL, &other);
	assert_int_equal(count(f, MEMBERS_CHANGED), 1);
	assert_int_equal(count(f, MEMBERS_LOST), 0); /* it is no news of the first */
	fake_clock_advance_ms(&f->clock, 250);
	drain(f);
	assert_true(dials(f, "10.0.0.1:9465"));
	opened(f, 1, 7, "10.0.0.1:9465", &conn);
	assert_int_equal(state_of(f, 1), MEMBER_UP);
	assert_int_equal(count(f, MEMBERS_RESTARTED), 0);
}

static void a_silent_dial_leaves_the_suspect_for_two_seconds(void **state)
{
	struct fixture *f = *state;
	int conn;

	opened(f, 1, 7, NULL, &conn);
	f->m->ops->closed(f->m, &conn, false);
	drain(f);
	fake_clock_advance_ms(&f->clock, 1999);
	drain(f);
	assert_int_equal(state_of(f, 1), MEMBER_SUSPECT);
	fake_clock_advance_ms(&f->clock, 1);
	drain(f);
	assert_int_equal(state_of(f, 1), MEMBER_DOWN);
}

static void lists_that_others_tell_are_dialled_but_only_so_many_of_one(void **state)
{
	struct fixture *f = *state;
	struct wire_member list[128];
	const struct wire_id liar = test_id(1, 200);
	uint32_t n_dialled = 0;

	for (uint32_t round = 0; round < 20; round++) {
		for (uint32_t i = 0; i < 128; i++) {
			list[i] = member_of(1000 + round * 128 + i, 1);
			(void)snprintf(list[i].address, sizeof(list[i].address), "10.9.%u.%u:1",
			               round, i);
		}
		list[0] = member_of(0, 1); /* this node itself */
		f->m->ops->heard(f->m, &liar, list, 128);
	}
	for (uint32_t i = 0; i < 2000; i++) {
		drain(f);
		for (uint32_t k = 0; k < f->n_todo; k++) {
			if (f->todo[k].kind == MEMBERS_DIAL) {
				n_dialled++;
				f->m->ops->dial_failed(f->m, f->todo[k].address);
			}
		}
	}
	assert_false(dials(f, "10.0.0.0:9465"));
	assert_int_equal(n_dialled, 512);
	assert_int_equal(f->m->ops->list(f->m, NULL, 0), 1); /* no hello: no member */
}

/* Of so many members, at most 128, at addresses where nobody answers, and nobody refuses. */
static void hear_of(struct fixture *f, uint16_t n)
{
	struct wire_member list[128];
	const struct wire_id liar = test_id(1, 200);

	for (uint32_t i = 0; i < n; i++) {
		list[i] = member_of(1000 + i, 1);
		(void)snprintf(list[i].address, sizeof(list[i].address), "10.9.0.%u:1", i);
	}
	f->m->ops->heard(f->m, &liar, list, n);
	drain(f);
	assert_in_range(count(f, MEMBERS_DIAL), 1, 32);
}

static void who_is_silent_makes_room_for_who_was_tried_before(void **state)
{
	struct fixture *f = *state;

	hear_of(f, 32);
	for (uint32_t i = 0; i < 4; i++) {
		fake_clock_advance_ms(&f->clock, 10000);
		drain(f);
		assert_int_equal(count(f, MEMBERS_DIAL), 16);
	}
}

static void addresses_that_others_tell_do_not_hold_up_ours(void **state)
{
	struct fixture *f = *state;

	hear_of(f, 128);
	resolved(f, "static", "10.0.0.1:9465", NULL);
	assert_true(dials(f, "10.0.0.1:9465"));
	/* And nothing is looked at again and again while there is no room. */
	assert_true(f->m->ops->tick(f->m) > clock_now_ns(&f->clock.clock));
}

static void says_it_is_at(struct fixture *f, uint32_t i, const char *address, void *conn)
{
	struct wire_member w = member_of(i, 1);

	(void)snprintf(w.address, sizeof(w.address), "%s", address);
	f->m->ops->opened(f->m, &w, false, NULL, conn);
	drain(f);
}

static void where_somebody_says_that_he_is_another_is_still_looked_for(void **state)
{
	struct fixture *f = *state;
	const struct wire_member first = member_of(1, 1), second = member_of(2, 1);
	const struct wire_id teller = test_id(1, 201);
	int liar, conn;

	says_it_is_at(f, 200, first.address, &liar);
	resolved(f, "static", first.address, NULL);
	assert_false(dials(f, first.address)); /* he may be, and it may be who starts beside us */
	fake_clock_advance_ms(&f->clock, 5000);
	drain(f);
	assert_true(dials(f, first.address));
	opened(f, 1, 1, first.address, &conn);
	assert_int_equal(state_of(f, 1), MEMBER_UP);
	assert_int_equal(state_of(f, 200), MEMBER_UP);
	says_it_is_at(f, 200, first.address, &liar); /* now it is known better */
	fake_clock_advance_ms(&f->clock, 60000);
	drain(f);
	assert_int_equal(count(f, MEMBERS_DIAL), 0);

	says_it_is_at(f, 200, second.address, &liar);
	f->m->ops->heard(f->m, &teller, &second, 1);
	fake_clock_advance_ms(&f->clock, 5000);
	drain(f);
	assert_true(dials(f, second.address));
}

static void who_says_many_addresses_of_himself_takes_no_place_of_ours(void **state)
{
	struct fixture *f = *state;
	char address[32];
	int liar;

	for (uint32_t i = 0; i < 10000; i++) {
		(void)snprintf(address, sizeof(address), "10.9.%u.%u:1", i / 250, i % 250);
		says_it_is_at(f, 200, address, &liar);
	}
	resolved(f, "static", "10.0.0.1:9465", NULL);
	assert_true(dials(f, "10.0.0.1:9465"));
}

/* docs/protocol.md, "Test vectors" */
static void the_hash_of_a_list_is_that_of_the_protocol(void **state)
{
	struct fixture *f = *state;
	struct wire_member self = { .generation = 7, .address = "10.0.0.9:9465" };
	struct wire_member other = { .generation = UINT64_MAX, .address = "10.0.0.8:9465" };
	int conn;

	memset(self.id.b, 1, sizeof(self.id.b));
	memset(other.id.b, 2, sizeof(other.id.b));
	members_free(&f->m);
	f->m = members_mesh_new(&(struct members_opts){ .clock = &f->clock.clock, .self = &self });
	assert_int_equal(f->m->ops->hash(f->m), UINT64_C(0x0a6bf6d3cdb27635));
	f->m->ops->opened(f->m, &other, false, NULL, &conn);
	assert_int_equal(f->m->ops->hash(f->m), UINT64_C(0x0e163dee8d634f56));
	f->m->ops->draining(f->m, &other.id); /* it is there all the same */
	assert_int_equal(f->m->ops->hash(f->m), UINT64_C(0x0e163dee8d634f56));
	f->m->ops->closed(f->m, &conn, false);
	assert_int_equal(f->m->ops->hash(f->m), UINT64_C(0x0a6bf6d3cdb27635));
}

static void equal_lists_have_equal_hashes(void **state)
{
	struct fixture *f = *state;
	const struct wire_member other_self = member_of(1, 7);
	struct members *other = members_mesh_new(
		&(struct members_opts){ .clock = &f->clock.clock, .self = &other_self, .seed = 6 });
	const struct wire_member self = member_of(0, 1);
	int conn;
	struct wire_member told[8];

	opened(f, 1, 7, NULL, &conn);
	assert_int_not_equal(f->m->ops->hash(f->m), other->ops->hash(other));
	other->ops->opened(other, &self, false, NULL, &conn);
	assert_int_equal(f->m->ops->hash(f->m), other->ops->hash(other));
	f->m->ops->draining(f->m, &other_self.id); /* it knows that itself, and stays a member */
	assert_int_equal(f->m->ops->hash(f->m), other->ops->hash(other));
	assert_int_equal(f->m->ops->tell(f->m, told, 8), 2);
	assert_int_equal(f->m->ops->tell(f->m, told, 1), 1);
	members_free(&other);
}

static void an_address_that_dns_gives_no_more_is_forgotten(void **state)
{
	struct fixture *f = *state;

	resolved(f, "dns", "10.0.0.1:9465", "10.0.0.2:9465");
	f->m->ops->dial_failed(f->m, "10.0.0.1:9465");
	f->m->ops->dial_failed(f->m, "10.0.0.2:9465");
	resolved(f, "dns", "10.0.0.2:9465", NULL);
	fake_clock_advance_ms(&f->clock, 60000);
	drain(f);
	assert_false(dials(f, "10.0.0.1:9465"));
	assert_true(dials(f, "10.0.0.2:9465"));
}

static bool is_known(const struct fixture *f, uint32_t i)
{
	const struct wire_id id = test_id(1, i);
	struct member m;

	return f->m->ops->find(f->m, &id, &m);
}

static void who_is_taken_out_of_the_configuration_is_forgotten_once_it_is_down(void **state)
{
	struct fixture *f = *state;
	int one;
	int two;

	resolved(f, "one", "10.0.0.1:9465", NULL);
	resolved(f, "two", "10.0.0.2:9465", NULL);
	opened(f, 1, 7, "10.0.0.1:9465", &one);
	opened(f, 2, 7, "10.0.0.2:9465", &two);
	f->m->ops->closed(f->m, &two, true);
	drain(f);
	assert_int_equal(state_of(f, 2), MEMBER_DOWN);
	resolved(f, "one", NULL, NULL);
	assert_int_equal(state_of(f, 1), MEMBER_UP); /* others name it, too: it is there */
	resolved(f, "two", NULL, NULL);
	assert_false(is_known(f, 2)); /* and nobody is told that it is down */
	f->m->ops->closed(f->m, &one, true);
	drain(f);
	assert_false(is_known(f, 1));
}

static void who_stands_under_another_name_too_or_comes_back_into_the_list_stays(void **state)
{
	struct fixture *f = *state;
	int conn;

	resolved(f, "one", "10.0.0.1:9465", NULL);
	opened(f, 1, 7, "10.0.0.1:9465", &conn);
	resolved(f, "one", NULL, NULL);
	resolved(f, "another", "10.0.0.1:9465", NULL);
	f->m->ops->closed(f->m, &conn, true);
	drain(f);
	assert_int_equal(state_of(f, 1), MEMBER_DOWN);
}

/* A pod that is replaced: by another node, at another address. */
static void who_left_in_order_and_is_in_no_list_is_down_for_two_minutes(void **state)
{
	struct fixture *f = *state;
	int conns[5];

	resolved(f, "dns", "10.0.0.1:9465", "10.0.0.2:9465");
	resolved(f, "static", "10.0.0.3:9465", NULL);
	opened(f, 1, 7, "10.0.0.1:9465", &conns[1]);
	opened(f, 2, 7, "10.0.0.2:9465", &conns[2]);
	opened(f, 3, 7, "10.0.0.3:9465", &conns[3]);
	opened(f, 4, 7, NULL, &conns[4]);
	resolved(f, "dns", "10.0.0.2:9465", NULL); /* the name may lose it before it leaves */
	for (uint32_t i = 1; i <= 4; i++)
		f->m->ops->closed(f->m, &conns[i], i < 4);
	drain(f);
	fake_clock_advance_ms(&f->clock, 60000);
	resolved(f, "dns", "10.0.0.9:9465", NULL); /* or after */
	fake_clock_advance_ms(&f->clock, 59999);
	drain(f);
	assert_int_equal(state_of(f, 1), MEMBER_DOWN);
	assert_int_equal(state_of(f, 2), MEMBER_DOWN);
	assert_in_range(f->m->ops->tick(f->m), 0, clock_now_ns(&f->clock.clock) + 1000000);
	fake_clock_advance_ms(&f->clock, 1);
	drain(f);
	assert_false(is_known(f, 1));
	assert_false(is_known(f, 2));
	fake_clock_advance_ms(&f->clock, 3000000);
	drain(f);
	assert_int_equal(state_of(f, 3), MEMBER_DOWN); /* it should be there */
	assert_int_equal(state_of(f, 4), MEMBER_DOWN); /* and nobody knows what became of it */
}

static void who_left_in_order_is_not_kept_by_the_list_that_has_his_successor(void **state)
{
	struct wire_member successor = member_of(2, 7);
	struct fixture *f = *state;
	int first;
	int second;

	resolved(f, "static", "10.0.0.1:9465", NULL);
	opened(f, 1, 7, "10.0.0.1:9465", &first);
	f->m->ops->closed(f->m, &first, true);
	(void)snprintf(successor.address, sizeof(successor.address), "10.0.0.1:9465");
	f->m->ops->opened(f->m, &successor, false, "10.0.0.1:9465", &second);
	fake_clock_advance_ms(&f->clock, 120000);
	drain(f);
	assert_false(is_known(f, 1));
	assert_int_equal(state_of(f, 2), MEMBER_UP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(configured_addresses_are_dialled_and_who_answers_is_a_member),
		T(who_calls_is_a_member_too),
		T(this_node_in_its_own_list_is_dialled_again_after_a_minute),
		T(two_names_of_one_node_make_one_member_with_one_connection),
		T(both_sides_keep_the_same_one_of_two_connections),
		T(a_restart_is_seen_by_the_generation),
		T(a_lost_connection_is_dialled_at_once_and_then_the_member_is_down),
		T(a_silent_dial_leaves_the_suspect_for_two_seconds),
		T(lists_that_others_tell_are_dialled_but_only_so_many_of_one),
		T(who_is_silent_makes_room_for_who_was_tried_before),
		T(addresses_that_others_tell_do_not_hold_up_ours),
		T(where_somebody_says_that_he_is_another_is_still_looked_for),
		T(who_says_many_addresses_of_himself_takes_no_place_of_ours),
		T(equal_lists_have_equal_hashes),
		T(the_hash_of_a_list_is_that_of_the_protocol),
		T(an_address_that_dns_gives_no_more_is_forgotten),
		T(who_is_taken_out_of_the_configuration_is_forgotten_once_it_is_down),
		T(who_stands_under_another_name_too_or_comes_back_into_the_list_stays),
		T(who_left_in_order_and_is_in_no_list_is_down_for_two_minutes),
		T(who_left_in_order_is_not_kept_by_the_list_that_has_his_successor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
