/*
 * A sync that fails while somebody writes: what was written by then may be lost with the pages that
 * it was to write, and no later sync tells of them.
 */
#include "fixture.h"
#include "gate.h"
#include "mem.h"
#include "unconst.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SEED     43
#define N_CHUNKS 20
#define HELD     7 /* the first that is being written ... */
#define HELD_ROW 3 /* ... or the row of them */
#define GRACE_NS (50 * NS_PER_MS)

/* One write stops behind its last byte, and the next sync of data fails. */
struct torn_disk {
	struct disk disk;
	struct gate gate;
	atomic_bool fail, failed;
};

static struct torn_disk *torn(const struct disk *d)
{
	return unconst(d);
}

static ssize_t torn_pwrite(const struct disk *d, int fd, const void *buf, size_t n, off_t at)
{
	const ssize_t done = disk_real()->pwrite(d, fd, buf, n, at);

	gate_pass(&torn(d)->gate);
	return done;
}

static ssize_t torn_pwritev(const struct disk *d, int fd, const struct iovec *pieces, int n_pieces,
                            off_t at)
{
	const ssize_t done = disk_real()->pwritev(d, fd, pieces, n_pieces, at);

	gate_pass(&torn(d)->gate);
	return done;
}

static int torn_sync_data(const struct disk *d, int fd)
{
	if (!atomic_exchange(&torn(d)->fail, false))
		return disk_real()->sync_data(d, fd);
	atomic_store(&torn(d)->failed, true);
	errno = EIO;
	return -1;
}

struct call {
	pthread_t thread;
	struct fixture *f;
	struct cas_blob *blob;
	uint32_t n_chunks;
	int r;
	atomic_bool done;
};

static void *put_them(void *arg)
{
	struct call *c = arg;

	if (c->n_chunks == 1)
		c->r = put_sample(c->blob, SEED, HELD);
	else
		c->r = put_samples(c->blob, SEED, HELD, c->n_chunks) ? 0 : CAS_FULL;
	return NULL;
}

static void *flush_them(void *arg)
{
	struct call *c = arg;
	struct err e;

	c->r = cas_flush(c->f->cas, &e);
	atomic_store(&c->done, true);
	return NULL;
}

/* Hold a write up, let a sync fail, let the write go on. */
static void race(struct torn_disk *t, struct call *put, struct call *flush)
{
	uint64_t until_ns;

	gate_close(&t->gate);
	assert_int_equal(pthread_create(&put->thread, NULL, put_them, put), 0);
	gate_await(&t->gate);
	assert_int_equal(put_sample(put->blob, SEED, 1),
	                 0); /* so that there is something to sync */
	atomic_store(&t->fail, true);
	assert_int_equal(pthread_create(&flush->thread, NULL, flush_them, flush), 0);
	while (!atomic_load(&t->failed))
		(void)sched_yield();
	until_ns = clock_now_ns(clock_real()) + GRACE_NS;
	while (!atomic_load(&flush->done) && clock_now_ns(clock_real()) < until_ns)
		(void)sched_yield(); /* it would be over now */
	gate_open(&t->gate);
	assert_int_equal(pthread_join(put->thread, NULL), 0);
	assert_int_equal(pthread_join(flush->thread, NULL), 0);
}

static void is_forgotten_with_what_was_ready(struct fixture *f, uint32_t n_chunks)
{
	struct torn_disk *t = xcalloc(1, sizeof(*t));
	struct call put = { .f = f, .n_chunks = n_chunks };
	struct call flush = { .f = f };

	t->disk = *disk_real();
	t->disk.pwrite = torn_pwrite;
	t->disk.pwritev = torn_pwritev;
	t->disk.sync_data = torn_sync_data;
	f->disk = &t->disk;
	f->flush_ms = 60000;
	fixture_open(f);
	put.blob = open_sample(f, SAMPLE_ID, N_CHUNKS, SEED);
	assert_int_equal(put_sample(put.blob, SEED, 0), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	race(t, &put, &flush);
	assert_int_equal(put.r, 0);
	assert_int_equal(flush.r, -EIO);
	assert_true(cas_blob_is_ready(put.blob, 0)); /* the database knew it */
	assert_int_equal(cas_blob_n_ready(put.blob), 1);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM ready WHERE bits = x'01'"), 1);
	(void)put_them(&put); /* and come again */
	assert_int_equal(put.r, 0);
	assert_int_equal(cas_blob_n_ready(put.blob), 1 + n_chunks);
	cas_blob_release(&put.blob);
	fixture_close(f);
	free(t);
}

static void a_chunk_that_is_being_written_when_a_sync_fails_is_forgotten(void **state)
{
	is_forgotten_with_what_was_ready(*state, 1);
}

static void a_row_that_is_being_written_when_a_sync_fails_is_forgotten(void **state)
{
	is_forgotten_with_what_was_ready(*state, HELD_ROW);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_chunk_that_is_being_written_when_a_sync_fails_is_forgotten),
		T(a_row_that_is_being_written_when_a_sync_fails_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
