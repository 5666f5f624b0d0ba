/*
 * recorder_vfs: SQLite's files: every write, cut, sync and removal written down, then done.
 */
#include "mem.h"
#include "recorder_parts.h"
#include <stdio.h>
#include <string.h>

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
	struct event *ev = recorder_add(file->r, kind, file->node);

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
	file->node = recorder_node_named(r, path + strlen(r->dir) + 1);
	if (file->node == UINT32_MAX)
		file->node = recorder_create_node(r, path + strlen(r->dir) + 1, 0, true);
	(void)pthread_mutex_unlock(&r->mutex);
	return rc;
}

static int v_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
	struct recorder *r = vfs->pAppData;
	sqlite3_vfs *real = sqlite3_vfs_find(NULL);
	uint32_t node;

	(void)pthread_mutex_lock(&r->mutex);
	node = recorder_node_named(r, path + strlen(r->dir) + 1);
	if (node != UINT32_MAX) {
		(void)snprintf(recorder_add(r, EV_UNLINK, node)->name, NAME_BYTES, "%s",
		               path + strlen(r->dir) + 1);
		(void)snprintf(r->nodes[node].name, NAME_BYTES, "(gone)");
		if (sync_dir)
			(void)recorder_add(r, EV_SYNC, node);
	}
	(void)pthread_mutex_unlock(&r->mutex);
	return real->xDelete(real, path, sync_dir);
}

void recorder_vfs_init(struct recorder *r)
{
	const sqlite3_vfs *real = sqlite3_vfs_find(NULL);

	r->vfs = *real;
	(void)snprintf(r->vfs_name, sizeof(r->vfs_name), "recorder");
	r->vfs.zName = r->vfs_name;
	r->vfs.pAppData = r;
	r->vfs.szOsFile = (int)sizeof(struct rec_file) + real->szOsFile;
	r->vfs.xOpen = v_open;
	r->vfs.xDelete = v_delete;
}
