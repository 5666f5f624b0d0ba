/*
 * blob_io: the bytes of chunks: read what is ready, keep what was verified, look again.
 *
 * The warm path is cas_blob_read(): two looks at the ready bits around one pread. A file that was
 * cut behind our back and grown again yields zeros, not a short read: so blocks of zeros, and what
 * ends in a zero, are looked at twice (docs/on-disk.md, "Files changed behind our back").
 */
#include "bytes.h"
#include "data_file.h"
#include "refer.h"
#include "share.h"
#include "share_rules.h"
#include "state.h"
#include "unconst.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define BLOCK_BYTES  4096U
#define BARRED_TRIES 3            /* then it is left to the next fetch */
#define ROW_BYTES    (256U << 10) /* written at once: readers wait for no more than that */

bool cas_blob_is_ready(const struct cas_blob *blob, uint32_t chunk_idx)
{
	return bitmap_get(blob->ready, chunk_idx);
}

bool cas_blob_takes_chunks(const struct cas_blob *blob)
{
	return !atomic_load_explicit(&blob->cas->room.full, memory_order_relaxed);
}

uint64_t cas_blob_room_bytes(const struct cas_blob *blob)
{
	return room_unpinned(&blob->cas->room);
}

void blob_mark_ready(struct cas_blob *blob, uint32_t chunk_idx)
{
	(void)bitmap_set(blob->ready, chunk_idx);
	blob_became_ready(blob, chunk_idx);
}

void blob_became_ready(struct cas_blob *blob, uint32_t chunk_idx)
{
	(void)bitmap_set(blob->dirty, chunk_idx / READY_SLICE_BITS);
	flush_timer_wake(&blob->cas->flush_timer);
	share_arrived(blob, chunk_idx);
}

static bool all_ready(const struct cas_blob *blob, const struct blob_layout *l, uint32_t first,
                      uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++)
		if (l->chunks[i].plain_size_bytes > 0 && !bitmap_get(blob->ready, i))
			return false;
	return true;
}

/* Is some block of the file, or the piece of it that was read, nothing but zeros? Costs a byte a
 * block where there is data. */
static bool has_zero_block(const uint8_t *bytes, uint64_t offset, uint32_t n)
{
	for (uint32_t at = 0; at < n;) {
		const uint32_t in_block = (uint32_t)((offset + at) % BLOCK_BYTES);
		const uint32_t piece =
			n - at < BLOCK_BYTES - in_block ? n - at : BLOCK_BYTES - in_block;

		if (all_zero(bytes + at, piece))
			return true;
		at += piece;
	}
	return false;
}

/* Up to where may there be a hole in what was read, or right behind it? A cut inside a block leaves
 * zeros up to the block's end, and the hole behind that: in the last chunk, where it goes on there.
 * @return 0: nowhere */
static uint64_t suspect_to(const struct chunk_rec *last, uint64_t offset, uint32_t n,
                           const uint8_t *bytes)
{
	const uint64_t end = offset + n;
	const uint64_t chunk_end = last->plain_offset + last->plain_size_bytes;

	if (n > 0 && bytes[n - 1] == 0 && chunk_end > align_up(end, BLOCK_BYTES))
		return chunk_end;
	return has_zero_block(bytes, offset, n) ? end : 0;
}

/* Void those of the chunks that have no data, or all of them. @return were there any? */
static bool void_missing(struct cas_blob *blob, uint32_t first, uint32_t n, bool all,
                         enum void_reason why)
{
	const struct blob_layout *l = blob_layout(blob);
	bool any = false;

	for (uint32_t i = first; i < first + n; i++) {
		const struct chunk_rec *c = &l->chunks[i];

		if (c->plain_size_bytes == 0)
			continue;
		if (!all && !data_file_has_hole(blob->cas->disk, blob->fd, c->plain_offset,
		                                c->plain_size_bytes))
			continue;
		blob_void(blob, i, why);
		any = true;
	}
	return any;
}

static void touch(const struct cas_blob *blob, uint32_t first, uint32_t n)
{
	use_touch(&blob->cas->use, blob->used, first, n);
}

static int read_ready(struct cas_blob *blob, uint32_t first_chunk, uint32_t n_chunks,
                      uint64_t plain_offset, uint32_t size_bytes, uint8_t *ret_bytes)
{
	const struct blob_layout *l = blob_layout(blob);
	const uint64_t generation = atomic_load_explicit(&blob->generation, memory_order_acquire);
	uint64_t to;
	int r;

	if (!all_ready(blob, l, first_chunk, n_chunks))
		return CAS_MISS;
	r = data_file_read(blob->cas->disk, blob->fd, plain_offset, size_bytes, ret_bytes);
	if (r < 0) {
		(void)void_missing(blob, first_chunk, n_chunks, r != -ENODATA,
		                   r == -ENODATA ? VOID_NO_DATA : VOID_UNREADABLE);
		return CAS_MISS;
	}
	to = suspect_to(&l->chunks[first_chunk + n_chunks - 1], plain_offset, size_bytes,
	                ret_bytes);
	if (to != 0 &&
	    data_file_has_hole(blob->cas->disk, blob->fd, plain_offset, to - plain_offset) &&
	    void_missing(blob, first_chunk, n_chunks, false, VOID_NO_DATA))
		return CAS_MISS;
	/* What was taken back meanwhile may have been punched, or be half replaced. */
	if (atomic_load_explicit(&blob->generation, memory_order_acquire) != generation)
		return CAS_MISS;
	if (!all_ready(blob, l, first_chunk, n_chunks))
		return CAS_MISS;
	touch(blob, first_chunk, n_chunks);
	return 0;
}

static bool range_in_chunks(const struct blob_layout *l, uint32_t first_chunk, uint32_t n_chunks,
                            uint64_t plain_offset, uint32_t size_bytes)
{
	const struct chunk_rec *last;

	if (n_chunks == 0 || !range_fits(first_chunk, n_chunks, l->n_chunks) ||
	    !range_fits(plain_offset, size_bytes, l->plain_size_bytes))
		return false;
	last = &l->chunks[first_chunk + n_chunks - 1];
	return plain_offset >= l->chunks[first_chunk].plain_offset &&
	       plain_offset + size_bytes <= last->plain_offset + last->plain_size_bytes;
}

/* Chunks from *idx on that stand side by side, ready here: read them as far as the range goes. */
struct range {
	uint64_t offset; /* what is left of it */
	uint64_t end;
	uint8_t *dst;
};

static void advance(struct range *range, uint64_t to)
{
	range->dst += to - range->offset;
	range->offset = to;
}

/* How many chunks from first on, of those before end_chunk, are ready here? What another image
 * described, and brought, has no place in this layout. */
static uint32_t count_ready(const struct cas_blob *blob, const struct blob_layout *l,
                            uint32_t first, uint32_t end_chunk)
{
	uint32_t n = 0;

	while (first + n < end_chunk && l->chunks[first + n].plain_size_bytes > 0 &&
	       bitmap_get(blob->ready, first + n))
		n++;
	return n;
}

/* How many stand in one owner's file as they do here? */
static uint32_t count_referred(const struct cas_blob *blob, uint32_t first, uint32_t end_chunk,
                               struct cas_blob **ret_owner, uint32_t *ret_idx)
{
	const struct blob_layout *l = blob_layout(blob);
	const struct blob_layout *theirs = NULL;
	struct cas_blob *owner = NULL;
	uint32_t idx = 0;
	uint32_t n = 1;

	if (!refer_get(blob, first, ret_owner, ret_idx))
		return 0;
	theirs = blob_layout(*ret_owner);
	while (first + n < end_chunk && l->chunks[first + n].plain_size_bytes > 0 &&
	       !bitmap_get(blob->ready, first + n) && refer_get(blob, first + n, &owner, &idx) &&
	       owner == *ret_owner && idx == *ret_idx + n &&
	       theirs->chunks[idx].plain_offset - theirs->chunks[*ret_idx].plain_offset ==
	               l->chunks[first + n].plain_offset - l->chunks[first].plain_offset)
		n++;
	return n;
}

/* @return 0; CAS_MISS */
static int read_referred(struct cas_blob *blob, uint32_t *i, uint32_t end_chunk,
                         struct range *range)
{
	const struct blob_layout *l = blob_layout(blob);
	struct cas_blob *owner = NULL;
	uint32_t idx = 0;
	const uint32_t n = count_referred(blob, *i, end_chunk, &owner, &idx);
	const struct chunk_rec *c = &l->chunks[*i];
	uint64_t to;
	uint32_t turn;
	int r;

	if (n == 0)
		return CAS_MISS;
	to = min_u64(range->end,
	             l->chunks[*i + n - 1].plain_offset + l->chunks[*i + n - 1].plain_size_bytes);
	turn = readers_enter(&owner->readers);
	r = read_ready(owner, idx, n,
	               blob_layout(owner)->chunks[idx].plain_offset +
	                       (range->offset - c->plain_offset),
	               (uint32_t)(to - range->offset), range->dst);
	readers_leave(&owner->readers, turn);
	advance(range, to);
	*i += n;
	return r;
}

/* Some chunks are ready here, others stand with owners; between them is padding. */
static int read_mixed(struct cas_blob *blob, uint32_t first, uint32_t end_chunk,
                      struct range *range)
{
	const struct blob_layout *l = blob_layout(blob);
	int r = 0;

	for (uint32_t i = first; i < end_chunk && r == 0 && range->offset < range->end;) {
		const struct chunk_rec *c = &l->chunks[i];
		const uint64_t begin = min_u64(c->plain_offset, range->end);
		uint32_t n;
		uint64_t to;

		if (c->plain_size_bytes == 0 ||
		    c->plain_offset + c->plain_size_bytes <= range->offset) {
			i++;
			continue;
		}
		if (begin > range->offset) {
			memset(range->dst, 0, begin - range->offset);
			advance(range, begin);
			continue;
		}
		n = count_ready(blob, l, i, end_chunk);
		if (n == 0) {
			r = read_referred(blob, &i, end_chunk, range);
			continue;
		}
		to = min_u64(range->end, l->chunks[i + n - 1].plain_offset +
		                                 l->chunks[i + n - 1].plain_size_bytes);
		r = read_ready(blob, i, n, range->offset, (uint32_t)(to - range->offset),
		               range->dst);
		advance(range, to);
		i += n;
	}
	if (r == 0 && range->offset < range->end) /* padding behind the last */
		memset(range->dst, 0, range->end - range->offset);
	return r;
}

/* NOLINTNEXTLINE(readability-function-size): where from, how much, where to */
int cas_blob_read(struct cas_blob *blob, uint32_t first_chunk, uint32_t n_chunks,
                  uint64_t plain_offset, uint32_t size_bytes, uint8_t *ret_bytes, struct err *e)
{
	const struct blob_layout *l = blob_layout(blob);
	uint32_t turn;
	int r;

	if (!range_in_chunks(l, first_chunk, n_chunks, plain_offset, size_bytes))
		return err_set(e, EINVAL, "blob %s has no chunks %" PRIu32 " + %" PRIu32, blob->key,
		               first_chunk, n_chunks);
	turn = readers_enter(&blob->readers);
	r = read_ready(blob, first_chunk, n_chunks, plain_offset, size_bytes, ret_bytes);
	if (r == CAS_MISS && atomic_load_explicit(&blob->refers, memory_order_acquire) != NULL) {
		struct range range = { .offset = plain_offset,
			               .end = plain_offset + size_bytes,
			               .dst = ret_bytes };

		r = read_mixed(blob, first_chunk, first_chunk + n_chunks, &range);
	}
	readers_leave(&blob->readers, turn);
	return r;
}

/* @return 0; CAS_FULL; negative */
static int write_chunk(struct cas_blob *blob, const struct chunk_rec *c, const uint8_t *plain,
                       struct err *e)
{
	const struct disk *d = blob->cas->disk;
	uint32_t done = 0;

	while (done < c->plain_size_bytes) {
		const ssize_t n = d->pwrite(d, blob->fd, plain + done, c->plain_size_bytes - done,
		                            (off_t)(c->plain_offset + done));

		if (n > 0) {
			done += (uint32_t)n;
		} else if (n == 0 || err_is_no_space(errno)) {
			room_ran_out(&blob->cas->room, n == 0 ? ENOSPC : errno);
			return CAS_FULL;
		} else if (errno != EINTR) {
			const int code = errno;

			room_write_failed(&blob->cas->room, code);
			return err_errno(e, code, "cannot write to the data file of blob %s",
			                 blob->key);
		}
	}
	return 0;
}

static uint64_t end_of(const struct chunk_rec *c)
{
	return c->plain_offset + c->plain_size_bytes;
}

/* One write: neighbours, and zeros between them. What is wrong with it, each finds out for itself.
 * @return 0; -EIO not all of it is written */
static int write_row(struct cas_blob *blob, const struct chunk_rec *chunks, uint32_t n_chunks,
                     const uint8_t *const *plain)
{
	static const uint8_t zeros[BLOCK_BYTES];
	const struct disk *d = blob->cas->disk;
	struct iovec pieces[2 * CAS_ROW_MAX];
	uint64_t at = chunks[0].plain_offset;
	ssize_t done;
	int n = 0;

	for (uint32_t i = 0; i < n_chunks; i++) {
		if (chunks[i].plain_offset > at)
			pieces[n++] = (struct iovec){ .iov_base = unconst(zeros),
				                      .iov_len = chunks[i].plain_offset - at };
		pieces[n++] = (struct iovec){ .iov_base = unconst(plain[i]),
			                      .iov_len = chunks[i].plain_size_bytes };
		at = end_of(&chunks[i]);
	}
	done = d->pwritev(d, blob->fd, pieces, n, (off_t)chunks[0].plain_offset);
	return done == (ssize_t)(at - chunks[0].plain_offset) ? 0 : -EIO;
}

/* Like a reader: nothing is punched while it writes. Whoever bars a chunk and then waits for the
 * readers finds it ready, or knows that nobody writes it.
 * @param e  for a single chunk alone
 * @return 0; 1 one is barred; CAS_FULL; negative */
#define IS_BARRED 1
_Static_assert(IS_BARRED != CAS_FULL, "two outcomes");
static int keep(struct cas_blob *blob, const struct blob_layout *l, uint32_t first_chunk,
                uint32_t n_chunks, const uint8_t *const *plain, struct err *e)
{
	const struct chunk_rec *chunks = &l->chunks[first_chunk];
	const uint32_t turn = readers_enter(&blob->readers);
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n_chunks; i++)
		r = bitmap_get(blob->barred, first_chunk + i) ? IS_BARRED : 0;
	if (r == 0)
		r = n_chunks == 1 ? write_chunk(blob, chunks, plain[0], e)
		                  : write_row(blob, chunks, n_chunks, plain);
	if (r == 0) {
		touch(blob, first_chunk, n_chunks);
		for (uint32_t i = 0; i < n_chunks; i++)
			blob_mark_ready(blob, first_chunk + i);
	}
	readers_leave(&blob->readers, turn);
	return r;
}

/* @return 0; CAS_FULL; negative */
static int keep_unbarred(struct cas_blob *blob, const struct blob_layout *l, uint32_t chunk_idx,
                         const uint8_t *plain, struct err *e)
{
	for (unsigned i = 0; i < BARRED_TRIES; i++) {
		const int r = keep(blob, l, chunk_idx, 1, &plain, e);

		if (r != IS_BARRED)
			return r;
		if (blob_clear_now(blob, e) < 0) /* behind an eviction, too */
			break;                   /* told by the job that tries it, too */
	}
	return CAS_FULL;
}

/* @param memo  NULL: the digest is computed */
static bool has_digest(enum digest_alg alg, const struct chunk_rec *c, struct digest_memo *memo,
                       const uint8_t *plain)
{
	return memo == NULL ? digest_matches(alg, plain, c->plain_size_bytes, c->digest)
	                    : digest_memo_matches(memo, alg, plain, c->plain_size_bytes, c->digest);
}

/* Does the chunk have the bytes that it is named by? @return 0; CAS_MISMATCH; -EINVAL */
static int verify(const struct cas_blob *blob, const struct blob_layout *l, uint32_t chunk_idx,
                  struct digest_memo *memo, const uint8_t *plain, struct err *e)
{
	const struct chunk_rec *c = &l->chunks[chunk_idx];

	if (c->flags & CHUNK_HAS_DIGEST)
		return has_digest(l->digest_alg, c, memo, plain) ? 0 : CAS_MISMATCH;
	if (l->trust != TRUST_NONE)
		return err_set(e, EINVAL, "chunk %" PRIu32 " of blob %s has no digest yet",
		               chunk_idx, blob->key);
	return 0;
}

static uint64_t takes_of(const struct chunk_rec *chunks, uint32_t n_chunks)
{
	uint64_t n_bytes = 0;

	for (uint32_t i = 0; i < n_chunks; i++)
		n_bytes += data_file_takes(&chunks[i]);
	return n_bytes;
}

/* These were written, and are ready. */
static void note_kept(struct cas_blob *blob, const struct blob_layout *l, uint32_t first_chunk,
                      uint32_t n_chunks, uint64_t takes_bytes)
{
	const struct chunk_rec *chunks = &l->chunks[first_chunk];
	struct room *room = &blob->cas->room;

	for (uint32_t i = 0; i < n_chunks; i++) {
		if (!(chunks[i].flags & CHUNK_HAS_DIGEST))
			metrics_add(blob->cas->metrics, METRIC_UNVERIFIED_BYTES, NULL,
			            chunks[i].plain_size_bytes);
		refer_drop(blob, first_chunk + i);
	}
	room_wrote(room, takes_bytes);
	use_clock_wrote(&blob->cas->use, takes_bytes, atomic_load(&room->may_bytes));
}

int cas_blob_put(struct cas_blob *blob, uint32_t chunk_idx, const uint8_t *plain, struct err *e)
{
	const struct blob_layout *l = blob_layout(blob);
	struct room *room = &blob->cas->room;
	uint64_t takes;
	int r;

	if (chunk_idx >= l->n_chunks || l->chunks[chunk_idx].plain_size_bytes == 0)
		return err_set(e, EINVAL, "blob %s has no chunk %" PRIu32, blob->key, chunk_idx);
	r = verify(blob, l, chunk_idx, NULL, plain, e);
	if (r != 0 || cas_blob_is_present(blob, chunk_idx))
		return r;
	takes = data_file_takes(&l->chunks[chunk_idx]);
	if (!room_for(room, takes))
		return CAS_FULL;
	r = keep_unbarred(blob, l, chunk_idx, plain, e);
	if (r != 0) {
		room_wrote_not(room, takes);
		return r;
	}
	note_kept(blob, l, chunk_idx, 1, takes);
	return 0;
}

/* ---- rows ---- */

uint32_t cas_blob_row(const struct cas_blob *blob, uint32_t first_chunk, uint32_t n_chunks)
{
	const struct blob_layout *l = blob_layout(blob);
	uint32_t n = 1;

	if (!range_fits(first_chunk, n_chunks, l->n_chunks) ||
	    cas_blob_is_present(blob, first_chunk))
		return 1;
	for (; n < n_chunks && n < CAS_ROW_MAX; n++) {
		const struct chunk_rec *before = &l->chunks[first_chunk + n - 1];
		const struct chunk_rec *c = before + 1;

		/* No image places another chunk between them: their numbers are neighbours. */
		if (before->plain_size_bytes == 0 || c->plain_size_bytes == 0 ||
		    c->plain_offset - end_of(before) > blob->cas->pad_bytes ||
		    end_of(c) - l->chunks[first_chunk].plain_offset > ROW_BYTES ||
		    cas_blob_is_present(blob, first_chunk + n))
			break;
	}
	/* Where room is short, each finds out for itself whether there is some for it. */
	return room_is_wide(&blob->cas->room, takes_of(&l->chunks[first_chunk], n)) ? n : 1;
}

bool cas_blob_put_row(struct cas_blob *blob, uint32_t first_chunk, uint32_t n_chunks,
                      const uint8_t *const *plain)
{
	const struct blob_layout *l = blob_layout(blob);
	struct room *room = &blob->cas->room;
	struct err why;
	uint64_t takes;

	assert(n_chunks >= 1 && n_chunks <= CAS_ROW_MAX);
	for (uint32_t i = 0; i < n_chunks; i++)
		if (verify(blob, l, first_chunk + i, NULL, plain[i], &why) != 0)
			return false;
	takes = takes_of(&l->chunks[first_chunk], n_chunks);
	if (!room_for(room, takes))
		return false;
	if (keep(blob, l, first_chunk, n_chunks, plain, &why) != 0) {
		room_wrote_not(room, takes);
		return false;
	}
	note_kept(blob, l, first_chunk, n_chunks, takes);
	return true;
}

/* @param memo   NULL: the digest is computed
 * @param plain  room for the chunk */
static int check_with(struct cas_blob *blob, uint32_t chunk_idx, struct digest_memo *memo,
                      uint8_t *plain, struct err *e)
{
	static const char *const from_cache[] = { "cache" };
	const struct blob_layout *l = blob_layout(blob);
	const struct chunk_rec *c = &l->chunks[chunk_idx];
	struct cas_blob *holder = blob; /* in whose file it stands */
	uint32_t idx = chunk_idx;
	int r = cas_blob_read(blob, chunk_idx, 1, c->plain_offset, c->plain_size_bytes, plain, e);

	if (r == 0)
		r = verify(blob, l, chunk_idx, memo, plain, e);
	if (r != CAS_MISMATCH)
		return r;
	metrics_add(blob->cas->metrics, METRIC_VERIFY_FAILURES, from_cache, 1);
	(void)(!bitmap_get(blob->ready, chunk_idx) && refer_get(blob, chunk_idx, &holder, &idx));
	blob_void(holder, idx, VOID_WRONG_BYTES);
	r = blob_clear_now(holder, e);
	return r < 0 ? r : CAS_MISMATCH;
}

int cas_blob_read_checked(struct cas_blob *blob, uint32_t chunk_idx, uint8_t *ret_plain,
                          struct err *e)
{
	const struct blob_layout *l = blob_layout(blob);

	if (chunk_idx >= l->n_chunks || l->chunks[chunk_idx].plain_size_bytes == 0)
		return CAS_MISS;
	if (!(l->chunks[chunk_idx].flags & CHUNK_HAS_DIGEST))
		return err_set(e, EINVAL, "chunk %" PRIu32 " of blob %s has no digest", chunk_idx,
		               blob->key);
	return cas_blob_is_present(blob, chunk_idx)
	               ? check_with(blob, chunk_idx, blob->cas->memo, ret_plain, e)
	               : CAS_MISS;
}

int cas_blob_check(struct cas_blob *blob, uint32_t chunk_idx, struct err *e)
{
	const struct blob_layout *l = blob_layout(blob);
	uint8_t *plain = NULL;
	int r;

	if (chunk_idx >= l->n_chunks || l->chunks[chunk_idx].plain_size_bytes == 0 ||
	    !cas_blob_is_present(blob, chunk_idx))
		return CAS_MISS;
	plain = malloc(l->chunks[chunk_idx].plain_size_bytes);
	if (plain == NULL)
		return err_set(e, ENOMEM, "checking chunk %" PRIu32 ": out of memory", chunk_idx);
	r = check_with(blob, chunk_idx, NULL, plain, e);
	free(plain);
	return r;
}
