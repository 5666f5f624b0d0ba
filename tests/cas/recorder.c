/*
 * recorder: the list of events, and the disk that writes them down.
 */
#include "mem.h"
#include "recorder_parts.h"
#include "unconst.h"
#include <assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct event *recorder_add(struct recorder *r, enum event_kind kind, uint32_t node)
{
	r->events = xrealloc(r->events, r->n_events + 1, sizeof(r->events[0]));
	struct event *ev = &r->events[r->n_events++];

	*ev = (struct event){ .kind = kind, .node = node };
	return ev;
}

uint32_t recorder_node_named(const struct recorder *r, const char *name)
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

uint32_t recorder_create_node(struct recorder *r, const char *name, ino_t ino, bool of_sqlite)
{
	const uint32_t n = r->n_nodes++;

	assert(n < NODES_MAX);
	r->nodes[n] = (struct node){ .ino = ino, .of_sqlite = of_sqlite };
	(void)snprintf(r->nodes[n].name, NAME_BYTES, "%s", name);
	(void)snprintf(recorder_add(r, EV_CREATE, n)->name, NAME_BYTES, "%s", name);
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
	(void)recorder_create_node(r, name, st.st_ino, false);
	(void)pthread_mutex_unlock(&r->mutex);
	return fd;
}

static void add_change(struct recorder *r, int fd, enum event_kind kind, const void *bytes,
                       uint64_t size_bytes, uint64_t offset)
{
	(void)pthread_mutex_lock(&r->mutex);
	const uint32_t node = node_of_fd(r->nodes, r->n_nodes, fd);

	assert(node != UINT32_MAX);
	struct event *ev = recorder_add(r, kind, node);

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

static ssize_t rec_pwritev(const struct disk *d, int fd, const struct iovec *pieces, int n_pieces,
                           off_t offset)
{
	uint8_t bytes[1 << 17];
	size_t n = 0;

	for (int i = 0; i < n_pieces; i++) {
		assert(pieces[i].iov_len <= sizeof(bytes) - n);
		memcpy(bytes + n, pieces[i].iov_base, pieces[i].iov_len);
		n += pieces[i].iov_len;
	}
	return rec_pwrite(d, fd, bytes, n, offset);
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

static bool rec_can_clone(const struct disk *d, int dir_fd)
{
	(void)d;
	(void)dir_fd;
	return true;
}

/* Wherever the test runs: as a copy. What it leaves behind a power cut is the same. */
static int rec_clone(const struct disk *d, int from_fd, off_t from, off_t size, int to_fd, off_t to)
{
	uint8_t *bytes = xcalloc(1, (size_t)size);
	const bool ok = pread(from_fd, bytes, (size_t)size, from) == size &&
	                rec_pwrite(d, to_fd, bytes, (size_t)size, to) == size;

	free(bytes);
	return ok ? 0 : -1;
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
	(void)recorder_add(r, EV_SYNC_DIR, UINT32_MAX);
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
	node = recorder_node_named(r, name);
	if (node != UINT32_MAX) {
		(void)snprintf(recorder_add(r, EV_UNLINK, node)->name, NAME_BYTES, "%s", name);
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

/* ---- making one ---- */

struct recorder *recorder_new(const char *dir)
{
	struct recorder *r = xcalloc(1, sizeof(*r));

	r->dir = dir;
	(void)pthread_mutex_init(&r->mutex, NULL);
	r->disk = *disk_real();
	r->replayed = *disk_real();
	r->disk.open = rec_open;
	r->disk.pwrite = rec_pwrite;
	r->disk.pwritev = rec_pwritev;
	r->disk.truncate = rec_truncate;
	r->disk.punch = rec_punch;
	r->disk.can_clone = rec_can_clone;
	r->disk.clone = rec_clone;
	r->disk.sync = rec_sync;
	r->disk.sync_data = rec_sync;
	r->disk.unlink = rec_unlink;
	r->disk.set_id = rec_set_id;
	r->disk.identify = rec_identify;
	r->replayed.identify = replayed_identify;
	r->replayed.set_id = keep_no_id;
	r->replayed.sync = no_sync;
	r->replayed.sync_data = no_sync;
	recorder_vfs_init(r);
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
