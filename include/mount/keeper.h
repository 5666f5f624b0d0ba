/*
 * keeper: the other side of shoal-keeper: who holds copies of the /dev/fuse descriptors, so that
 * mounts outlive this process.
 *
 * Each call is a connection of its own; where the keeper is just being replaced, it calls again
 * until the new one answers, or CALL_TIMEOUT_MS are over. Any thread that may block: [worker].
 */
#pragma once
#include "auto.h"
#include "digest.h"
#include "err.h"
#include "keeper_protocol.h"
#include "log.h"

#define KEPT_INIT_MAX_BYTES 256

/* What the next agent must know of a connection. To be changed with a new version: this struct, the
 * node ids of images, how blob files are numbered. What has another version is not adopted. */
#define KEPT_VERSION 1
struct kept_note {
	uint32_t version;
	uint32_t erofs; /* 0: a tree; 1: blobs, for the kernel's EROFS */
	uint64_t dev;   /* of what is mounted on the directory */
	uint32_t init_bytes;
	uint8_t init[KEPT_INIT_MAX_BYTES]; /* the kernel's INIT request, to be replayed */
	char digest[DIGEST_TEXT_BYTES];    /* of the image */
};

/* One connection that is kept. */
struct kept {
	char key[KEEPER_KEY_BYTES];
	int fd; /* of /dev/fuse */
	struct kept_note note;
};

/* What becomes of a copy that a keeper was given. */
enum keep_outcome {
	KEEP_DROP, /* its mount has ended: the keeper must let go */
	KEEP_HOLD,
	KEEP_AGAIN, /* likewise, and another mount has its place and key: that one is to be given */
};

/** The key of a mount on this directory. */
void kept_key(const char *dir, char ret_key[KEEPER_KEY_BYTES]);

/** The key of a mount that the list of another state directory names: its agent may come back. */
void kept_key_elsewhere(const char *key, char ret_key[KEEPER_KEY_BYTES]);
bool kept_is_elsewhere(const struct kept *kept);

/** That key, this version, and the image's digest. */
void kept_fill(struct kept *kept, const char *dir, const char *digest);

void kept_close(struct kept *kept); /* the descriptor */
void kept_free(struct kept **kept); /* malloc'd; closes it, too. NULL is fine */

/** [worker] Of one that nobody takes on, and whose descriptors are closed: what is dead goes from
 * its directory. */
void kept_detach(struct kept *kept, struct log *log);

/** Is the connection there still? (Not unmounted, not aborted.) Does not block. */
bool kept_is_alive(const struct kept *kept);

/** [worker] Give it a copy of kept->fd. @return 0; -errno */
MUST_CHECK int keeper_keep(const char *socket_path, const struct kept *kept, struct err *e);

/** [worker] @return 0, also if it has none of that key; -errno */
MUST_CHECK int keeper_drop(const char *socket_path, const char *key, struct err *e);

/** [worker] The idx-th. @return 0 and *ret_kept, to be closed; 1 there are no more; -EUCLEAN it is
 * of another version: only the key is set; -errno */
MUST_CHECK int keeper_get(const char *socket_path, uint32_t idx, struct kept *ret_kept,
                          struct err *e);

/** [worker] A connection that becomes readable when the keeper is gone. @return 0; -errno */
MUST_CHECK int keeper_watch(const char *socket_path, int *ret_fd, struct err *e);

/** [worker] Start program as a keeper, detached from this process's session; returns once it
 * listens. It ends when nobody is connected to it and it holds nothing.
 * @param ret_pid  a child: whoever sees it end waits for it */
MUST_CHECK int keeper_start(const char *program, const char *socket_path, int *ret_pid,
                            struct err *e);
