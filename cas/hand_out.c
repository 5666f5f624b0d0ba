/*
 * hand_out: whole data files for whoever reads them without us: the kernel's EROFS.
 *
 * Such a file must never lose what is ready in it. While its mount is known the blob is pinned. But
 * what the kernel mounted can outlive its mount (an overlay holds it, or an open file) and outlive
 * this process; so a hole is punched only into files that nobody else has open, only such are cut
 * short when they go (garbage.c), and that is asked of the kernel itself: it grants a lease for
 * writing to whoever has the file alone.
 * Source: fcntl(2), F_SETLEASE.
 */
#include "hand_out.h"
#include "data_file.h"
#include "gc.h"
#include "mem.h"
#include "pinned.h"
#include "state.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES    4096U
#define PINNED_PERCENT 50U /* of the cache: what is pinned makes no room for others */

/* Leases exist here or do not: what one file alone may lack (memory, an owner) does not count. */
static bool cannot_lease(int code)
{
	return code == EINVAL || code == EACCES || code == EOPNOTSUPP;
}

void hand_out_try(struct cas *cas)
{
	const struct disk *d = cas->disk;
	const int fd = openat(cas->blobs_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	const int trial = fd >= 0 ? fd : cas->lock_fd; /* no nameless files, or no room for one */

	cas->has_leases = d->lease(d, trial, F_WRLCK) == 0 || !cannot_lease(errno);
	(void)d->lease(d, trial, F_UNLCK);
	if (fd >= 0)
		(void)close(fd);
}

bool file_is_held_elsewhere(const struct cas *cas, int fd)
{
	if (cas->disk->lease(cas->disk, fd, F_WRLCK) == 0)
		return false;
	return cas->has_leases || !cannot_lease(errno);
}

bool blob_is_held_elsewhere(const struct cas_blob *blob)
{
	const struct disk *d = blob->cas->disk;
	const bool is_held = file_is_held_elsewhere(blob->cas, blob->fd);

	if (!is_held)
		(void)d->lease(d, blob->fd, F_UNLCK);
	return is_held;
}

static bool is_named(const struct bitmap *named, uint32_t i)
{
	return named == NULL || (i < named->n_bits && bitmap_get(named, i));
}

bool cas_blob_is_whole(const struct cas_blob *blob, const struct bitmap *named)
{
	const struct blob_layout *l = blob_layout(blob);

	for (uint32_t i = 0; i < l->n_chunks; i++)
		if (l->chunks[i].plain_size_bytes > 0 && is_named(named, i) &&
		    !bitmap_get(blob->ready, i))
			return false;
	return true;
}

/* Is, or may soon be, anything in the file that is not named? What others
 * open later is not foreseen here. */
static bool has_others(struct cas_blob *blob, const struct bitmap *named)
{
	const struct blob_layout *l;
	bool has = false;

	if (named == NULL)
		return false;
	(void)pthread_mutex_lock(&blob->mutex);
	l = blob_layout(blob);
	for (uint32_t i = 0; i < l->n_chunks && !has; i++)
		has = !is_named(named, i) &&
		      (l->chunks[i].plain_size_bytes > 0 || bitmap_get(blob->ready, i));
	(void)pthread_mutex_unlock(&blob->mutex);
	return has;
}

static bool can_stand_alone(const struct cas_blob *blob, struct err *e)
{
	const struct blob_layout *l = blob_layout(blob);
	AUTO(bitmap_free) struct bitmap *gone = bitmap_new(l->n_chunks);

	if (gone == NULL || l->plain_size_bytes == 0 || l->plain_size_bytes % BLOCK_BYTES != 0 ||
	    !cas_blob_is_whole(blob, NULL))
		return false;
	/* A hole that somebody made behind our back: our own readers find it, the kernel would not.
	 */
	return data_file_missing(blob->cas->disk, blob->fd, l, blob->ready, gone, e) == 0;
}

static bool leaves_room(const struct cas_blob *blob, struct err *e)
{
	struct cas *cas = blob->cas;
	AUTO(pinned_free) struct pinned images = { .n_blobs = 0 };
	uint64_t bytes = atomic_load(&cas->room.pinned_bytes); /* of images */
	struct cas_blob **open = NULL;
	uint32_t n_open;

	if (pinned_images(cas, &images, e) < 0)
		return false;
	n_open = blob_table_all(cas, &open);
	for (uint32_t i = 0; i < n_open; i++) {
		const struct pinned_blob *pin = pinned_find(&images, open[i]->key);

		if ((open[i] == blob || cas_blob_is_pinned(open[i])) && pin == NULL)
			bytes += blob_layout(open[i])->plain_size_bytes;
		cas_blob_release(&open[i]);
	}
	free(open);
	return bytes <= room_percent(room_may_use(&cas->room), PINNED_PERCENT);
}

/* For reading alone: a second descriptor of the very same file. */
static int open_again(const struct cas_blob *blob, int *ret_fd, struct err *e)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", blob->fd);
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	return *ret_fd >= 0 ? 0 : err_errno(e, errno, "cannot open the data file of %s", blob->key);
}

int cas_blob_hand_out(struct cas_blob *blob, const struct bitmap *named, int *ret_fd, struct err *e)
{
	AUTO(close_fd) int fd = -1;
	int r = 0;

	/* Without leases nobody could tell later who has it. */
	if (!blob->cas->has_leases)
		return CAS_MISS;
	if (!cas_blob_is_whole(blob, NULL)) /* looked at again below: now nothing waits for it */
		return CAS_MISS;
	if (!leaves_room(blob, e))
		return CAS_FULL;
	cas_blob_pin(blob);
	r = can_stand_alone(blob, e) && !has_others(blob, named) ? open_again(blob, &fd, e)
	                                                         : CAS_MISS;
	if (r == 0 && !blob_is_held_elsewhere(blob)) /* it does not see what we opened just now */
		r = CAS_MISS;
	if (r != 0) {
		cas_blob_unpin(blob);
		return r;
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

bool cas_blob_pin_held(struct cas_blob *blob)
{
	if (!blob_is_held_elsewhere(blob))
		return false;
	cas_blob_pin(blob);
	return true;
}

bool cas_blob_is_pinned(const struct cas_blob *blob)
{
	return atomic_load(&blob->n_pins) > 0;
}
