/*
 * bench_cas: what the CAS database costs: registration, lookups, bytes a chunk.
 *
 *   bench_cas STATE_DIR N_BLOBS     each blob has CHUNKS chunks; all belong to one image
 *
 * Prints "empty_rows_per_s A full_rows_per_s B lookup_us C bytes_a_chunk D": rows a second of the
 * first and of the last blob (into the others' rows), a lookup in a batch sorted by key.
 * The last blob is ready, chunk i is CHUNK_BYTES bytes: i (8 bytes, little-endian), then zeros; its
 * digest is their SHA-256. The state directory is left for an agent to start on.
 */
#include "bytes.h"
#include "cas.h"
#include "clock.h"
#include "image_store.h"
#include "mem.h"
#include "public_name.h"
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNKS      100000U
#define CHUNK_BYTES 4096U
#define BLOBS_MAX   1000U
#define KEY_MAX     96

struct bench {
	struct cas *cas;
	struct loop *loop;
	struct metrics *metrics;
	char db_path[4096];
	char keys[BLOBS_MAX][KEY_MAX];
	uint32_t n_blobs;
};

static void die(const char *what, const char *why)
{
	(void)fprintf(stderr, "bench_cas: %s: %s\n", what, why);
	_exit(1);
}

static void must(int r, const char *what, const struct err *e)
{
	if (r != 0)
		die(what, e->msg);
}

static double seconds_since(uint64_t start_ns)
{
	return (double)(clock_now_ns(clock_real()) - start_ns) / (double)NS_PER_S;
}

/* ---- blobs ---- */

static void plain_of(uint32_t i, uint8_t plain[CHUNK_BYTES])
{
	memset(plain, 0, CHUNK_BYTES);
	for (unsigned k = 0; k < 4; k++)
		plain[k] = (uint8_t)(i >> 8 * k);
}

static uint64_t mix(uint64_t x) /* splitmix64 */
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Digests of the ready blob are true; of the others, nobody ever has the bytes. */
static void digest_of(uint32_t blob, bool is_true, uint32_t i, uint8_t ret_digest[DIGEST_BYTES])
{
	uint8_t plain[CHUNK_BYTES];

	if (is_true) {
		plain_of(i, plain);
		digest_compute(DIGEST_SHA256, plain, sizeof(plain), ret_digest);
		return;
	}
	for (unsigned k = 0; k < DIGEST_BYTES / sizeof(uint64_t); k++) {
		const uint64_t word = mix((((uint64_t)blob << 24 | i) << 2) + k);

		memcpy(ret_digest + k * sizeof(word), &word, sizeof(word));
	}
}

static struct blob_layout *layout_of(uint32_t blob, bool is_true)
{
	struct blob_layout *l = layout_new(CHUNKS);

	if (l == NULL)
		die("a layout", "out of memory");
	(void)snprintf(l->blob_id, sizeof(l->blob_id), "%064" PRIx32, blob + 1);
	l->digest_alg = DIGEST_SHA256;
	l->plain_size_bytes = (uint64_t)CHUNKS * CHUNK_BYTES;
	l->packed_size_bytes = l->plain_size_bytes;
	l->packed_data_end = l->plain_size_bytes;
	for (uint32_t i = 0; i < CHUNKS; i++) {
		struct chunk_rec *c = &l->chunks[i];

		c->plain_offset = (uint64_t)i * CHUNK_BYTES;
		c->place = c->plain_offset;
		c->plain_size_bytes = CHUNK_BYTES;
		c->packed_size_bytes = CHUNK_BYTES;
		c->flags = CHUNK_HAS_DIGEST;
		digest_of(blob, is_true, i, c->digest);
	}
	return l;
}

/* ---- the database, as others see it ---- */

static sqlite3 *db_open(const struct bench *b)
{
	sqlite3 *db = NULL;

	if (sqlite3_open_v2(b->db_path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
		die(b->db_path, sqlite3_errmsg(db));
	(void)sqlite3_busy_timeout(db, 10000);
	(void)sqlite3_exec(db, "PRAGMA cache_size = -65536; PRAGMA mmap_size = 4294967296", NULL,
	                   NULL, NULL);
	return db;
}

static sqlite3_stmt *db_prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt = NULL;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		die(sql, sqlite3_errmsg(db));
	return stmt;
}

/* ---- the serial queue that writes it ---- */

struct turn { /* of the writer: a job of ours */
	struct job job;
	struct bench *b;
	int r;
	struct err e;
};

static void stop_loop(struct job *job)
{
	loop_stop(container_of(job, struct turn, job)->b->loop);
}

/* Have the writer do it, and wait until it has. */
static void take_turn(struct bench *b, struct turn *turn)
{
	turn->b = b;
	turn->job.after = stop_loop;
	pool_submit(cas_writer(b->cas), &turn->job);
	loop_run(b->loop);
}

static void no_work(struct job *job)
{
	(void)job;
}

/* Wait until all chunks of the blob have their row. */
static void wait_named(struct bench *b, sqlite3 *db, const char *key)
{
	sqlite3_stmt *stmt = db_prepare(db, "SELECT n_named FROM blob WHERE key = ?");
	bool done = false;

	while (!done) {
		(void)sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
		done = sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_int64(stmt, 0) >= CHUNKS;
		(void)sqlite3_reset(stmt);
		if (!done) /* rows come in portions, each at the end of the queue: after the next */
			take_turn(b, &(struct turn){
					     .job = { .work = no_work, .prio = JOB_PREFETCH } });
	}
	(void)sqlite3_finalize(stmt);
}

/* ---- the parts ---- */

static void put_all(struct cas_blob *blob)
{
	uint8_t plain[CHUNK_BYTES];
	struct err e;

	for (uint32_t i = 0; i < CHUNKS; i++) {
		plain_of(i, plain);
		if (cas_blob_put(blob, i, plain, &e) != 0)
			die("a chunk", "not kept");
	}
}

/* @return rows a second */
static double register_blob(struct bench *b, sqlite3 *db, uint32_t blob_no)
{
	const bool is_last = blob_no + 1 == b->n_blobs;
	struct blob_layout *l = layout_of(blob_no, is_last);
	const uint64_t start_ns = clock_now_ns(clock_real());
	struct cas_blob *blob = NULL;
	struct err e;
	double took_s;

	must(cas_blob_open(b->cas, l, &blob, &e), "a blob", &e);
	(void)snprintf(b->keys[blob_no], KEY_MAX, "%s", cas_blob_key(blob));
	wait_named(b, db, b->keys[blob_no]);
	took_s = seconds_since(start_ns);
	if (is_last)
		put_all(blob);
	cas_blob_release(&blob);
	layout_unref(&l);
	return CHUNKS / took_s;
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, PUBLIC_NAME_BYTES);
}

static double lookup_us(const struct bench *b)
{
	uint8_t(*names)[PUBLIC_NAME_BYTES] = calloc(CHUNKS, sizeof(*names));
	struct public_namer *namer = public_namer_new();
	uint8_t digest[DIGEST_BYTES];
	uint32_t n_found = 0;
	uint64_t start_ns;
	sqlite3 *db = db_open(b);
	sqlite3_stmt *stmt = db_prepare(db, "SELECT blob, idx FROM chunk WHERE name = ?");
	double took_s;

	if (names == NULL)
		die("names", "out of memory");
	for (uint32_t i = 0; i < CHUNKS; i++) {
		digest_of(b->n_blobs / 2, false, i, digest);
		public_name(namer, DIGEST_SHA256, digest, CHUNK_BYTES, names[i]);
	}
	qsort(names, CHUNKS, sizeof(*names), by_bytes);
	(void)sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
	start_ns = clock_now_ns(clock_real());
	for (uint32_t i = 0; i < CHUNKS; i++) {
		(void)sqlite3_bind_blob(stmt, 1, names[i], PUBLIC_NAME_BYTES, SQLITE_STATIC);
		n_found += sqlite3_step(stmt) == SQLITE_ROW;
		(void)sqlite3_reset(stmt);
	}
	took_s = seconds_since(start_ns);
	if (n_found != CHUNKS)
		die("lookups", "not every name was found");
	(void)sqlite3_finalize(stmt);
	(void)sqlite3_close(db);
	public_namer_free(&namer);
	free(names);
	return took_s * 1e6 / CHUNKS;
}

static void record_work(struct job *job)
{
	struct turn *turn = container_of(job, struct turn, job);
	const char *keys[BLOBS_MAX];
	struct image_record image = { .name = "bench.example/bench:1" };

	memset(image.digest, 'b', DIGEST_TEXT_BYTES - 1);
	for (uint32_t i = 0; i < turn->b->n_blobs; i++)
		keys[i] = turn->b->keys[i];
	turn->r = image_store_record(turn->b->cas, &image, keys, turn->b->n_blobs, &turn->e);
}

/* All blobs belong to an image, or they would be nobody's. */
static void record_image(struct bench *b)
{
	struct turn turn = { .job = { .work = record_work } };
	struct image_draft *draft = NULL;
	char digest[DIGEST_TEXT_BYTES] = { 0 };
	struct err e;

	memset(digest, 'b', DIGEST_TEXT_BYTES - 1);
	must(image_draft_begin(b->cas, &draft, &e), "an image", &e);
	must(image_draft_put(draft, "manifest.json", "{}", 2, &e), "an image", &e);
	must(image_draft_commit(&draft, digest, &e), "an image", &e);
	take_turn(b, &turn);
	must(turn.r, "an image", &turn.e);
}

static void open_all(struct bench *b, const char *state_dir)
{
	struct err e;

	must(loop_new(&b->loop, &e), "the loop", &e);
	b->metrics = metrics_new();
	must(cas_open(
		     &(struct cas_opts){
			     .state_dir = state_dir,
			     .loop = b->loop,
			     .clock = clock_real(),
			     .metrics = b->metrics,
			     .dedup = true,
		     },
		     &b->cas, &e),
	     state_dir, &e);
	(void)snprintf(b->db_path, sizeof(b->db_path), "%s/shoal.db", state_dir);
}

int main(int argc, char **argv)
{
	struct bench *b = xcalloc(1, sizeof(*b));
	double empty = 0;
	double full = 0;
	double us;
	struct stat st;
	struct err e;
	sqlite3 *db;

	if (argc != 3)
		die("usage", "bench_cas STATE_DIR N_BLOBS");
	b->n_blobs = (uint32_t)strtoul(argv[2], NULL, 10);
	if (b->n_blobs < 2 || b->n_blobs > BLOBS_MAX)
		die("N_BLOBS", "2 .. 1000");
	open_all(b, argv[1]);
	db = db_open(b);
	for (uint32_t i = 0; i < b->n_blobs; i++) {
		full = register_blob(b, db, i);
		if (i == 0)
			empty = full;
	}
	(void)sqlite3_close(db);
	record_image(b);
	must(cas_flush(b->cas, &e), "flush", &e);
	us = lookup_us(b);
	cas_close(&b->cas);
	if (stat(b->db_path, &st) < 0)
		die(b->db_path, "no size");
	(void)printf(
		"empty_rows_per_s %.0f full_rows_per_s %.0f lookup_us %.3f bytes_a_chunk %.2f\n",
		empty, full, us, (double)st.st_size / ((double)b->n_blobs * CHUNKS));
	metrics_free(&b->metrics);
	loop_free(&b->loop);
	free(b);
	return 0;
}
