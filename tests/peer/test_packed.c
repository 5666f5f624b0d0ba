/*
 * test_packed: the packed forms that are kept for others: what is given back, and what goes when.
 */
#include "clock.h"
#include "mem.h"
#include "names.h"
#include "packed.h"
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int set_up(void **state)
{
	*state = packed_new();
	return 0;
}

static int tear_down(void **state)
{
	struct packed *p = *state;

	packed_free(&p);
	return 0;
}

static void put(struct packed *p, uint32_t i, uint32_t size_bytes, uint64_t now_ns)
{
	const struct wire_id name = test_id(5, i);
	uint8_t *bytes = xcalloc(1, size_bytes);

	memset(bytes, (int)i, size_bytes);
	packed_put(p, &name, COMPRESSOR_ZSTD, bytes, size_bytes, now_ns);
}

static uint32_t get(struct packed *p, uint32_t i, uint32_t room_bytes, uint8_t *out)
{
	const struct wire_id name = test_id(5, i);
	enum compressor form = COMPRESSOR_NONE;
	const uint32_t n = packed_get(p, &name, out, room_bytes, &form);

	assert_int_equal(form, n > 0 ? COMPRESSOR_ZSTD : COMPRESSOR_NONE);
	return n;
}

static void what_came_packed_is_given_on_as_it_is(void **state)
{
	struct packed *p = *state;
	uint8_t out[100] = { 0 };

	put(p, 7, sizeof(out), 0);
	put(p, 8, 1, 0);
	assert_int_equal(get(p, 7, sizeof(out), out), sizeof(out));
	assert_int_equal(out[0], 7);
	assert_int_equal(out[sizeof(out) - 1], 7);
	assert_int_equal(get(p, 7, sizeof(out) - 1, out), 0); /* it has no room there */
	assert_int_equal(get(p, 9, sizeof(out), out), 0);
	put(p, 8, 50, 0); /* what is here stays */
	assert_int_equal(get(p, 8, sizeof(out), out), 1);
}

static void the_oldest_make_room(void **state)
{
	struct packed *p = *state;
	uint8_t *out = xcalloc(1, PACKED_MAX_BYTES);

	for (uint32_t i = 0; i < 10; i++)
		put(p, i, PACKED_MAX_BYTES / 8, i);
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(get(p, i, PACKED_MAX_BYTES, out) > 0, i >= 2);
	put(p, 20, PACKED_MAX_BYTES + 1, 20); /* never has room, and takes none */
	assert_int_equal(get(p, 9, PACKED_MAX_BYTES, out), PACKED_MAX_BYTES / 8);
	for (uint32_t i = 0; i <= PACKED_MAX; i++)
		put(p, 100 + i, 1, 30);
	assert_int_equal(get(p, 100, 1, out), 0);
	assert_int_equal(get(p, 100 + PACKED_MAX, 1, out), 1);
	free(out);
}

static void what_nobody_wants_any_more_is_let_go(void **state)
{
	const uint64_t keep_ns = PACKED_KEEP_MS * NS_PER_MS;
	struct packed *p = *state;
	uint8_t out[10];

	assert_int_equal(packed_expire(p, 0), UINT64_MAX);
	put(p, 1, 10, 1);
	put(p, 2, 10, 2);
	assert_int_equal(packed_expire(p, keep_ns), keep_ns + 1);
	assert_int_equal(packed_expire(p, keep_ns + 1), keep_ns + 2);
	assert_int_equal(get(p, 1, sizeof(out), out), 0);
	assert_int_equal(get(p, 2, sizeof(out), out), 10);
	assert_int_equal(packed_expire(p, keep_ns + 2), UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(what_came_packed_is_given_on_as_it_is),
		T(the_oldest_make_room),
		T(what_nobody_wants_any_more_is_let_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
