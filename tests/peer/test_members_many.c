/*
 * test_members_many: what many members cost while nothing happens: no more than few.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cpu_time.h"
#include "fake_clock.h"
#include "members.h"
#include "names.h"
#include <stdio.h>

enum { FEW = 40, MANY = 640, LOOKS = 2000 };

/* Of what is noise; where each is looked at it is more than 20. */
#define TIMES_MAX 6

/* So many are connected, each was met at an address of its own. @return what it costs to see that
 * there is nothing to do */
static uint64_t looks_cost(uint32_t n)
{
	static int conns[MANY];
	struct fake_clock clock;
	struct wire_member w = { .id = test_id(2, 0), .generation = 1 };
	struct members_todo todo;
	struct members *m;
	uint64_t cost_ns;

	fake_clock_init(&clock);
	m = members_mesh_new(&(struct members_opts){ .clock = &clock.clock, .self = &w });
	for (uint32_t i = 0; i < n; i++) {
		w.id = test_id(1, i);
		(void)snprintf(w.address, sizeof(w.address), "10.1.%u.%u:9465", i / 200, i % 200);
		m->ops->opened(m, &w, false, w.address, &conns[i]);
	}
	while (m->ops->next(m, &todo))
		;
	(void)m->ops->tick(m);
	(void)m->ops->hash(m);
	cost_ns = cpu_ns();
	for (uint32_t i = 0; i < LOOKS; i++) {
		(void)m->ops->hash(m);
		assert_false(m->ops->next(m, &todo));
		assert_true(m->ops->tick(m) > clock_now_ns(&clock.clock));
	}
	cost_ns = cpu_ns() - cost_ns;
	members_free(&m);
	print_message("%u: a look %.3f us\n", n, (double)cost_ns / LOOKS / 1000);
	return cost_ns;
}

static void many_cost_as_little_as_few_while_nothing_happens(void **state)
{
	(void)state;
	assert_true(looks_cost(MANY) < TIMES_MAX * looks_cost(FEW));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_cost_as_little_as_few_while_nothing_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
