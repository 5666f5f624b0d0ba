/*
 * credential_helper: a child process with one socket as its standard input and output.
 *
 * Does not know what the credentials are for.
 */
#include "credential_helper.h"
#include "clock.h"
#include "mem.h"
#include "secret.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int setup_child(posix_spawn_file_actions_t *files, posix_spawnattr_t *attr, int socket_fd)
{
	sigset_t none;
	sigset_t defaults;
	int r;

	(void)sigemptyset(&none);
	(void)sigemptyset(&defaults);
	(void)sigaddset(&defaults, SIGPIPE);
	r = posix_spawn_file_actions_adddup2(files, socket_fd, STDIN_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(files, socket_fd, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(files, STDERR_FILENO, "/dev/null", O_WRONLY,
		                                     0);
	if (r == 0)
		r = posix_spawnattr_setsigmask(attr, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(attr, &defaults);
	if (r == 0)
		r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	return r;
}

/* @return 0; an errno */
static int spawn(const char *program, int socket_fd, pid_t *ret_pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	char arg[] = "get";
	AUTO(free_str) char *name = xstrdup(program);
	char *argv[] = { name, arg, NULL };
	int r;

	r = posix_spawn_file_actions_init(&files);
	if (r != 0)
		return r;
	r = posix_spawnattr_init(&attr);
	if (r == 0) {
		r = setup_child(&files, &attr, socket_fd);
		if (r == 0)
			r = posix_spawnp(ret_pid, program, &files, &attr, argv, environ);
		(void)posix_spawnattr_destroy(&attr);
	}
	(void)posix_spawn_file_actions_destroy(&files);
	return r;
}

/* @return bytes read, 0 at the end of file; -EAGAIN nothing yet; -ETIMEDOUT; -EIO */
static ssize_t read_some(int fd, uint64_t end_ns, char *buf, size_t buf_bytes)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	const uint64_t now_ns = clock_now_ns(clock_real());
	ssize_t n;

	if (now_ns >= end_ns)
		return -ETIMEDOUT;
	if (poll(&poll_fd, 1, (int)((end_ns - now_ns) / NS_PER_MS) + 1) <= 0)
		return -EAGAIN; /* a signal, or the time is over */
	n = read(fd, buf, buf_bytes);
	if (n >= 0)
		return n;
	if (errno == ECONNRESET) /* it has not read what we wrote, and is gone */
		return 0;
	return errno == EINTR ? -EAGAIN : -EIO;
}

/* Read to the end of file. @return bytes read; -ETIMEDOUT; -EMSGSIZE; -EIO */
static ssize_t read_all(int fd, uint64_t end_ns, char *buf, size_t buf_bytes)
{
	size_t n_read = 0;

	while (n_read < buf_bytes) {
		const ssize_t n = read_some(fd, end_ns, buf + n_read, buf_bytes - n_read);

		if (n == 0)
			return (ssize_t)n_read;
		if (n < 0 && n != -EAGAIN)
			return n;
		n_read += n > 0 ? (size_t)n : 0;
	}
	return -EMSGSIZE;
}

/* Its answer may be whole while it still runs: it gets until end_ns, too. */
static int reap(pid_t pid, uint64_t end_ns)
{
	const uint64_t now_ns = clock_now_ns(clock_real());
	struct pollfd poll_fd = { .fd = pidfd_open(pid, 0), .events = POLLIN };
	int status = 0;

	if (now_ns >= end_ns || poll(&poll_fd, 1, (int)((end_ns - now_ns) / NS_PER_MS) + 1) <= 0)
		(void)kill(pid, SIGKILL);
	if (poll_fd.fd >= 0)
		(void)close(poll_fd.fd);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int talk(int fd, pid_t pid, const char *server, uint32_t timeout_ms, char *buf)
{
	const uint64_t end_ns = clock_now_ns(clock_real()) + timeout_ms * NS_PER_MS;
	ssize_t n;

	(void)!send(fd, server, strlen(server), MSG_NOSIGNAL);
	(void)shutdown(fd, SHUT_WR);
	n = read_all(fd, end_ns, buf, HELPER_ANSWER_MAX_BYTES);
	if (n < 0)
		(void)kill(pid, SIGKILL);
	if (reap(pid, end_ns) != 0 && n >= 0)
		return -EIO;
	return (int)n;
}

int credential_helper_get(const char *name, const char *server, uint32_t timeout_ms,
                          struct credentials *ret_credentials, struct err *e)
{
	AUTO(free_str) char *program = xasprintf("docker-credential-%s", name);
	char *buf;
	int fds[2];
	pid_t pid;
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return err_errno(e, EAGAIN, "%s: socketpair", program);
	r = spawn(program, fds[1], &pid);
	(void)close(fds[1]);
	if (r != 0) {
		(void)close(fds[0]);
		return err_set(e, EAGAIN, "%s does not start: %s (is it in the PATH of shoald?)",
		               program, strerrordesc_np(r));
	}
	buf = xcalloc(1, HELPER_ANSWER_MAX_BYTES);
	r = talk(fds[0], pid, server, timeout_ms, buf);
	(void)close(fds[0]);
	if (r == -ETIMEDOUT)
		r = err_set(e, EAGAIN, "%s gave no answer in %u ms", program, timeout_ms);
	else if (r < 0)
		r = err_set(e, EAGAIN, "%s has no credentials for %s", program, server);
	else
		r = docker_helper_parse(buf, (size_t)r, ret_credentials, e);
	explicit_bzero(buf, HELPER_ANSWER_MAX_BYTES);
	free(buf);
	return r;
}
