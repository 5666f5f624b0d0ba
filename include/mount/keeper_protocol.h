/*
 * keeper_protocol: what shoald and shoal-keeper say to each other.
 *
 * A SOCK_SEQPACKET unix socket; one request, one answer, both a struct keeper_message, whole and
 * of fixed size, both ends on one machine. Descriptors travel beside them (SCM_RIGHTS). The keeper
 * knows an item by its key and never looks into a note.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEPER_MAGIC          0x3150454bU /* "KEP1" */
#define KEEPER_KEY_BYTES      32          /* text, ended by a zero */
#define KEEPER_NOTE_MAX_BYTES 1024
#define KEEPER_ITEMS_MAX      4096

enum keeper_verb {
	KEEPER_KEEP = 1, /* key, note and a descriptor; an item of that key is replaced */
	KEEPER_DROP,     /* key; the descriptor is closed */
	KEEPER_GET, /* idx; the answer has key, note and a copy of the descriptor; -ENOENT: no more
	             */
	KEEPER_HAND_OVER, /* from now on only GET and QUIT of this connection are answered: a new
	                   * keeper takes over, and others find it at the socket */
	KEEPER_QUIT,      /* end; only after HAND_OVER */
	KEEPER_VERBS_END,
};

struct keeper_message {
	uint32_t magic;
	uint32_t verb;  /* of the request; the answer repeats it */
	int32_t result; /* of the answer: 0 or -errno */
	uint32_t idx;   /* GET */
	uint32_t note_bytes;
	char key[KEEPER_KEY_BYTES];
	uint8_t note[KEEPER_NOTE_MAX_BYTES];
};

/** Is what came one whole message whose fields are within bounds? */
static inline bool keeper_message_is_sound(const struct keeper_message *m, uint64_t size_bytes)
{
	return size_bytes == sizeof(*m) && m->magic == KEEPER_MAGIC && m->verb >= KEEPER_KEEP &&
	       m->verb < KEEPER_VERBS_END && m->note_bytes <= KEEPER_NOTE_MAX_BYTES &&
	       memchr(m->key, '\0', sizeof(m->key)) != NULL;
}

/** Send m, and a copy of fd unless that is -1. @return 0; -1 */
static inline int keeper_send(int socket_fd, struct keeper_message *m, int fd, int flags)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = m, .iov_len = sizeof(*m) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *c = (struct cmsghdr *)(void *)control;

		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	return sendmsg(socket_fd, &msg, flags | MSG_NOSIGNAL) == (ssize_t)sizeof(*m) ? 0 : -1;
}

/* The descriptor that came with a message; -1: none, or more than one: then they are closed. */
static inline int keeper_descriptor(struct msghdr *msg)
{
	const struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	size_t n;

	if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return -1;
	n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
		if (n == 1)
			return fd;
		(void)close(fd);
	}
	return -1;
}

/**
 * @param ret_fd  the descriptor that came, the caller's, or -1
 * @return 0; -1: there is none, or it is not sound
 */
static inline int keeper_receive(int socket_fd, struct keeper_message *ret_m, int *ret_fd,
                                 int flags)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = ret_m, .iov_len = sizeof(*ret_m) };
	struct msghdr msg = { .msg_iov = &iov,
		              .msg_iovlen = 1,
		              .msg_control = control,
		              .msg_controllen = sizeof(control) };
	const ssize_t n = recvmsg(socket_fd, &msg, flags | MSG_CMSG_CLOEXEC);

	*ret_fd = n > 0 ? keeper_descriptor(&msg) : -1;
	if (n > 0 && !(msg.msg_flags & MSG_TRUNC) && keeper_message_is_sound(ret_m, (uint64_t)n))
		return 0;
	if (*ret_fd >= 0)
		(void)close(*ret_fd);
	*ret_fd = -1;
	return -1;
}
