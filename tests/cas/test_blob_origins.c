/*
 * Where blobs can be had: what is remembered of it, and what is not.
 */
#include "fixture.h"
#include "mem.h"
#include <stdlib.h>

#define SEED 7

static void origins_are_kept_in_order_and_never_with_secrets(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 20, SEED);
	struct cas_origin got[CAS_ORIGINS_MAX];

	cas_blob_add_origin(b, "registry:z.example/app");
	cas_blob_add_origin(b, "http://user:pw@a.example/x/");
	cas_blob_add_origin(b, "dir:/blobs");
	cas_blob_add_origin(b, "registry:z.example/app");
	cas_blob_release(&b);
	fixture_reopen(f);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(cas_blob_origins(b, got, CAS_ORIGINS_MAX), 2);
	assert_string_equal(got[0].text, "registry:z.example/app");
	assert_string_equal(got[1].text, "dir:/blobs");
	assert_int_equal(query(f, "SELECT count(*) FROM origin WHERE text LIKE '%@%'"), 0);
	cas_blob_release(&b);
}

static void of_too_many_origins_the_oldest_is_forgotten(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 20, SEED);
	struct cas_origin got[CAS_ORIGINS_MAX];

	for (int i = 0; i < CAS_ORIGINS_MAX + 2; i++) {
		AUTO(free_str) char *origin = xasprintf("registry:r.example/app%d", i);

		cas_blob_add_origin(b, origin);
	}
	cas_blob_add_origin(b, "registry:r.example/app2"); /* mounted again */
	cas_blob_add_origin(b, "registry:r.example/app18");
	for (int pass = 0; pass < 2; pass++) {
		assert_int_equal(cas_blob_origins(b, got, CAS_ORIGINS_MAX), CAS_ORIGINS_MAX);
		assert_string_equal(got[0].text, "registry:r.example/app4");
		assert_string_equal(got[CAS_ORIGINS_MAX - 2].text, "registry:r.example/app2");
		assert_string_equal(got[CAS_ORIGINS_MAX - 1].text, "registry:r.example/app18");
		cas_blob_release(&b);
		fixture_reopen(f);
		b = open_sample(f, SAMPLE_ID, 20, SEED);
	}
	assert_int_equal(query(f, "SELECT count(*) FROM blob_origin"), CAS_ORIGINS_MAX);
	cas_blob_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(origins_are_kept_in_order_and_never_with_secrets,
		                                fixture_setup_open, fixture_teardown),
		cmocka_unit_test_setup_teardown(of_too_many_origins_the_oldest_is_forgotten,
		                                fixture_setup_open, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
