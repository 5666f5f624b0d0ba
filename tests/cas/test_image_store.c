/*
 * Images: whole or not there; names; and what goes with an image that is removed.
 */
#include "fixture.h"
#include "gc.h"
#include "image_dirs.h"
#include "mem.h"
#include "unconst.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ONE    "1111111111111111111111111111111111111111111111111111111111111111"
#define TWO    "2222222222222222222222222222222222222222222222222222222222222222"
#define ID_A   "00000000000000000000000000000000000000000000000000000000000000aa"
#define ID_B   "00000000000000000000000000000000000000000000000000000000000000bb"
#define ID_C   "00000000000000000000000000000000000000000000000000000000000000cc"
#define SEED   3
#define CHUNKS 10

static void record(struct fixture *f, const char *digest, const char *name, const char *const *keys,
                   uint32_t n_keys)
{
	struct image_record rec = { .anonymous = true, .added_s = 5, .used_s = 6 };

	(void)snprintf(rec.digest, sizeof(rec.digest), "%s", digest);
	(void)snprintf(rec.name, sizeof(rec.name), "%s", name);
	record_image(f, &rec, keys, n_keys);
}

static void make_image(struct fixture *f, const char *digest)
{
	struct image_draft *draft = NULL;

	assert_int_equal(image_draft_begin(f->cas, &draft, &f->e), 0);
	assert_int_equal(image_draft_put(draft, "manifest", "{}", 2, &f->e), 0);
	assert_int_equal(image_draft_put(draft, "bootstrap", "bytes", 5, &f->e), 0);
	assert_int_equal(image_draft_commit(&draft, digest, &f->e), 0);
	assert_null(draft);
}

static void an_image_is_there_whole_after_its_commit(void **state)
{
	struct fixture *f = *state;
	struct image_file file = { .data = NULL };

	assert_false(image_store_has(f->cas, ONE));
	make_image(f, ONE);
	make_image(f, ONE); /* the first one stays */
	assert_true(image_store_has(f->cas, ONE));
	assert_int_equal(image_store_map(f->cas, ONE, "bootstrap", 100, &file, &f->e), 0);
	assert_int_equal(file.size_bytes, 5);
	assert_memory_equal(file.data, "bytes", 5);
	image_file_unmap(&file);
	assert_int_equal(image_store_map(f->cas, ONE, "bootstrap", 4, &file, &f->e), -EIO);
	assert_int_equal(image_store_map(f->cas, ONE, "missing", 4, &file, &f->e), -ENOENT);
	assert_int_equal(image_store_map(f->cas, TWO, "bootstrap", 4, &file, &f->e), -ENOENT);
	assert_int_equal(image_store_map(f->cas, ONE, "../lock", 4, &file, &f->e), -EINVAL);
	assert_int_equal(image_store_add(f->cas, ONE, "meta", "more", 4, &f->e), 0);
	assert_int_equal(image_store_add(f->cas, ONE, "meta", "more", 4, &f->e), 0);
	assert_int_equal(image_store_map(f->cas, ONE, "meta", 100, &file, &f->e), 0);
	assert_int_equal(file.size_bytes, 4);
	image_file_unmap(&file);
}

static uint32_t n_in_images(struct fixture *f)
{
	char *path = fixture_path(f, "images");
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	free(path);
	return (uint32_t)st.st_nlink - 2; /* directories in it */
}

static void a_draft_that_was_dropped_or_left_by_a_crash_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct image_draft *draft = NULL;
	char *left = fixture_path(f, "images/" IMAGE_DRAFT_PREFIX "left");

	assert_int_equal(image_draft_begin(f->cas, &draft, &f->e), 0);
	assert_int_equal(image_draft_put(draft, "x", "y", 1, &f->e), 0);
	image_draft_drop(&draft);
	assert_int_equal(n_in_images(f), 0);
	assert_int_equal(mkdir(left, 0700), 0);
	fixture_reopen(f);
	assert_int_equal(n_in_images(f), 0);
	free(left);
}

static int count_record(void *arg, const struct image_record *rec)
{
	assert_int_equal(rec->used_s, 6);
	(*(uint32_t *)arg)++;
	return 0;
}

static int count_key(void *arg, const char *key)
{
	(void)key;
	(*(uint32_t *)arg)++;
	return 0;
}

static void names_lead_to_images_and_images_to_blobs(void **state)
{
	struct fixture *f = *state;
	static const char *const both[] = { ID_A, ID_B };
	struct cas_blob *a = open_sample(f, ID_A, CHUNKS, SEED);
	struct cas_blob *b = open_sample(f, ID_B, CHUNKS, SEED + 1);
	struct image_record rec;
	uint32_t n = 0;

	record(f, ONE, "host/app:1", both, 2);
	record(f, ONE, "host/app:latest", both, 2);
	record(f, TWO, "host/app:2", both, 1);
	assert_int_equal(image_store_by_name(f->cas, "host/app:1", &rec, &f->e), 0);
	assert_string_equal(rec.digest, ONE);
	assert_true(rec.anonymous);
	record(f, TWO, "host/app:latest", both, 1); /* the tag moved */
	assert_int_equal(image_store_by_name(f->cas, "host/app:latest", &rec, &f->e), 0);
	assert_string_equal(rec.digest, TWO);
	assert_int_equal(image_store_by_name(f->cas, "host/none", &rec, &f->e), CAS_MISS);
	assert_int_equal(image_store_list(f->cas, count_record, &n, &f->e), 0);
	assert_int_equal(n, 3);
	n = 0;
	assert_int_equal(image_store_blobs(f->cas, ONE, count_key, &n, &f->e), 0);
	assert_int_equal(n, 2);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void fill(struct fixture *f, const char *id, uint32_t seed)
{
	struct cas_blob *b = open_sample(f, id, CHUNKS, seed);

	for (uint32_t i = 0; i < CHUNKS; i++)
		assert_int_equal(put_sample(b, seed, i), 0);
	cas_blob_release(&b);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
}

static bool data_exists(struct fixture *f, const char *id)
{
	char *name = xasprintf("blobs/%s.blob.data", id);
	char *path = fixture_path(f, name);
	const bool there = access(path, F_OK) == 0;

	free(name);
	free(path);
	return there;
}

static void a_removed_image_takes_along_what_nobody_else_uses(void **state)
{
	struct fixture *f = *state;
	static const char *const both[] = { ID_A, ID_B };

	fill(f, ID_A, SEED);
	fill(f, ID_B, SEED + 1);
	make_image(f, ONE);
	make_image(f, TWO);
	record(f, ONE, "host/app:1", both, 2);
	record(f, TWO, "host/app:2", both, 1);
	fixture_reopen(f); /* all chunks have their rows, or will never */
	fill(f, ID_A, SEED);
	fill(f, ID_B, SEED + 1);
	assert_int_equal(remove_image(f, ONE), 0);
	assert_int_equal(remove_image(f, ONE), CAS_MISS);
	assert_true(data_exists(f, ID_A));
	assert_false(data_exists(f, ID_B));
	assert_false(image_store_has(f->cas, ONE));
	assert_true(image_store_has(f->cas, TWO));
	assert_int_equal(remove_image(f, TWO), 0);
	assert_false(data_exists(f, ID_A));
	assert_int_equal(n_in_images(f), 0);
	rows_are_removed(f);
	assert_int_equal(query(f,
	                       "SELECT (SELECT count(*) FROM blob) + (SELECT count(*) FROM chunk)"
	                       " + (SELECT count(*) FROM ready) + (SELECT count(*) FROM layout)"
	                       " + (SELECT count(*) FROM image_blob)"
	                       " + (SELECT count(*) FROM image_name)"
	                       " + (SELECT count(*) FROM image)"),
	                 0);
}

static void a_blob_that_is_open_outlives_its_image(void **state)
{
	struct fixture *f = *state;
	static const char *const keys[] = { ID_A };
	struct cas_blob *b = NULL;

	fill(f, ID_A, SEED);
	make_image(f, ONE);
	record(f, ONE, "host/app:1", keys, 1);
	b = open_sample(f, ID_A, CHUNKS, SEED);
	assert_int_equal(remove_image(f, ONE), 0);
	assert_int_equal(read_sample(b, SEED, 1), 0);
	assert_true(data_exists(f, ID_A));
	cas_blob_release(&b);
}

static void a_retired_image_loses_its_files_and_keeps_its_name(void **state)
{
	struct fixture *f = *state;
	static const char *const keys[] = { ID_A };
	struct image_record rec;

	fill(f, ID_A, SEED);
	make_image(f, ONE);
	record(f, ONE, "host/app:1", keys, 1);
	assert_int_equal(image_store_retire(f->cas, ONE, &f->e), 0);
	assert_false(image_store_has(f->cas, ONE));
	assert_int_equal(n_in_images(f), 0);
	assert_int_equal(image_store_by_name(f->cas, "host/app:1", &rec, &f->e), 0);
	assert_int_equal(image_store_retire(f->cas, ONE, &f->e), 0); /* gone is gone */
	make_image(f, ONE);
	assert_true(image_store_has(f->cas, ONE));
	assert_int_equal(image_store_retire(f->cas, "..", &f->e), -EINVAL);
}

/* Of what only blobs without an image have, nothing can be removed. */
struct full_disk {
	struct disk disk;
	bool is_full;
};

static int unlink_unless_full(const struct disk *d, int dir_fd, const char *name, int flags)
{
	const struct full_disk *full = container_of(unconst(d), struct full_disk, disk);

	if (full->is_full && strstr(name, ".blob.data") != NULL && strstr(name, ID_A) == NULL) {
		errno = ENOSPC;
		return -1;
	}
	return disk_real()->unlink(d, dir_fd, name, flags);
}

static void an_image_is_removed_also_where_the_rest_has_to_wait_for_room(void **state)
{
	struct fixture *f = *state;
	struct full_disk full = { .disk = *disk_real() };
	struct cas_gc_opts opts = { .dry_run = false };
	struct cas_gc_result result;

	full.disk.unlink = unlink_unless_full;
	f->disk = &full.disk;
	fixture_reopen(f);
	fill(f, ID_A, SEED);
	fill(f, ID_B, SEED + 1); /* these two outlived their images; */
	fill(f, ID_C, SEED + 2); /* the ballast is gone after the first */
	make_image(f, ONE);
	record(f, ONE, "host/app:1", (const char *const[]){ ID_A }, 1);
	full.is_full = true;
	assert_int_equal(remove_image(f, ONE), 0);
	assert_false(image_store_has(f->cas, ONE));
	assert_int_equal(remove_image(f, ONE), CAS_MISS);
	assert_true(atomic_load(&f->cas->evictor.has_garbage));
	full.is_full = false;
	assert_int_equal(cas_gc(f->cas, &opts, &result, &f->e), 0);
	assert_int_equal(result.after_bytes, 0);
	fixture_close(f);
}

/* As a mount has it recorded. */
struct recording {
	struct job job;
	struct fixture *f;
};

static void record_one(struct job *job)
{
	struct recording *r = container_of(job, struct recording, job);

	record(r->f, ONE, "host/app:1", NULL, 0);
}

/* Who asks behind it. */
struct question {
	struct job job;
	struct fixture *f;
};

static void is_due(struct job *job)
{
	loop_stop(container_of(job, struct question, job)->f->loop);
}

static void who_asks_behind_it_finds_what_was_to_be_recorded(void **state)
{
	struct fixture *f = *state;
	struct recording r = { .job = { .work = record_one }, .f = f };
	struct question q = { .job = { .after = is_due }, .f = f };
	struct image_record rec;
	struct stopper other;

	stopper_begin(&other, cas_writer(f->cas), JOB_READER);
	pool_submit(cas_writer(f->cas), &r.job);
	assert_int_equal(image_store_by_name(f->cas, "host/app:1", &rec, &f->e), CAS_MISS);
	image_store_behind(f->cas, &q.job);
	stopper_let_go(&other);
	loop_run(f->loop);
	assert_int_equal(image_store_by_name(f->cas, "host/app:1", &rec, &f->e), 0);
	stopper_end(&other);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_image_is_there_whole_after_its_commit),
		T(a_draft_that_was_dropped_or_left_by_a_crash_leaves_nothing),
		T(names_lead_to_images_and_images_to_blobs),
		T(a_removed_image_takes_along_what_nobody_else_uses),
		T(a_blob_that_is_open_outlives_its_image),
		T(an_image_is_removed_also_where_the_rest_has_to_wait_for_room),
		T(a_retired_image_loses_its_files_and_keeps_its_name),
		T(who_asks_behind_it_finds_what_was_to_be_recorded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
