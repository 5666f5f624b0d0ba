/*
 * cas: what this node has: blob cache files, their ready maps, and the CAS database.
 *
 * Knows layouts, bytes, digests and disk space. Knows nothing of networks, images' trees or FUSE.
 * Nothing becomes ready unverified (but for TRUST_NONE layouts, which are counted).
 *
 * State directory: blobs/<blob key>.blob.data (sparse, plain bytes at their plain offsets),
 * shoal.db (SQLite, WAL), images/ (image_store.h), lock. docs/on-disk.md fixes the form.
 *
 * Threads: [worker] blocks: any thread but the loop. [writer] only from a job on cas_writer(), the
 * serial queue that alone writes SQLite. [any] never blocks on more than a read of the data file.
 *
 * Order (docs/on-disk.md, "Order"): data is on disk (fdatasync) before the transaction that says
 * "ready" commits; a transaction that clears is synced before the hole is punched. So after kill -9
 * or power loss a chunk is absent or right. The bit in memory may lead the disk when setting.
 */
#pragma once
#include "auto.h"
#include "clock.h"
#include "err.h"
#include "layout.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "pool.h"
#include <stdbool.h>
#include <stdint.h>

struct cas;
struct cas_blob;
struct disk; /* cas/disk.h: the file operations, replaceable for the power-loss tests */

/* Expected; no err is set. */
enum cas_outcome {
	CAS_MISS = 1, /* not ready here */
	CAS_MISMATCH, /* the bytes do not have the chunk's digest; nothing kept */
	CAS_FULL,     /* verified, but the disk takes no more: use the bytes from memory */
};

struct cas_opts {
	const char *state_dir;     /* absolute; made (0700) if missing; copied */
	struct loop *loop;         /* borrowed; the flush timer runs there */
	const struct clock *clock; /* borrowed */
	struct log *log;           /* borrowed */
	struct metrics *metrics;   /* borrowed */
	uint64_t quota_bytes;      /* 0: none but the reserve */
	uint64_t reserve_bytes;    /* stay free on the file system */
	uint32_t high_percent;     /* of what blobs may take: eviction starts above; 0: 95 */
	uint32_t low_percent;      /* ... and stops below; 0: 85 */
	uint32_t flush_ms;         /* how late a ready bit may reach the disk; 0: 1000 */
	bool dedup;                /* chunks are shared between blobs (share.h) */
	const struct disk *disk;   /* NULL: the real one */
	const char *sqlite_vfs;    /* NULL: SQLite's default */
};

/**
 * [worker] Lock the state directory, open the database (a corrupt or foreign one is moved aside
 * with a log line and the cache starts cold).
 *
 * @return 0; -EBUSY another agent has the directory, *e says its pid; -ENOTSUP the database is of a
 *         newer shoal; -EROFS, -EPERM, -ENOSPC, -EIO
 */
MUST_CHECK int cas_open(const struct cas_opts *opts, struct cas **ret_cas, struct err *e);

/** [any] Other quota, reserve and watermarks from now on; of opts nothing else is looked at. What
 * is too much now goes soon. */
void cas_set_limits(struct cas *cas, const struct cas_opts *opts);

/** [worker] Flush, close, unlock. All blobs must have been released. NULL is fine. On the thread of
 * the loop while it does not run, or on another one while it does. */
void cas_close(struct cas **cas);

/* [any thread] A chunk became present, or went (evicted, wrong bytes): who tells others. Must not
 * block, nor call cas but for what is marked [any]. NULL: nobody. */
struct cas_hooks {
	void (*on_ready)(void *arg, struct cas_blob *blob, uint32_t chunk_idx);
	void (*on_gone)(void *arg, struct cas_blob *blob, uint32_t chunk_idx);
	void *arg;
};

/** From now on they are called. At most once; hooks is copied. */
void cas_hooks_on(struct cas *cas, const struct cas_hooks *hooks);

/** [blocks] None of them runs any more when this returns, and none will: what they use may go
 * before cas does. Not from inside one. NULL, and none set, are fine. */
void cas_hooks_off(struct cas *cas);

/** [worker] Everything that is ready now is recorded on disk when this returns. */
MUST_CHECK int cas_flush(struct cas *cas, struct err *e);

/** The serial queue. Borrowed. */
struct pool *cas_writer(struct cas *cas);

/* ---- blobs ---- */

/**
 * [worker] Open a blob's cache file, or make it. One object a blob key in the process: the same
 * blob opened twice is the same object, so that all mounts share bits and flights.
 *
 * The key is the blob id; where a stored layout of this id does not agree with this one
 * (layout_agrees), a variant with its own file ("<blob id>-<8 hex of the layout's hash>"), so that
 * no image can spoil another's. The same where one that is open says otherwise how the origin packs
 * the blob (units, places in the object, compressor, cipher): who comes first has the shorter key.
 * And where its layout has grown so often that what it left behind takes 64 MiB
 * (cas_blob_layout()).
 *
 * A TRUST_WHOLE_BLOB layout never shares a file with one whose digests an image claims: it has its
 * own variant. Without digests: it is completed with those that were computed here earlier (then
 * layout->trust becomes TRUST_DIGESTS), else stays as it is and nothing can be put. With digests
 * (whoever has verified the whole blob sets them, leaves trust alone and opens it): they are
 * recorded, and layout->trust becomes TRUST_DIGESTS.
 *
 * The database row and its chunk rows follow on the writer; nobody waits for them.
 *
 * @param layout  a reference is taken. On return use cas_blob_layout()
 * @param ret_blob  one reference, ended by cas_blob_release()
 */
MUST_CHECK int cas_blob_open(struct cas *cas, struct blob_layout *layout,
                             struct cas_blob **ret_blob, struct err *e);
struct cas_blob *cas_blob_ref(struct cas_blob *blob);
void cas_blob_release(struct cas_blob **blob); /* [any] NULL is fine; the last one closes the file
                                                  later, on the writer */

/** The layout at this moment. It grows when another image describes chunks that the first one left
 * out (an image on a chunk dictionary names a part of a blob): same n_chunks, n_units and places,
 * holes filled in. So ask again for each use; earlier ones stay readable as long as the blob. */
const struct blob_layout *cas_blob_layout(const struct cas_blob *blob);
const char *cas_blob_key(const struct cas_blob *blob);

/** [any] Is what is put now kept, as far as is known? false: the cache is full, and bytes go to
 * their readers alone. */
bool cas_blob_takes_chunks(const struct cas_blob *blob);

/** [any] How much of the cache, plain, comes and goes with use: what blobs may take, without what
 * is pinned. As of the last look. */
uint64_t cas_blob_room_bytes(const struct cas_blob *blob);

/** [any] A snapshot: it may be evicted, or found missing, the next moment. chunk_idx < n_chunks. */
bool cas_blob_is_ready(const struct cas_blob *blob, uint32_t chunk_idx);
uint32_t cas_blob_n_ready(const struct cas_blob *blob);
/** [any] The chunks that its layout describes: without numbers that no image gives to one. */
uint32_t cas_blob_n_described(const struct cas_blob *blob);

/**
 * [any] The warm path: no lock, no allocation, no SQLite; one pread.
 *
 * Copies [plain_offset, + size_bytes) of the address space, which must lie inside chunks
 * first_chunk .. first_chunk + n_chunks - 1 and the padding between them. Looks at the ready bits
 * before and after. A short read, a hole or a read error takes the chunks back (the file was cut
 * behind our back, or the disk has a bad place): they are missing then.
 * @return 0; CAS_MISS; -EINVAL no such range
 */
MUST_CHECK int cas_blob_read(struct cas_blob *blob, uint32_t first_chunk, uint32_t n_chunks,
                             uint64_t plain_offset, uint32_t size_bytes, uint8_t *ret_bytes,
                             struct err *e);

/**
 * [worker] Check a chunk against its digest, write it, set its bit.
 *
 * @param plain  plain_size_bytes of the chunk; borrowed
 * @return 0 kept, or there already; CAS_MISMATCH; CAS_FULL; -EIO
 */
MUST_CHECK int cas_blob_put(struct cas_blob *blob, uint32_t chunk_idx, const uint8_t *plain,
                            struct err *e);

/** [any] How many of the chunks from first_chunk on, at most n_chunks, stand side by side, with
 * nothing but padding between them, are not here, and find room without any being made? 1 where
 * that is the first alone, or not even that. */
#define CAS_ROW_MAX 64
uint32_t cas_blob_row(const struct cas_blob *blob, uint32_t first_chunk, uint32_t n_chunks);

/**
 * [worker] As cas_blob_put() of each chunk of such a row, with one write for all of them.
 *
 * @param plain  plain[i]: plain_size_bytes of chunk first_chunk + i; borrowed
 * @return true: all are kept. false: none may be, and cas_blob_put() says of each what happens to
 *   it
 */
MUST_CHECK bool cas_blob_put_row(struct cas_blob *blob, uint32_t first_chunk, uint32_t n_chunks,
                                 const uint8_t *const *plain);

/** [worker] Read a ready chunk again and hold it against its digest; where it is wrong: clear it,
 * count it, log it. @return 0; CAS_MISS not ready; CAS_MISMATCH it was wrong; -EIO */
MUST_CHECK int cas_blob_check(struct cas_blob *blob, uint32_t chunk_idx, struct err *e);

/* ---- origins of a blob: text as docs/api.md has it: "registry:HOST[:PORT]/REPOSITORY",
 * "dir:/path", "http(s)://.../". Never a secret, never user info. ---- */

/** [any] Remember that the blob can be had there; written by the writer soon. Copied. Of more than
 * CAS_ORIGINS_MAX the oldest is forgotten: the one told last is in use. */
void cas_blob_add_origin(struct cas_blob *blob, const char *origin);

/** [any] Copies of all known origins, in order of first recording. ret_origins: at most max.
 * @return how many */
#define CAS_ORIGIN_MAX_BYTES 1024
#define CAS_ORIGINS_MAX      16
struct cas_origin {
	char text[CAS_ORIGIN_MAX_BYTES];
};
uint32_t cas_blob_origins(const struct cas_blob *blob, struct cas_origin *ret_origins,
                          uint32_t max);

/* ---- what the node has, for people ---- */

struct cas_blob_info {
	char key[BLOB_ID_MAX + 16];
	char blob_id[BLOB_ID_MAX + 1];
	uint32_t n_chunks;   /* that the layout describes (holes not counted) */
	uint32_t n_ready;    /* in its own file */
	uint32_t n_referred; /* in other blobs' files */
	uint64_t plain_size_bytes;
	uint64_t ready_bytes; /* plain bytes of ready chunks */
	uint64_t disk_bytes;  /* allocated for the data file */
	bool open;
	uint32_t n_origins;
	struct cas_origin origins[CAS_ORIGINS_MAX];
};

/** [worker] Every registered blob, one call each, in order of key. fn returns 0 to go on. */
MUST_CHECK int cas_blobs(struct cas *cas, int (*fn)(void *arg, const struct cas_blob_info *info),
                         void *arg, struct err *e);

struct cas_chunk_place {
	char key[BLOB_ID_MAX + 16];
	uint32_t chunk_idx;
	uint32_t plain_size_bytes;
	uint64_t plain_offset;
	bool ready;    /* in this blob's file */
	bool referred; /* in another one's */
};

/** [worker] Where a chunk with this digest (either algorithm) is known. fn returns 0 to go on. */
MUST_CHECK int cas_chunk_find(struct cas *cas, const uint8_t digest[DIGEST_BYTES],
                              int (*fn)(void *arg, const struct cas_chunk_place *place), void *arg,
                              struct err *e);

struct cas_fault {
	char key[BLOB_ID_MAX + 16];
	uint32_t chunk_idx;
	/* "wrong bytes", "data missing", "unreadable"; of its dedup map: "refers to another chunk"
	 */
	const char *what;
};

struct cas_verify_progress {
	uint64_t chunks_done, chunks_total, bytes_done, bytes_total;
	uint64_t n_faults;
	uint64_t n_dead_refs;     /* to chunks that their owners do not have now: no fault */
	uint64_t n_needless_refs; /* of chunks that the blob has itself: likewise */
	uint64_t n_left_out; /* blobs whose file, or rows, cannot be read: the log names them */
};

/**
 * [worker] Hash every ready chunk of every registered blob again, open or not, and hold the dedup
 * maps in the database against the owners that they name. A wrong one is made
 * absent (cleared durably) and told to fault(). progress() now and then; it returns non-zero to
 * stop (-ECANCELED). Either may be NULL.
 * @return 0, also with faults: see ret_total
 */
MUST_CHECK int cas_verify(struct cas *cas, void (*fault)(void *arg, const struct cas_fault *f),
                          int (*progress)(void *arg, const struct cas_verify_progress *p),
                          void *arg, struct cas_verify_progress *ret_total, struct err *e);

/** [worker] Disk space of the blobs directory, for the gauge and status. */
MUST_CHECK int cas_disk_bytes(struct cas *cas, uint64_t *ret_bytes, struct err *e);
