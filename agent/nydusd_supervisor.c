/*
 * nydusd_supervisor: see nydusd_supervisor.h. Knows nothing of what a state says.
 */
#include "nydusd_supervisor.h"
#include "mem.h"
#include "unconst.h"
#include "unix_socket.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define TIMEOUT_S   10
#define PIECE_BYTES 65536U

static int call(const char *path, int *ret_fd, struct err *e)
{
	const struct timeval timeout = { .tv_sec = TIMEOUT_S };
	struct sockaddr_un address;
	AUTO(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (path == NULL)
		return err_set(e, EINVAL, "there is no --supervisor");
	if (unix_address(path, &address) < 0)
		return err_set(e, ENAMETOOLONG, "supervisor %s: the path is too long", path);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0 ||
	    connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		return err_errno(e, errno, "supervisor %s", path);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* The first bytes, with a descriptor. @return how many; -1 */
static ssize_t send_with_fd(int to, const char *bytes, size_t size_bytes, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr aligned;
	} control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = unconst(bytes), .iov_len = size_bytes };
	struct msghdr message = { .msg_iov = &iov,
		                  .msg_iovlen = 1,
		                  .msg_control = control.bytes,
		                  .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	return sendmsg(to, &message, MSG_NOSIGNAL);
}

int supervisor_send(const char *path, const char *state, size_t size_bytes, struct err *e)
{
	AUTO(close_fd) int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	AUTO(close_fd) int fd = -1;
	size_t sent_bytes = 0;
	int r = call(path, &fd, e);

	if (r < 0)
		return r;
	if (null_fd < 0)
		return err_errno(e, errno, "/dev/null");
	while (sent_bytes < size_bytes) {
		const ssize_t n = sent_bytes == 0 ? send_with_fd(fd, state, size_bytes, null_fd)
		                                  : send(fd, state + sent_bytes,
		                                         size_bytes - sent_bytes, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(e, errno, "supervisor %s does not take the state", path);
		sent_bytes += (size_t)n;
	}
	return 0;
}

int supervisor_receive(const char *path, char **ret_state, size_t *ret_size_bytes, struct err *e)
{
	AUTO(close_fd) int fd = -1;
	AUTO(free_str) char *state = xcalloc(1, PIECE_BYTES + 1);
	size_t room_bytes = PIECE_BYTES;
	size_t size_bytes = 0;
	const int r = call(path, &fd, e);

	if (r < 0)
		return r;
	for (;;) {
		/* Descriptors that come along are not wanted: the kernel closes them. */
		const ssize_t n = recv(fd, state + size_bytes, room_bytes - size_bytes, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, errno, "supervisor %s", path);
		if (n == 0)
			break;
		size_bytes += (size_t)n;
		if (size_bytes < room_bytes)
			continue;
		if (room_bytes >= SUPERVISOR_STATE_MAX_BYTES)
			return err_set(e, EMSGSIZE, "the supervisor's state is too long");
		room_bytes *= 2;
		state = xrealloc(state, room_bytes + 1, 1);
	}
	state[size_bytes] = '\0';
	*ret_state = state;
	*ret_size_bytes = size_bytes;
	state = NULL;
	return 0;
}
