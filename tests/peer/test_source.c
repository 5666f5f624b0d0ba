/*
 * test_source: who gave a chunk is known, however many nodes there were; what came packed is kept
 * for the slow ones.
 */
#include "mem.h"
#include "names.h"
#include "serve_impl.h"
#include "source_impl.h"
#include <stdlib.h>
#include <utlist.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void each_giver_has_a_number_after_thousands_of_others(void **state)
{
	struct peer *p = xcalloc(1, sizeof(*p));

	(void)state;
	for (uint32_t i = 0; i < 3 * PEER_GIVERS_MAX / 2; i++) {
		const struct wire_id node = test_id(1, i);
		const uint32_t giver = source_giver(p, &node);

		assert_in_range(giver, 1, PEER_GIVERS_MAX);
		assert_true(id_equal(&p->givers[giver - 1], &node));
		assert_int_equal(source_giver(p, &node), giver);
	}
	free(p);
}

static void one_fast_line_does_not_speak_for_the_slow_ones(void **state)
{
	struct peer *p = xcalloc(1, sizeof(*p));
	struct link *links = xcalloc(3, sizeof(*links));

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		DL_APPEND(p->links, &links[i]);
	assert_true(serve_wants_packed(p));            /* nothing is known */
	send_rate_look(&links[1].rate, 1 << 20, 1000); /* 1 GB/s */
	assert_false(serve_wants_packed(p));
	send_rate_look(&links[0].rate, 1 << 20, 80000); /* 13 MB/s */
	assert_true(serve_wants_packed(p));
	send_rate_look(&links[2].rate, 1 << 20, 1000);
	assert_true(serve_wants_packed(p));
	free(links);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_giver_has_a_number_after_thousands_of_others),
		cmocka_unit_test(one_fast_line_does_not_speak_for_the_slow_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
