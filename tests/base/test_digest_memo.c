/*
 * test_digest_memo: right bytes are always right and wrong ones never, and who is asked for again
 * and again is not hashed each time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "digest_count.h"
#include "digest_memo.h"
#include <pthread.h>
#include <string.h>

#define SIZE_BYTES 5000U

struct sample {
	uint8_t data[SIZE_BYTES];
	uint8_t digest[DIGEST_BYTES];
};

static void make(struct sample *s, enum digest_alg alg, uint32_t number)
{
	memset(s->data, 'x', sizeof(s->data));
	memcpy(s->data, &number, sizeof(number));
	digest_compute(alg, s->data, sizeof(s->data), s->digest);
}

static bool matches(struct digest_memo *m, enum digest_alg alg, const struct sample *s)
{
	return digest_memo_matches(m, alg, s->data, sizeof(s->data), s->digest);
}

static int setup(void **state)
{
	*state = digest_memo_new();
	return 0;
}

static int teardown(void **state)
{
	digest_memo_free((struct digest_memo **)state);
	return 0;
}

static void what_matched_twice_is_not_hashed_again(void **state)
{
	for (unsigned alg = 0; alg < N_DIGEST_ALGS; alg++) {
		const unsigned before = digest_count();
		struct sample s;

		make(&s, alg, alg);
		for (int i = 0; i < 10; i++)
			assert_true(matches(*state, alg, &s));
		assert_int_equal(digest_count(), before + 2);
	}
}

static void wrong_bytes_never_match(void **state)
{
	struct sample right;
	struct sample wrong;

	make(&right, DIGEST_BLAKE3, 1);
	wrong = right;
	for (size_t n_before = 0; n_before < 4; n_before++) {
		for (size_t at = 0; at < SIZE_BYTES; at += 499) {
			wrong.data[at] ^= 1;
			assert_false(matches(*state, DIGEST_BLAKE3, &wrong));
			wrong.data[at] ^= 1;
		}
		assert_false(digest_memo_matches(*state, DIGEST_BLAKE3, right.data, SIZE_BYTES - 1,
		                                 right.digest));
		assert_true(matches(*state, DIGEST_BLAKE3, &right));
	}
}

/* Both digests begin alike, so both have the same name in the table. */
static void another_digest_of_that_name_is_another(void **state)
{
	struct sample one;
	struct sample other;

	make(&one, DIGEST_BLAKE3, 1);
	other = one;
	other.digest[DIGEST_BYTES - 1] ^= 1;
	for (int i = 0; i < 3; i++)
		assert_true(matches(*state, DIGEST_BLAKE3, &one));
	assert_false(matches(*state, DIGEST_BLAKE3, &other));
	assert_false(matches(*state, DIGEST_SHA256, &one));
}

/* Twice as many as there is room for, so each place is another's again and again. */
static void what_has_no_place_is_hashed(void **state)
{
	const uint32_t n = 2 * DIGEST_MEMO_MAX;
	struct digest_memo *m = *state;
	uint32_t n_known = 0;

	for (unsigned round = 0; round < 4; round++) {
		n_known = 0;
		for (uint32_t i = 0; i < n; i++) {
			const unsigned before = digest_count();
			uint8_t digest[DIGEST_BYTES];

			digest_compute(DIGEST_BLAKE3, &i, sizeof(i), digest);
			assert_true(digest_memo_matches(m, DIGEST_BLAKE3, &i, sizeof(i), digest));
			n_known += digest_count() == before;
		}
	}
	assert_in_range(n_known, 1, DIGEST_MEMO_MAX);
}

static void *ask_again_and_again(void *arg)
{
	struct digest_memo *m = arg;
	struct sample right;
	struct sample wrong;

	for (uint32_t i = 0; i < 2000; i++) {
		make(&right, DIGEST_BLAKE3, i % 8);
		wrong = right;
		wrong.data[i]++;
		if (!matches(m, DIGEST_BLAKE3, &right) || matches(m, DIGEST_BLAKE3, &wrong))
			return arg;
	}
	return NULL;
}

static void threads_do_not_confuse_each_other(void **state)
{
	pthread_t threads[4];

	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_again_and_again, *state), 0);
	for (size_t i = 0; i < 4; i++) {
		void *ret;

		assert_int_equal(pthread_join(threads[i], &ret), 0);
		assert_null(ret);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_matched_twice_is_not_hashed_again, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(wrong_bytes_never_match, setup, teardown),
		cmocka_unit_test_setup_teardown(another_digest_of_that_name_is_another, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(what_has_no_place_is_hashed, setup, teardown),
		cmocka_unit_test_setup_teardown(threads_do_not_confuse_each_other, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
