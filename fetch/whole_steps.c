/*
 * whole_steps: from a whole blob in a file to verified chunks in the cache.
 *
 * It is unpacked twice: the first time for the digests, which the layout must have before the
 * cache takes a chunk; the second time for the chunks. Blobs without digests are rare, and memory
 * for all of one is not to be had.
 */
#include "whole_steps.h"
#include "bytes.h"
#include "decode.h"
#include "gc.h"
#include "hex.h"
#include "mem.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int whole_file_open(const char *dir, struct cas *cas, struct whole_file *ret_file, struct err *e)
{
	const int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);

	if (fd < 0)
		return err_errno(e, errno, "making a temporary file in %s", dir);
	*ret_file = (struct whole_file){ .fd = fd,
		                         .cas = cas,
		                         .hash = digest_stream_new(DIGEST_SHA256) };
	return 0;
}

static int cannot_write(int code, struct err *e)
{
	const int r = err_errno(e, code, "writing it to a temporary file");

	return err_is_no_space(code)
	               ? err_hint(e, "make room: without chunk digests all of it is checked "
	                             "before any of it is read")
	               : r;
}

int whole_file_append(struct whole_file *file, const struct buffer *bytes, struct err *e)
{
	uint64_t done_bytes = 0;

	digest_stream_add(file->hash, bytes->data, bytes->size_bytes);
	while (done_bytes < bytes->size_bytes) {
		const uint64_t left_bytes = bytes->size_bytes - done_bytes;
		const ssize_t n = pwrite(file->fd, bytes->data + done_bytes, left_bytes,
		                         (off_t)file->size_bytes);

		/* Chunks can be fetched again; without this the image cannot be mounted. */
		if (n < 0 && (errno == EINTR ||
		              (err_is_no_space(errno) && cas_make_room(file->cas, left_bytes))))
			continue;
		if (n <= 0)
			return cannot_write(n < 0 ? errno : EIO, e);
		done_bytes += (uint64_t)n;
		file->size_bytes += (uint64_t)n;
	}
	return 0;
}

void whole_file_close(struct whole_file *file)
{
	close_fd(&file->fd);
	digest_stream_free(&file->hash);
}

static int read_at(const struct whole_file *file, uint64_t offset, uint64_t size_bytes,
                   uint8_t *ret_bytes, struct err *e)
{
	uint64_t done_bytes = 0;

	while (done_bytes < size_bytes) {
		const ssize_t n = pread(file->fd, ret_bytes + done_bytes, size_bytes - done_bytes,
		                        (off_t)(offset + done_bytes));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(e, n < 0 ? errno : EIO, "reading the temporary file");
		done_bytes += (uint64_t)n;
	}
	return 0;
}

/* Room for one unit, kept from one to the next. */
struct room {
	struct decoder *decoder;
	uint8_t *packed, *plain;
	uint64_t packed_bytes, plain_bytes;
};

static void room_clear(struct room *room)
{
	decoder_free(&room->decoder);
	free(room->packed);
	free(room->plain);
}

/* @return false: memory is out */
static bool room_grow(uint8_t **p, uint64_t *size_bytes, uint64_t want_bytes)
{
	if (*p != NULL && *size_bytes >= want_bytes)
		return true;
	free(*p);
	*p = calloc(1, want_bytes + 1);
	*size_bytes = want_bytes;
	return *p != NULL;
}

/* Something to do with each chunk. @return 0; negative: stop with it */
typedef int (*chunk_fn)(struct whole_unpack *u, uint32_t chunk_idx, const uint8_t *plain,
                        struct err *e);

static int each_of_unit(struct whole_unpack *u, uint32_t unit_idx, struct room *room, chunk_fn fn,
                        struct err *e)
{
	struct unit_rec unit;
	int r;

	if (!layout_unit(u->layout, unit_idx, &unit))
		return 0;
	if (unit.packed_size_bytes > UNIT_PACKED_MAX_BYTES ||
	    unit.plain_size_bytes > UNIT_PLAIN_MAX_BYTES ||
	    !range_fits(unit.packed_offset, unit.packed_size_bytes, u->file->size_bytes))
		return err_set(e, EUCLEAN, "unit %u lies outside the blob", unit_idx);
	if (!room_grow(&room->packed, &room->packed_bytes, unit.packed_size_bytes) ||
	    !room_grow(&room->plain, &room->plain_bytes, unit.plain_size_bytes))
		return err_set(e, ENOMEM, "no memory for %u bytes", unit.plain_size_bytes);
	r = read_at(u->file, unit.packed_offset, unit.packed_size_bytes, room->packed, e);
	if (r == 0)
		r = decoder_unit(room->decoder, u->layout, unit_idx, room->packed, room->plain, e);
	for (uint32_t i = 0; i < unit.n_members && r == 0; i++) {
		const uint32_t chunk_idx = layout_member(u->layout, &unit, i);

		r = fn(u, chunk_idx, room->plain + layout_offset_in_unit(u->layout, chunk_idx), e);
	}
	return r;
}

static int each_unit(struct whole_unpack *u, struct room *room, chunk_fn fn, struct err *e)
{
	int r = 0;

	if (room->decoder == NULL)
		return err_set(e, ENOMEM, "no memory to unpack it");
	for (uint32_t i = 0; i < u->layout->n_units && r == 0; i++) {
		if (atomic_load(u->stop))
			return err_set(e, ECANCELED, "nobody wants it any more");
		r = each_of_unit(u, i, room, fn, e);
	}
	return r;
}

static int each_chunk(struct whole_unpack *u, chunk_fn fn, struct err *e)
{
	struct room room = { .decoder = decoder_new() };
	const int r = each_unit(u, &room, fn, e);

	room_clear(&room);
	return r;
}

static int give_digest(struct whole_unpack *u, uint32_t chunk_idx, const uint8_t *plain,
                       struct err *e)
{
	uint8_t digest[DIGEST_BYTES];

	(void)e;
	digest_compute(u->layout->digest_alg, plain, u->layout->chunks[chunk_idx].plain_size_bytes,
	               digest);
	layout_set_digest(u->layout, chunk_idx, digest);
	return 0;
}

static int put_chunk(struct whole_unpack *u, uint32_t chunk_idx, const uint8_t *plain,
                     struct err *e)
{
	const int r = cas_blob_put(u->ret_blob, chunk_idx, plain, e);

	if (r == CAS_MISMATCH)
		return err_set(e, EIO, "chunk %u unpacked differently the second time", chunk_idx);
	return r < 0 ? r : 0; /* CAS_FULL: it can be fetched again, its digest is known now */
}

int whole_unpack(struct whole_unpack *u, struct err *e)
{
	uint8_t digest[DIGEST_BYTES];
	char text[DIGEST_TEXT_BYTES];
	int r;

	digest_stream_end(u->file->hash, digest);
	hex_encode(digest, DIGEST_BYTES, text);
	if (strcmp(text, u->layout->blob_id) != 0)
		return err_set(e, EBADMSG, "its SHA-256 is %s: it was changed on its way", text);
	r = each_chunk(u, give_digest, e);
	if (r == 0) /* it sees that all digests are there, and where they came from */
		r = cas_blob_open(u->cas, u->layout, &u->ret_blob, e);
	if (r == 0)
		r = each_chunk(u, put_chunk, e);
	if (r < 0)
		cas_blob_release(&u->ret_blob);
	return r;
}
