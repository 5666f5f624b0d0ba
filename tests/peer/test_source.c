/*
 * test_source: who gave a chunk is known, however many nodes there were.
 */
#include "mem.h"
#include "names.h"
#include "source_impl.h"
#include <stdlib.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_giver_has_a_number_after_thousands_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
