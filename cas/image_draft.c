/*
 * image_draft: fill an image's directory under a temporary name, then rename it into place: it is
 * complete or not there, also after a power cut. And read what is there.
 *
 * Knows files and digests as names; knows nothing of what the files mean.
 */
#include "bytes.h"
#include "data_file.h"
#include "gc.h"
#include "hex.h"
#include "image_dirs.h"
#include "image_store.h"
#include "mem.h"
#include "state.h"
#include "unconst.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES 48
#define READ_BYTES (UINT32_C(256) << 10)

struct image_draft {
	struct cas *cas;
	char name[NAME_BYTES];
	int dir_fd;
};

static int random_name(const char *prefix, char ret_name[NAME_BYTES], struct err *e)
{
	uint8_t random[12];
	char hex[2 * sizeof(random) + 1];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return err_errno(e, errno, "no random bytes");
	hex_encode(random, sizeof(random), hex);
	(void)snprintf(ret_name, NAME_BYTES, "%s%s", prefix, hex);
	return 0;
}

static int write_all(const struct disk *d, int fd, const uint8_t *data, uint64_t size_bytes,
                     bool sync)
{
	uint64_t done = 0;

	while (done < size_bytes) {
		const ssize_t n = d->pwrite(d, fd, data + done, size_bytes - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 ? -ENOSPC : -errno;
		done += (uint64_t)n;
	}
	return !sync || d->sync(d, fd) == 0 ? 0 : -errno;
}

static int try_put(const struct disk *d, int dir_fd, const char *name,
                   const struct image_file *file, bool sync)
{
	AUTO(close_fd) int fd = d->open(d, dir_fd, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	int r = fd >= 0 ? 0 : -errno;

	if (r == 0)
		r = write_all(d, fd, file->data, file->size_bytes, sync);
	if (r < 0 && fd >= 0)
		(void)d->unlink(d, dir_fd, name, 0);
	return r;
}

/* Chunks can be fetched again; without this the image cannot be mounted. */
static bool is_full_and_has_room_now(struct cas *cas, int r, uint64_t size_bytes)
{
	return err_is_no_space(-r) && cas_make_room(cas, size_bytes);
}

static int put_file(struct cas *cas, int dir_fd, const char *name, const void *data,
                    uint64_t size_bytes, struct err *e)
{
	const struct image_file file = { .data = data, .size_bytes = size_bytes };
	int r = try_put(cas->disk, dir_fd, name, &file, true);

	if (is_full_and_has_room_now(cas, r, size_bytes))
		r = try_put(cas->disk, dir_fd, name, &file, true);
	return r < 0 ? err_errno(e, -r, "cannot write %s of an image", name) : 0;
}

static int make_dir(struct cas *cas, const char *name)
{
	int r = mkdirat(cas->images_fd, name, 0700) == 0 ? 0 : -errno;

	if (is_full_and_has_room_now(cas, r, 0))
		r = mkdirat(cas->images_fd, name, 0700) == 0 ? 0 : -errno;
	return r;
}

int image_draft_begin(struct cas *cas, struct image_draft **ret_draft, struct err *e)
{
	char name[NAME_BYTES];
	struct image_draft *draft = NULL;
	int fd;
	int r = random_name(IMAGE_DRAFT_PREFIX, name, e);

	if (r < 0)
		return r;
	r = make_dir(cas, name);
	if (r < 0)
		return err_errno(e, -r, "cannot make images/%s", name);
	fd = openat(cas->images_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "cannot open images/%s", name);
	draft = xcalloc(1, sizeof(*draft));
	draft->cas = cas;
	draft->dir_fd = fd;
	memcpy(draft->name, name, sizeof(name));
	*ret_draft = draft;
	return 0;
}

int image_draft_put(struct image_draft *draft, const char *name, const void *data,
                    uint64_t size_bytes, struct err *e)
{
	if (!image_file_name_ok(name))
		return err_set(e, EINVAL, "not a file name of an image: %s", name);
	return put_file(draft->cas, draft->dir_fd, name, data, size_bytes, e);
}

static void draft_free(struct image_draft **draft)
{
	close_fd(&(*draft)->dir_fd);
	free(*draft);
	*draft = NULL;
}

void image_draft_drop(struct image_draft **draft)
{
	struct image_draft *it = *draft;
	struct err e;

	if (it == NULL)
		return;
	if (image_dirs_remove(it->cas, it->name, &e) < 0)
		log_warn(it->cas->log, "draft of an image stays behind", "why=%s", LOG_Q(e.msg));
	draft_free(draft);
}

int image_draft_commit(struct image_draft **draft, const char *digest, struct err *e)
{
	struct image_draft *it = *draft;
	const struct disk *d = it->cas->disk;
	const int images_fd = it->cas->images_fd;
	int r = 0;

	if (!hex_is_sha256(digest))
		r = err_set(e, EINVAL, "not a digest: %s", digest);
	else if (d->sync(d, it->dir_fd) != 0)
		r = err_errno(e, errno, "cannot sync the directory of image %s", digest);
	else if (d->rename(d, images_fd, it->name, images_fd, digest) == 0)
		r = d->sync(d, images_fd) == 0 ? 1 : err_errno(e, errno, "cannot sync images/");
	else if (errno != EEXIST && errno != ENOTEMPTY)
		r = err_errno(e, errno, "cannot put image %s into place", digest);
	if (r == 1)
		draft_free(draft); /* it is the image now */
	else
		image_draft_drop(draft);
	return r < 0 ? r : 0;
}

bool image_store_has(struct cas *cas, const char *digest)
{
	struct stat st;

	return hex_is_sha256(digest) &&
	       fstatat(cas->images_fd, digest, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISDIR(st.st_mode);
}

static int open_image_dir(struct cas *cas, const char *digest, int *ret_fd, struct err *e)
{
	if (!hex_is_sha256(digest))
		return err_set(e, EINVAL, "not a digest: %s", digest);
	*ret_fd = openat(cas->images_fd, digest, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *ret_fd >= 0 ? 0 : err_errno(e, errno, "image %s", digest);
}

/* What the disk has lost is told here: where a map meets it, the process is killed, and each next
 * one that mounts the image, too. What is read now is in memory when it is looked at. */
static int read_through(const struct disk *d, int fd, uint64_t size_bytes)
{
	AUTO(free_bytes) uint8_t *buf = xcalloc(1, READ_BYTES);
	int r = 0;

	for (uint64_t at = 0; r == 0 && at < size_bytes; at += READ_BYTES)
		r = data_file_read(d, fd, at, min_u64(READ_BYTES, size_bytes - at), buf);
	return r;
}

int image_store_map(struct cas *cas, const char *digest, const char *name, uint64_t max_bytes,
                    struct image_file *ret_file, struct err *e)
{
	AUTO(close_fd) int dir_fd = -1;
	AUTO(close_fd) int fd = -1;
	struct stat st;
	void *data = NULL;
	int r = open_image_dir(cas, digest, &dir_fd, e);

	if (r < 0)
		return r;
	if (!image_file_name_ok(name))
		return err_set(e, EINVAL, "not a file name of an image: %s", name);
	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) != 0)
		return err_errno(e, errno, "%s of image %s", name, digest);
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t)st.st_size > max_bytes)
		return err_set(e, EIO, "%s of image %s is empty or too large", name, digest);
	if (read_through(cas->disk, fd, (uint64_t)st.st_size) < 0)
		return err_set(e, EIO, "%s of image %s cannot be read", name, digest);
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return err_errno(e, errno, "cannot map %s of image %s", name, digest);
	*ret_file = (struct image_file){ .data = data, .size_bytes = (uint64_t)st.st_size };
	return 0;
}

void image_file_unmap(struct image_file *file)
{
	if (file->data != NULL)
		(void)munmap(unconst(file->data), file->size_bytes);
	*file = (struct image_file){ .data = NULL };
}

static int open_for(struct cas *cas, const char *digest, const char *name, int *ret_dir_fd,
                    struct err *e)
{
	const int r = open_image_dir(cas, digest, ret_dir_fd, e);

	if (r == 0 && !image_file_name_ok(name))
		return err_set(e, EINVAL, "not a file name of an image: %s", name);
	return r;
}

int image_store_add(struct cas *cas, const char *digest, const char *name, const void *data,
                    uint64_t size_bytes, struct err *e)
{
	const struct disk *d = cas->disk;
	AUTO(close_fd) int dir_fd = -1;
	char tmp[NAME_BYTES];
	int r = open_for(cas, digest, name, &dir_fd, e);

	if (r == 0)
		r = random_name(IMAGE_DRAFT_PREFIX, tmp, e);
	if (r < 0)
		return r;
	r = put_file(cas, dir_fd, tmp, data, size_bytes, e);
	if (r == 0 && d->rename(d, dir_fd, tmp, dir_fd, name) != 0 && errno != EEXIST)
		r = err_errno(e, errno, "cannot put %s of image %s into place", name, digest);
	(void)d->unlink(d, dir_fd, tmp, 0); /* still there unless it was renamed */
	if (r == 0 && d->sync(d, dir_fd) != 0)
		r = err_errno(e, errno, "cannot sync the directory of image %s", digest);
	return r;
}

/* One draft a file name: what a crash leaves is taken away by the next. */
int image_store_hint(struct cas *cas, const char *digest, const char *name, const void *data,
                     uint64_t size_bytes, struct err *e)
{
	const struct image_file file = { .data = data, .size_bytes = size_bytes };
	const struct disk *d = cas->disk;
	AUTO(close_fd) int dir_fd = -1;
	AUTO(free_str) char *tmp = xasprintf("%s%s", IMAGE_DRAFT_PREFIX, name);
	int r = open_for(cas, digest, name, &dir_fd, e);

	if (r < 0)
		return r;
	(void)d->unlink(d, dir_fd, tmp, 0);
	r = try_put(d, dir_fd, tmp, &file, false);
	if (r == 0 && d->replace(d, dir_fd, tmp, name) != 0)
		r = -errno;
	if (r == 0)
		return 0;
	(void)d->unlink(d, dir_fd, tmp, 0);
	return err_errno(e, -r, "cannot write %s of image %s", name, digest);
}
