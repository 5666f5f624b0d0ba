/*
 * Power loss: a short history is recorded, then cut at every event, with unsynced changes there,
 * gone or torn by chance. Whatever the disk holds then, the next start finds no wrong byte ready.
 */
#include "fixture.h"
#include "gc.h"
#include "mem.h"
#include "recorder.h"
#include "reflink.h"
#include "remove_tree.h"
#include "share.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEED         11
#define N_CHUNKS     12
#define OTHER_ID     "0000000000000000000000000000000000000000000000000000000000000001"
#define SHARER_ID    "0000000000000000000000000000000000000000000000000000000000000003"
#define STATES_MIN   1000U
#define OTHER_DIGEST "2222222222222222222222222222222222222222222222222222222222222222"
#define IMAGE_DIGEST "1111111111111111111111111111111111111111111111111111111111111111"

static void put_some(struct fixture *f, struct cas_blob *b, uint32_t seed, uint32_t first,
                     uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++)
		assert_int_equal(put_sample(b, seed, i), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
}

static void put_together(struct fixture *f, struct cas_blob *b, uint32_t seed, uint32_t first,
                         uint32_t n)
{
	assert_true(put_samples(b, seed, first, n));
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
}

/* b refers to chunks of another blob. */
static void share_some(struct fixture *f, struct cas_blob *b, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++) {
		assert_int_equal(cas_blob_share(b, i, &f->e), 0);
		assert_false(cas_blob_is_ready(b, i));
	}
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
}

/* What b refers to becomes its own, and is written down as such. */
static void clone_all(struct fixture *f, struct cas_blob *b)
{
	uint32_t at = 0;
	uint32_t n = 0;

	f->cas->can_clone = true;
	while (at < N_CHUNKS)
		n += reflink_step(b, &at);
	assert_true(n > 4);
	f->cas->can_clone = false;
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
}

/* One chunk goes, and comes back. */
static void evict_and_refill(struct fixture *f, struct cas_blob *b, uint32_t idx)
{
	AUTO(bitmap_free) struct bitmap *victims = bitmap_new(N_CHUNKS);
	AUTO(bitmap_free) struct bitmap *zeros = bitmap_new(N_CHUNKS);
	struct evict_batch batch = {
		.blob = b, .layout = blob_layout(b), .victims = victims, .barred_here = zeros
	};

	(void)bitmap_set(victims, idx);
	assert_int_equal(evict_batch_run(f->cas, &batch, &f->e), 0);
	assert_int_equal(batch.n_chunks, 1);
	assert_true(batch.freed_bytes > 0);
	put_some(f, b, SEED, idx, 1);
}

/* All that is ready goes, of blobs that are open and of those that are not. */
static void evict_all(struct fixture *f)
{
	const struct cas_gc_opts opts = { .to_bytes = 0 };
	struct cas_gc_result result;

	assert_int_equal(cas_gc(f->cas, &opts, &result, &f->e), 0);
	assert_true(result.n_chunks > 0);
	assert_int_equal(result.after_bytes, 0);
}

static void record_both(struct fixture *f)
{
	static const char *const keys[] = { OTHER_ID, SAMPLE_ID };
	const struct image_record rec = { .digest = IMAGE_DIGEST, .name = "host/app:1" };
	const struct image_record other = { .digest = OTHER_DIGEST, .name = "host/app:2" };

	record_image(f, &rec, keys, 1);
	record_image(f, &other, keys + 1, 1);
}

/* @param ret_deleted  the event at which somebody deletes a file behind our back */
static void live(struct fixture *f, struct recorder *r, uint32_t *ret_deleted)
{
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N_CHUNKS, SEED);
	struct cas_blob *b = open_sample(f, OTHER_ID, N_CHUNKS, SEED + 1);
	struct cas_blob *c;

	f->cas->can_clone = false; /* not by itself: this thread says when */
	put_some(f, a, SEED, 0, 4);
	put_some(f, b, SEED + 1, 0, 6);
	put_together(f, a, SEED, 4, 4);
	c = open_sample(f, SHARER_ID, N_CHUNKS, SEED);
	share_some(f, c, 0, 5);
	evict_and_refill(f, a, 2);
	evict_and_refill(f, a, 7);
	share_some(f, c, 5, 3);
	clone_all(f, c);
	evict_and_refill(f, a, 4);
	evict_and_refill(f, c, 3);
	cas_blob_release(&c);
	record_both(f);
	cas_blob_release(&b);
	evict_all(f);
	put_some(f, a, SEED, 1, 4);
	cas_blob_release(&a);
	fixture_reopen(f);
	assert_int_equal(remove_image(f, IMAGE_DIGEST), 0);
	b = open_sample(f, OTHER_ID, N_CHUNKS, SEED + 1);
	assert_int_equal(cas_blob_n_ready(b), 0);
	put_some(f, b, SEED + 1, 3, 3);
	cas_blob_release(&b);
	fixture_close(f);
	char *blobs = fixture_path(f, "blobs");
	int dir_fd;

	*ret_deleted = recorder_n_events(r);
	dir_fd = open(blobs, O_RDONLY | O_DIRECTORY);
	assert_int_equal(f->disk->unlink(f->disk, dir_fd, SAMPLE_ID ".blob.data", 0), 0);
	(void)close(dir_fd);
	free(blobs);
	fixture_open(f);
	a = open_sample(f, SAMPLE_ID, N_CHUNKS, SEED);
	assert_int_equal(cas_blob_n_ready(a), 0);
	put_some(f, a, SEED, 5, 5);
	cas_blob_release(&a);
	fixture_close(f);
}

struct faults {
	uint32_t n_missing;
	uint32_t n_other;
};

static void note_fault(void *arg, const struct cas_fault *fault)
{
	struct faults *faults = arg;

	if (strcmp(fault->what, "data missing") == 0)
		faults->n_missing++;
	else
		faults->n_other++;
}

/* What the third blob has, by whatever reference the cut has left, is right.
 * @return how many */
static uint64_t look_at_shared(struct fixture *then)
{
	struct cas_blob *c = open_sample(then, SHARER_ID, N_CHUNKS, SEED);
	uint64_t n = 0;

	for (uint32_t i = 0; i < N_CHUNKS; i++) {
		if (!cas_blob_is_present(c, i))
			continue;
		assert_int_equal(read_sample(c, SEED, i), 0);
		n++;
	}
	cas_blob_release(&c);
	return n;
}

/* @param deleted  missing data is no fault of ours: a file was deleted
 * @return how many chunks were ready, all of them right */
static uint64_t look(struct fixture *f, struct recorder *r, uint32_t cut, bool deleted,
                     uint64_t *random, uint64_t *ret_shared)
{
	struct faults faults = { .n_other = 0 };
	struct fixture then = { .loop = f->loop, .metrics = f->metrics };
	struct cas_verify_progress total = { .n_faults = 0 };
	char blobs[96];

	/* in memory, where there is such a place: SQLite syncs at every start */
	(void)snprintf(then.dir, sizeof(then.dir), "%s/shoal-cut-%d",
	               access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
	(void)remove_tree(then.dir);
	(void)snprintf(blobs, sizeof(blobs), "%s/blobs", then.dir);
	assert_int_equal(mkdir(then.dir, 0700), 0);
	assert_int_equal(mkdir(blobs, 0700), 0);
	recorder_replay(r, cut, random, then.dir);
	then.disk = recorder_replayed_disk(r);
	fixture_open(&then);
	assert_int_equal(cas_verify(then.cas, note_fault, NULL, &faults, &total, &then.e), 0);
	if (faults.n_other != 0 || n_moved_aside(then.dir) != 0)
		print_error("cut before event %u of %u\n", cut, recorder_n_events(r));
	assert_int_equal(faults.n_other, 0);
	if (!deleted)
		assert_int_equal(faults.n_missing, 0);
	assert_int_equal(n_moved_aside(then.dir), 0);
	*ret_shared += look_at_shared(&then);
	fixture_close(&then);
	(void)remove_tree(then.dir);
	return total.chunks_done;
}

static void after_a_power_cut_anywhere_no_wrong_byte_is_ready(void **state)
{
	struct fixture *f = *state;
	struct recorder *r = recorder_new(f->dir);
	uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
	uint32_t n_states = 0;
	uint32_t rounds;
	uint32_t deleted = 0;
	uint64_t n_ready = 0;
	uint64_t n_shared = 0;

	f->dedup = true;
	f->disk = recorder_disk(r);
	f->vfs = recorder_vfs(r);
	fixture_open(f);
	live(f, r, &deleted);
	rounds = 1 + STATES_MIN / recorder_n_events(r);
	for (uint32_t cut = 0; cut <= recorder_n_events(r); cut++) {
		/* before each barrier most is in doubt */
		const bool at_barrier = cut < recorder_n_events(r) && recorder_is_barrier(r, cut);

		for (uint32_t i = 0; i < (at_barrier ? 3 * rounds : rounds); i++, n_states++)
			n_ready += look(f, r, cut, cut > deleted, &random, &n_shared);
	}
	print_message("%u states of %u events, %llu ready chunks checked\n", n_states,
	              recorder_n_events(r), (unsigned long long)n_ready);
	assert_true(n_states >= STATES_MIN);
	print_message("%llu shared chunks read\n", (unsigned long long)n_shared);
	assert_true(n_shared > n_states / 4);
	assert_true(n_ready > n_states); /* the test would be idle if nothing survived */
	assert_int_equal(look(f, r, recorder_n_events(r), true, &random, &n_shared), 3 + 5);
	recorder_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(after_a_power_cut_anywhere_no_wrong_byte_is_ready,
		                                fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
