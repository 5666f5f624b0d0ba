/*
 * Pins: what stays of images that are pinned, whatever is evicted or removed.
 */
#include "gc.h"
#include "pinned.h"
#include "pins.h"
#include "share_world.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_1 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_2 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define NAME_1   "registry.example/app:1"
#define NAME_2   "registry.example/base:1"

static void gc_all(struct fixture *f, struct cas_gc_result *ret_result)
{
	const struct cas_gc_opts opts = { .to_bytes = 0 };

	*ret_result = (struct cas_gc_result){ .n_chunks = 0 };
	assert_int_equal(cas_gc(f->cas, &opts, ret_result, &f->e), 0);
}

static void record(struct fixture *f, const char *name, const char *digest, const char *key)
{
	struct image_record rec = { .added_s = 0 };

	memcpy(rec.digest, digest, strlen(digest) + 1);
	memcpy(rec.name, name, strlen(name) + 1);
	record_image(f, &rec, &key, 1);
}

static int64_t pinned_gauge(const struct fixture *f)
{
	return metrics_sum(f->metrics, METRIC_CACHE_PINNED_BYTES);
}

static void a_pinned_image_stays_until_it_is_let_go(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_full(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_full(f, OTHER_ID, N, 2);
	struct cas_gc_result result;

	record(f, NAME_1, DIGEST_1, SAMPLE_ID);
	record(f, NAME_2, DIGEST_2, OTHER_ID);
	assert_int_equal(pins_set(f->cas, NAME_1, true, &f->e), 0);
	assert_int_equal(pins_set(f->cas, NAME_1, true, &f->e), CAS_MISS);
	gc_all(f, &result);
	assert_int_equal(cas_blob_n_ready(a), N);
	assert_int_equal(cas_blob_n_ready(b), 0);
	assert_int_equal(result.pinned_bytes, result.after_bytes);
	assert_int_equal(pinned_gauge(f), (int64_t)result.after_bytes);
	assert_int_equal(pins_set(f->cas, NAME_1, false, &f->e), 0);
	assert_int_equal(pins_set(f->cas, NAME_1, false, &f->e), CAS_MISS);
	assert_int_equal(pinned_gauge(f), 0);
	gc_all(f, &result);
	assert_int_equal(cas_blob_n_ready(a), 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void a_pin_outlives_a_restart_and_holds_what_nobody_has_open(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_full(f, SAMPLE_ID, N, 1);
	struct cas_gc_result result;

	record(f, NAME_1, DIGEST_1, SAMPLE_ID);
	assert_int_equal(pins_set(f->cas, NAME_1, true, &f->e), 0);
	cas_blob_release(&a);
	fixture_reopen(f);
	assert_true(pinned_gauge(f) > 0);
	gc_all(f, &result);
	assert_int_equal(result.n_chunks, 0);
	assert_int_equal(result.pinned_bytes, result.after_bytes);
	assert_true(result.after_bytes > 0);
	a = open_sample(f, SAMPLE_ID, N, 1);
	assert_int_equal(cas_blob_n_ready(a), N);
	cas_blob_release(&a);
}

/* base has all of it, app refers to the last half: that much of base is needed. */
static struct cas_blob *refer_to_half(struct fixture *f)
{
	struct cas_blob *base = open_full(f, OTHER_ID, N, 1);
	struct cas_blob *app = open_sample(f, SAMPLE_ID, N, 1);

	for (uint32_t i = N / 2; i < N; i++)
		assert_int_equal(cas_blob_share(app, i, &f->e), 0);
	record(f, NAME_1, DIGEST_1, SAMPLE_ID);
	record(f, NAME_2, DIGEST_2, OTHER_ID);
	assert_int_equal(pins_set(f->cas, NAME_1, true, &f->e), 0);
	cas_blob_release(&base);
	return app;
}

static void expect_half(struct fixture *f, struct cas_blob *app)
{
	struct cas_blob *base = open_sample(f, OTHER_ID, N, 1);

	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(cas_blob_is_ready(base, i), i >= N / 2);
		assert_int_equal(cas_blob_is_present(app, i), i >= N / 2);
	}
	cas_blob_release(&base);
}

static void chunks_in_other_files_stay_for_a_pinned_image_that_refers_to_them(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *app = refer_to_half(f);
	struct cas_gc_result result;

	gc_all(f, &result); /* the database does not know the references yet */
	assert_int_equal(result.n_chunks, N / 2);
	expect_half(f, app);
	cas_blob_release(&app);
}

static void and_after_a_restart_when_only_the_database_knows_them(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *app = refer_to_half(f);
	struct cas_gc_result result;

	cas_blob_release(&app);
	fixture_reopen(f);
	gc_all(f, &result);
	assert_int_equal(result.n_chunks, N / 2);
	assert_true(result.pinned_bytes > 0);
	app = open_sample(f, SAMPLE_ID, N, 1);
	expect_half(f, app);
	cas_blob_release(&app);
}

static void a_pin_follows_its_name_to_the_next_image(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a;
	struct cas_blob *b;
	struct cas_gc_result result;

	assert_int_equal(pins_set(f->cas, NAME_1, true, &f->e), 0); /* before there is any */
	assert_int_equal(pinned_gauge(f), 0);
	a = open_full(f, SAMPLE_ID, N, 1);
	record(f, NAME_1, DIGEST_1, SAMPLE_ID);
	gc_all(f, &result);
	assert_int_equal(cas_blob_n_ready(a), N);
	b = open_full(f, OTHER_ID, N, 2);
	record(f, NAME_1, DIGEST_2, OTHER_ID);
	gc_all(f, &result);
	assert_int_equal(cas_blob_n_ready(a), 0);
	assert_int_equal(cas_blob_n_ready(b), N);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void a_pinned_image_is_not_forgotten(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_full(f, SAMPLE_ID, N, 1);
	struct image_record rec;

	record(f, NAME_1, DIGEST_1, SAMPLE_ID);
	record(f, NAME_2, DIGEST_1, SAMPLE_ID); /* another name of the same */
	assert_int_equal(pins_set(f->cas, NAME_1, true, &f->e), 0);
	assert_int_equal(remove_image(f, DIGEST_1), -EBUSY);
	assert_non_null(strstr(f->e.msg, "pinned"));
	assert_int_equal(image_store_by_name(f->cas, NAME_2, &rec, &f->e), 0);
	assert_true(rec.pinned);
	assert_int_equal(pins_set(f->cas, NAME_1, false, &f->e), 0);
	assert_int_equal(image_store_by_name(f->cas, NAME_2, &rec, &f->e), 0);
	assert_false(rec.pinned);
	cas_blob_release(&a);
	assert_int_equal(remove_image(f, DIGEST_1), 0);
	rows_are_removed(f);
}

static int count(void *arg, const char *name)
{
	uint32_t *n = arg;

	assert_string_equal(name, *n == 0 ? NAME_1 : NAME_2);
	(*n)++;
	return 0;
}

static void pins_are_listed_in_order_and_bounded_in_length(void **state)
{
	struct fixture *f = *state;
	char *name = malloc(CAS_ORIGIN_MAX_BYTES + 1);
	uint32_t n = 0;

	memset(name, 'x', CAS_ORIGIN_MAX_BYTES);
	name[CAS_ORIGIN_MAX_BYTES] = '\0';
	assert_int_equal(pins_set(f->cas, NAME_2, true, &f->e), 0);
	assert_int_equal(pins_set(f->cas, NAME_1, true, &f->e), 0);
	assert_int_equal(pins_set(f->cas, name, true, &f->e), -ENAMETOOLONG);
	assert_int_equal(pins_list(f->cas, count, &n, &f->e), 0);
	assert_int_equal(n, 2);
	free(name);
}

/* Of before there were pins. */
static void an_older_database_is_brought_up_to_date(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_full(f, SAMPLE_ID, N, 1);

	record(f, NAME_1, DIGEST_1, SAMPLE_ID);
	cas_blob_release(&a);
	fixture_close(f);
	exec_sql(f, "DROP TABLE pinned; PRAGMA user_version=2");
	fixture_open(f);
	assert_int_equal(n_moved_aside(f->dir), 0);
	assert_int_equal(pins_set(f->cas, NAME_1, true, &f->e), 0);
	fixture_close(f);
	exec_sql(f, "DROP TABLE pinned; DROP TABLE refer; DROP TABLE refer_owner;"
	            " PRAGMA user_version=1");
	fixture_open(f);
	assert_int_equal(n_moved_aside(f->dir), 0);
	a = open_sample(f, SAMPLE_ID, N, 1);
	assert_int_equal(cas_blob_n_ready(a), N);
	cas_blob_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_pinned_image_stays_until_it_is_let_go,
		                                share_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			a_pin_outlives_a_restart_and_holds_what_nobody_has_open, share_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(
			chunks_in_other_files_stay_for_a_pinned_image_that_refers_to_them,
			share_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			and_after_a_restart_when_only_the_database_knows_them, share_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(a_pin_follows_its_name_to_the_next_image,
		                                share_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_pinned_image_is_not_forgotten, share_setup,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(pins_are_listed_in_order_and_bounded_in_length,
		                                share_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(an_older_database_is_brought_up_to_date,
		                                share_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
