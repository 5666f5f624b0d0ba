/*
 * Data files that the kernel reads by itself: which are given out, and that nothing goes from them.
 */
#include "fixture.h"
#include "gc.h"
#include "mem.h"
#include "share.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEED     17
#define N_CHUNKS 12U
#define OTHER_ID "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define BLOCK    4096U

static struct cas_blob *open_whole(struct fixture *f, const char *id)
{
	struct cas_blob *blob = open_full(f, id, N_CHUNKS, SEED);

	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	return blob;
}

static void evict_all(struct fixture *f)
{
	const struct cas_gc_opts opts = { .to_bytes = 0 };
	struct cas_gc_result result;

	/* Blobs are no image's here, and in use: only their chunks go. */
	assert_int_equal(cas_gc(f->cas, &opts, &result, &f->e), 0);
}

static void assert_sample_bytes(const struct blob_layout *layout, int fd)
{
	for (uint32_t i = 0; i < N_CHUNKS; i++) {
		const struct chunk_rec *c = &layout->chunks[i];
		uint8_t *want = sample_bytes(SEED, i);
		uint8_t *got = xcalloc(1, c->plain_size_bytes);

		assert_int_equal(pread(fd, got, c->plain_size_bytes, (off_t)c->plain_offset),
		                 c->plain_size_bytes);
		assert_memory_equal(got, want, c->plain_size_bytes);
		free(want);
		free(got);
	}
}

static void assert_bytes(const struct cas_blob *blob, int fd)
{
	assert_sample_bytes(cas_blob_layout(blob), fd);
}

static void a_whole_file_is_given_and_stays_whole_as_long_as_anybody_has_it(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_whole(f, SAMPLE_ID);
	int fd = -1;

	assert_int_equal(cas_blob_hand_out(b, NULL, &fd, &f->e), 0);
	assert_true(cas_blob_is_pinned(b));
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	evict_all(f);
	assert_int_equal(cas_blob_n_ready(b), N_CHUNKS);
	assert_bytes(b, fd);
	cas_blob_unpin(b); /* as if the process that pinned it were gone: it is open still */
	assert_false(cas_blob_is_pinned(b));
	evict_all(f);
	assert_int_equal(cas_blob_n_ready(b), N_CHUNKS);
	assert_bytes(b, fd);
	assert_true(cas_blob_pin_held(b));
	(void)close(fd);
	evict_all(f);
	assert_int_equal(cas_blob_n_ready(b), N_CHUNKS);
	cas_blob_unpin(b);
	assert_false(cas_blob_pin_held(b));
	evict_all(f);
	assert_int_equal(cas_blob_n_ready(b), 0);
	cas_blob_release(&b);
}

static void what_is_not_whole_is_not_given(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_sample(f, SAMPLE_ID, N_CHUNKS, SEED);
	int fd = -1;

	for (uint32_t i = 0; i < N_CHUNKS; i++) {
		assert_int_equal(cas_blob_hand_out(b, NULL, &fd, &f->e), CAS_MISS);
		assert_false(cas_blob_is_pinned(b));
		assert_int_equal(put_sample(b, SEED, i), 0);
	}
	assert_int_equal(cas_blob_hand_out(b, NULL, &fd, &f->e), 0);
	(void)close(fd);
	cas_blob_unpin(b);
	/* Somebody took a block out of it: the kernel would read zeros. */
	assert_int_equal(fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLOCK), 0);
	assert_int_equal(cas_blob_hand_out(b, NULL, &fd, &f->e), CAS_MISS);
	assert_false(cas_blob_is_pinned(b));
	cas_blob_release(&b);
}

static void a_file_with_chunks_that_only_others_name_is_not_given(void **state)
{
	struct fixture *f = *state;
	AUTO(layout_unref)
	struct blob_layout *part = sample_layout(SAMPLE_ID, N_CHUNKS, SEED);
	AUTO(bitmap_free) struct bitmap *named = bitmap_new(N_CHUNKS);
	struct cas_blob *b = NULL;
	struct cas_blob *all;
	int fd = -1;

	assert_non_null(named);
	part->chunks[5] = (struct chunk_rec){ .plain_size_bytes = 0 };
	assert_int_equal(cas_blob_open(f->cas, part, &b, &f->e), 0);
	for (uint32_t i = 0; i < N_CHUNKS; i++) {
		if (i == 5)
			continue;
		(void)bitmap_set(named, i);
		assert_int_equal(put_sample(b, SEED, i), 0);
	}
	assert_int_equal(cas_blob_hand_out(b, named, &fd, &f->e), 0); /* as long as nobody has it */
	(void)close(fd);
	cas_blob_unpin(b);
	all = open_sample(f, SAMPLE_ID, N_CHUNKS, SEED); /* another image: will bring it */
	assert_ptr_equal(all, b);
	assert_int_equal(cas_blob_hand_out(b, named, &fd, &f->e), CAS_MISS);
	assert_int_equal(put_sample(all, SEED, 5), 0);
	assert_int_equal(cas_blob_hand_out(b, named, &fd, &f->e), CAS_MISS);
	assert_false(cas_blob_is_pinned(b));
	assert_int_equal(cas_blob_hand_out(b, NULL, &fd, &f->e), 0); /* to one that names it */
	(void)close(fd);
	cas_blob_unpin(b);
	cas_blob_release(&all);
	cas_blob_release(&b);
	/* The other image is not open any more, but what it brought is there. */
	fixture_reopen(f);
	assert_int_equal(cas_blob_open(f->cas, part, &b, &f->e), 0);
	assert_true(cas_blob_is_whole(b, NULL));
	assert_int_equal(cas_blob_hand_out(b, named, &fd, &f->e), CAS_MISS);
	cas_blob_release(&b);
}

static void what_does_not_end_with_a_block_is_not_given(void **state)
{
	struct fixture *f = *state;
	struct blob_layout *layout = sample_layout(SAMPLE_ID, N_CHUNKS, SEED);
	const struct chunk_rec *last = &layout->chunks[N_CHUNKS - 1];
	struct cas_blob *b = NULL;
	int fd = -1;

	layout->plain_size_bytes = last->plain_offset + last->plain_size_bytes;
	assert_int_not_equal(layout->plain_size_bytes % BLOCK, 0);
	assert_int_equal(cas_blob_open(f->cas, layout, &b, &f->e), 0);
	for (uint32_t i = 0; i < N_CHUNKS; i++)
		assert_int_equal(put_sample(b, SEED, i), 0);
	assert_int_equal(cas_blob_hand_out(b, NULL, &fd, &f->e), CAS_MISS);
	cas_blob_release(&b);
	layout_unref(&layout);
}

static void half_of_the_cache_stays_for_others(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_whole(f, SAMPLE_ID);
	struct cas_blob *b;
	uint64_t bytes;
	int fd = -1;
	int other_fd = -1;

	bytes = cas_blob_layout(a)->plain_size_bytes;
	cas_blob_release(&a);
	f->quota_bytes = 3 * bytes;
	fixture_reopen(f);
	a = open_whole(f, SAMPLE_ID);
	b = open_whole(f, OTHER_ID);
	assert_int_equal(cas_blob_hand_out(a, NULL, &fd, &f->e), 0);
	assert_int_equal(cas_blob_hand_out(b, NULL, &other_fd, &f->e), CAS_FULL);
	assert_false(cas_blob_is_pinned(b));
	cas_blob_unpin(a);
	assert_int_equal(cas_blob_hand_out(b, NULL, &other_fd, &f->e), 0);
	cas_blob_unpin(b);
	(void)close(fd);
	(void)close(other_fd);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

/* A round of eviction, which counts what must stay, as if the cache had become small. */
static void crowd(struct fixture *f, uint64_t quota_bytes)
{
	const struct cas_opts tight = { .quota_bytes = quota_bytes,
		                        .high_percent = 2,
		                        .low_percent = 1 };
	const struct cas_opts wide = { .quota_bytes = quota_bytes };
	const struct cas_gc_opts look = { .to_bytes = UINT64_MAX, .dry_run = true };
	struct cas_gc_result result;

	cas_set_limits(f->cas, &tight);
	do
		assert_int_equal(cas_gc(f->cas, &look, &result, &f->e), 0);
	while (atomic_load(&f->cas->evictor.round_queued));
	assert_int_equal(cas_gc(f->cas, &look, &result, &f->e), 0); /* behind that round */
	cas_set_limits(f->cas, &wide);
}

static void what_is_given_counts_once_and_not_as_pinned_by_images(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_whole(f, SAMPLE_ID);
	const uint64_t bytes = cas_blob_layout(a)->plain_size_bytes;
	struct cas_blob *b;
	int fd = -1;
	int other_fd = -1;

	assert_int_equal(cas_blob_hand_out(a, NULL, &fd, &f->e), 0);
	crowd(f, 5 * bytes);
	assert_int_equal(cas_blob_n_ready(a), N_CHUNKS);
	assert_true(atomic_load(&f->cas->room.handed_bytes) > 0);
	assert_int_equal(atomic_load(&f->cas->room.pinned_bytes), 0);
	b = open_whole(f, OTHER_ID);
	assert_int_equal(cas_blob_hand_out(b, NULL, &other_fd, &f->e), 0);
	cas_blob_unpin(a);
	cas_blob_unpin(b);
	(void)close(fd);
	(void)close(other_fd);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

/* Bytes that others have, too. pinned: its mount is known; or what the kernel has outlived that. */
static void lose_and_share(struct fixture *f, bool pinned)
{
	struct cas_blob *a;
	struct cas_blob *b;
	int fd = -1;

	f->dedup = true;
	fixture_reopen(f);
	a = open_whole(f, SAMPLE_ID);
	b = open_whole(f, OTHER_ID); /* the same chunks */
	assert_int_equal(cas_blob_hand_out(a, NULL, &fd, &f->e), 0);
	if (!pinned)
		cas_blob_unpin(a);
	assert_int_equal(
		pwrite(a->fd, "wrong", 5, (off_t)cas_blob_layout(a)->chunks[3].plain_offset), 5);
	assert_int_equal(cas_blob_check(a, 3, &f->e), CAS_MISMATCH);
	assert_false(cas_blob_is_whole(a, NULL));
	(void)bitmap_set(a->candidate, 3);
	assert_int_equal(cas_blob_share(a, 3, &f->e), 0);
	assert_true(cas_blob_is_whole(a, NULL));
	assert_bytes(a, fd);
	if (pinned)
		cas_blob_unpin(a);
	(void)close(fd);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void what_is_lost_of_it_comes_back_into_this_very_file(void **state)
{
	lose_and_share(*state, true);
	lose_and_share(*state, false);
}

/* ---- files that go ---- */

/* As if the database had been moved aside: no row names a file any more. */
static void forget_database(struct fixture *f)
{
	static const char *const names[] = { "shoal.db", "shoal.db-wal", "shoal.db-shm" };

	fixture_close(f);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		AUTO(free_str) char *path = fixture_path(f, names[i]);

		(void)unlink(path);
	}
}

static void a_file_that_goes_is_cut_short_only_if_nobody_has_it_open(void **state)
{
	static const bool held[] = { true, false };
	struct fixture *f = *state;
	AUTO(free_str) char *own = fixture_path(f, "blobs/" SAMPLE_ID ".blob.data");
	AUTO(free_str) char *other = fixture_path(f, "other-name");

	for (unsigned i = 0; i < 2; i++) {
		struct cas_blob *b = open_whole(f, SAMPLE_ID);
		AUTO(layout_unref) struct blob_layout *layout = layout_ref(blob_layout(b));
		AUTO(close_fd) int fd = -1;
		struct stat st;

		cas_blob_release(&b);
		assert_int_equal(link(own, other), 0);
		if (held[i])
			fd = open(other, O_RDONLY | O_CLOEXEC);
		forget_database(f);
		fixture_open(f);
		assert_int_equal(access(own, F_OK), -1);
		assert_int_equal(stat(other, &st), 0);
		assert_true((uint64_t)st.st_size == (held[i] ? layout->plain_size_bytes : 0));
		if (held[i])
			assert_sample_bytes(layout, fd);
		assert_int_equal(unlink(other), 0);
	}
}

/* ---- a kernel that does not tell ---- */

struct leases {
	struct disk disk; /* first: lease() finds the rest by it */
	int code;         /* of each attempt; 0: as the kernel has it */
};

static int lease(const struct disk *d, int fd, int type)
{
	const struct leases *l = (const void *)d;

	if (l->code == 0 || type == F_UNLCK)
		return disk_real()->lease(d, fd, type);
	errno = l->code;
	return -1;
}

static void what_the_kernel_does_not_answer_means_that_somebody_has_it(void **state)
{
	static const int codes[] = { ENOMEM, EINVAL, EACCES, EAGAIN };
	struct fixture *f = *state;
	struct leases leases = { .disk = *disk_real() };
	struct cas_blob *b;

	leases.disk.lease = lease;
	f->disk = &leases.disk;
	fixture_open(f);
	b = open_whole(f, SAMPLE_ID);
	for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		leases.code = codes[i];
		evict_all(f);
		assert_int_equal(cas_blob_n_ready(b), N_CHUNKS);
	}
	leases.code = 0;
	evict_all(f);
	assert_int_equal(cas_blob_n_ready(b), 0);
	cas_blob_release(&b);
	fixture_close(f);
	f->disk = NULL;
}

static void where_it_never_could_answer_nothing_is_given_and_nothing_held(void **state)
{
	struct fixture *f = *state;
	struct leases leases = { .disk = *disk_real(), .code = EINVAL };
	struct cas_blob *b;
	int fd = -1;

	leases.disk.lease = lease;
	f->disk = &leases.disk;
	fixture_open(f);
	b = open_whole(f, SAMPLE_ID);
	assert_int_equal(cas_blob_hand_out(b, NULL, &fd, &f->e), CAS_MISS);
	assert_false(cas_blob_is_pinned(b));
	leases.code = ENOMEM; /* no answer for another reason than then */
	evict_all(f);
	assert_int_equal(cas_blob_n_ready(b), N_CHUNKS);
	leases.code = EINVAL;
	evict_all(f);
	assert_int_equal(cas_blob_n_ready(b), 0);
	cas_blob_release(&b);
	fixture_close(f);
	f->disk = NULL;
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup_open, fixture_teardown)
#define U(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_whole_file_is_given_and_stays_whole_as_long_as_anybody_has_it),
		T(what_is_not_whole_is_not_given),
		T(a_file_with_chunks_that_only_others_name_is_not_given),
		T(what_does_not_end_with_a_block_is_not_given),
		T(half_of_the_cache_stays_for_others),
		T(what_is_given_counts_once_and_not_as_pinned_by_images),
		T(what_is_lost_of_it_comes_back_into_this_very_file),
		T(a_file_that_goes_is_cut_short_only_if_nobody_has_it_open),
		U(what_the_kernel_does_not_answer_means_that_somebody_has_it),
		U(where_it_never_could_answer_nothing_is_given_and_nothing_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
