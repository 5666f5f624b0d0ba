/*
 * fixture: see the header.
 */
#include "fixture.h"
#include "mem.h"
#include "remove_tree.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_aside(const struct dirent *entry)
{
	return strncmp(entry->d_name, "shoal.db.bad-", 13) == 0;
}

uint32_t n_moved_aside(const char *dir)
{
	struct dirent **names = NULL;
	const int n = scandir(dir, &names, is_aside, alphasort);

	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return n > 0 ? (uint32_t)n : 0;
}

int fixture_setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/shoal-cas-XXXXXX");
	if (mkdtemp(f->dir) == NULL || loop_new(&f->loop, &f->e) != 0)
		return -1;
	f->metrics = metrics_new();
	*state = f;
	return 0;
}

int fixture_setup_open(void **state)
{
	if (fixture_setup(state) != 0)
		return -1;
	fixture_open(*state);
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	fixture_close(f);
	loop_free(&f->loop);
	metrics_free(&f->metrics);
	log_free(&f->log);
	(void)remove_tree(f->dir);
	free(f);
	return 0;
}

int fixture_try_open(struct fixture *f)
{
	const struct cas_opts opts = {
		.state_dir = f->dir,
		.loop = f->loop,
		.clock = f->clock != NULL ? f->clock : clock_real(),
		.log = f->log,
		.metrics = f->metrics,
		.reserve_bytes = f->reserve_bytes,
		.quota_bytes = f->quota_bytes,
		.flush_ms = f->flush_ms,
		.dedup = f->dedup,
		.disk = f->disk,
		.sqlite_vfs = f->vfs,
	};

	const int r = cas_open(&opts, &f->cas, &f->e);

	if (r == 0 && (f->hooks.on_ready != NULL || f->hooks.on_gone != NULL))
		cas_hooks_on(f->cas, &f->hooks);
	return r;
}

void fixture_open(struct fixture *f)
{
	const int r = fixture_try_open(f);

	if (r != 0)
		print_error("%s\n", f->e.msg);
	assert_int_equal(r, 0);
}

void fixture_close(struct fixture *f)
{
	cas_close(&f->cas);
}

void fixture_reopen(struct fixture *f)
{
	fixture_close(f);
	fixture_open(f);
}

char *fixture_path(const struct fixture *f, const char *name)
{
	return xasprintf("%s/%s", f->dir, name);
}

static uint32_t mix(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x7feb352dU;
	x ^= x >> 15;
	x *= 0x846ca68bU;
	return x ^ x >> 16;
}

uint32_t sample_size(uint32_t seed, uint32_t chunk_idx)
{
	return 1 + mix(seed * 31 + chunk_idx) % 9000;
}

uint8_t *sample_bytes(uint32_t seed, uint32_t chunk_idx)
{
	const uint32_t n = sample_size(seed, chunk_idx);
	uint8_t *bytes = malloc(n);

	assert_non_null(bytes);
	for (uint32_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(1 + mix(seed ^ chunk_idx * 77777 ^ i << 8) % 255);
	return bytes;
}

struct blob_layout *sample_layout(const char *blob_id, uint32_t n_chunks, uint32_t seed)
{
	struct blob_layout *l = layout_new(n_chunks);
	uint64_t offset = 0;

	assert_non_null(l);
	(void)snprintf(l->blob_id, sizeof(l->blob_id), "%s", blob_id);
	for (uint32_t i = 0; i < n_chunks; i++) {
		struct chunk_rec *c = &l->chunks[i];
		uint8_t *bytes = sample_bytes(seed, i);

		c->plain_offset = offset;
		c->plain_size_bytes = sample_size(seed, i);
		c->packed_size_bytes = c->plain_size_bytes;
		c->place = offset;
		digest_compute(DIGEST_BLAKE3, bytes, c->plain_size_bytes, c->digest);
		c->flags = CHUNK_HAS_DIGEST;
		offset += (c->plain_size_bytes + 4095U) & ~4095U;
		free(bytes);
	}
	l->plain_size_bytes = offset;
	l->packed_size_bytes = offset;
	l->packed_data_end = offset;
	return l;
}

struct cas_blob *open_sample(struct fixture *f, const char *blob_id, uint32_t n_chunks,
                             uint32_t seed)
{
	struct blob_layout *l = sample_layout(blob_id, n_chunks, seed);
	struct cas_blob *blob = NULL;
	const int r = cas_blob_open(f->cas, l, &blob, &f->e);

	if (r != 0)
		print_error("%s\n", f->e.msg);
	assert_int_equal(r, 0);
	layout_unref(&l);
	return blob;
}

int put_sample(struct cas_blob *blob, uint32_t seed, uint32_t chunk_idx)
{
	uint8_t *bytes = sample_bytes(seed, chunk_idx);
	struct err e;
	const int r = cas_blob_put(blob, chunk_idx, bytes, &e);

	free(bytes);
	return r;
}

bool put_samples(struct cas_blob *blob, uint32_t seed, uint32_t first_chunk, uint32_t n_chunks)
{
	uint8_t *bytes[CAS_ROW_MAX];
	const uint8_t *plain[CAS_ROW_MAX];
	bool kept;

	assert_in_range(n_chunks, 1, CAS_ROW_MAX);
	for (uint32_t i = 0; i < n_chunks; i++)
		plain[i] = bytes[i] = sample_bytes(seed, first_chunk + i);
	kept = cas_blob_put_row(blob, first_chunk, n_chunks, plain);
	for (uint32_t i = 0; i < n_chunks; i++)
		free(bytes[i]);
	return kept;
}

struct cas_blob *open_full(struct fixture *f, const char *blob_id, uint32_t n_chunks, uint32_t seed)
{
	struct cas_blob *blob = open_sample(f, blob_id, n_chunks, seed);

	for (uint32_t i = 0; i < n_chunks; i++)
		assert_int_equal(put_sample(blob, seed, i), 0);
	return blob;
}

int read_sample(struct cas_blob *blob, uint32_t seed, uint32_t chunk_idx)
{
	const struct chunk_rec *c = &cas_blob_layout(blob)->chunks[chunk_idx];
	uint8_t *bytes = sample_bytes(seed, chunk_idx);
	uint8_t *got = malloc(c->plain_size_bytes);
	struct err e;
	int r = cas_blob_read(blob, chunk_idx, 1, c->plain_offset, c->plain_size_bytes, got, &e);

	if (r == 0 && memcmp(got, bytes, c->plain_size_bytes) != 0)
		r = -EBADMSG;
	free(bytes);
	free(got);
	return r;
}

uint8_t block_byte(uint32_t chunk_idx)
{
	return (uint8_t)(1 + chunk_idx % 8);
}

struct cas_blob *open_blocks(struct fixture *f, uint32_t n_chunks, uint32_t from, uint32_t to,
                             uint32_t but)
{
	AUTO(layout_unref) struct blob_layout *l = layout_new(n_chunks);
	struct cas_blob *b = NULL;
	struct err e;

	assert_non_null(l);
	(void)snprintf(l->blob_id, sizeof(l->blob_id), "%s", SAMPLE_ID);
	for (uint32_t i = from; i < to; i++) {
		const uint64_t at = (uint64_t)i * BLOCK_BYTES;
		const uint8_t byte = block_byte(i);

		if (i == but)
			continue;
		l->chunks[i] = (struct chunk_rec){ .plain_offset = at,
			                           .place = at,
			                           .plain_size_bytes = 1,
			                           .packed_size_bytes = 1,
			                           .flags = CHUNK_HAS_DIGEST };
		digest_compute(DIGEST_BLAKE3, &byte, 1, l->chunks[i].digest);
	}
	l->plain_size_bytes = (uint64_t)n_chunks * BLOCK_BYTES;
	l->packed_size_bytes = l->plain_size_bytes;
	l->packed_data_end = l->plain_size_bytes;
	assert_int_equal(layout_check(l, &e), 0);
	assert_int_equal(cas_blob_open(f->cas, l, &b, &e), 0);
	return b;
}

int put_block(struct cas_blob *blob, uint32_t chunk_idx)
{
	const uint8_t byte = block_byte(chunk_idx);
	struct err e;

	return cas_blob_put(blob, chunk_idx, &byte, &e);
}

struct recording {
	const struct image_record *rec;
	const char *const *blob_keys;
	uint32_t n_blobs;
};

static int do_record(struct cas *cas, void *arg, struct err *e)
{
	const struct recording *r = arg;

	return image_store_record(cas, r->rec, r->blob_keys, r->n_blobs, e);
}

void record_image(struct fixture *f, const struct image_record *rec, const char *const *blob_keys,
                  uint32_t n_blobs)
{
	struct recording r = { .rec = rec, .blob_keys = blob_keys, .n_blobs = n_blobs };

	assert_int_equal(writer_do(f->cas, do_record, &r, &f->e), 0);
}

void record_image_of(struct fixture *f, const char *id)
{
	struct image_record rec = { .added_s = 5 };

	(void)snprintf(rec.digest, sizeof(rec.digest), "%s", id);
	(void)snprintf(rec.name, sizeof(rec.name), "host/%s:1", id);
	record_image(f, &rec, &id, 1);
}

int remove_image(struct fixture *f, const char *digest)
{
	return image_store_remove(f->cas, digest, &f->e);
}

static void stop_there(struct job *job)
{
	(void)sem_wait(&container_of(job, struct stopper, job)->go);
}

void stopper_begin(struct stopper *s, struct pool *pool, enum job_prio prio)
{
	s->job = (struct job){ .work = stop_there, .prio = prio };
	assert_int_equal(sem_init(&s->go, 0, 0), 0);
	pool_submit(pool, &s->job);
}

void stopper_let_go(struct stopper *s)
{
	(void)sem_post(&s->go);
}

void stopper_end(struct stopper *s)
{
	(void)sem_destroy(&s->go);
}

void writer_is_done(struct fixture *f)
{
	writer_wait(f->cas);
}

void rows_are_removed(struct fixture *f)
{
	while (query(f, "SELECT count(*) FROM blob WHERE dying = 1") > 0)
		(void)sched_yield();
}

static int do_exec(struct cas *cas, void *arg, struct err *e)
{
	const char *const *sql = arg;

	return db_exec(cas->db, *sql, e);
}

void exec_on_writer(struct fixture *f, const char *sql)
{
	assert_int_equal(writer_do(f->cas, do_exec, &sql, &f->e), 0);
}

void refuse_rows(struct fixture *f, const char *table)
{
	AUTO(free_str)
	char *sql = xasprintf("CREATE TEMP TRIGGER refuse BEFORE INSERT ON %s"
	                      " BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END",
	                      table);

	exec_on_writer(f, sql);
}

void take_rows_again(struct fixture *f)
{
	exec_on_writer(f, "DROP TRIGGER refuse");
}

void exec_sql(struct fixture *f, const char *sql)
{
	char *path = fixture_path(f, "shoal.db");
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_busy_timeout(db, 60000), SQLITE_OK); /* the writer works */
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	free(path);
}

uint64_t query(struct fixture *f, const char *sql)
{
	char *path = fixture_path(f, "shoal.db");
	const struct db_opts opts = { .path = path };
	struct db *db = NULL;
	db_stmt *stmt = NULL;
	uint64_t n;

	assert_int_equal(db_open_reader(&opts, &db, &f->e), 0);
	assert_int_equal(db_prepare(db, sql, &stmt, &f->e), 0);
	assert_int_equal(db_step(stmt, &f->e), 1);
	n = db_u64(stmt, 0);
	db_stmt_close(&stmt);
	db_close(&db);
	free(path);
	return n;
}
