/*
 * A disk that fails: nothing is lost that was there, nothing is ready that is not.
 */
#include "fixture.h"
#include "gc.h"
#include "mem.h"
#include "unconst.h"
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEED     9
#define OTHER_ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct bad_disk {
	struct disk disk;
	atomic_int write_errno;
	atomic_int sync_errno;
	atomic_int read_errno;
	atomic_int unlink_errno;
	atomic_int seek_errno;
	const char *no_open; /* not NULL: files with this in their name cannot be opened */
	const struct cas
		*full_for; /* not NULL: nothing can be removed until its ballast has gone */
	atomic_uint n_syncs;
};

static struct bad_disk *bad(const struct disk *d)
{
	return unconst(d);
}

static ssize_t bad_pwrite(const struct disk *d, int fd, const void *buf, size_t n, off_t at)
{
	const int code = atomic_load(&bad(d)->write_errno);

	if (code == 0)
		return disk_real()->pwrite(d, fd, buf, n, at);
	errno = code;
	return -1;
}

static ssize_t bad_pread(const struct disk *d, int fd, void *buf, size_t n, off_t at)
{
	const int code = atomic_load(&bad(d)->read_errno);

	if (code == 0)
		return disk_real()->pread(d, fd, buf, n, at);
	errno = code;
	return -1;
}

static int bad_sync(const struct disk *d, int fd)
{
	const int code = atomic_load(&bad(d)->sync_errno);

	atomic_fetch_add(&bad(d)->n_syncs, 1);
	if (code == 0)
		return disk_real()->sync(d, fd);
	errno = code;
	return -1;
}

static off_t bad_seek(const struct disk *d, int fd, off_t offset, int whence)
{
	const int code = atomic_load(&bad(d)->seek_errno);

	if (code == 0)
		return disk_real()->seek(d, fd, offset, whence);
	errno = code;
	return -1;
}

static int bad_open(const struct disk *d, int dir_fd, const char *name, int flags, mode_t mode)
{
	if (bad(d)->no_open == NULL || strstr(name, bad(d)->no_open) == NULL)
		return disk_real()->open(d, dir_fd, name, flags, mode);
	errno = EPERM; /* as of an immutable file */
	return -1;
}

static int bad_unlink(const struct disk *d, int dir_fd, const char *name, int flags)
{
	const struct cas *full = bad(d)->full_for;
	int code = atomic_load(&bad(d)->unlink_errno);

	if (full != NULL && measure_fd(full->evictor.ballast_fd) > 0)
		code = ENOSPC;
	if (code == 0)
		return disk_real()->unlink(d, dir_fd, name, flags);
	errno = code;
	return -1;
}

static void open_on(struct fixture *f, struct bad_disk *bad_disk)
{
	*bad_disk = (struct bad_disk){ .disk = *disk_real() };
	bad_disk->disk.pwrite = bad_pwrite;
	bad_disk->disk.pread = bad_pread;
	bad_disk->disk.unlink = bad_unlink;
	bad_disk->disk.seek = bad_seek;
	bad_disk->disk.open = bad_open;
	bad_disk->disk.sync = bad_sync;
	bad_disk->disk.sync_data = bad_sync;
	f->disk = &bad_disk->disk;
	fixture_open(f);
}

static void no_space_is_an_outcome_and_the_cache_goes_on_later(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct cas_blob *b = NULL;

	open_on(f, &disk);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	cas_blob_pin(b); /* or it would be evicted to make room */
	assert_int_equal(put_sample(b, SEED, 1), 0);
	atomic_store(&disk.write_errno, ENOSPC);
	assert_int_equal(put_sample(b, SEED, 2), CAS_FULL);
	assert_int_equal(metrics_sum(f->metrics, METRIC_CACHE_FULL), 1);
	atomic_store(&disk.write_errno, 0);
	assert_int_equal(put_sample(b, SEED, 2), CAS_FULL); /* not asked again at once */
	while (atomic_load(&f->cas->room.ran_out)) /* until the evictor has been there, in vain */
		(void)sched_yield();
	atomic_store(&f->cas->room.ask_again_ns, 0); /* a second later */
	assert_int_equal(put_sample(b, SEED, 2), 0);
	assert_int_equal(metrics_sum(f->metrics, METRIC_CACHE_FULL), 0);
	assert_int_equal(read_sample(b, SEED, 1), 0);
	cas_blob_unpin(b);
	cas_blob_release(&b);
	fixture_close(f);
}

#define FREE_BYTES    (UINT64_C(9) << 30)
#define RESERVE_BYTES (UINT64_C(1) << 30)

static int nine_gib_free(const struct disk *disk, int fd, uint64_t *ret_bytes)
{
	(void)disk;
	(void)fd;
	*ret_bytes = FREE_BYTES;
	return 0;
}

static void without_a_quota_the_room_that_is_told_of_is_what_the_reserve_leaves(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk = { .disk = *disk_real() };
	struct cas_blob *b = NULL;

	disk.disk.free_bytes = nine_gib_free;
	f->disk = &disk.disk;
	f->reserve_bytes = RESERVE_BYTES;
	fixture_open(f);
	assert_int_equal(metrics_sum(f->metrics, METRIC_CACHE_ROOM_BYTES),
	                 FREE_BYTES - RESERVE_BYTES);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(put_sample(b, SEED, 1), 0);
	assert_in_range(metrics_sum(f->metrics, METRIC_CACHE_ROOM_BYTES),
	                FREE_BYTES - RESERVE_BYTES, FREE_BYTES);
	cas_blob_release(&b);
	fixture_close(f);
}

static void no_space_makes_room_of_what_was_used_least_recently(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct cas_blob *b = NULL;
	uint32_t n_ready = 0;

	open_on(f, &disk);
	b = open_sample(f, SAMPLE_ID, 40, SEED);
	for (uint32_t i = 0; i < 39; i++)
		assert_int_equal(put_sample(b, SEED, i), 0);
	atomic_store(&disk.write_errno, ENOSPC);
	assert_int_equal(put_sample(b, SEED, 39), CAS_FULL);
	atomic_store(&disk.write_errno, 0);
	while (atomic_load(&f->cas->room.full)) /* until the evictor has been there */
		(void)sched_yield();
	n_ready = cas_blob_n_ready(b);
	assert_in_range(n_ready, 20, 38); /* down to the low watermark, and no further */
	assert_int_equal(put_sample(b, SEED, 39), 0);
	assert_int_equal(metrics_sum(f->metrics, METRIC_CACHE_FULL), 0);
	cas_blob_release(&b);
	fixture_close(f);
}

static void a_failed_write_makes_nothing_ready(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct cas_blob *b = NULL;

	open_on(f, &disk);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	atomic_store(&disk.write_errno, EIO);
	assert_int_equal(put_sample(b, SEED, 2), -EIO);
	assert_false(cas_blob_is_ready(b, 2));
	cas_blob_release(&b);
	fixture_close(f);
}

/* One bad place is not the disk; a disk that is read-only by now is. */
static void a_disk_that_takes_nothing_is_a_full_one(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct cas_blob *b = NULL;

	open_on(f, &disk);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	for (uint32_t i = 0; i < 8; i++) {
		atomic_store(&disk.write_errno, EIO);
		assert_int_equal(put_sample(b, SEED, 19), -EIO);
		assert_true(cas_blob_takes_chunks(b));
		atomic_store(&disk.write_errno, 0);
		assert_int_equal(put_sample(b, SEED, i), 0);
	}
	atomic_store(&disk.write_errno, EROFS);
	for (uint32_t i = 8; i < 12; i++)
		assert_int_equal(put_sample(b, SEED, i), -EROFS);
	assert_false(cas_blob_takes_chunks(b)); /* nothing is read ahead for nothing */
	assert_int_equal(metrics_sum(f->metrics, METRIC_CACHE_FULL), 1);
	assert_int_equal(put_sample(b, SEED, 8), CAS_FULL); /* not asked again at once */
	for (int i = 0; i < 2; i++) {
		atomic_store(&f->cas->room.ask_again_ns, 0); /* a second later */
		assert_int_equal(put_sample(b, SEED, 8), -EROFS);
		assert_false(cas_blob_takes_chunks(b));
		assert_int_equal(put_sample(b, SEED, 8), CAS_FULL);
	}
	atomic_store(&disk.write_errno, 0);
	atomic_store(&f->cas->room.ask_again_ns, 0);
	assert_int_equal(put_sample(b, SEED, 8), 0);
	assert_true(cas_blob_takes_chunks(b));
	assert_int_equal(metrics_sum(f->metrics, METRIC_CACHE_FULL), 0);
	assert_int_equal(read_sample(b, SEED, 8), 0);
	cas_blob_release(&b);
	fixture_close(f);
}

static void what_a_failed_sync_may_have_lost_is_not_ready_any_more(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct cas_blob *b = NULL;

	open_on(f, &disk);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(put_sample(b, SEED, 1), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(put_sample(b, SEED, 2), 0);
	atomic_store(&disk.sync_errno, EIO);
	assert_int_equal(cas_flush(f->cas, &f->e), -EIO);
	assert_int_equal(read_sample(b, SEED, 1), 0);
	assert_int_equal(read_sample(b, SEED, 2), CAS_MISS);
	atomic_store(&disk.sync_errno, 0);
	assert_int_equal(put_sample(b, SEED, 2), 0);
	cas_blob_release(&b);
	fixture_reopen(f);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(cas_blob_n_ready(b), 2);
	cas_blob_release(&b);
	fixture_close(f);
}

/* A second passes, and whatever is not there is brought. @return how many chunks were taken */
static uint32_t bring_all(struct fixture *f, struct cas_blob *b)
{
	uint32_t n = 0;
	int r;

	atomic_store(&f->cas->room.ask_again_ns, 0);
	atomic_store(&f->cas->evictor.not_before_ns, 0);
	for (uint32_t i = 0; i < 20; i++)
		n += read_sample(b, SEED, i) == CAS_MISS && put_sample(b, SEED, i) == 0;
	r = cas_flush(f->cas, &f->e);
	assert_true(r == 0 || r == -EIO || r == -ENOSPC);
	while (atomic_load(&f->cas->room.ran_out)) /* until the evictor has been there */
		(void)sched_yield();
	return n;
}

/* It was full, and tries one chunk, which comes to the disk. */
static void takes_chunks_again(struct fixture *f, struct cas_blob *b)
{
	assert_false(cas_blob_takes_chunks(b));
	assert_int_equal(metrics_sum(f->metrics, METRIC_CACHE_FULL), 1);
	assert_int_equal(bring_all(f, b), 1);
	assert_true(cas_blob_takes_chunks(b));
	assert_int_equal(metrics_sum(f->metrics, METRIC_CACHE_FULL), 0);
	assert_int_equal(bring_all(f, b) + 1, 20);
	assert_int_equal(cas_blob_n_ready(b), 20);
}

static void a_disk_that_syncs_nothing_is_a_full_one(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct cas_blob *b = NULL;

	open_on(f, &disk);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	for (int second = 0; second < 20; second++) {
		if (second == 3) { /* it did once: that begins anew */
			atomic_store(&disk.sync_errno, 0);
			assert_int_equal(put_sample(b, SEED, 0), 0);
			assert_int_equal(cas_flush(f->cas, &f->e), 0);
			blob_void(b, 0, VOID_UNREADABLE);
			assert_int_equal(blob_clear_now(b, &f->e), 0);
		}
		atomic_store(&disk.sync_errno, EIO);
		assert_int_equal(bring_all(f, b), second < 7 ? 20 : 1);
		assert_int_equal(cas_blob_takes_chunks(b), second < 6);
	}
	atomic_store(&disk.sync_errno, 0);
	takes_chunks_again(f, b);
	cas_blob_release(&b);
	fixture_close(f);
}

/* The cache is not emptied for what that does not help. */
static void a_disk_that_has_no_space_for_any_sync_costs_one_round_of_eviction(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct cas_blob *old = NULL;
	struct cas_blob *b = NULL;

	open_on(f, &disk);
	old = open_full(f, OTHER_ID, 200, SEED + 1);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	atomic_store(&disk.sync_errno, ENOSPC);
	for (int second = 0; second < 20; second++)
		(void)bring_all(f, b);
	assert_in_range(cas_blob_n_ready(old), 100, 199);
	atomic_store(&disk.sync_errno, 0);
	takes_chunks_again(f, b);
	cas_blob_release(&old);
	cas_blob_release(&b);
	fixture_close(f);
}

static void a_bad_place_on_the_disk_costs_a_refetch(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct cas_blob *b = NULL;

	open_on(f, &disk);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(put_sample(b, SEED, 1), 0);
	atomic_store(&disk.read_errno, EIO);
	assert_int_equal(read_sample(b, SEED, 1), CAS_MISS);
	atomic_store(&disk.read_errno, 0);
	assert_int_equal(read_sample(b, SEED, 1), CAS_MISS);
	assert_int_equal(put_sample(b, SEED, 1), 0);
	assert_int_equal(read_sample(b, SEED, 1), 0);
	cas_blob_release(&b);
	fixture_close(f);
}

/* A map of it would kill the process, at every start. */
static void a_bad_place_in_an_images_file_is_told_before_it_is_mapped(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct image_draft *draft = NULL;
	struct image_file file = { .data = NULL };

	open_on(f, &disk);
	assert_int_equal(image_draft_begin(f->cas, &draft, &f->e), 0);
	assert_int_equal(image_draft_put(draft, "bootstrap", "bytes", 5, &f->e), 0);
	assert_int_equal(image_draft_commit(&draft, SAMPLE_ID, &f->e), 0);
	atomic_store(&disk.read_errno, EIO);
	assert_int_equal(image_store_map(f->cas, SAMPLE_ID, "bootstrap", 5, &file, &f->e), -EIO);
	atomic_store(&disk.read_errno, 0);
	assert_int_equal(image_store_map(f->cas, SAMPLE_ID, "bootstrap", 5, &file, &f->e), 0);
	assert_memory_equal(file.data, "bytes", 5);
	image_file_unmap(&file);
	fixture_close(f);
}

static void one_flush_syncs_each_file_once(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct cas_blob *b = NULL;
	unsigned before;

	open_on(f, &disk);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(put_sample(b, SEED, 0), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0); /* with the directory */
	before = atomic_load(&disk.n_syncs);
	for (uint32_t i = 1; i < 20; i++)
		assert_int_equal(put_sample(b, SEED, i), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0); /* nothing to do */
	assert_int_equal(atomic_load(&disk.n_syncs), before + 1);
	cas_blob_release(&b);
	fixture_close(f);
}

static int nothing(struct cas *cas, void *arg, struct err *e)
{
	(void)cas;
	(void)arg;
	(void)e;
	return 0;
}

/* All that is due, and what the room is said to take is measured by it. */
static void do_chores(struct fixture *f)
{
	atomic_store(&f->cas->room.used_bytes, 0);
	atomic_store(&f->cas->evictor.next_chore_ns, 0);
	evict_on_time(f->cas);
	while (atomic_load(&f->cas->evictor.chore_queued)) /* what is asked next may overtake it */
		(void)sched_yield();
	assert_int_equal(queue_do(f->cas, f->cas->evictor.pool, nothing, NULL, &f->e), 0);
}

static void what_cannot_be_removed_keeps_nothing_else_from_being_done(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct cas_blob *unused = NULL;
	struct cas_blob *b = NULL;
	AUTO(free_str) char *path = fixture_path(f, "blobs/" OTHER_ID ".blob.data");
	const struct cas_gc_opts opts = { .to_bytes = UINT64_MAX };
	struct cas_gc_result result;

	open_on(f, &disk);
	b = open_full(f, SAMPLE_ID, 20, SEED);
	record_image_of(f, SAMPLE_ID);
	unused = open_full(f, OTHER_ID, 20, SEED + 1);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cas_blob_release(&unused);
	writer_is_done(f);
	atomic_store(&disk.unlink_errno, EIO);
	atomic_store(&f->cas->evictor.has_garbage, true);
	do_chores(f);
	assert_true(room_used(&f->cas->room) > 0);
	assert_false(atomic_load(&f->cas->evictor.has_garbage)); /* else each close sweeps again */
	assert_int_equal(access(path, F_OK), 0);
	/* Its row is gone; others that nobody uses go all the same. */
	assert_int_equal(cas_gc(f->cas, &opts, &result, &f->e), 0);
	assert_int_equal(result.n_garbage, 0);
	assert_int_equal(access(path, F_OK), 0);
	atomic_store(&disk.unlink_errno, 0);
	do_chores(f);
	assert_int_equal(access(path, F_OK), -1);
	cas_blob_release(&b);
	fixture_close(f);
}

static void what_nobody_uses_goes_from_a_full_disk_for_the_ballast(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct cas_blob *unused = NULL;
	AUTO(free_str) char *path = fixture_path(f, "blobs/" OTHER_ID ".blob.data");

	open_on(f, &disk);
	unused = open_full(f, OTHER_ID, 20, SEED);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cas_blob_release(&unused);
	writer_is_done(f);
	disk.full_for = f->cas;
	atomic_store(&f->cas->evictor.has_garbage, true);
	do_chores(f);
	assert_int_equal(access(path, F_OK), -1);
	assert_false(atomic_load(&f->cas->evictor.sweep_failed));
	disk.full_for = NULL;
	fixture_close(f);
}

static void fill(struct fixture *f, const char *id, uint32_t seed)
{
	struct cas_blob *b = open_full(f, id, 20, seed);

	record_image_of(f, id);
	cas_blob_release(&b);
	writer_is_done(f);
}

static void a_file_that_cannot_be_opened_keeps_no_other_from_being_looked_at(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct cas_blob *b = NULL;
	const struct cas_gc_opts opts = { .to_bytes = 0 };
	struct cas_gc_result result = { .n_chunks = 0 };
	struct cas_verify_progress total = { .chunks_done = 0 };

	open_on(f, &disk);
	fill(f, OTHER_ID, SEED + 1); /* first in every order */
	fill(f, SAMPLE_ID, SEED);
	fixture_reopen(f);
	disk.no_open = OTHER_ID;
	assert_int_equal(cas_verify(f->cas, NULL, NULL, NULL, &total, &f->e), 0);
	assert_int_equal(total.chunks_done, 20);
	assert_int_equal(total.n_left_out, 1);
	assert_int_equal(cas_gc(f->cas, &opts, &result, &f->e), 0);
	assert_int_equal(result.n_chunks, 20);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(cas_blob_n_ready(b), 0);
	cas_blob_release(&b);
	disk.no_open = NULL;
	b = open_sample(f, OTHER_ID, 20, SEED + 1); /* and it lost nothing */
	assert_int_equal(cas_blob_n_ready(b), 20);
	cas_blob_release(&b);
	fixture_close(f);
}

/* Its blocks are known to nobody any more: that is a file to be fetched again, not an error. */
static void a_file_in_which_no_hole_can_be_looked_for_is_made_anew(void **state)
{
	struct fixture *f = *state;
	struct bad_disk disk;
	struct cas_blob *b = NULL;

	open_on(f, &disk);
	fill(f, SAMPLE_ID, SEED);
	fixture_reopen(f);
	atomic_store(&disk.seek_errno, EIO);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	atomic_store(&disk.seek_errno, 0);
	assert_int_equal(cas_blob_n_ready(b), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM ready"), 0);
	assert_int_equal(put_sample(b, SEED, 3), 0);
	cas_blob_release(&b);
	fixture_reopen(f);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(cas_blob_n_ready(b), 1);
	assert_int_equal(read_sample(b, SEED, 3), 0);
	cas_blob_release(&b);
	fixture_close(f);
}

static int not_permitted(struct cas *cas, void *arg, struct err *e)
{
	(void)arg;
	return db_err(cas->db, SQLITE_PERM, e, "a test");
}

/* EACCES would say that a registry refuses. */
static void a_database_that_may_not_be_written_is_no_registry_that_refuses(void **state)
{
	struct fixture *f = *state;

	fixture_open(f);
	assert_int_equal(writer_do(f->cas, not_permitted, NULL, &f->e), -EPERM);
	fixture_close(f);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(no_space_is_an_outcome_and_the_cache_goes_on_later),
		T(without_a_quota_the_room_that_is_told_of_is_what_the_reserve_leaves),
		T(no_space_makes_room_of_what_was_used_least_recently),
		T(a_failed_write_makes_nothing_ready),
		T(a_disk_that_takes_nothing_is_a_full_one),
		T(what_a_failed_sync_may_have_lost_is_not_ready_any_more),
		T(a_disk_that_syncs_nothing_is_a_full_one),
		T(a_disk_that_has_no_space_for_any_sync_costs_one_round_of_eviction),
		T(a_bad_place_on_the_disk_costs_a_refetch),
		T(a_bad_place_in_an_images_file_is_told_before_it_is_mapped),
		T(one_flush_syncs_each_file_once),
		T(what_cannot_be_removed_keeps_nothing_else_from_being_done),
		T(what_nobody_uses_goes_from_a_full_disk_for_the_ballast),
		T(a_file_that_cannot_be_opened_keeps_no_other_from_being_looked_at),
		T(a_file_in_which_no_hole_can_be_looked_for_is_made_anew),
		T(a_database_that_may_not_be_written_is_no_registry_that_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
