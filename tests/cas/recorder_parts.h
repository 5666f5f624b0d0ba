/*
 * recorder_parts: what the parts of the recorder share: the list of events, and files as nodes. A
 * node is a file by the number that its creation gave it; it keeps that whatever its name.
 */
#pragma once
#include "recorder.h"
#include <pthread.h>
#include <sqlite3.h>
#include <sys/types.h>

#define NAME_BYTES   128
#define SECTOR_BYTES 512U
#define NODES_MAX    64
#define DOUBT_EVENTS 24

enum event_kind {
	EV_CREATE,
	EV_UNLINK,
	EV_WRITE,
	EV_TRUNCATE,
	EV_PUNCH,
	EV_SET_ID,
	EV_SYNC,
	EV_SYNC_DIR
};

struct event {
	enum event_kind kind;
	uint32_t node;
	uint64_t offset;
	uint64_t size_bytes;
	uint8_t *bytes;
	char name[NAME_BYTES]; /* EV_CREATE, EV_UNLINK: below the state directory; EV_SYNC_DIR:
	                          "blobs" */
};

struct node {
	char name[NAME_BYTES]; /* now */
	ino_t ino;             /* real, of the directory at hand */
	uint8_t id[FILE_ID_BYTES];
	bool of_sqlite;
};

struct recorder {
	struct disk disk;
	struct disk replayed;
	sqlite3_vfs vfs;
	char vfs_name[32];
	const char *dir;
	pthread_mutex_t mutex; /* guards what follows */
	struct event *events;
	uint32_t n_events;
	struct node nodes[NODES_MAX];
	uint32_t n_nodes;
	struct node replayed_nodes[NODES_MAX];
	uint32_t n_replayed;
};

/* With the mutex held. */
struct event *recorder_add(struct recorder *r, enum event_kind kind, uint32_t node);
uint32_t recorder_node_named(const struct recorder *r, const char *name); /* UINT32_MAX: none */
uint32_t recorder_create_node(struct recorder *r, const char *name, ino_t ino, bool of_sqlite);

/** Fill in the VFS of r; it is not registered yet. */
void recorder_vfs_init(struct recorder *r);
