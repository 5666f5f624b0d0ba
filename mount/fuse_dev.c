/*
 * fuse_dev: mount(2), umount2(2) and /sys for FUSE mounts.
 *
 * Knows directories and device numbers. Knows nothing of sessions or images.
 */
#include "fuse_dev.h"
#include "image_mount.h"
#include "mem.h"
#include "mount_table.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DEAD_MOUNTS_MAX         16 /* on one directory, of earlier runs */
#define MOUNT_OPTIONS_MAX_BYTES 256

int fuse_dev_check_dir(const char *dir, struct log *log, struct err *e)
{
	struct stat st;

	if (dir[0] != '/')
		return err_set(e, EINVAL, "%s: the directory must be given as an absolute path",
		               dir);
	for (uint32_t i = 0; stat(dir, &st) < 0; i++) {
		/* What a killed daemon leaves behind answers with this, whatever is asked. */
		if (errno != ENOTCONN || i == DEAD_MOUNTS_MAX || umount2(dir, MNT_DETACH) < 0)
			return err_errno(e, errno, "cannot mount on %s", dir);
		log_info(log, "detached a dead mount", "dir=%s", LOG_Q(dir));
	}
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ENOTDIR, "cannot mount on %s: not a directory", dir);
	return 0;
}

int fuse_dev_mount(const char *dir, uint32_t max_read_bytes, int *ret_fd, struct err *e)
{
	int fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	char options[MOUNT_OPTIONS_MAX_BYTES];
	int n;

	if (fd < 0)
		return err_errno(e, errno, "cannot open /dev/fuse (is the fuse module loaded?)");
	n = snprintf(options, sizeof(options),
	             "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,"
	             "max_read=%" PRIu32,
	             fd, max_read_bytes);
	assert(n > 0 && n < (int)sizeof(options));
	if (mount("shoal", dir, "fuse.shoal", MS_RDONLY | MS_NOSUID | MS_NODEV, options) < 0) {
		const int r = err_errno(e, errno, "cannot mount on %s", dir);

		close_fd(&fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static int set_option(int fs_fd, const char *key, uint32_t value, bool octal, struct err *e)
{
	char text[16];

	(void)snprintf(text, sizeof(text), octal ? "%" PRIo32 : "%" PRIu32, value);
	if (fsconfig(fs_fd, FSCONFIG_SET_STRING, key, text, 0) == 0)
		return 0;
	return err_errno(e, errno, "FUSE refuses %s=%s", key, text);
}

static int configure(int fs_fd, int fd, uint32_t max_read_bytes, struct err *e)
{
	int r = set_option(fs_fd, "fd", (uint32_t)fd, false, e);

	if (r == 0)
		r = set_option(fs_fd, "rootmode", S_IFDIR, true, e);
	if (r == 0)
		r = set_option(fs_fd, "user_id", 0, false, e);
	if (r == 0)
		r = set_option(fs_fd, "group_id", 0, false, e);
	if (r == 0)
		r = set_option(fs_fd, "max_read", max_read_bytes, false, e);
	if (r == 0 && fsconfig(fs_fd, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0)
		r = err_errno(e, errno, "FUSE refuses to be read-only");
	if (r == 0 && fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		r = err_errno(e, errno, "no FUSE file system can be made");
	return r;
}

int fuse_dev_mount_nowhere(uint32_t max_read_bytes, int *ret_fd, int *ret_mount_fd, struct err *e)
{
	AUTO(close_fd) int fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	AUTO(close_fd) int fs_fd = -1;
	int mount_fd;
	int r;

	if (fd < 0)
		return err_errno(e, errno, "cannot open /dev/fuse (is the fuse module loaded?)");
	fs_fd = fsopen("fuse", FSOPEN_CLOEXEC);
	if (fs_fd < 0)
		return err_errno(e, errno, "no FUSE file system can be made");
	r = configure(fs_fd, fd, max_read_bytes, e);
	if (r < 0)
		return r;
	mount_fd = fsmount(fs_fd, FSMOUNT_CLOEXEC,
	                   MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (mount_fd < 0)
		return err_errno(e, errno, "the kernel gives no FUSE mount");
	*ret_mount_fd = mount_fd;
	*ret_fd = take_fd(&fd);
	return 0;
}

int fuse_dev_number(const char *dir, dev_t *ret_dev, struct err *e)
{
	struct stat st;

	if (stat(dir, &st) < 0)
		return err_errno(e, errno, "%s was mounted but cannot be read", dir);
	*ret_dev = st.st_dev;
	return 0;
}

/* Is dev what is to be seen at dir, or something of ours that is dead?
 * Another file system may have been mounted over ours, or ours have been moved away: umount2()
 * would take the wrong one. DONT_SYNC: answered by the kernel alone. */
static bool fuse_dev_is_at(const char *dir, dev_t dev)
{
	struct statx st;

	if (statx(AT_FDCWD, dir, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
		return errno == ENOTCONN || errno == ECONNABORTED; /* ours, aborted */
	return makedev(st.stx_dev_major, st.stx_dev_minor) == dev;
}

bool image_mount_is_seen(const char *dir, uint64_t device)
{
	return fuse_dev_is_at(dir, device);
}

int fuse_dev_umount(const char *dir, dev_t dev, bool lazy, struct err *e)
{
	if (!fuse_dev_is_at(dir, dev))
		return err_set(e, EBUSY,
		               "%s: something else is mounted there, or the image was detached "
		               "while in use (close its files, or unmount what is on top)",
		               dir);
	if (!lazy && mount_table_is_lower(dir))
		return err_set(e, EBUSY, "%s is in use (as a lower directory of an overlay)", dir);
	if (umount2(dir, lazy ? MNT_DETACH : 0) == 0)
		return 0;
	if (errno == EBUSY)
		return err_set(e, EBUSY, "%s is in use (close its files first)", dir);
	return err_errno(e, errno, "cannot unmount %s", dir);
}

int image_mount_detach(const char *dir, uint64_t device, struct err *e)
{
	return fuse_dev_umount(dir, device, true, e);
}

void fuse_dev_detach(const char *dir, struct log *log)
{
	if (umount2(dir, MNT_DETACH) < 0)
		log_warn(log, "cannot detach a mount", "dir=%s error=%s", LOG_Q(dir),
		         LOG_Q(strerrordesc_np(errno)));
}

void fuse_dev_set_read_ahead(dev_t dev, uint32_t kib, struct log *log)
{
	char path[64];
	char text[16];
	AUTO(close_fd) int fd = -1;
	const int n = snprintf(text, sizeof(text), "%" PRIu32, kib);

	(void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(dev),
	               minor(dev));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		log_debug(log, "cannot raise readahead", "file=%s error=%s", path,
		          LOG_Q(strerrordesc_np(errno)));
}
