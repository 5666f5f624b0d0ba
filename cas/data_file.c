/*
 * data_file: see the header. Knows names, identities and holes; knows no database.
 */
#include "data_file.h"
#include "bytes.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define BLOCK_BYTES                                                                                \
	UINT64_C(4096) /* a cut inside a block leaves zeros, and no hole, up to its end */

void data_file_name(const char *key, char ret_name[DATA_FILE_NAME_BYTES])
{
	(void)snprintf(ret_name, DATA_FILE_NAME_BYTES, "%s.blob.data", key);
}

uint64_t data_file_takes(const struct chunk_rec *c)
{
	return c->plain_offset % BLOCK_BYTES != 0 ? c->plain_size_bytes
	                                          : align_up(c->plain_size_bytes, BLOCK_BYTES);
}

uint32_t data_file_pad(const struct disk *d, int dir_fd)
{
	uint32_t block_bytes = 0;

	if (d->block_bytes(d, dir_fd, &block_bytes) != 0 || block_bytes == 0)
		return 0;
	return (uint32_t)(block_bytes < BLOCK_BYTES ? block_bytes : BLOCK_BYTES) - 1;
}

int data_file_open_known(const struct data_file_opts *o, int *ret_fd,
                         struct file_identity *ret_identity, struct err *e)
{
	struct file_identity found;
	char name[DATA_FILE_NAME_BYTES];
	int fd;

	data_file_name(o->key, name);
	fd = o->disk->open(o->disk, o->dir_fd, name, O_RDWR | O_NOFOLLOW, 0);
	if (fd < 0)
		return errno == ENOENT || errno == ELOOP || errno == EISDIR || errno == EIO
		               ? 1
		               : err_errno(e, errno, "cannot open blobs/%s", name);
	if (o->disk->identify(o->disk, fd, &found) != 0 || found.size_bytes != o->size_bytes ||
	    !file_identity_equal(&found, o->known)) {
		(void)close(fd);
		return 1;
	}
	*ret_fd = fd;
	*ret_identity = found;
	return 0;
}

static int make_new(const struct data_file_opts *o, const char *name, int fd,
                    struct file_identity *ret_identity, struct err *e)
{
	uint8_t id[FILE_ID_BYTES];

	if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return err_errno(e, errno, "no random bytes for blobs/%s", name);
	if (o->disk->set_id(o->disk, fd, id) != 0 && errno != ENOTSUP && !err_is_no_space(errno))
		return err_errno(e, errno, "cannot mark blobs/%s", name);
	if (o->disk->truncate(o->disk, fd, (off_t)o->size_bytes) != 0)
		return err_errno(e, errno, "cannot give blobs/%s its size of %" PRIu64 " bytes",
		                 name, o->size_bytes);
	if (o->disk->identify(o->disk, fd, ret_identity) != 0)
		return err_errno(e, errno, "cannot stat blobs/%s", name);
	return 0;
}

int data_file_make(const struct data_file_opts *opts, int *ret_fd,
                   struct file_identity *ret_identity, struct err *e)
{
	const struct disk *d = opts->disk;
	char name[DATA_FILE_NAME_BYTES];
	int fd;
	int r;

	data_file_name(opts->key, name);
	if (d->unlink(d, opts->dir_fd, name, 0) != 0 && errno != ENOENT)
		return err_errno(e, errno, "cannot remove the foreign file blobs/%s", name);
	fd = d->open(d, opts->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_errno(e, errno, "cannot make blobs/%s", name);
	r = make_new(opts, name, fd, ret_identity, e);
	if (r < 0) {
		(void)close(fd);
		(void)d->unlink(d, opts->dir_fd, name, 0);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

bool data_file_has_hole(const struct disk *disk, int fd, uint64_t offset, uint64_t size_bytes)
{
	/* Where the file system cannot tell, all is data: SEEK_HOLE answers with the end. */
	const off_t hole = disk->seek(disk, fd, (off_t)offset, SEEK_HOLE);

	return hole < 0 || (uint64_t)hole < offset + size_bytes;
}

bool data_file_is_short(const struct disk *disk, int fd, uint64_t size_bytes,
                        uint64_t *ret_found_bytes)
{
	struct file_identity found;

	if (disk->identify(disk, fd, &found) != 0 || found.size_bytes >= size_bytes)
		return false;
	*ret_found_bytes = found.size_bytes;
	return true;
}

bool data_file_grow_back(const struct disk *disk, int fd, uint64_t found_bytes, uint64_t size_bytes)
{
	uint64_t now_bytes = size_bytes;

	if (data_file_is_short(disk, fd, size_bytes, &now_bytes) && now_bytes < found_bytes)
		return false;
	return now_bytes >= size_bytes || disk->truncate(disk, fd, (off_t)size_bytes) == 0;
}

/* Chunks whose last block is the one that `last` ends in: with a cut inside it, they end in zeros.
 */
static int64_t void_same_block(const struct blob_layout *l, const struct bitmap *ready,
                               uint32_t last, struct bitmap *ret_void)
{
	const struct chunk_rec *c = &l->chunks[last];
	const uint64_t block = (c->plain_offset + c->plain_size_bytes - 1) & ~(BLOCK_BYTES - 1);
	int64_t n = 0;

	for (uint32_t i = last + 1; i-- > 0;) {
		const struct chunk_rec *p = &l->chunks[i];

		if (p->plain_size_bytes == 0 || !bitmap_get(ready, i))
			continue;
		if (p->plain_offset + p->plain_size_bytes <= block)
			break;
		n += bitmap_set(ret_void, i);
	}
	return n;
}

int64_t data_file_missing(const struct disk *disk, int fd, const struct blob_layout *l,
                          const struct bitmap *ready, struct bitmap *ret_void, struct err *e)
{
	uint64_t data_end = 0; /* the extent found last: data up to here, from before this chunk */
	uint64_t data_start = 0;
	uint32_t previous = UINT32_MAX;
	int64_t n = 0;

	for (uint32_t i = bitmap_next_set(ready, 0); i < l->n_chunks;
	     i = bitmap_next_set(ready, i + 1)) {
		const struct chunk_rec *c = &l->chunks[i];
		const uint64_t end = c->plain_offset + c->plain_size_bytes;
		off_t hole = 0;

		if (c->plain_offset >= data_start && end <= data_end && end > 0) {
			previous = i;
			continue;
		}
		hole = disk->seek(disk, fd, (off_t)c->plain_offset, SEEK_HOLE);
		if (hole < 0 && errno != ENXIO) /* ENXIO: behind the end of the file */
			return err_errno(e, errno, "cannot look for holes in the data file of %s",
			                 l->blob_id);
		if (hole >= 0 && (uint64_t)hole >= end && c->plain_size_bytes > 0) {
			data_start = c->plain_offset;
			data_end = (uint64_t)hole;
			previous = i;
			continue;
		}
		n += bitmap_set(ret_void, i);
		if (previous != UINT32_MAX)
			n += void_same_block(l, ready, previous, ret_void);
		previous = UINT32_MAX;
	}
	return n;
}

int data_file_read(const struct disk *disk, int fd, uint64_t offset, uint64_t size_bytes,
                   uint8_t *ret_bytes)
{
	uint64_t done = 0;

	while (done < size_bytes) {
		const ssize_t n = disk->pread(disk, fd, ret_bytes + done, size_bytes - done,
		                              (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		done += (uint64_t)n;
	}
	return 0;
}
