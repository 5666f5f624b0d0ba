/*
 * garbage: see the header.
 *
 * Rows go before files: at every moment the database says no more than is there. Knows the order;
 * rows are unregister.c's.
 */
#include "garbage.h"
#include "data_file.h"
#include "dir.h"
#include "evict.h"
#include "hand_out.h"
#include "mem.h"
#include "refer.h"
#include "state.h"
#include "stored.h"
#include "unregister.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SQL_NO_IMAGE " NOT EXISTS(SELECT 1 FROM image_blob ib WHERE ib.blob = blob.id)"
#define SQL_NO_OWNER REFER_SQL_NO_OWNER("blob.id")
#define SQL_UNUSED   "SELECT key FROM blob WHERE dying = 0 AND" SQL_NO_IMAGE " AND" SQL_NO_OWNER

/* A name that somebody else gave the file (agent: links_dir) would hold its space. But what anybody
 * has open, as the kernel has what it was handed, is left as it is. */
static void cut_linked(const struct cas *cas, const char *name)
{
	const struct disk *d = cas->disk;
	struct stat st;
	int fd;

	if (fstatat(cas->blobs_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || st.st_nlink < 2)
		return;
	fd = d->open(d, cas->blobs_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
	if (fd < 0)
		return;
	if (file_is_held_elsewhere(cas, fd) || d->truncate(d, fd, 0) != 0)
		log_warn(cas->log, "a blob that goes has another name, and holds its space there",
		         "file=%s", name);
	(void)close(fd);
}

static int unlink_data(struct cas *cas, const char *key, struct err *e)
{
	char name[DATA_FILE_NAME_BYTES];
	uint64_t bytes;

	data_file_name(key, name);
	bytes = measure_name(cas->blobs_fd, name);
	cut_linked(cas, name);
	if (cas->disk->unlink(cas->disk, cas->blobs_fd, name, 0) == 0)
		room_freed(&cas->room, bytes);
	else if (errno != ENOENT)
		return err_errno(e, errno, "cannot remove blobs/%s", name);
	return 0;
}

int garbage_remove_blob(struct cas *cas, const char *key, struct err *e)
{
	struct cas_blob *placeholder = blob_table_reserve(cas, key);
	int r;

	if (placeholder == NULL) {
		atomic_store(&cas->evictor.has_garbage, true);
		return 1;
	}
	r = unregister_blob(cas, key, e);
	if (r >= 0)
		r = unlink_data(cas, key, e); /* also where there was no row */
	blob_table_opened(placeholder, GET_PASSIVE, false);
	return r;
}

/* Blobs without an image need no other blob's chunks. */
static int forget_references(struct db *db, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_prepare(db, "SELECT id FROM blob WHERE" SQL_NO_IMAGE, &stmt, e);

	if (r < 0)
		return r;
	while ((r = db_step(stmt, e)) == 1) {
		r = refer_rows_forget(db, db_u64(stmt, 0), e);
		if (r < 0)
			break;
	}
	return r;
}

static int unused_blobs(struct cas *cas, bool remove, uint64_t *ret_n, struct err *e)
{
	AUTO(free_str) char *keys = NULL;
	int r = remove ? forget_references(cas->db, e) : 0;

	if (r == 0)
		r = stored_keys_of(cas->db, SQL_UNUSED, NULL, &keys, e);

	for (const char *key = keys; r >= 0 && key != NULL && *key != '\0';
	     key += strlen(key) + 1) {
		struct cas_blob *open = remove ? NULL : blob_table_find(cas, key);

		r = remove ? garbage_remove_blob(cas, key, e) : open != NULL;
		*ret_n += r == 0;
		cas_blob_release(&open);
	}
	return r < 0 ? r : 0;
}

int garbage_blobs(struct cas *cas, bool remove, uint64_t *ret_n, struct err *e)
{
	const int r = unused_blobs(cas, remove, ret_n, e);

	/* On a full disk there is no room even for the rows' removal. */
	return r == -ENOSPC && evict_give_ballast(cas) ? unused_blobs(cas, remove, ret_n, e) : r;
}

/* "<key>.blob.data" @return false: another name */
static bool key_of_file(const char *name, char ret_key[CAS_KEY_BYTES])
{
	static const char tail[] = ".blob.data";
	const size_t n = strlen(name);

	if (n < sizeof(tail) || n - (sizeof(tail) - 1) >= CAS_KEY_BYTES ||
	    strcmp(name + n - (sizeof(tail) - 1), tail) != 0)
		return false;
	memcpy(ret_key, name, n - (sizeof(tail) - 1));
	ret_key[n - (sizeof(tail) - 1)] = '\0';
	return true;
}

/* A file that no row names, and that nobody is about to register. */
static int sweep_file(struct cas *cas, const char *key, bool remove, uint64_t *ret_n, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	struct cas_blob *placeholder = blob_table_reserve(cas, key);
	int r;

	if (placeholder == NULL)
		return 0;
	r = db_prepare(cas->db, "SELECT 1 FROM blob WHERE key = ?", &stmt, e);
	if (r == 0) {
		db_bind_text(stmt, 1, key);
		r = db_step(stmt, e);
	}
	if (r == 0) {
		const bool is_gone = !remove || unlink_data(cas, key, e) == 0;

		if (!is_gone) /* the others can go all the same */
			log_warn(cas->log, "a file that nobody uses stays", "why=%s",
			         LOG_Q(e->msg));
		*ret_n += is_gone;
	}
	blob_table_opened(placeholder, GET_PASSIVE, false);
	return r < 0 ? r : 0;
}

struct file_sweep {
	struct cas *cas;
	bool remove;
	uint64_t n;
	int result; /* of the last file */
	struct err *e;
};

static int sweep_entry(void *arg, int dir_fd, const struct dirent *entry)
{
	struct file_sweep *s = arg;
	char key[CAS_KEY_BYTES];

	(void)dir_fd;
	if (key_of_file(entry->d_name, key))
		s->result = sweep_file(s->cas, key, s->remove, &s->n, s->e);
	return s->result;
}

static int garbage_files(struct cas *cas, bool remove, uint64_t *ret_n, struct err *e)
{
	struct file_sweep s = { .cas = cas, .remove = remove, .e = e };
	const int r = dir_each(cas->blobs_fd, ".", 0, sweep_entry, &s);

	*ret_n += s.n;
	return r < 0 && s.result == 0 ? err_errno(e, -r, "cannot list the blobs directory") : r;
}

struct sweep {
	bool remove;
	uint64_t n;
};

static int sweep_on_writer(struct cas *cas, void *arg, struct err *e)
{
	struct sweep *s = arg;
	int r = garbage_blobs(cas, s->remove, &s->n, e);

	return r == 0 ? garbage_files(cas, s->remove, &s->n, e) : r;
}

int garbage_sweep(struct cas *cas, bool remove, uint64_t *ret_n, struct err *e)
{
	struct sweep s = { .remove = remove };
	const int r = writer_do(cas, sweep_on_writer, &s, e);

	*ret_n = s.n;
	return r;
}

static int files_on_writer(struct cas *cas, void *arg, struct err *e)
{
	return garbage_files(cas, true, arg, e);
}

int garbage_sweep_files(struct cas *cas, uint64_t *ret_n, struct err *e)
{
	*ret_n = 0;
	return writer_do(cas, files_on_writer, ret_n, e);
}
