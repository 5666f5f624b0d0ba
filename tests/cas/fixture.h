/*
 * fixture: a state directory, a cas on it, and layouts whose bytes can be made up anywhere.
 */
#pragma once
#include "cas.h"
#include "db.h"
#include "disk.h"
#include "image_store.h"
#include "pool.h"
#include "state.h"
#include <semaphore.h>
/* cmocka wants these four before itself */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
	char dir[64];
	struct loop *loop;
	struct metrics *metrics;
	struct log *log;
	struct cas *cas;
	struct err e;
	/* for the next fixture_open() */
	const struct disk *disk;
	const char *vfs;
	uint64_t reserve_bytes;
	uint64_t quota_bytes;
	uint32_t flush_ms;
	bool dedup;
	struct cas_hooks hooks;
	const struct clock *clock; /* NULL: the real one */
};

/* A job that has a worker until it is let go. */
struct stopper {
	struct job job;
	sem_t go;
};

void stopper_begin(struct stopper *s, struct pool *pool, enum job_prio prio);
void stopper_let_go(struct stopper *s);
void stopper_end(struct stopper *s); /* when its worker did something else since */

int fixture_setup(void **state);    /* a directory, nothing open */
int fixture_teardown(void **state); /* closes, removes the directory */
int fixture_setup_open(void **state);

void fixture_open(struct fixture *f);
int fixture_try_open(struct fixture *f);
void fixture_close(struct fixture *f);
void fixture_reopen(struct fixture *f);
uint32_t n_moved_aside(const char *dir); /* databases that cas_open() did not want */
char *fixture_path(const struct fixture *f, const char *name); /* the caller's */

/* A layout of n chunks of odd sizes, 4 KiB aligned, BLAKE3; what bytes are in chunk i follows from
 * seed and i. */
struct blob_layout *sample_layout(const char *blob_id, uint32_t n_chunks, uint32_t seed);
uint32_t sample_size(uint32_t seed, uint32_t chunk_idx);
uint8_t *sample_bytes(uint32_t seed, uint32_t chunk_idx); /* malloc'd */
#define SAMPLE_ID "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"

struct cas_blob *open_sample(struct fixture *f, const char *blob_id, uint32_t n_chunks,
                             uint32_t seed);
int put_sample(struct cas_blob *blob, uint32_t seed, uint32_t chunk_idx);
/** As cas_blob_put_row(). */
bool put_samples(struct cas_blob *blob, uint32_t seed, uint32_t first_chunk, uint32_t n_chunks);
/** With all of its chunks. */
struct cas_blob *open_full(struct fixture *f, const char *blob_id, uint32_t n_chunks,
                           uint32_t seed);
/** cas_blob_read() of one whole chunk, held against its bytes. @return 0; CAS_MISS; -EBADMSG */
int read_sample(struct cas_blob *blob, uint32_t seed, uint32_t chunk_idx);

/* Another blob of SAMPLE_ID: n chunks of a byte each, a block for each. */
#define BLOCK_BYTES 4096U
#define NO_BLOCK    UINT32_MAX
uint8_t block_byte(uint32_t chunk_idx);
/** By an image that describes [from, to) but for one, or NO_BLOCK. On any thread. */
struct cas_blob *open_blocks(struct fixture *f, uint32_t n_chunks, uint32_t from, uint32_t to,
                             uint32_t but);
int put_block(struct cas_blob *blob, uint32_t chunk_idx);

/** An image of these blobs is recorded, on the writer; and removed. @return of the removal: as
 * image_store_remove() */
void record_image(struct fixture *f, const struct image_record *rec, const char *const *blob_keys,
                  uint32_t n_blobs);
int remove_image(struct fixture *f, const char *digest);
/** One of this blob alone, with the same name, so that it is no garbage. */
void record_image_of(struct fixture *f, const char *id);

/** Wait until the writer has done all that was queued so far. */
void writer_is_done(struct fixture *f);

/** Wait until rows of blobs that were removed are all gone. */
void rows_are_removed(struct fixture *f);

/** The number that a query gives, on a connection of its own. */
uint64_t query(struct fixture *f, const char *sql);
/** On the writer's connection, which alone has what is temporary in it. */
void exec_on_writer(struct fixture *f, const char *sql);
/** From now on no row comes into that table, as where the disk is full; and again. Of one at a
 * time. */
void refuse_rows(struct fixture *f, const char *table);
void take_rows_again(struct fixture *f);
/** Behind the back of a cas that may be open. */
void exec_sql(struct fixture *f, const char *sql);
