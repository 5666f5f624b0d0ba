/*
 * test_heap: what glibc keeps of what was freed, and what it gives back. (Sanitizers have a malloc
 * of their own, of which nothing is asked here.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "heap.h"
#include "mem.h"
#include <malloc.h>
#include <stdlib.h>

#define CHUNK_BYTES  (64U << 10)
#define CHUNKS_MAX   256U
#define MARGIN_BYTES (256U << 10) /* malloc's own, and what was free before */

static size_t heap_bytes(void)
{
	return mallinfo2().arena;
}

/* Chunks come, and all of them go. @return bytes that the heap has more than before */
static size_t use_and_free(uint32_t n_chunks)
{
	void *chunks[CHUNKS_MAX];
	const size_t before = heap_bytes();

	for (uint32_t i = 0; i < n_chunks; i++)
		chunks[i] = xcalloc(1, CHUNK_BYTES);
	for (uint32_t i = 0; i < n_chunks; i++)
		free(chunks[i]);
	return heap_bytes() - before;
}

static void begin(void)
{
	if (heap_bytes() == 0)
		skip(); /* a sanitizer's */
	heap_configure(2);
	heap_give_back();
}

static void what_chunks_took_stays_for_the_next_ones(void **state)
{
	(void)state;
	begin();
	assert_true(use_and_free((3U << 20) / CHUNK_BYTES) >= (3U << 20) - MARGIN_BYTES);
	assert_true(use_and_free((3U << 20) / CHUNK_BYTES) <= MARGIN_BYTES);
}

static void more_than_4_mib_goes_at_once(void **state)
{
	(void)state;
	begin();
	assert_true(use_and_free((12U << 20) / CHUNK_BYTES) <= MARGIN_BYTES);
}

static void what_stayed_is_given_back_when_asked(void **state)
{
	size_t before;

	(void)state;
	begin();
	before = heap_bytes();
	assert_true(use_and_free((3U << 20) / CHUNK_BYTES) >= (3U << 20) - MARGIN_BYTES);
	heap_give_back();
	assert_true(heap_bytes() <= before + MARGIN_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_chunks_took_stays_for_the_next_ones),
		cmocka_unit_test(more_than_4_mib_goes_at_once),
		cmocka_unit_test(what_stayed_is_given_back_when_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
