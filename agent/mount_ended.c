/*
 * mount_ended: see mount_ended.h. A note has the name of the mount's record, and nothing in it.
 */
#include "mount_ended.h"
#include "dir.h"
#include "mem.h"
#include "mount_list.h"
#include "path.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *notes_dir(const char *socket)
{
	AUTO(free_str) char *parent = path_parent(socket);

	return xasprintf("%sended", parent);
}

/* As mount_ended_note() makes it: what others can write to, or made, says nothing of mounts. */
static int open_notes(const char *notes, struct err *e)
{
	AUTO(close_fd)
	int fd = open(notes, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return err_errno(e, errno, "%s", notes);
	if (st.st_uid != geteuid() || (st.st_mode & 077) != 0)
		return err_set(e, EPERM, "%s belongs to others, or others may enter it", notes);
	return take_fd(&fd);
}

int mount_ended_note(const char *socket, const char *dir, struct err *e)
{
	AUTO(free_str) char *notes = notes_dir(socket);
	AUTO(close_fd) int notes_fd = -1;
	AUTO(close_fd) int fd = -1;
	char id[MOUNT_ID_BYTES];

	if (mkdir(notes, 0700) != 0 && errno != EEXIST)
		return err_errno(e, errno, "%s cannot be made", notes);
	notes_fd = open_notes(notes, e);
	if (notes_fd < 0)
		return notes_fd;
	mount_list_id(dir, id);
	(void)unlinkat(notes_fd, id, 0);
	fd = openat(notes_fd, id, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd >= 0 ? 0 : err_errno(e, errno, "%s/%s cannot be made", notes, id);
}

bool mount_ended_is_noted(const char *socket, const char *state_dir, const char *dir)
{
	AUTO(free_str) char *notes = notes_dir(socket);
	AUTO(free_str) char *record = mount_list_record(state_dir, dir);
	AUTO(close_fd) int notes_fd = -1;
	char id[MOUNT_ID_BYTES];
	struct err ignored;
	struct stat noted;
	struct stat listed;

	notes_fd = open_notes(notes, &ignored);
	if (notes_fd < 0)
		return false;
	mount_list_id(dir, id);
	if (fstatat(notes_fd, id, &noted, AT_SYMLINK_NOFOLLOW) != 0 || lstat(record, &listed) != 0)
		return false;
	return noted.st_mtim.tv_sec > listed.st_mtim.tv_sec ||
	       (noted.st_mtim.tv_sec == listed.st_mtim.tv_sec &&
	        noted.st_mtim.tv_nsec >= listed.st_mtim.tv_nsec);
}

static bool is_note(const char *name)
{
	return strlen(name) == MOUNT_ID_BYTES - 1 &&
	       strspn(name, "0123456789abcdef") == MOUNT_ID_BYTES - 1;
}

static int drop_note(void *arg, int dir_fd, const struct dirent *entry)
{
	(void)arg;
	if (is_note(entry->d_name))
		(void)unlinkat(dir_fd, entry->d_name, 0);
	return 0;
}

void mount_ended_clear(const char *socket)
{
	AUTO(free_str) char *notes = notes_dir(socket);
	AUTO(close_fd) int fd = -1;
	struct err ignored;

	fd = open_notes(notes, &ignored);
	if (fd < 0)
		return;
	(void)!dir_each(fd, ".", 0, drop_note, NULL);
	(void)rmdir(notes);
}
