/*
 * measure: disk space of blobs. On file systems that share extents between files, each extent
 * counts once: the kernel says of each extent whether it is shared, and where it stands.
 *
 * Knows files; changes nothing.
 */
#include "dir.h"
#include "mem.h"
#include "state.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define STAT_BLOCK_BYTES   512U
#define EXTENTS_A_CALL     256U
#define XFS_MAGIC          0x58465342
#define SHARED_EXTENTS_MAX (UINT32_C(1) << 22) /* 64 MiB of memory; what is more counts twice */

uint64_t measure_name(int dir_fd, const char *name)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return 0;
	return (uint64_t)st.st_blocks * STAT_BLOCK_BYTES;
}

uint64_t measure_fd(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * STAT_BLOCK_BYTES : 0;
}

struct shared_extent {
	uint64_t physical;
	uint64_t size_bytes;
};

struct shared {
	struct shared_extent *extents;
	uint32_t n;
	uint32_t n_max;
};

static void shared_add(void *arg, const struct fiemap_extent *x)
{
	struct shared *s = arg;

	if (!(x->fe_flags & FIEMAP_EXTENT_SHARED) || s->n == SHARED_EXTENTS_MAX)
		return;
	if (s->n == s->n_max) {
		s->n_max = s->n_max == 0 ? EXTENTS_A_CALL : 2 * s->n_max;
		s->extents = xrealloc(s->extents, s->n_max, sizeof(s->extents[0]));
	}
	s->extents[s->n++] = (struct shared_extent){ x->fe_physical, x->fe_length };
}

/* Every extent in [from, to) of a file. What cannot be asked has none. */
static void each_extent(int fd, uint64_t from, uint64_t to,
                        void (*fn)(void *arg, const struct fiemap_extent *x), void *arg)
{
	struct fiemap *map =
		xcalloc(1, sizeof(*map) + EXTENTS_A_CALL * sizeof(struct fiemap_extent));
	bool last = from >= to;

	while (!last) {
		memset(map, 0, sizeof(*map));
		map->fm_start = from;
		map->fm_length = to - from;
		map->fm_extent_count = EXTENTS_A_CALL;
		last = ioctl(fd, FS_IOC_FIEMAP, map) != 0 || map->fm_mapped_extents == 0;
		for (uint32_t i = 0; i < map->fm_mapped_extents && !last; i++) {
			const struct fiemap_extent *x = &map->fm_extents[i];

			fn(arg, x);
			from = x->fe_logical + x->fe_length;
			last = (x->fe_flags & FIEMAP_EXTENT_LAST) != 0 || from >= to;
		}
	}
	free(map);
}

struct shared_range {
	uint64_t from;
	uint64_t to;
	uint64_t bytes;
};

static void add_in_range(void *arg, const struct fiemap_extent *x)
{
	struct shared_range *r = arg;
	const uint64_t x_end = x->fe_logical + x->fe_length;
	const uint64_t from = x->fe_logical > r->from ? x->fe_logical : r->from;
	const uint64_t to = x_end < r->to ? x_end : r->to;

	if ((x->fe_flags & FIEMAP_EXTENT_SHARED) && from < to)
		r->bytes += to - from;
}

uint64_t measure_shared(int fd, uint64_t from, uint64_t to)
{
	struct shared_range r = { .from = from, .to = to };

	each_extent(fd, from, to, add_in_range, &r);
	return r.bytes;
}

static int by_place(const void *a, const void *b)
{
	const struct shared_extent *x = a;
	const struct shared_extent *y = b;

	return x->physical < y->physical ? -1 : x->physical > y->physical;
}

/* How much of them counts more than once? */
static uint64_t counted_again(struct shared *s)
{
	uint64_t end = 0;
	uint64_t again = 0;

	if (s->n > 0)
		qsort(s->extents, s->n, sizeof(s->extents[0]), by_place);
	for (uint32_t i = 0; i < s->n; i++) {
		const struct shared_extent *x = &s->extents[i];
		const uint64_t x_end = x->physical + x->size_bytes;

		if (x->physical < end)
			again += (x_end < end ? x_end : end) - x->physical;
		end = x_end > end ? x_end : end;
	}
	return again;
}

static bool can_share(int dir_fd)
{
	struct statfs fs;

	return fstatfs(dir_fd, &fs) == 0 &&
	       (fs.f_type == XFS_MAGIC || fs.f_type == BTRFS_SUPER_MAGIC);
}

static void add_shared(struct shared *s, int dir_fd, const char *name)
{
	const int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return;
	each_extent(fd, 0, FIEMAP_MAX_OFFSET, shared_add, s);
	(void)close(fd);
}

struct sum {
	uint64_t bytes;
	bool sharing;
	struct shared shared;
};

static int add_file(void *arg, int dir_fd, const struct dirent *entry)
{
	struct sum *sum = arg;

	if (entry->d_type == DT_DIR)
		return 0;
	sum->bytes += measure_name(dir_fd, entry->d_name);
	if (sum->sharing)
		add_shared(&sum->shared, dir_fd, entry->d_name);
	return 0;
}

int measure_blobs(struct cas *cas, uint64_t *ret_bytes, struct err *e)
{
	const uint64_t wrote_before = atomic_load(&cas->room.wrote_bytes);
	struct sum sum = { .sharing = can_share(cas->blobs_fd) };
	const int r = dir_each(cas->blobs_fd, ".", 0, add_file, &sum);
	const uint64_t again = counted_again(&sum.shared);

	free(sum.shared.extents);
	if (r < 0)
		return err_errno(e, -r, "cannot list the blobs directory");
	*ret_bytes = sum.bytes > again ? sum.bytes - again : 0;
	room_measured(&cas->room, *ret_bytes, wrote_before);
	return 0;
}

int cas_disk_bytes(struct cas *cas, uint64_t *ret_bytes, struct err *e)
{
	return measure_blobs(cas, ret_bytes, e);
}
