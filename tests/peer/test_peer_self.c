/*
 * test_peer_self: this node itself in its own list, as a headless service of Kubernetes gives it.
 */
#include "metrics.h"
#include "peers_world.h"
#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define DIAL_MS 2000 /* the first few pauses between two attempts take less */

static int setup(void **state)
{
	*state = peers_new(1, false);
	return 0;
}

static int64_t control_bytes(const struct peers *world)
{
	return metrics_sum(world->metrics[0], METRIC_PEER_CONTROL_BYTES);
}

static void it_calls_itself_once(void **state)
{
	struct peers *world = *state;
	char own[64];
	const char *const members[] = { own };
	int64_t n_bytes;

	(void)snprintf(own, sizeof(own), "127.0.0.1:%u", peer_port(world->peers[0]));
	peer_set_members(world->peers[0], members, 1, NULL);
	for (uint32_t ms = 0; control_bytes(world) == 0; ms++) {
		assert_in_range(ms, 0, DIAL_MS);
		peers_run_ms(world, 1);
	}
	peers_run_ms(world, 50); /* what follows the first hello, if anything */
	n_bytes = control_bytes(world);
	peers_run_ms(world, DIAL_MS);
	assert_int_equal(control_bytes(world), n_bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_calls_itself_once, setup, peers_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
