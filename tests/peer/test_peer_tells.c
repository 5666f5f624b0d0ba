/*
 * test_peer_tells: what an agent tells the home of a segment of the chunks that it has.
 */
#include "chunk_world.h"
#include "mem.h"
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MANY 8

static void put(struct chunk_world *w, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++)
		chunk_put(w, i);
}

static void has_heard_of(struct chunk_world *w, const struct actor *home, uint32_t n)
{
	const struct wire_set all = chunks_of(0, n);

	for (uint32_t heard = 0; !wire_set_holds(&home->haves, &all); heard++)
		peers_until(w->peers, &home->n_haves, heard);
}

static void a_home_is_told_what_is_here_and_what_comes(void **state)
{
	struct chunk_world *w = *state;
	struct actor home;

	put(w, 0, MANY);
	actor_join(w, &home, true);
	has_heard_of(w, &home, MANY);
	put(w, MANY, MANY);
	has_heard_of(w, &home, 2 * MANY);
	actor_leave(&home);
}

/* What was on its way by the connection before is lost, and nobody knows what that was. */
static void by_another_connection_it_is_told_all_of_it_again(void **state)
{
	struct chunk_world *w = *state;
	struct actor home;
	struct actor again;

	actor_join(w, &home, true);
	actor_hang(&home, true); /* its line is dead */
	put(w, 0, MANY);
	peers_run_ms(w->peers, 2000); /* it is told */
	actor_join_again(&again, &home);
	actor_leave(&home);
	has_heard_of(w, &again, MANY);
	actor_leave(&again);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, chunk_world_setup, chunk_world_teardown)
	const struct CMUnitTest tests[] = {
		T(a_home_is_told_what_is_here_and_what_comes),
		T(by_another_connection_it_is_told_all_of_it_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
