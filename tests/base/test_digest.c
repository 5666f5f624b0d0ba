/*
 * test_digest: both algorithms against the test values of their publishers.
 * Source: FIPS 180-4 examples; BLAKE3 test_vectors.json (input bytes 0..250 repeated).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "digest.h"
#include "hex.h"
#include <string.h>

static const char *hex_of(enum digest_alg alg, const void *data, size_t size_bytes, char *buf)
{
	uint8_t digest[DIGEST_BYTES];

	digest_compute(alg, data, size_bytes, digest);
	hex_encode(digest, DIGEST_BYTES, buf);
	return buf;
}

static void sha256_is_that_of_fips_180(void **state)
{
	char buf[DIGEST_TEXT_BYTES];

	(void)state;
	assert_string_equal(hex_of(DIGEST_SHA256, "abc", 3, buf),
	                    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_string_equal(hex_of(DIGEST_SHA256, "", 0, buf),
	                    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void blake3_is_that_of_its_authors(void **state)
{
	char buf[DIGEST_TEXT_BYTES];

	(void)state;
	assert_string_equal(hex_of(DIGEST_BLAKE3, "", 0, buf),
	                    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
	assert_string_equal(hex_of(DIGEST_BLAKE3, "abc", 3, buf),
	                    "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
}

static void pieces_of_any_size_give_the_digest_of_the_whole(void **state)
{
	static const size_t steps[] = { 1, 7, 63, 64, 65, 1024, 100000 };
	uint8_t data[100000];
	uint8_t whole[DIGEST_BYTES];
	uint8_t pieces[DIGEST_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i % 251);
	for (unsigned alg = 0; alg < N_DIGEST_ALGS; alg++) {
		digest_compute(alg, data, sizeof(data), whole);
		for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
			AUTO(digest_stream_free) struct digest_stream *d = digest_stream_new(alg);

			for (size_t at = 0; at < sizeof(data); at += steps[s]) {
				const size_t left = sizeof(data) - at;

				digest_stream_add(d, data + at, left < steps[s] ? left : steps[s]);
			}
			digest_stream_end(d, pieces);
			assert_memory_equal(whole, pieces, DIGEST_BYTES);
		}
	}
}

static void one_flipped_bit_does_not_match(void **state)
{
	uint8_t data[4096] = { 0 };
	uint8_t digest[DIGEST_BYTES];

	(void)state;
	for (unsigned alg = 0; alg < N_DIGEST_ALGS; alg++) {
		digest_compute(alg, data, sizeof(data), digest);
		assert_true(digest_matches(alg, data, sizeof(data), digest));
		for (size_t bit = 0; bit < 8 * sizeof(data); bit += 97) {
			data[bit / 8] ^= (uint8_t)(1U << bit % 8);
			assert_false(digest_matches(alg, data, sizeof(data), digest));
			data[bit / 8] ^= (uint8_t)(1U << bit % 8);
		}
	}
}

static void algorithms_have_names(void **state)
{
	(void)state;
	assert_string_equal(digest_alg_name(DIGEST_BLAKE3), "blake3");
	assert_string_equal(digest_alg_name(DIGEST_SHA256), "sha256");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_is_that_of_fips_180),
		cmocka_unit_test(blake3_is_that_of_its_authors),
		cmocka_unit_test(pieces_of_any_size_give_the_digest_of_the_whole),
		cmocka_unit_test(one_flipped_bit_does_not_match),
		cmocka_unit_test(algorithms_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
