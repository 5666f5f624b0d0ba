/*
 * shoal-keeper: holds the /dev/fuse descriptors of live mounts, and nothing else.
 *
 * While a descriptor is open somewhere, the kernel lets readers wait instead of failing them. So
 * shoald gives a copy of each to this process, and may then be killed or replaced: the next shoald
 * asks for the copies and goes on. The keeper opens no file, reads no descriptor it holds, and
 * reserves all its memory at the start.
 *
 * Its own successor (--take-over) asks for everything, puts its socket in place of the old one,
 * and only then tells the old keeper to end. Whoever calls meanwhile is hung up on and calls again.
 * One that shoald started (--leave) ends by itself when that is gone and there is nothing to hold.
 *
 * One thread; only the user that it runs as may speak to it. include/mount/keeper_protocol.h has
 * the words.
 */
#include "keeper_protocol.h"
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CALLERS_MAX   32
#define CALLER_WAIT_S 5 /* for an answer of the old keeper */
#define REST_MS       200

struct item {
	int fd; /* -1: free */
	uint32_t note_bytes;
	char key[KEEPER_KEY_BYTES];
	uint8_t note[KEEPER_NOTE_MAX_BYTES];
};

struct keeper {
	const char *path;                   /* of the socket */
	struct pollfd fds[1 + CALLERS_MAX]; /* the socket, then the callers; fd -1: free */
	int heir_fd;                        /* the caller that takes over; -1: none */
	bool leaves;     /* when it holds nothing and nobody is connected any more */
	bool had_caller; /* not before that: who only passes by is none */
	bool ended;
	struct item items[KEEPER_ITEMS_MAX];
};

static int complain(const char *what)
{
	(void)dprintf(STDERR_FILENO, "shoal-keeper: %s: %s\n", what, strerrordesc_np(errno));
	return -1;
}

/* ---- items ---- */

static struct item *find(struct keeper *k, const char *key)
{
	for (uint32_t i = 0; i < KEEPER_ITEMS_MAX; i++) {
		if (k->items[i].fd >= 0 && strcmp(k->items[i].key, key) == 0)
			return &k->items[i];
	}
	return NULL;
}

static struct item *find_free(struct keeper *k)
{
	for (uint32_t i = 0; i < KEEPER_ITEMS_MAX; i++) {
		if (k->items[i].fd < 0)
			return &k->items[i];
	}
	return NULL;
}

/* The idx-th item that there is. */
static struct item *find_nth(struct keeper *k, uint32_t idx)
{
	for (uint32_t i = 0; i < KEEPER_ITEMS_MAX; i++) {
		if (k->items[i].fd >= 0 && idx-- == 0)
			return &k->items[i];
	}
	return NULL;
}

static int keep(struct keeper *k, const struct keeper_message *m, int fd)
{
	struct item *item = find(k, m->key);

	if (fd < 0)
		return -EBADF;
	if (item == NULL)
		item = find_free(k);
	if (item == NULL) {
		(void)close(fd);
		return -ENOSPC;
	}
	if (item->fd >= 0)
		(void)close(item->fd);
	item->fd = fd;
	item->note_bytes = m->note_bytes;
	memcpy(item->key, m->key, sizeof(item->key));
	memcpy(item->note, m->note, sizeof(item->note));
	return 0;
}

static int drop(struct keeper *k, const struct keeper_message *m)
{
	struct item *item = find(k, m->key);

	if (item == NULL)
		return -ENOENT;
	(void)close(item->fd);
	item->fd = -1;
	return 0;
}

static int get(struct keeper *k, struct keeper_message *m, int *ret_fd)
{
	const struct item *item = find_nth(k, m->idx);

	if (item == NULL)
		return -ENOENT;
	*ret_fd = item->fd;
	m->note_bytes = item->note_bytes;
	memcpy(m->key, item->key, sizeof(m->key));
	memcpy(m->note, item->note, sizeof(m->note));
	return 0;
}

/* ---- callers ---- */

/* Turn the request m, with the descriptor fd, into its answer. @return the descriptor to send; -1
 */
static int answer(struct keeper *k, struct keeper_message *m, int caller_fd, int fd)
{
	int sent_fd = -1;

	if (m->verb == KEEPER_KEEP)
		m->result = keep(k, m, fd);
	else if (fd >= 0)
		(void)close(fd);
	if (m->verb == KEEPER_DROP)
		m->result = drop(k, m);
	if (m->verb == KEEPER_GET)
		m->result = get(k, m, &sent_fd);
	if (m->verb == KEEPER_HAND_OVER) {
		k->heir_fd = caller_fd;
		m->result = 0;
	}
	if (m->verb == KEEPER_QUIT) {
		k->ended = k->heir_fd == caller_fd;
		m->result = k->ended ? 0 : -EPERM;
	}
	return sent_fd;
}

static void hang_up(struct keeper *k, struct pollfd *caller)
{
	if (k->heir_fd == caller->fd)
		k->heir_fd = -1; /* it died: we stay */
	(void)close(caller->fd);
	caller->fd = -1;
}

static void serve(struct keeper *k, struct pollfd *caller)
{
	struct keeper_message m;
	int fd;

	if (keeper_receive(caller->fd, &m, &fd, MSG_DONTWAIT) < 0) {
		hang_up(k, caller);
		return;
	}
	k->had_caller = true;
	if (k->heir_fd >= 0 && k->heir_fd != caller->fd) { /* too late for this keeper */
		if (fd >= 0)
			(void)close(fd);
		hang_up(k, caller);
		return;
	}
	fd = answer(k, &m, caller->fd, fd);
	if (keeper_send(caller->fd, &m, fd, MSG_DONTWAIT) < 0)
		hang_up(k, caller);
}

static bool is_our_user(int fd, pid_t *ret_pid)
{
	struct ucred peer;
	socklen_t size_bytes = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size_bytes) != 0)
		return false;
	*ret_pid = peer.pid;
	return peer.uid == geteuid();
}

/* Who started us calls when we are ready. Others may look before that whether anybody listens, and
 * go; who says something, as the next shoald does, is none of these. */
static bool is_who_started_us(pid_t caller)
{
	return caller == getppid();
}

static void take_caller(struct keeper *k)
{
	const int fd = accept4(k->fds[0].fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	pid_t pid = 0;

	if (fd < 0) {
		/* Mostly out of descriptors: without a pause poll() would come back at once. */
		k->fds[0].events = errno == EAGAIN ? POLLIN : 0;
		return;
	}
	for (int i = 1; i <= CALLERS_MAX && is_our_user(fd, &pid); i++) {
		if (k->fds[i].fd >= 0)
			continue;
		k->fds[i] = (struct pollfd){ .fd = fd, .events = POLLIN };
		k->had_caller = k->had_caller || is_who_started_us(pid);
		return;
	}
	(void)close(fd); /* too many: it calls again */
}

static bool is_of_use(const struct keeper *k)
{
	for (int i = 1; i <= CALLERS_MAX; i++) {
		if (k->fds[i].fd >= 0)
			return true;
	}
	for (uint32_t i = 0; i < KEEPER_ITEMS_MAX; i++) {
		if (k->items[i].fd >= 0)
			return true;
	}
	return false;
}

/* Until there is something to do. @return false: not yet */
static bool rest(struct keeper *k)
{
	if (poll(k->fds, 1 + CALLERS_MAX, k->fds[0].events != 0 ? -1 : REST_MS) >= 0)
		return true;
	if (errno != EINTR) /* no memory, a limit below our entries: it may take long */
		(void)poll(NULL, 0, REST_MS);
	return false;
}

static void run(struct keeper *k)
{
	while (!k->ended && (!k->leaves || !k->had_caller || is_of_use(k))) {
		if (!rest(k))
			continue;
		k->fds[0].events = POLLIN;
		for (int i = 1; i <= CALLERS_MAX; i++) {
			if (k->fds[i].fd >= 0 && k->fds[i].revents != 0)
				serve(k, &k->fds[i]);
		}
		if (k->fds[0].revents != 0)
			take_caller(k);
	}
}

/* ---- start ---- */

static int set_address(const char *path, const char *suffix, struct sockaddr_un *ret_address)
{
	const int n = snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "%s%s", path,
	                       suffix);

	if (n > 0 && (size_t)n < sizeof(ret_address->sun_path))
		return 0;
	errno = ENAMETOOLONG;
	return complain(path);
}

static int call_keeper(const char *path)
{
	const struct timeval wait = { .tv_sec = CALLER_WAIT_S };
	const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (fd < 0 || set_address(path, "", &address) < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

static int ask(int fd, struct keeper_message *m, int *ret_fd)
{
	if (keeper_send(fd, m, -1, 0) < 0 || keeper_receive(fd, m, ret_fd, 0) < 0)
		return complain("the old keeper does not answer");
	return 0;
}

/* Everything that the old keeper has. @return its connection; -1 */
static int take_over(struct keeper *k)
{
	const int old_fd = call_keeper(k->path);
	struct keeper_message m = { .magic = KEEPER_MAGIC, .verb = KEEPER_HAND_OVER };
	int fd;

	if (old_fd < 0)
		return complain(k->path);
	if (ask(old_fd, &m, &fd) < 0)
		return -1;
	for (uint32_t i = 0; m.result == 0; i++) {
		m = (struct keeper_message){ .magic = KEEPER_MAGIC, .verb = KEEPER_GET, .idx = i };
		if (ask(old_fd, &m, &fd) < 0 || (m.result == 0 && keep(k, &m, fd) < 0))
			return -1;
	}
	return old_fd;
}

/* The socket appears under its name at once, in place of an older one. */
static int listen_at(struct keeper *k)
{
	const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (fd < 0 || set_address(k->path, ".new", &address) < 0)
		return -1;
	(void)unlink(address.sun_path);
	(void)umask(0177);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, CALLERS_MAX) < 0 || rename(address.sun_path, k->path) < 0)
		return complain(k->path);
	k->fds[0] = (struct pollfd){ .fd = fd, .events = POLLIN };
	return 0;
}

static int start(struct keeper *k, bool taking_over)
{
	struct keeper_message quit = { .magic = KEEPER_MAGIC, .verb = KEEPER_QUIT };
	int other_fd = -1;
	int fd;

	if (taking_over)
		other_fd = take_over(k);
	else
		fd = call_keeper(k->path);
	if (taking_over && other_fd < 0)
		return -1;
	if (!taking_over && fd >= 0) {
		errno = EADDRINUSE;
		return complain(k->path);
	}
	if (listen_at(k) < 0)
		return -1;
	if (taking_over && ask(other_fd, &quit, &fd) < 0)
		return -1;
	return 0;
}

static struct keeper *keeper_new(const char *path)
{
	struct keeper *k = calloc(1, sizeof(*k)); /* the only memory it ever takes */

	if (k == NULL)
		return NULL;
	k->path = path;
	k->heir_fd = -1;
	for (int i = 0; i <= CALLERS_MAX; i++)
		k->fds[i].fd = -1;
	for (uint32_t i = 0; i < KEEPER_ITEMS_MAX; i++)
		k->items[i].fd = -1;
	return k;
}

/* Whoever started us reads one byte, and goes on. */
static void tell_ready(void)
{
	(void)!write(STDOUT_FILENO, "\n", 1);
	(void)close(STDOUT_FILENO);
}

int main(int argc, char **argv)
{
	static const struct option known[] = { { "socket", required_argument, NULL, 's' },
		                               { "take-over", no_argument, NULL, 't' },
		                               { "leave", no_argument, NULL, 'l' },
		                               { NULL, 0, NULL, 0 } };
	struct rlimit files = { .rlim_cur = KEEPER_ITEMS_MAX + 256,
		                .rlim_max = KEEPER_ITEMS_MAX + 256 };
	const char *path = NULL;
	bool taking_over = false;
	bool leaves = false;
	bool wrong = false;
	struct keeper *k;
	int c;

	// NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		path = c == 's' ? optarg : path;
		taking_over = taking_over || c == 't';
		leaves = leaves || c == 'l';
		wrong = wrong || c == '?';
	}
	if (path == NULL || wrong || optind < argc) {
		(void)dprintf(STDERR_FILENO, "Usage: shoal-keeper --socket PATH [--take-over] "
		                             "[--leave]\n"
		                             "Holds the descriptors of shoald's live mounts. "
		                             "docs/take-over.md\n");
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	(void)setrlimit(RLIMIT_NOFILE, &files);
	k = keeper_new(path);
	if (k == NULL || start(k, taking_over) < 0)
		return 1;
	k->leaves = leaves;
	tell_ready();
	run(k);
	return 0;
}
