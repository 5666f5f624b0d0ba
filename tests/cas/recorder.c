/*
 * recorder: see the header. The record is a list of events; a file is known by a number (node) that
 * its creation gave it, and keeps it whatever its name.
 */
#include "recorder.h"
#include "mem.h"
#include "unconst.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static struct event *add(struct recorder *r, enum event_kind kind, uint32_t node)
{
	r->events = xrealloc(r->events, r->n_events + 1, sizeof(r->events[0]));
	struct event *ev = &r->events[r->n_events++];

	*ev = (struct event){ .kind = kind, .node = node };
	return ev;
}

static uint32_t node_named(const struct recorder *r, const char *name)
{
	for (uint32_t i = r->n_nodes; i-- > 0;)
		if (strcmp(r->nodes[i].name, name) == 0)
			return i;
	return UINT32_MAX;
}

static uint32_t node_of_fd(const struct node *nodes, uint32_t n, int fd)
{
	struct stat st;

	assert(fstat(fd, &st) == 0);
	for (uint32_t i = n; i-- > 0;)
		if (nodes[i].ino == st.st_ino && nodes[i].name[0] != '\0')
			return i;
	return UINT32_MAX;
}

static uint32_t create_node(struct recorder *r, const char *name, ino_t ino, bool of_sqlite)
{
	const uint32_t n = r->n_nodes++;

	assert(n < NODES_MAX);
	r->nodes[n] = (struct node){ .ino = ino, .of_sqlite = of_sqlite };
	(void)snprintf(r->nodes[n].name, NAME_BYTES, "%s", name);
	(void)snprintf(add(r, EV_CREATE, n)->name, NAME_BYTES, "%s", name);
	return n;
}

/* A name below the state directory, from a directory's descriptor. */
static void name_below(const struct recorder *r, int dir_fd, const char *entry, char *ret_name)
{
	char link[64];
	char path[256];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
	n = readlink(link, path, sizeof(path) - 1);
	assert(n > 0);
	path[n] = '\0';
	assert(strncmp(path, r->dir, strlen(r->dir)) == 0);
	(void)snprintf(ret_name, NAME_BYTES, "%s/%s", path + strlen(r->dir) + 1, entry);
}

static struct recorder *of(const struct disk *d)
{
	return unconst(d); /* its first member */
}

/* ---- the disk ---- */

static int rec_open(const struct disk *d, int dir_fd, const char *entry, int flags, mode_t mode)
{
	struct recorder *r = of(d);
	const int fd = disk_real()->open(d, dir_fd, entry, flags, mode);
	char name[NAME_BYTES];
	struct stat st;

	if (fd < 0 || !(flags & O_CREAT))
		return fd;
	assert(fstat(fd, &st) == 0);
	name_below(r, dir_fd, entry, name);
	(void)pthread_mutex_lock(&r->mutex);
	(void)create_node(r, name, st.st_ino, false);
	(void)pthread_mutex_unlock(&r->mutex);
	return fd;
}

static void add_change(struct recorder *r, int fd, enum event_kind kind, const void *bytes,
                       uint64_t size_bytes, uint64_t offset)
{
	(void)pthread_mutex_lock(&r->mutex);
	const uint32_t node = node_of_fd(r->nodes, r->n_nodes, fd);

	assert(node != UINT32_MAX);
	struct event *ev = add(r, kind, node);

	ev->offset = offset;
	ev->size_bytes = size_bytes;
	if (bytes != NULL) {
		ev->bytes = xcalloc(1, size_bytes);
		memcpy(ev->bytes, bytes, size_bytes);
	}
	if (kind == EV_SET_ID && bytes != NULL)
		memcpy(r->nodes[node].id, bytes, FILE_ID_BYTES);
	(void)pthread_mutex_unlock(&r->mutex);
}

static ssize_t rec_pwrite(const struct disk *d, int fd, const void *buf, size_t n, off_t offset)
{
	add_change(of(d), fd, EV_WRITE, buf, n, (uint64_t)offset);
	return disk_real()->pwrite(d, fd, buf, n, offset);
}

static int rec_truncate(const struct disk *d, int fd, off_t size)
{
	add_change(of(d), fd, EV_TRUNCATE, NULL, (uint64_t)size, 0);
	return disk_real()->truncate(d, fd, size);
}

static int rec_punch(const struct disk *d, int fd, off_t offset, off_t size)
{
	add_change(of(d), fd, EV_PUNCH, NULL, (uint64_t)size, (uint64_t)offset);
	return disk_real()->punch(d, fd, offset, size);
}

static int rec_set_id(const struct disk *d, int fd, const uint8_t id[FILE_ID_BYTES])
{
	add_change(of(d), fd, EV_SET_ID, id, FILE_ID_BYTES, 0);
	return 0;
}

static int rec_sync(const struct disk *d, int fd)
{
	struct recorder *r = of(d);
	struct stat st;

	assert(fstat(fd, &st) == 0);
	if (!S_ISDIR(st.st_mode)) {
		add_change(r, fd, EV_SYNC, NULL, 0, 0);
		return 0;
	}
	(void)pthread_mutex_lock(&r->mutex);
	(void)add(r, EV_SYNC_DIR, UINT32_MAX);
	(void)pthread_mutex_unlock(&r->mutex);
	return 0;
}

static int rec_unlink(const struct disk *d, int dir_fd, const char *entry, int flags)
{
	struct recorder *r = of(d);
	char name[NAME_BYTES];
	uint32_t node;

	name_below(r, dir_fd, entry, name);
	(void)pthread_mutex_lock(&r->mutex);
	node = node_named(r, name);
	if (node != UINT32_MAX) {
		(void)snprintf(add(r, EV_UNLINK, node)->name, NAME_BYTES, "%s", name);
		(void)snprintf(r->nodes[node].name, NAME_BYTES, "(gone)");
	}
	(void)pthread_mutex_unlock(&r->mutex);
	return disk_real()->unlink(d, dir_fd, entry, flags);
}

static int identify(const struct node *nodes, uint32_t n, const struct disk *d, int fd,
                    struct file_identity *ret_identity)
{
	const uint32_t node = node_of_fd(nodes, n, fd);

	if (disk_real()->identify(d, fd, ret_identity) != 0)
		return -1;
	ret_identity->dev = 1;
	ret_identity->fs_id = 1;
	ret_identity->btime_ns = 1;
	ret_identity->ino = node;
	if (node != UINT32_MAX)
		memcpy(ret_identity->id, nodes[node].id, FILE_ID_BYTES);
	return 0;
}

static int rec_identify(const struct disk *d, int fd, struct file_identity *ret_identity)
{
	struct recorder *r = of(d);
	int ret;

	(void)pthread_mutex_lock(&r->mutex);
	ret = identify(r->nodes, r->n_nodes, d, fd, ret_identity);
	(void)pthread_mutex_unlock(&r->mutex);
	return ret;
}

static int replayed_identify(const struct disk *d, int fd, struct file_identity *ret_identity)
{
	const struct recorder *r =
		(const struct recorder *)(const void *)((const char *)d -
	                                                offsetof(struct recorder, replayed));

	return identify(r->replayed_nodes, r->n_replayed, d, fd, ret_identity);
}

static int keep_no_id(const struct disk *d, int fd, const uint8_t id[FILE_ID_BYTES])
{
	(void)d;
	(void)fd;
	(void)id;
	return 0;
}

static int no_sync(const struct disk *d, int fd)
{
	(void)d;
	(void)fd;
	return 0;
}

/* ---- SQLite's files ---- */

struct rec_file {
	sqlite3_file base;
	struct recorder *r;
	uint32_t node; /* UINT32_MAX: a temporary file */
	sqlite3_file *real;
};

static sqlite3_file *real_of(sqlite3_file *f)
{
	return ((struct rec_file *)(void *)f)->real;
}

static void add_sqlite(sqlite3_file *f, enum event_kind kind, const void *bytes,
                       uint64_t size_bytes, uint64_t offset)
{
	struct rec_file *file = (struct rec_file *)(void *)f;

	if (file->node == UINT32_MAX)
		return;
	(void)pthread_mutex_lock(&file->r->mutex);
	struct event *ev = add(file->r, kind, file->node);

	ev->offset = offset;
	ev->size_bytes = size_bytes;
	if (bytes != NULL) {
		ev->bytes = xcalloc(1, size_bytes);
		memcpy(ev->bytes, bytes, size_bytes);
	}
	(void)pthread_mutex_unlock(&file->r->mutex);
}

static int f_close(sqlite3_file *f)
{
	return real_of(f)->pMethods->xClose(real_of(f));
}

static int f_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 at)
{
	return real_of(f)->pMethods->xRead(real_of(f), buf, n, at);
}

static int f_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 at)
{
	add_sqlite(f, EV_WRITE, buf, (uint64_t)n, (uint64_t)at);
	return real_of(f)->pMethods->xWrite(real_of(f), buf, n, at);
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	add_sqlite(f, EV_TRUNCATE, NULL, (uint64_t)size, 0);
	return real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static int f_sync(sqlite3_file *f, int flags)
{
	(void)flags;
	add_sqlite(f, EV_SYNC, NULL, 0, 0);
	return SQLITE_OK;
}

static int f_size(sqlite3_file *f, sqlite3_int64 *ret_size)
{
	return real_of(f)->pMethods->xFileSize(real_of(f), ret_size);
}

static int f_lock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int f_unlock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int f_check(sqlite3_file *f, int *ret_is_reserved)
{
	return real_of(f)->pMethods->xCheckReservedLock(real_of(f), ret_is_reserved);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
	return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int f_sector(sqlite3_file *f)
{
	return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int f_characteristics(sqlite3_file *f)
{
	(void)f;
	return 0; /* promises nothing: not even that sectors are written whole */
}

static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret_p)
{
	return real_of(f)->pMethods->xShmMap(real_of(f), page, size, extend, ret_p);
}

static int f_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
	return real_of(f)->pMethods->xShmLock(real_of(f), at, n, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
	real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int f_shm_unmap(sqlite3_file *f, int del)
{
	return real_of(f)->pMethods->xShmUnmap(real_of(f), del);
}

static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = f_close,
	.xRead = f_read,
	.xWrite = f_write,
	.xTruncate = f_truncate,
	.xSync = f_sync,
	.xFileSize = f_size,
	.xLock = f_lock,
	.xUnlock = f_unlock,
	.xCheckReservedLock = f_check,
	.xFileControl = f_control,
	.xSectorSize = f_sector,
	.xDeviceCharacteristics = f_characteristics,
	.xShmMap = f_shm_map,
	.xShmLock = f_shm_lock,
	.xShmBarrier = f_shm_barrier,
	.xShmUnmap = f_shm_unmap,
};

static int v_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *f, int flags, int *ret_flags)
{
	struct recorder *r = vfs->pAppData;
	sqlite3_vfs *real = sqlite3_vfs_find(NULL);
	struct rec_file *file = (struct rec_file *)(void *)f;
	int rc;

	*file = (struct rec_file){ .r = r, .node = UINT32_MAX };
	file->real = (sqlite3_file *)(void *)(file + 1);
	rc = real->xOpen(real, path, file->real, flags, ret_flags);
	if (rc != SQLITE_OK)
		return rc;
	f->pMethods = &methods;
	if (path == NULL || strncmp(path, r->dir, strlen(r->dir)) != 0)
		return rc;
	(void)pthread_mutex_lock(&r->mutex);
	file->node = node_named(r, path + strlen(r->dir) + 1);
	if (file->node == UINT32_MAX)
		file->node = create_node(r, path + strlen(r->dir) + 1, 0, true);
	(void)pthread_mutex_unlock(&r->mutex);
	return rc;
}

static int v_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
	struct recorder *r = vfs->pAppData;
	sqlite3_vfs *real = sqlite3_vfs_find(NULL);
	uint32_t node;

	(void)pthread_mutex_lock(&r->mutex);
	node = node_named(r, path + strlen(r->dir) + 1);
	if (node != UINT32_MAX) {
		(void)snprintf(add(r, EV_UNLINK, node)->name, NAME_BYTES, "%s",
		               path + strlen(r->dir) + 1);
		(void)snprintf(r->nodes[node].name, NAME_BYTES, "(gone)");
		if (sync_dir)
			(void)add(r, EV_SYNC, node);
	}
	(void)pthread_mutex_unlock(&r->mutex);
	return real->xDelete(real, path, sync_dir);
}

/* ---- the replay ---- */

static uint64_t next_random(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random;
}

/* Was this change on the disk for certain when the power failed? */
static bool is_durable(const struct recorder *r, uint32_t event_idx, uint32_t cut)
{
	const struct event *ev = &r->events[event_idx];
	const bool of_dir =
		(ev->kind == EV_CREATE || ev->kind == EV_UNLINK) && !r->nodes[ev->node].of_sqlite;

	for (uint32_t i = event_idx + 1; i < cut; i++) {
		const struct event *later = &r->events[i];

		if (of_dir ? later->kind == EV_SYNC_DIR
		           : later->kind == EV_SYNC && later->node == ev->node)
			return true;
	}
	return false;
}

static void apply_write(int fd, const struct event *ev, bool torn, uint64_t *random)
{
	for (uint64_t at = 0; at < ev->size_bytes;) {
		const uint64_t to_sector_end = SECTOR_BYTES - (ev->offset + at) % SECTOR_BYTES;
		const uint64_t n =
			ev->size_bytes - at < to_sector_end ? ev->size_bytes - at : to_sector_end;

		if (!torn || next_random(random) % 2 == 0)
			assert(pwrite(fd, ev->bytes + at, n, (off_t)(ev->offset + at)) ==
			       (ssize_t)n);
		at += n;
	}
}

static void apply_to_file(int fd, struct node *node, const struct event *ev, bool torn,
                          uint64_t *random)
{
	if (ev->kind == EV_WRITE)
		apply_write(fd, ev, torn, random);
	else if (ev->kind == EV_TRUNCATE)
		assert(ftruncate(fd, (off_t)ev->size_bytes) == 0);
	else if (ev->kind == EV_PUNCH)
		assert(disk_real()->punch(NULL, fd, (off_t)ev->offset, (off_t)ev->size_bytes) == 0);
	else if (ev->kind == EV_SET_ID)
		memcpy(node->id, ev->bytes, FILE_ID_BYTES);
}

static void apply(struct node *nodes, int *fds, const struct event *ev, const char *dir, bool torn,
                  uint64_t *random)
{
	struct node *node = NULL;

	if (ev->kind == EV_SYNC || ev->kind == EV_SYNC_DIR)
		return;
	node = &nodes[ev->node];
	if (ev->kind == EV_CREATE) {
		/* A name that another file still has: that file loses it. */
		for (uint32_t i = 0; i < NODES_MAX; i++)
			if (strcmp(nodes[i].name, ev->name) == 0)
				nodes[i].name[0] = '\0';
		(void)snprintf(node->name, NAME_BYTES, "%s", ev->name);
	} else if (ev->kind == EV_UNLINK) {
		node->name[0] = '\0';
	} else {
		apply_to_file(fds[ev->node], node, ev, torn, random);
	}
	(void)dir;
}

void recorder_replay(const struct recorder *r, uint32_t cut, uint64_t *random, const char *dir)
{
	struct recorder *mine = unconst(r);
	struct node *nodes = mine->replayed_nodes;
	/* Half of the time the kernel has written back by itself all but the latest changes. */
	const uint32_t in_doubt =
		next_random(random) % 2 == 0 ? cut : (uint32_t)(next_random(random) % DOUBT_EVENTS);
	int fds[NODES_MAX] = { 0 };

	memset(nodes, 0, sizeof(mine->replayed_nodes));
	mine->n_replayed = r->n_nodes;
	for (uint32_t i = 0; i < r->n_nodes; i++) {
		char path[256];

		(void)snprintf(path, sizeof(path), "%s/node-%u", dir, i);
		fds[i] = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
		assert(fds[i] >= 0);
	}
	for (uint32_t i = 0; i < cut; i++) {
		const bool certain = i + in_doubt < cut || is_durable(r, i, cut);
		const uint64_t fate = certain ? 1 : next_random(random) % 3;

		if (fate != 0)
			apply(nodes, fds, &r->events[i], dir, !certain && fate == 2, random);
	}
	for (uint32_t i = 0; i < r->n_nodes; i++) {
		char from[256];
		char to[256];
		struct stat st;

		assert(fstat(fds[i], &st) == 0 && close(fds[i]) == 0);
		nodes[i].ino = st.st_ino;
		(void)snprintf(from, sizeof(from), "%s/node-%u", dir, i);
		(void)snprintf(to, sizeof(to), "%s/%s", dir, nodes[i].name);
		if (nodes[i].name[0] != '\0')
			assert(rename(from, to) == 0);
		else
			assert(unlink(from) == 0);
	}
}

/* ---- making one ---- */

struct recorder *recorder_new(const char *dir)
{
	struct recorder *r = xcalloc(1, sizeof(*r));
	const sqlite3_vfs *real = sqlite3_vfs_find(NULL);

	r->dir = dir;
	(void)pthread_mutex_init(&r->mutex, NULL);
	r->disk = *disk_real();
	r->replayed = *disk_real();
	r->disk.open = rec_open;
	r->disk.pwrite = rec_pwrite;
	r->disk.truncate = rec_truncate;
	r->disk.punch = rec_punch;
	r->disk.sync = rec_sync;
	r->disk.sync_data = rec_sync;
	r->disk.unlink = rec_unlink;
	r->disk.set_id = rec_set_id;
	r->disk.identify = rec_identify;
	r->replayed.identify = replayed_identify;
	r->replayed.set_id = keep_no_id;
	r->replayed.sync = no_sync;
	r->replayed.sync_data = no_sync;
	r->vfs = *real;
	(void)snprintf(r->vfs_name, sizeof(r->vfs_name), "recorder");
	r->vfs.zName = r->vfs_name;
	r->vfs.pAppData = r;
	r->vfs.szOsFile = (int)sizeof(struct rec_file) + real->szOsFile;
	r->vfs.xOpen = v_open;
	r->vfs.xDelete = v_delete;
	assert(sqlite3_vfs_register(&r->vfs, 0) == SQLITE_OK);
	return r;
}

void recorder_free(struct recorder **r)
{
	struct recorder *it = *r;

	if (it == NULL)
		return;
	(void)sqlite3_vfs_unregister(&it->vfs);
	for (uint32_t i = 0; i < it->n_events; i++)
		free(it->events[i].bytes);
	free(it->events);
	(void)pthread_mutex_destroy(&it->mutex);
	free(it);
	*r = NULL;
}

const struct disk *recorder_disk(struct recorder *r)
{
	return &r->disk;
}

const struct disk *recorder_replayed_disk(struct recorder *r)
{
	return &r->replayed;
}

const char *recorder_vfs(struct recorder *r)
{
	return r->vfs_name;
}

uint32_t recorder_n_events(const struct recorder *r)
{
	return r->n_events;
}

bool recorder_is_barrier(const struct recorder *r, uint32_t event_idx)
{
	return r->events[event_idx].kind == EV_SYNC || r->events[event_idx].kind == EV_SYNC_DIR;
}
