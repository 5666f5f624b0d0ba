/*
 * Many threads at once on few blobs: opening, reading, putting, taking back, flushing, verifying,
 * evicting.
 * Run under TSan and ASan; what is read is always right.
 */
#include "fixture.h"
#include "gc.h"
#include "mem.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SEED      21
#define N_CHUNKS  60
#define N_THREADS 8
#define N_ROUNDS  100
#define N_BLOBS   3
#define N_PUNCHES 500

static const char *const ids[N_BLOBS] = {
	"00000000000000000000000000000000000000000000000000000000000000aa",
	"00000000000000000000000000000000000000000000000000000000000000bb",
	"00000000000000000000000000000000000000000000000000000000000000cc",
};

struct worker {
	pthread_t thread;
	struct fixture *f;
	struct blob_layout *layouts[N_BLOBS];
	uint32_t number;
	uint64_t random;
	uint32_t n_wrong;
};

static uint32_t dice(struct worker *w, uint32_t n)
{
	w->random = w->random * UINT64_C(6364136223846793005) + 1442695040888963407U;
	return (uint32_t)(w->random >> 33) % n;
}

static void touch(struct worker *w, struct cas_blob *b, uint32_t seed)
{
	const uint32_t idx = dice(w, N_CHUNKS);
	struct err e;
	int r = read_sample(b, seed, idx);

	if (r == CAS_MISS)
		r = put_sample(b, seed, idx);
	w->n_wrong += r != 0 && r != CAS_FULL; /* full: evicted again and again meanwhile */
	switch (dice(w, 40)) {
	case 0:
		w->n_wrong += cas_flush(w->f->cas, &e) != 0;
		break;
	case 1:
		blob_void(b, idx, VOID_NO_DATA);
		break;
	case 2:
		r = cas_blob_check(b, idx, &e);
		w->n_wrong += r != 0 && r != CAS_MISS;
		break;
	case 3:
		cas_blob_add_origin(b, "dir:/somewhere");
		break;
	default:
		break;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (uint32_t i = 0; i < N_ROUNDS; i++) {
		const uint32_t which = dice(w, N_BLOBS);
		struct cas_blob *b = NULL;
		struct err e;

		if (cas_blob_open(w->f->cas, w->layouts[which], &b, &e) != 0) {
			w->n_wrong++;
			continue;
		}
		for (uint32_t j = 0; j < 8; j++)
			touch(w, b, SEED + which);
		cas_blob_release(&b);
		if (w->number == 0 && i % 16 == 0) {
			struct cas_verify_progress total = { .n_faults = 1 };

			w->n_wrong += cas_verify(w->f->cas, NULL, NULL, NULL, &total, &e) != 0 ||
			              total.n_faults != 0;
		}
	}
	return NULL;
}

struct evicting {
	pthread_t thread;
	struct cas *cas;
	atomic_bool stop;
	uint64_t n_chunks;
	uint32_t n_wrong;
};

/* All that is ready goes, again and again; blobs that are closed go whole: no image uses them. */
static void *evict(void *arg)
{
	struct evicting *ev = arg;
	uint64_t to_bytes = 0;

	while (!atomic_load(&ev->stop)) {
		const struct cas_gc_opts opts = { .to_bytes = to_bytes };
		struct cas_gc_result result = { .n_chunks = 0 };
		struct err e;

		if (cas_gc(ev->cas, &opts, &result, &e) != 0)
			ev->n_wrong++;
		else
			ev->n_chunks += result.n_chunks;
		to_bytes = result.before_bytes / 2 - to_bytes / 2;
	}
	return NULL;
}

static void many_threads_read_nothing_wrong(void **state)
{
	struct fixture *f = *state;
	struct evicting evicting = { .cas = f->cas };
	struct worker *workers = xcalloc(N_THREADS, sizeof(*workers));
	struct cas_verify_progress total;

	for (uint32_t i = 0; i < N_THREADS; i++) {
		workers[i] = (struct worker){ .f = f, .number = i, .random = i + 1 };
		for (uint32_t j = 0; j < N_BLOBS; j++)
			workers[i].layouts[j] = sample_layout(ids[j], N_CHUNKS, SEED + j);
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	assert_int_equal(pthread_create(&evicting.thread, NULL, evict, &evicting), 0);
	for (uint32_t i = 0; i < N_THREADS; i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		assert_int_equal(workers[i].n_wrong, 0);
		for (uint32_t j = 0; j < N_BLOBS; j++)
			layout_unref(&workers[i].layouts[j]);
	}
	free(workers);
	atomic_store(&evicting.stop, true);
	assert_int_equal(pthread_join(evicting.thread, NULL), 0);
	assert_int_equal(evicting.n_wrong, 0);
	assert_true(evicting.n_chunks > 0);
	fixture_reopen(f);
	assert_int_equal(cas_verify(f->cas, NULL, NULL, NULL, &total, &f->e), 0);
	assert_int_equal(total.n_faults, 0);
}

struct racer {
	struct readers readers;
	atomic_bool present; /* stands for a ready bit */
	atomic_int value;    /* stands for the bytes: 1 right, 0 punched */
	atomic_bool stop;
	atomic_int n_wrong;
};

static void *race_reader(void *arg)
{
	struct racer *r = arg;

	while (!atomic_load(&r->stop)) {
		const uint32_t turn = readers_enter(&r->readers);

		if (atomic_load_explicit(&r->present, memory_order_acquire)) {
			(void)sched_yield(); /* let the other one in */
			if (atomic_load_explicit(&r->value, memory_order_relaxed) != 1)
				atomic_fetch_add(&r->n_wrong, 1);
		}
		readers_leave(&r->readers, turn);
	}
	return NULL;
}

static void nothing_is_punched_under_a_reader(void **state)
{
	struct racer r = { .stop = false };
	pthread_t threads[4];

	(void)state;
	atomic_store(&r.value, 1);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, race_reader, &r), 0);
	for (uint32_t i = 0; i < N_PUNCHES; i++) {
		atomic_store_explicit(&r.value, 1, memory_order_relaxed);
		atomic_store_explicit(&r.present, true, memory_order_release);
		(void)sched_yield();
		(void)atomic_exchange_explicit(&r.present, false, memory_order_acq_rel);
		readers_wait(&r.readers);
		atomic_store_explicit(&r.value, 0, memory_order_relaxed);
	}
	atomic_store(&r.stop, true);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load(&r.n_wrong), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(many_threads_read_nothing_wrong, fixture_setup_open,
		                                fixture_teardown),
		cmocka_unit_test(nothing_is_punched_under_a_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
