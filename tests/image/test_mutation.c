/*
 * test_mutation: thousands of random changes to real bootstraps, of which only this is asked: an
 * error or a right answer, and an end.
 */
#include "data.h"
#include "exercise.h"
#include "random.h"
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void mutate(uint8_t *bytes, size_t size_bytes, uint64_t *seed)
{
	static const uint8_t edges[] = { 0, 1, 0x7f, 0x80, 0xff, '/', 4, 8 };
	const uint64_t n = 1 + random_next(seed) % 6;

	for (unsigned i = 0; i < n; i++) {
		const size_t at = random_next(seed) % size_bytes;

		if (random_next(seed) & 1)
			bytes[at] = edges[random_next(seed) % ARRAY_LEN(edges)];
		else
			bytes[at] ^= (uint8_t)(1U << random_next(seed) % 8);
	}
}

static void try_mutations(const char *boot, unsigned n, uint64_t seed)
{
	const struct data good = data_load(boot);
	uint8_t *bad = malloc(good.size_bytes);
	unsigned n_corrupt = 0;

	assert_non_null(bad);
	for (unsigned i = 0; i < n; i++) {
		memcpy(bad, good.bytes, good.size_bytes);
		mutate(bad, good.size_bytes, &seed);
		n_corrupt += exercise_image(bad, good.size_bytes);
	}
	assert_true(n_corrupt > n / 10);
	free(bad);
	free(good.bytes);
}

static void no_mutation_crashes_or_hangs(void **state)
{
	(void)state;
	try_mutations("layers-v6.boot", 6000, 88172645463325252ULL);
	try_mutations("layers-v5.boot", 6000, 1234567890123ULL);
	try_mutations("layers-zran.boot", 2000, 99194853094755497ULL);
	try_mutations("layers-v6-batch.boot", 2000, 6364136223846793005ULL);
}

static void no_truncation_crashes(void **state)
{
	static const char *const boots[] = { "layers-v6.boot", "layers-v5.boot" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(boots); i++) {
		const struct data good = data_load(boots[i]);

		for (size_t size_bytes = 0; size_bytes < good.size_bytes; size_bytes += 512) {
			uint8_t *bad = malloc(size_bytes + 1);

			assert_non_null(bad);
			memcpy(bad, good.bytes, size_bytes);
			assert_true(exercise_image(bad, size_bytes) > 0);
			free(bad);
		}
		free(good.bytes);
	}
}

static void a_good_image_has_no_fault_at_all(void **state)
{
	static const char *const boots[] = { "layers-v6.boot", "layers-v5.boot", "edge-v6.boot",
		                             "edge-v5.boot" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(boots); i++) {
		struct data d = data_load(boots[i]);

		assert_int_equal(exercise_image(d.bytes, d.size_bytes), 0);
		data_free(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_mutation_crashes_or_hangs),
		cmocka_unit_test(no_truncation_crashes),
		cmocka_unit_test(a_good_image_has_no_fault_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
