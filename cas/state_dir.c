/*
 * state_dir: see the header. Knows names and modes; knows nothing of what stands in the files.
 */
#include "state_dir.h"
#include "mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* made: set where it was not there yet */
static int make_dir(int at_fd, const char *path, const char *shown, int *ret_fd, bool *made,
                    struct err *e)
{
	if (mkdirat(at_fd, path, 0700) == 0)
		*made = true;
	else if (errno != EEXIST)
		return err_errno(e, errno, "cannot make the directory %s", shown);
	*ret_fd = openat(at_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_fd >= 0 ? 0 : err_errno(e, errno, "cannot open the directory %s", shown);
}

static int busy(int fd, const char *path, struct err *e)
{
	char pid[24] = "";
	const ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

	pid[n > 0 ? n : 0] = '\0';
	pid[strspn(pid, "0123456789")] = '\0';
	return err_set(e, EBUSY, "another agent has %s (pid %s): stop it, or use another state_dir",
	               path, pid[0] != '\0' ? pid : "unknown");
}

static int lock(int dir_fd, const char *path, int *ret_fd, struct err *e)
{
	const int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	char pid[24];
	int n;

	if (fd < 0)
		return err_errno(e, errno, "cannot make %s/lock", path);
	*ret_fd = fd; /* closed by the caller, whatever comes */
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		return errno == EWOULDBLOCK ? busy(fd, path, e)
		                            : err_errno(e, errno, "cannot lock %s/lock", path);
	n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n)
		return err_errno(e, errno, "cannot write %s/lock", path);
	return 0;
}

int state_dir_open(const char *path, struct state_dir *ret_dir, struct err *e)
{
	AUTO(close_fd) int dir_fd = -1;
	AUTO(close_fd) int lock_fd = -1;
	AUTO(close_fd) int blobs_fd = -1;
	AUTO(close_fd) int images_fd = -1;
	AUTO(free_str) char *parents = xstrdup(path);
	bool made = false;
	int r;

	for (char *slash = strchr(parents + 1, '/'); slash != NULL;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0'; /* what cannot be made shows at the last one */
		(void)mkdir(parents, 0755);
		*slash = '/';
	}
	r = make_dir(AT_FDCWD, path, path, &dir_fd, &made, e);
	if (r == 0)
		r = lock(dir_fd, path, &lock_fd, e);
	if (r == 0)
		r = make_dir(dir_fd, "blobs", "blobs in the state directory", &blobs_fd, &made, e);
	if (r == 0)
		r = make_dir(dir_fd, "images", "images in the state directory", &images_fd, &made,
		             e);
	/* Readers may wait for this start: a sync can mean that the disk writes all that is dirty.
	 */
	if (r == 0 && made && fsync(dir_fd) != 0)
		r = err_errno(e, errno, "cannot sync %s", path);
	if (r < 0)
		return r;
	*ret_dir = (struct state_dir){ .lock_fd = take_fd(&lock_fd),
		                       .blobs_fd = take_fd(&blobs_fd),
		                       .images_fd = take_fd(&images_fd) };
	return 0;
}
