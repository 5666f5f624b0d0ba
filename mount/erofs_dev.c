/*
 * erofs_dev: the system calls of an EROFS mount, the trial, and the detaching of dead ones.
 *
 * Knows paths and descriptors. Knows nothing of blobs, nor of who serves them.
 */
#include "erofs_dev.h"
#include "mem.h"
#include "mount_table.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAID_MAX_BYTES     160 /* of the kernel's own words */
#define FD_PATH_BYTES      32
#define LEFT_MOUNTS_MAX    64 /* one above the other: each crash leaves at most one */
#define PANIC_ON_WARN_PATH "/proc/sys/kernel/panic_on_warn"

const char *const mount_how_names[N_MOUNT_HOWS] = { "auto", "tree", "erofs" };

bool mount_how_parse(const char *text, enum mount_how *ret_how)
{
	for (int i = 0; i < N_MOUNT_HOWS; i++) {
		if (strcmp(text, mount_how_names[i]) != 0)
			continue;
		*ret_how = (enum mount_how)i;
		return true;
	}
	return false;
}

/* ---- mounting ---- */

static void fd_path(int fd, char ret_path[FD_PATH_BYTES])
{
	(void)snprintf(ret_path, FD_PATH_BYTES, "/proc/self/fd/%d", fd);
}

/* The kernel's words about the last fsconfig(), if it has any: "e erofs: ...". */
static int fs_error(int fs_fd, int code, const char *what, struct err *e)
{
	char said[SAID_MAX_BYTES];
	const ssize_t n = read(fs_fd, said, sizeof(said) - 1);

	said[n > 0 ? n : 0] = '\0';
	for (char *p = said; *p != '\0'; p++) {
		if (*p == '\n')
			*p = ' ';
	}
	return err_set(e, code, "%s: %s%s%s", what, strerrordesc_np(code), n > 0 ? ": " : "",
	               n > 2 ? said + 2 : "");
}

static int set_string(int fs_fd, const char *key, const char *value, struct err *e)
{
	if (fsconfig(fs_fd, FSCONFIG_SET_STRING, key, value, 0) == 0)
		return 0;
	return fs_error(fs_fd, errno, "the kernel's EROFS refuses a file", e);
}

static int configure(int fs_fd, const struct erofs_mount_opts *opts, struct err *e)
{
	int r = set_string(fs_fd, "source", opts->bootstrap, e);

	for (uint32_t i = 0; r == 0 && i < opts->n_devices; i++) {
		char path[FD_PATH_BYTES];

		fd_path(opts->device_fds[i], path);
		r = set_string(fs_fd, "device", path, e);
	}
	if (r == 0 && fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		r = fs_error(fs_fd, errno, "the kernel's EROFS does not mount it", e);
	return r;
}

int erofs_dev_mount(const struct erofs_mount_opts *opts, struct err *e)
{
	AUTO(close_fd) int fs_fd = fsopen("erofs", FSOPEN_CLOEXEC);
	AUTO(close_fd) int mount_fd = -1;
	int r;

	if (fs_fd < 0)
		return err_errno(e, errno, "this kernel has no EROFS");
	r = configure(fs_fd, opts, e);
	if (r < 0)
		return r;
	mount_fd = fsmount(fs_fd, FSMOUNT_CLOEXEC,
	                   MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (mount_fd < 0)
		return err_errno(e, errno, "the kernel gives no EROFS mount");
	if (opts->dir == NULL ||
	    move_mount(mount_fd, "", AT_FDCWD, opts->dir, MOVE_MOUNT_F_EMPTY_PATH) == 0)
		return 0;
	return err_errno(e, errno, "cannot mount on %s", opts->dir);
}

/* ---- the trial ---- */

#define TRIAL_BYTES      4096
#define TRIAL_SUPER_AT   1024
#define TRIAL_DEVICE_AT  1152
#define TRIAL_ROOT_AT    1280
#define TRIAL_ENTRIES_AT (TRIAL_ROOT_AT + 32)
#define TRIAL_NID        (TRIAL_ROOT_AT / 32)

static void put_le(uint8_t *image, uint32_t at, uint32_t n_bytes, uint64_t value)
{
	for (uint32_t i = 0; i < n_bytes; i++)
		image[at + i] = (uint8_t)(value >> (8 * i));
}

static void put_entry(uint8_t *image, uint32_t i, uint32_t name_at)
{
	const uint32_t at = TRIAL_ENTRIES_AT + 12 * i;

	put_le(image, at, 8, TRIAL_NID);
	put_le(image, at + 8, 2, name_at);
	put_le(image, at + 10, 1, 2); /* a directory */
}

/* An EROFS image with one further device and an empty root. Source: Linux erofs_fs.h. */
static void make_trial(uint8_t image[TRIAL_BYTES])
{
	memset(image, 0, TRIAL_BYTES);
	put_le(image, TRIAL_SUPER_AT, 4, 0xE0F5E1E2);
	put_le(image, TRIAL_SUPER_AT + 12, 1, 12); /* blocks of 4096 */
	put_le(image, TRIAL_SUPER_AT + 14, 2, TRIAL_NID);
	put_le(image, TRIAL_SUPER_AT + 16, 8, 1);   /* inodes */
	put_le(image, TRIAL_SUPER_AT + 36, 4, 1);   /* blocks */
	put_le(image, TRIAL_SUPER_AT + 80, 4, 0xC); /* chunked files, device table */
	put_le(image, TRIAL_SUPER_AT + 86, 2, 1);   /* further devices */
	put_le(image, TRIAL_SUPER_AT + 88, 2, TRIAL_DEVICE_AT / 128);
	put_le(image, TRIAL_DEVICE_AT + 64, 4, 1); /* blocks of the device */
	put_le(image, TRIAL_ROOT_AT, 2, 2U << 1);  /* compact, data behind the inode */
	put_le(image, TRIAL_ROOT_AT + 4, 2, S_IFDIR | 0755);
	put_le(image, TRIAL_ROOT_AT + 6, 2, 2);
	put_le(image, TRIAL_ROOT_AT + 8, 4, 27); /* two entries and the names "." and ".." */
	put_entry(image, 0, 24);
	put_entry(image, 1, 25);
	put_le(image, TRIAL_ENTRIES_AT + 24, 3, 0x2e2e2e); /* "." and ".." */
}

static bool warnings_panic(void)
{
	AUTO(close_fd) int fd = open(PANIC_ON_WARN_PATH, O_RDONLY | O_CLOEXEC);
	char digit = '0';

	return fd >= 0 && read(fd, &digit, 1) == 1 && digit != '0';
}

static int trial_mount(const char *state_dir, struct err *e)
{
	AUTO(close_fd) int fd = open(state_dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	uint8_t image[TRIAL_BYTES];
	char path[FD_PATH_BYTES];
	const struct erofs_mount_opts opts = { .bootstrap = path,
		                               .device_fds = &fd,
		                               .n_devices = 1 };

	make_trial(image);
	if (fd < 0 || pwrite(fd, image, sizeof(image), 0) != (ssize_t)sizeof(image))
		return err_errno(e, errno, "no trial file can be made in %s", state_dir);
	fd_path(fd, path);
	return erofs_dev_mount(&opts, e);
}

int erofs_trial(const char *state_dir, struct err *e)
{
	struct err why = { 0 };

	/* The first mount of a file on ext4 makes some kernels print a warning. */
	if (warnings_panic())
		return err_set(e, ENOTSUP,
		               "kernel.panic_on_warn is set, and kernels are known "
		               "that warn when EROFS mounts a file");
	if (trial_mount(state_dir, &why) == 0)
		return 0;
	if (why.code == ENOTBLK)
		return err_set(e, ENOTSUP,
		               "this kernel's EROFS mounts no files of the file system of %s "
		               "(it takes Linux 6.12, and no overlay or tmpfs)",
		               state_dir);
	return err_set(e, ENOTSUP, "%s", why.msg);
}

/* ---- what a crash leaves ---- */

void erofs_detach_left(const char *dir, const char *images_dir, struct log *log)
{
	for (int i = 0; i < LEFT_MOUNTS_MAX && mount_table_has_erofs(dir, images_dir); i++) {
		if (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) != 0)
			return;
		log_info(log, "detached a dead mount", "dir=%s type=erofs", LOG_Q(dir));
	}
}
