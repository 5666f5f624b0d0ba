/*
 * verify and check: what they find wrong is absent then, also where the file or what is known of it
 * changes under them.
 */
#include "fixture.h"
#include "mem.h"
#include "unconst.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEED 7
#define DATA "blobs/" SAMPLE_ID ".blob.data"

static void change_byte(const char *path, off_t offset)
{
	const int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
	assert_int_equal(close(fd), 0);
}

struct faults {
	uint32_t n;
	struct cas_fault last;
};

static void note_fault(void *arg, const struct cas_fault *fault)
{
	struct faults *faults = arg;

	faults->n++;
	faults->last = *fault;
}

static void verify_counts_what_has_lost_its_data_too(void **state)
{
	struct fixture *f = *state;
	AUTO(free_str) char *path = fixture_path(f, DATA);
	struct cas_blob *b = open_full(f, SAMPLE_ID, 20, SEED);
	struct cas_verify_progress total;
	struct faults faults = { .n = 0 };

	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(cas_verify(f->cas, note_fault, NULL, &faults, &total, &f->e), 0);
	assert_int_equal(total.n_faults, 20);
	assert_string_equal(faults.last.what, "data missing");
	assert_int_equal(metrics_sum(f->metrics, METRIC_VERIFY_FAILURES), 20);
	cas_blob_release(&b);
}

static void verify_finds_changed_bytes_and_makes_them_absent(void **state)
{
	struct fixture *f = *state;
	char *path = fixture_path(f, DATA);
	struct cas_blob *b = open_full(f, SAMPLE_ID, 20, SEED);
	struct cas_verify_progress total;
	struct faults faults = { .n = 0 };
	const off_t offset = (off_t)cas_blob_layout(b)->chunks[6].plain_offset;

	cas_blob_release(&b);
	fixture_close(f);
	change_byte(path, offset);
	fixture_open(f);
	assert_int_equal(cas_verify(f->cas, note_fault, NULL, &faults, &total, &f->e), 0);
	assert_int_equal(total.chunks_done, 20);
	assert_int_equal(total.n_faults, 1);
	assert_int_equal(faults.last.chunk_idx, 6);
	assert_string_equal(faults.last.what, "wrong bytes");
	assert_int_equal(metrics_sum(f->metrics, METRIC_VERIFY_FAILURES), 1);
	fixture_reopen(f);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(cas_blob_n_ready(b), 19);
	assert_int_equal(read_sample(b, SEED, 6), CAS_MISS);
	assert_int_equal(put_sample(b, SEED, 6), 0);
	assert_int_equal(cas_verify(f->cas, note_fault, NULL, &faults, &total, &f->e), 0);
	assert_int_equal(total.n_faults, 0);
	cas_blob_release(&b);
	free(path);
}

static void check_finds_a_changed_chunk_while_it_is_in_use(void **state)
{
	struct fixture *f = *state;
	char *path = fixture_path(f, DATA);
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 20, SEED);

	assert_int_equal(put_sample(b, SEED, 6), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(cas_blob_check(b, 6, &f->e), 0);
	assert_int_equal(cas_blob_check(b, 7, &f->e), CAS_MISS);
	change_byte(path, (off_t)cas_blob_layout(b)->chunks[6].plain_offset);
	assert_int_equal(cas_blob_check(b, 6, &f->e), CAS_MISMATCH);
	assert_int_equal(read_sample(b, SEED, 6), CAS_MISS);
	assert_int_equal(query(f, "SELECT length(bits) FROM ready"), 0); /* durably */
	assert_int_equal(put_sample(b, SEED, 6), 0);
	assert_int_equal(read_sample(b, SEED, 6), 0);
	cas_blob_release(&b);
	free(path);
}

static void missing_data_is_a_fault_of_verify(void **state)
{
	struct fixture *f = *state;
	char *path = fixture_path(f, DATA);
	struct cas_blob *b = open_full(f, SAMPLE_ID, 20, SEED);
	struct cas_verify_progress total;
	struct faults faults = { .n = 0 };

	cas_blob_release(&b);
	fixture_close(f);
	assert_int_equal(unlink(path), 0);
	fixture_open(f);
	assert_int_equal(cas_verify(f->cas, note_fault, NULL, &faults, &total, &f->e), 0);
	assert_int_equal(total.n_faults, 20);
	assert_string_equal(faults.last.what, "data missing");
	free(path);
}

/* A disk that takes a chunk back when another one is read for the first time. */
struct busy_disk {
	struct disk disk;
	struct cas_blob *blob;
	off_t at;
	uint32_t takes_back;
};

static ssize_t pread_and_take_back(const struct disk *d, int fd, void *buf, size_t size_bytes,
                                   off_t offset)
{
	struct busy_disk *busy = container_of(unconst(d), struct busy_disk, disk);

	if (busy->blob != NULL && offset == busy->at) {
		blob_void(busy->blob, busy->takes_back, VOID_WRONG_BYTES);
		busy->blob = NULL;
	}
	return disk_real()->pread(d, fd, buf, size_bytes, offset);
}

static void a_fault_counts_also_where_another_chunk_was_taken_back_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct busy_disk busy = { .disk = *disk_real(), .takes_back = 3 };
	char *path = fixture_path(f, DATA);
	struct cas_verify_progress total;
	struct faults faults = { .n = 0 };
	struct cas_blob *b;

	busy.disk.pread = pread_and_take_back;
	f->disk = &busy.disk;
	fixture_reopen(f);
	b = open_full(f, SAMPLE_ID, 20, SEED);
	busy.at = (off_t)cas_blob_layout(b)->chunks[6].plain_offset;
	change_byte(path, busy.at);
	busy.blob = b;
	assert_int_equal(cas_verify(f->cas, note_fault, NULL, &faults, &total, &f->e), 0);
	assert_int_equal(faults.n, 1);
	assert_int_equal(faults.last.chunk_idx, 6);
	assert_int_equal(cas_blob_n_ready(b), 18);
	cas_blob_release(&b);
	fixture_close(f);
	free(path);
}

struct cutting {
	struct faults faults;
	const char *path;
	off_t to;
};

static void cut_at_first(void *arg, const struct cas_fault *fault)
{
	struct cutting *cutting = arg;

	if (cutting->faults.n == 0)
		assert_int_equal(truncate(cutting->path, cutting->to), 0);
	note_fault(&cutting->faults, fault);
}

static void a_file_cut_behind_verify_and_grown_back_by_it_yields_no_zeros(void **state)
{
	struct fixture *f = *state;
	char *path = fixture_path(f, DATA);
	struct cas_verify_progress total;
	struct cutting cutting = { .path = path };
	struct cas_blob *b = open_full(f, SAMPLE_ID, 20, SEED);
	struct stat before;
	struct stat after;

	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cutting.to = (off_t)cas_blob_layout(b)->chunks[3].plain_offset;
	change_byte(path, (off_t)cas_blob_layout(b)->chunks[6].plain_offset);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(cas_verify(f->cas, cut_at_first, NULL, &cutting, &total, &f->e), 0);
	assert_int_equal(total.n_faults, 18); /* a cut may spoil the one before it, too */
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(after.st_size, before.st_size);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(read_sample(b, SEED, i), i < 2 ? 0 : CAS_MISS);
	cas_blob_release(&b);
	free(path);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(verify_counts_what_has_lost_its_data_too),
		T(verify_finds_changed_bytes_and_makes_them_absent),
		T(check_finds_a_changed_chunk_while_it_is_in_use),
		T(missing_data_is_a_fault_of_verify),
		T(a_fault_counts_also_where_another_chunk_was_taken_back_meanwhile),
		T(a_file_cut_behind_verify_and_grown_back_by_it_yields_no_zeros),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
