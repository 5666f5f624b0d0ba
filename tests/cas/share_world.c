/*
 * share_world: see the header.
 */
#include "share_world.h"
#include "mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The same chunks in the other order, under another id: layout and offsets differ. */
struct cas_blob *open_reversed(struct fixture *f, const char *id, uint32_t seed)
{
	struct blob_layout *l = sample_layout(id, N, seed);
	struct blob_layout *from = sample_layout(id, N, seed);
	struct cas_blob *blob = NULL;
	uint64_t offset = 0;

	for (uint32_t i = 0; i < N; i++) {
		l->chunks[i] = from->chunks[N - 1 - i];
		l->chunks[i].plain_offset = offset;
		l->chunks[i].place = offset;
		offset += (l->chunks[i].plain_size_bytes + 4095U) & ~4095U;
	}
	assert_int_equal(cas_blob_open(f->cas, l, &blob, &f->e), 0);
	layout_unref(&from);
	layout_unref(&l);
	return blob;
}

void name_of(const struct cas_blob *blob, uint32_t idx, uint8_t ret_name[PUBLIC_NAME_BYTES])
{
	const struct blob_layout *l = cas_blob_layout(blob);
	struct public_namer *namer = public_namer_new();

	public_name(namer, l->digest_alg, l->chunks[idx].digest, l->chunks[idx].plain_size_bytes,
	            ret_name);
	public_namer_free(&namer);
}

bool holds(struct cas_blob *blob, uint32_t idx, uint32_t seed, uint32_t sample)
{
	const struct chunk_rec *c = &cas_blob_layout(blob)->chunks[idx];
	uint8_t *want = sample_bytes(seed, sample);
	uint8_t *got = malloc(c->plain_size_bytes);
	struct err e;
	const bool same =
		cas_blob_read(blob, idx, 1, c->plain_offset, c->plain_size_bytes, got, &e) == 0 &&
		memcmp(got, want, c->plain_size_bytes) == 0;

	free(want);
	free(got);
	return same;
}

void spoil(struct fixture *f, const char *key, uint64_t offset)
{
	char *name = xasprintf("blobs/%s.blob.data", key);
	char *path = fixture_path(f, name);
	const int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
	(void)close(fd);
	free(path);
	free(name);
}

bool is_open(struct fixture *f, const char *key)
{
	struct cas_blob *b = blob_table_find(f->cas, key);
	const bool open = b != NULL;

	cas_blob_release(&b);
	return open;
}

void all_are_closed(struct fixture *f)
{
	bool any = true;

	while (any) {
		writer_is_done(f);
		(void)pthread_mutex_lock(&f->cas->table.mutex);
		any = f->cas->table.first != NULL;
		(void)pthread_mutex_unlock(&f->cas->table.mutex);
	}
}

int64_t failures(const struct fixture *f, const char *source)
{
	return series_get(metrics_series(f->metrics, METRIC_VERIFY_FAILURES, &source));
}

int share_setup(void **state)
{
	if (fixture_setup(state) != 0)
		return -1;
	((struct fixture *)*state)->dedup = true;
	fixture_open(*state);
	return 0;
}
