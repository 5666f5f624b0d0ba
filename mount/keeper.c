/*
 * keeper: see keeper.h.
 */
#include "keeper.h"
#include "clock.h"
#include "hex.h"
#include "image_mount.h"
#include "mem.h"
#include "mount_table.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL_TIMEOUT_MS  3000
#define CALL_AGAIN_MS    10
#define START_TIMEOUT_MS 5000
#define KEY_DIGEST_BYTES 12
#define ELSEWHERE        "other:" /* before the key */

void kept_key(const char *dir, char ret_key[KEEPER_KEY_BYTES])
{
	uint8_t digest[DIGEST_BYTES];

	digest_compute(DIGEST_SHA256, dir, strlen(dir), digest);
	hex_encode(digest, KEY_DIGEST_BYTES, ret_key);
}

void kept_key_elsewhere(const char *key, char ret_key[KEEPER_KEY_BYTES])
{
	static_assert(sizeof(ELSEWHERE) + 2UL * KEY_DIGEST_BYTES <= KEEPER_KEY_BYTES,
	              "it must fit");
	(void)snprintf(ret_key, KEEPER_KEY_BYTES, ELSEWHERE "%.*s", 2 * KEY_DIGEST_BYTES, key);
}

bool kept_is_elsewhere(const struct kept *kept)
{
	return strncmp(kept->key, ELSEWHERE, strlen(ELSEWHERE)) == 0;
}

void kept_fill(struct kept *kept, const char *dir, const char *digest)
{
	kept->note.version = KEPT_VERSION;
	(void)snprintf(kept->note.digest, sizeof(kept->note.digest), "%s", digest);
	kept_key(dir, kept->key);
}

void kept_close(struct kept *kept)
{
	close_fd(&kept->fd);
}

static bool has_key(const char *dir, void *arg)
{
	const struct kept *kept = arg;
	char key[KEEPER_KEY_BYTES], elsewhere[KEEPER_KEY_BYTES];

	kept_key(dir, key);
	kept_key_elsewhere(key, elsewhere);
	return strcmp(kept->key, key) == 0 || strcmp(kept->key, elsewhere) == 0;
}

void kept_detach(struct kept *kept, struct log *log)
{
	AUTO(free_str) char *dir = mount_table_find(has_key, kept);
	struct err e = { 0 };

	if (dir == NULL)
		return;
	if (image_mount_detach(dir, kept->note.dev, &e) == 0)
		log_info(log, "detached a dead mount", "dir=%s", LOG_Q(dir));
	else
		log_debug(log, "a dead mount stays", "dir=%s why=%s", LOG_Q(dir), LOG_Q(e.msg));
}

void kept_free(struct kept **kept)
{
	if (*kept != NULL)
		kept_close(*kept);
	free(*kept);
	*kept = NULL;
}

bool kept_is_alive(const struct kept *kept)
{
	struct pollfd p = { .fd = kept->fd };

	return poll(&p, 1, 0) == 0;
}

/* ---- one call ---- */

int keeper_watch(const char *socket_path, int *ret_fd, struct err *e)
{
	const struct timeval wait = { .tv_sec = CALL_TIMEOUT_MS / 1000 };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	AUTO(close_fd) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (strlen(socket_path) >= sizeof(address.sun_path))
		return err_set(e, ENAMETOOLONG, "the keeper's socket %s: the name is too long",
		               socket_path);
	memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return err_errno(e, errno, "no keeper at %s", socket_path);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	*ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return *ret_fd < 0 ? err_errno(e, errno, "no descriptor for the keeper") : 0;
}

/* @return 0 answered: m is the answer; 1 hung up on; -errno nobody there */
static int call_once(const char *path, struct keeper_message *m, int fd, int *ret_fd, struct err *e)
{
	AUTO(close_fd) int socket_fd = -1;
	const struct keeper_message request = *m;
	const int r = keeper_watch(path, &socket_fd, e);

	if (r < 0)
		return r;
	if (keeper_send(socket_fd, m, fd, 0) == 0 && keeper_receive(socket_fd, m, ret_fd, 0) == 0)
		return 0;
	*m = request;
	return 1;
}

/* A keeper that hangs up is being replaced: its successor answers in a moment. */
static int call(const char *path, struct keeper_message *m, int fd, int *ret_fd, struct err *e)
{
	const struct clock *clock = clock_real();
	const uint64_t end_ns = clock_now_ns(clock) + CALL_TIMEOUT_MS * NS_PER_MS;
	int r;

	m->magic = KEEPER_MAGIC;
	for (;;) {
		r = call_once(path, m, fd, ret_fd, e);
		if (r <= 0 || clock_now_ns(clock) >= end_ns)
			break;
		(void)poll(NULL, 0, CALL_AGAIN_MS);
	}
	if (r > 0)
		return err_set(e, ETIMEDOUT, "the keeper at %s does not answer", path);
	return r;
}

int keeper_keep(const char *socket_path, const struct kept *kept, struct err *e)
{
	struct keeper_message m = { .verb = KEEPER_KEEP, .note_bytes = sizeof(kept->note) };
	int none = -1;
	int r;

	static_assert(sizeof(kept->note) <= KEEPER_NOTE_MAX_BYTES, "a note must fit");
	memcpy(m.key, kept->key, sizeof(m.key));
	memcpy(m.note, &kept->note, sizeof(kept->note));
	r = call(socket_path, &m, kept->fd, &none, e);
	close_fd(&none);
	if (r == 0 && m.result < 0)
		return err_set(e, -m.result, "the keeper does not take a mount: %s",
		               strerrordesc_np(-m.result));
	return r;
}

int keeper_drop(const char *socket_path, const char *key, struct err *e)
{
	struct keeper_message m = { .verb = KEEPER_DROP };
	int none = -1;
	int r;

	(void)snprintf(m.key, sizeof(m.key), "%s", key);
	r = call(socket_path, &m, -1, &none, e);
	close_fd(&none);
	if (r == 0 && m.result < 0 && m.result != -ENOENT)
		return err_set(e, -m.result, "the keeper does not let go of a mount: %s",
		               strerrordesc_np(-m.result));
	return r;
}

static bool note_is_sound(const struct keeper_message *m, const struct kept_note *note)
{
	return m->note_bytes == sizeof(*note) && note->version == KEPT_VERSION &&
	       note->init_bytes <= sizeof(note->init) &&
	       memchr(note->digest, '\0', sizeof(note->digest)) != NULL;
}

int keeper_get(const char *socket_path, uint32_t idx, struct kept *ret_kept, struct err *e)
{
	struct keeper_message m = { .verb = KEEPER_GET, .idx = idx };
	int fd = -1;
	const int r = call(socket_path, &m, -1, &fd, e);

	if (r < 0)
		return r;
	if (m.result == -ENOENT || fd < 0) {
		close_fd(&fd);
		return 1;
	}
	*ret_kept = (struct kept){ .fd = fd };
	memcpy(ret_kept->key, m.key, sizeof(ret_kept->key));
	memcpy(&ret_kept->note, m.note, sizeof(ret_kept->note));
	if (note_is_sound(&m, &ret_kept->note))
		return 0;
	kept_close(ret_kept);
	return err_set(e, EUCLEAN, "the keeper holds a mount of another version of shoal");
}

/* ---- starting one ---- */

/* In the child: only what is safe between fork and exec. */
static _Noreturn void become_keeper(const char *program, const char *socket_path, int ready_fd)
{
	const int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	(void)sigemptyset(&none); /* a worker's mask is not for it: it must end on SIGTERM */
	(void)pthread_sigmask(SIG_SETMASK, &none, NULL);
	(void)setsid();
	(void)dup2(null_fd, STDIN_FILENO);
	(void)dup2(ready_fd, STDOUT_FILENO);
	(void)execl(program, "shoal-keeper", "--leave", "--socket", socket_path, (char *)NULL);
	_exit(127);
}

int keeper_start(const char *program, const char *socket_path, int *ret_pid, struct err *e)
{
	AUTO(close_fd) int read_fd = -1;
	AUTO(close_fd) int write_fd = -1;
	int fds[2];
	struct pollfd p = { .events = POLLIN };
	char byte;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, errno, "no pipe for a keeper");
	read_fd = fds[0];
	write_fd = fds[1];
	pid = fork();
	if (pid < 0)
		return err_errno(e, errno, "cannot start %s", program);
	if (pid == 0)
		become_keeper(program, socket_path, write_fd);
	close_fd(&write_fd);
	p.fd = read_fd;
	if (poll(&p, 1, START_TIMEOUT_MS) == 1 && read(read_fd, &byte, 1) == 1) {
		*ret_pid = pid;
		return 0;
	}
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	return err_set(e, EIO, "%s does not start as a keeper (its own words stand above)",
	               program);
}
