/*
 * disk: the real table of file operations: system calls, nothing else.
 */
#include "disk.h"
#include "clock.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ID_XATTR    "user.shoal.id"
#define TRIAL_BYTES 4096

static int real_open(const struct disk *d, int dir_fd, const char *name, int flags, mode_t mode)
{
	(void)d;
	return openat(dir_fd, name, flags | O_CLOEXEC, mode);
}

static ssize_t real_pread(const struct disk *d, int fd, void *buf, size_t size_bytes, off_t offset)
{
	(void)d;
	return pread(fd, buf, size_bytes, offset);
}

static ssize_t real_pwrite(const struct disk *d, int fd, const void *buf, size_t size_bytes,
                           off_t offset)
{
	(void)d;
	return pwrite(fd, buf, size_bytes, offset);
}

static ssize_t real_pwritev(const struct disk *d, int fd, const struct iovec *pieces, int n_pieces,
                            off_t offset)
{
	(void)d;
	return pwritev(fd, pieces, n_pieces, offset);
}

static int real_truncate(const struct disk *d, int fd, off_t size_bytes)
{
	(void)d;
	return ftruncate(fd, size_bytes);
}

static int real_punch(const struct disk *d, int fd, off_t offset, off_t size_bytes)
{
	(void)d;
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size_bytes);
}

/* NOLINTNEXTLINE(readability-function-size): from where, how much, to where */
static int real_clone(const struct disk *d, int from_fd, off_t from_offset, off_t size_bytes,
                      int to_fd, off_t to_offset)
{
	struct file_clone_range range = { .src_fd = from_fd,
		                          .src_offset = (uint64_t)from_offset,
		                          .src_length = (uint64_t)size_bytes,
		                          .dest_offset = (uint64_t)to_offset };

	(void)d;
	return ioctl(to_fd, FICLONERANGE, &range);
}

/* With two files that have no names. */
static bool real_can_clone(const struct disk *d, int dir_fd)
{
	static const uint8_t bytes[2 * TRIAL_BYTES] = { 0x5a, [TRIAL_BYTES] = 0xa5 };
	const int from = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	const int to = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	uint8_t got = 0;
	const bool can = from >= 0 && to >= 0 &&
	                 pwrite(from, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes) &&
	                 ftruncate(to, (off_t)3 * TRIAL_BYTES) == 0 &&
	                 real_clone(d, from, TRIAL_BYTES, TRIAL_BYTES, to, 0) == 0 &&
	                 real_clone(d, from, 0, TRIAL_BYTES, to, TRIAL_BYTES) == 0 &&
	                 pread(to, &got, 1, TRIAL_BYTES) == 1 && got == bytes[0];

	if (from >= 0)
		(void)close(from);
	if (to >= 0)
		(void)close(to);
	return can;
}

static int real_lease(const struct disk *d, int fd, int type)
{
	(void)d;
	/* Whoever opens it in the meantime waits for us, and a signal tells: one that does nothing.
	 */
	if (type == F_WRLCK && fcntl(fd, F_SETSIG, SIGURG) != 0)
		return -1;
	return fcntl(fd, F_SETLEASE, type);
}

static off_t real_seek(const struct disk *d, int fd, off_t offset, int whence)
{
	(void)d;
	return lseek(fd, offset, whence);
}

static int real_sync_data(const struct disk *d, int fd)
{
	(void)d;
	return fdatasync(fd);
}

static int real_sync(const struct disk *d, int fd)
{
	(void)d;
	return fsync(fd);
}

static int real_rename(const struct disk *d, int from_dir_fd, const char *from, int to_dir_fd,
                       const char *to)
{
	(void)d;
	return renameat2(from_dir_fd, from, to_dir_fd, to, RENAME_NOREPLACE);
}

static int real_replace(const struct disk *d, int dir_fd, const char *from, const char *to)
{
	(void)d;
	return renameat(dir_fd, from, dir_fd, to);
}

static int real_unlink(const struct disk *d, int dir_fd, const char *name, int flags)
{
	(void)d;
	return unlinkat(dir_fd, name, flags);
}

static int real_set_id(const struct disk *d, int fd, const uint8_t id[FILE_ID_BYTES])
{
	(void)d;
	return fsetxattr(fd, ID_XATTR, id, FILE_ID_BYTES, XATTR_CREATE);
}

static int real_identify(const struct disk *d, int fd, struct file_identity *ret_identity)
{
	struct file_identity it = { .dev = 0 };
	struct statx stx;
	struct statfs fs;
	uint32_t fs_id[2];

	(void)d;
	_Static_assert(sizeof(fs.f_fsid) == sizeof(fs_id), "f_fsid is two words");
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &stx) != 0 ||
	    fstatfs(fd, &fs) != 0)
		return -1;
	if (!S_ISREG(stx.stx_mode)) {
		errno = EINVAL;
		return -1;
	}
	if (fgetxattr(fd, ID_XATTR, it.id, sizeof(it.id)) != (ssize_t)sizeof(it.id))
		memset(it.id, 0, sizeof(it.id));
	memcpy(fs_id, &fs.f_fsid, sizeof(fs_id));
	it.fs_id = (uint64_t)fs_id[1] << 32 | fs_id[0];
	it.dev = (uint64_t)stx.stx_dev_major << 32 | stx.stx_dev_minor;
	it.ino = stx.stx_ino;
	if (stx.stx_mask & STATX_BTIME)
		it.btime_ns = (uint64_t)stx.stx_btime.tv_sec * NS_PER_S + stx.stx_btime.tv_nsec;
	it.size_bytes = stx.stx_size;
	*ret_identity = it;
	return 0;
}

static int real_block_bytes(const struct disk *d, int dir_fd, uint32_t *ret_bytes)
{
	struct statvfs v;

	(void)d;
	if (fstatvfs(dir_fd, &v) != 0)
		return -1;
	*ret_bytes = (uint32_t)v.f_frsize;
	return 0;
}

static int real_free_bytes(const struct disk *d, int dir_fd, uint64_t *ret_bytes)
{
	struct statvfs v;

	(void)d;
	if (fstatvfs(dir_fd, &v) != 0)
		return -1;
	*ret_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	return 0;
}

const struct disk *disk_real(void)
{
	static const struct disk real = {
		.open = real_open,
		.pread = real_pread,
		.pwrite = real_pwrite,
		.pwritev = real_pwritev,
		.truncate = real_truncate,
		.punch = real_punch,
		.can_clone = real_can_clone,
		.clone = real_clone,
		.lease = real_lease,
		.seek = real_seek,
		.sync_data = real_sync_data,
		.sync = real_sync,
		.rename = real_rename,
		.replace = real_replace,
		.unlink = real_unlink,
		.set_id = real_set_id,
		.identify = real_identify,
		.block_bytes = real_block_bytes,
		.free_bytes = real_free_bytes,
	};

	return &real;
}

bool file_identity_equal(const struct file_identity *a, const struct file_identity *b)
{
	const bool same_fs = a->dev == b->dev || (a->fs_id != 0 && a->fs_id == b->fs_id);

	return same_fs && a->ino == b->ino && a->btime_ns == b->btime_ns &&
	       a->size_bytes == b->size_bytes && memcmp(a->id, b->id, sizeof(a->id)) == 0;
}
