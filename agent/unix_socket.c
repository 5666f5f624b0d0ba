/*
 * unix_socket: see unix_socket.h.
 */
#include "unix_socket.h"
#include "mem.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int unix_address(const char *path, struct sockaddr_un *ret_address)
{
	*ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(ret_address->sun_path))
		return -ENAMETOOLONG;
	memcpy(ret_address->sun_path, path, strlen(path) + 1);
	return 0;
}

int unix_connect(const char *path)
{
	struct sockaddr_un address;
	AUTO(close_fd) int fd = -1;
	const int r = unix_address(path, &address);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		return -errno;
	return take_fd(&fd);
}

bool unix_is_served(const char *path)
{
	AUTO(close_fd) int fd = unix_connect(path);

	return fd >= 0 || fd == -EAGAIN;
}

static int bind_private(int fd, const struct sockaddr_un *address)
{
	const mode_t before = umask(0177);
	const int r = bind(fd, (const struct sockaddr *)address, sizeof(*address));
	const int code = errno;

	(void)umask(before);
	return r == 0 ? 0 : -code;
}

int unix_listen(const char *what, const char *path, int backlog, int *ret_fd, struct err *e)
{
	struct sockaddr_un address;
	AUTO(close_fd) int fd = -1;
	struct stat st;
	int r = unix_address(path, &address);

	if (r < 0)
		return err_set(e, -r,
		               "%s %s: the path of a unix socket has at most %zu bytes (choose "
		               "another)",
		               what, path, sizeof(address.sun_path) - 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, errno, "%s %s", what, path);
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(path);
	r = bind_private(fd, &address);
	if (r < 0 || listen(fd, backlog) != 0)
		return err_errno(e, r < 0 ? -r : errno, "%s %s (can its directory be written?)",
		                 what, path);
	*ret_fd = take_fd(&fd);
	return 0;
}
