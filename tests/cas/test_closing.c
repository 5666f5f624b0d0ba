/*
 * Openings and closings in any order: whoever is in use finds what any other blob here has, open or
 * not, and when nobody is in use any more all are closed.
 */
#include "mem.h"
#include "refer.h"
#include "share_world.h"
#include <stdlib.h>
#include <string.h>

#define N_BLOBS 5U

struct world {
	struct fixture *f;
	struct cas_blob *used[N_BLOBS];
	bool known[N_BLOBS];        /* it was open once */
	bool has[N_BLOBS][N];       /* ready; by the number of the sample */
	uint32_t knows[N_BLOBS][N]; /* a bit each that must be known to have it, where it does */
	uint32_t random;
	uint32_t seed;
	uint32_t at; /* of the seed's acts */
};

static uint32_t pick(struct world *w, uint32_t below)
{
	w->random = w->random * 1664525U + 1013904223U;
	return (w->random >> 16) % below;
}

/* Those of even number have the chunks in order. */
static uint32_t idx_of(uint32_t b, uint32_t sample)
{
	return b % 2 == 0 ? sample : N - 1 - sample;
}

static void settle(struct world *w)
{
	for (uint32_t i = 0; i < 6; i++)
		writer_is_done(w->f);
}

static void open_one(struct world *w, uint32_t b)
{
	AUTO(free_str) char *id = xasprintf("%064u", b);

	w->used[b] = b % 2 == 0 ? open_sample(w->f, id, N, 1) : open_reversed(w->f, id, 1);
	w->known[b] = true;
	memset(w->knows[b], 0xff, sizeof(w->knows[b])); /* it was joined with all */
}

static void put_one(struct world *w, uint32_t b, uint32_t sample)
{
	AUTO(free_bytes) uint8_t *bytes = sample_bytes(1, sample);
	const uint32_t idx = idx_of(b, sample);

	if (w->has[b][sample])
		return;
	assert_int_equal(cas_blob_put(w->used[b], idx, bytes, &w->f->e), 0);
	w->has[b][sample] = cas_blob_is_ready(w->used[b], idx);
	for (uint32_t i = 0; i < N_BLOBS && w->has[b][sample]; i++)
		w->knows[i][sample] |= 1U << b;
}

static bool other_has(const struct world *w, uint32_t b, uint32_t sample)
{
	for (uint32_t i = 0; i < N_BLOBS; i++)
		if (i != b && w->has[i][sample] && (w->knows[b][sample] >> i & 1) != 0)
			return true;
	return false;
}

static void lose_one(struct world *w, uint32_t b, uint32_t sample)
{
	if (!w->has[b][sample])
		return;
	blob_void(w->used[b], idx_of(b, sample), VOID_NO_DATA);
	assert_int_equal(blob_clear_now(w->used[b], &w->f->e), 0);
	w->has[b][sample] = false;
	/* Who was closed then is not looked for again. */
	for (uint32_t i = 0; i < N_BLOBS; i++)
		for (uint32_t k = 0; k < N_BLOBS; k++)
			if (w->used[k] == NULL)
				w->knows[i][sample] &= ~(1U << k);
}

static void act(struct world *w)
{
	const uint32_t b = pick(w, N_BLOBS);
	const uint32_t sample = pick(w, N);
	const uint32_t what = pick(w, 12);

	if (w->used[b] == NULL) {
		if (what < 8)
			open_one(w, b);
	} else if (what < 3) {
		cas_blob_release(&w->used[b]);
	} else if (what < 6) {
		put_one(w, b, sample);
	} else if (what < 9) {
		assert_true(cas_blob_share(w->used[b], idx_of(b, sample), &w->f->e) >= 0);
	} else if (what < 10) {
		lose_one(w, b, sample);
	} else {
		assert_int_equal(cas_flush(w->f->cas, &w->f->e), 0);
	}
}

static void rows_are_made(struct world *w)
{
	uint64_t n = 0;

	for (uint32_t b = 0; b < N_BLOBS; b++)
		n += w->known[b] ? N : 0;
	while (query(w->f, "SELECT count(*) FROM chunk") < n)
		assert_int_equal(cas_flush(w->f->cas, &w->f->e), 0);
}

/* Of one that another one has. */
static void check_lacking(struct world *w, uint32_t b, uint32_t sample)
{
	const uint32_t idx = idx_of(b, sample);
	const bool is_known = cas_blob_is_candidate(w->used[b], idx);

	if (!is_known)
		print_error("seed %u act %u: blob %u does not know who has %u\n", w->seed, w->at, b,
		            sample);
	assert_true(is_known);
	if (pick(w, 4) == 0)
		assert_int_equal(cas_blob_share(w->used[b], idx, &w->f->e), 0);
}

static void check(struct world *w)
{
	for (uint32_t b = 0; b < N_BLOBS; b++)
		for (uint32_t s = 0; s < N && w->used[b] != NULL; s++)
			if (cas_blob_is_present(w->used[b], idx_of(b, s)))
				assert_true(holds(w->used[b], idx_of(b, s), 1, s));
			else if (other_has(w, b, s))
				check_lacking(w, b, s);
}

static void release_all(struct world *w)
{
	for (uint32_t b = 0; b < N_BLOBS; b++)
		cas_blob_release(&w->used[b]);
	all_are_closed(w->f);
}

static void in_any_order(void **state)
{
	struct world w = { .f = *state };
	const uint32_t n_seeds = getenv("SHOAL_ALL") != NULL ? 500 : 20;

	for (w.seed = 1; w.seed <= n_seeds; w.seed++) {
		w.random = w.seed * 7919;
		for (w.at = 0; w.at < 120; w.at++) {
			act(&w);
			rows_are_made(&w);
			settle(&w);
			check(&w);
		}
		release_all(&w);
		if (w.seed % 2 != 0)
			fixture_reopen(w.f);
	}
}

/* c refers to b, which nobody uses, and so who has what b lacks is closed. */
static void an_owner_that_is_used_again_finds_who_was_closed_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_sample(f, OTHER_ID, N, 1);
	struct cas_blob *c = open_sample(f, THIRD_ID, 2, 1); /* it wants nothing of a */

	assert_int_equal(put_sample(a, 1, 5), 0);
	assert_int_equal(put_sample(b, 1, 1), 0);
	assert_int_equal(cas_blob_share(c, 1, &f->e), 0);
	while (query(f, "SELECT count(*) FROM chunk") < (uint64_t)2 * N + 2)
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
	while (is_open(f, SAMPLE_ID))
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_true(is_open(f, OTHER_ID));
	b = open_sample(f, OTHER_ID, N, 1);
	assert_true(cas_blob_is_candidate(b, 5));
	assert_int_equal(cas_blob_share(b, 5, &f->e), 0);
	assert_true(holds(b, 5, 1, 5));
	cas_blob_release(&b);
	cas_blob_release(&c);
}

static int n_closing(struct cas *cas, void *arg, struct err *e)
{
	uint32_t *n = arg;

	(void)e;
	(void)pthread_mutex_lock(&cas->table.mutex);
	*n = 0;
	for (const struct cas_blob *b = cas->table.first; b != NULL; b = b->next)
		*n += b->close_queued;
	(void)pthread_mutex_unlock(&cas->table.mutex);
	return 0;
}

/* c refers to both and lacks something, each of them to what the other has: once the writer went
 * from one to the other for ever. */
static void two_that_are_only_owners_leave_the_writer_in_peace(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_sample(f, OTHER_ID, N, 1);
	struct cas_blob *c = open_sample(f, THIRD_ID, N, 1);
	uint32_t n = 1;

	assert_int_equal(put_sample(a, 1, 1), 0);
	assert_int_equal(put_sample(b, 1, 2), 0);
	assert_int_equal(cas_blob_share(c, 1, &f->e), 0);
	assert_int_equal(cas_blob_share(c, 2, &f->e), 0);
	assert_int_equal(put_sample(a, 1, 3), 0);
	while (query(f, "SELECT count(*) FROM chunk") < (uint64_t)3 * N)
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
	for (uint32_t i = 0; i < 1000 && n > 0; i++) /* far more often than they are closed */
		assert_int_equal(writer_do(f->cas, n_closing, &n, &f->e), 0);
	assert_int_equal(n, 0);
	cas_blob_release(&c);
}

static uint32_t n_refs(struct cas_blob *blob)
{
	uint32_t n;

	(void)pthread_mutex_lock(&blob->cas->table.mutex);
	n = blob->n_refs;
	(void)pthread_mutex_unlock(&blob->cas->table.mutex);
	return n;
}

/* Each refers to the other, and somebody else is about to hold both when their users go. */
static void who_becomes_an_owner_as_its_last_user_goes_lets_its_own_owners_go(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_sample(f, OTHER_ID, N, 1);
	struct cas_blob *found_a = cas_blob_ref(a);
	struct cas_blob *found_b = cas_blob_ref(b);
	uint32_t n = 1;

	assert_int_equal(put_sample(a, 1, 1), 0);
	assert_int_equal(put_sample(b, 1, 2), 0);
	assert_int_equal(cas_blob_share(a, 2, &f->e), 0);
	assert_int_equal(cas_blob_share(b, 1, &f->e), 0);
	while (n_refs(a) > 2 || n_refs(b) > 2) /* their registration goes on */
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
	blob_table_ref_to_hold(found_a);
	blob_table_ref_to_hold(found_b);
	for (uint32_t i = 0; i < 1000 && n > 0; i++)
		assert_int_equal(writer_do(f->cas, n_closing, &n, &f->e), 0);
	assert_true(found_a->passive && found_b->passive);
	blob_table_unhold(found_a);
	blob_table_unhold(found_b);
}

/* a and b both have it; c refers to the one that loses it. */
static void who_loses_a_chunk_finds_who_has_it_still(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);
	struct cas_blob *c = open_sample(f, THIRD_ID, N, 1);
	uint8_t *bytes = sample_bytes(1, 3);

	assert_int_equal(put_sample(a, 1, 3), 0);
	assert_int_equal(cas_blob_share(c, 3, &f->e), 0);
	assert_int_equal(cas_blob_put(b, N - 1 - 3, bytes, &f->e), 0);
	blob_void(a, 3, VOID_NO_DATA);
	assert_false(cas_blob_is_present(a, 3) || cas_blob_is_present(c, 3));
	assert_int_equal(cas_blob_share(a, 3, &f->e), 0);
	assert_int_equal(cas_blob_share(c, 3, &f->e), 0);
	assert_true(holds(a, 3, 1, 3) && holds(c, 3, 1, 3));
	free(bytes);
	cas_blob_release(&a);
	cas_blob_release(&b);
	cas_blob_release(&c);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, share_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_owner_that_is_used_again_finds_who_was_closed_meanwhile),
		T(two_that_are_only_owners_leave_the_writer_in_peace),
		T(who_becomes_an_owner_as_its_last_user_goes_lets_its_own_owners_go),
		T(who_loses_a_chunk_finds_who_has_it_still),
		T(in_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
