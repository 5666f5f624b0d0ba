/*
 * mount_list: one small file a mount, so that one broken record costs one mount.
 *
 * The id is a hash of the directory, so that a directory has one record and its name needs no
 * escaping. Knows nothing of mounting.
 */
#include "mount_list.h"
#include "dir.h"
#include "hex.h"
#include "mem.h"
#include "read_file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_BYTES         ((MOUNT_ID_BYTES - 1) / 2)
#define RECORD_MAX_BYTES (64U << 10)

void mount_list_id(const char *dir, char ret_id[MOUNT_ID_BYTES])
{
	uint8_t digest[DIGEST_BYTES];

	digest_compute(DIGEST_SHA256, dir, strlen(dir), digest);
	hex_encode(digest, ID_BYTES, ret_id);
}

static char *record_dir(const char *state_dir, const char *dir)
{
	char id[MOUNT_ID_BYTES];

	mount_list_id(dir, id);
	return xasprintf("%s/mounts/%s", state_dir, id);
}

char *mount_list_record(const char *state_dir, const char *dir)
{
	AUTO(free_str) char *own = record_dir(state_dir, dir);

	return xasprintf("%s/mount.json", own);
}

static int make_dir(const char *path, struct err *e)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return err_errno(e, errno, "%s cannot be made (see state_dir)", path);
	return 0;
}

static int sync_dir(const char *path, struct err *e)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) != 0)
		return err_errno(e, errno, "%s cannot be synced (see state_dir)", path);
	return 0;
}

static int write_all(const char *path, const char *text, struct err *e)
{
	AUTO(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t left = strlen(text);

	if (fd < 0)
		return err_errno(e, errno, "%s cannot be written (see state_dir)", path);
	while (left > 0) {
		const ssize_t n = write(fd, text, left);

		if (n < 0 && errno != EINTR)
			return err_errno(e, errno, "%s cannot be written (see state_dir)", path);
		text += n > 0 ? n : 0;
		left -= n > 0 ? (size_t)n : 0;
	}
	if (fsync(fd) != 0)
		return err_errno(e, errno, "%s cannot be synced (see state_dir)", path);
	return 0;
}

int mount_list_save(const char *state_dir, const struct mount_record *rec, struct err *e)
{
	AUTO(json_drop) json_t *json = mount_record_json(rec);
	AUTO(free_str) char *text = json_dumps(json, JSON_INDENT(1));
	AUTO(free_str) char *mounts = xasprintf("%s/mounts", state_dir);
	AUTO(free_str) char *dir = record_dir(state_dir, rec->dir);
	AUTO(free_str) char *path = mount_list_record(state_dir, rec->dir);
	AUTO(free_str) char *temporary = xasprintf("%s/mount.json.new", dir);
	int r;

	if (text == NULL)
		return err_set(e, ENOMEM, "%s: out of memory", path);
	r = make_dir(mounts, e);
	if (r == 0)
		r = make_dir(dir, e);
	if (r == 0)
		r = write_all(temporary, text, e);
	if (r == 0 && rename(temporary, path) != 0)
		r = err_errno(e, errno, "%s cannot be renamed (see state_dir)", temporary);
	if (r == 0)
		r = sync_dir(dir, e);
	return r == 0 ? sync_dir(mounts, e) : r;
}

int mount_list_remove(const char *state_dir, const char *dir, struct err *e)
{
	AUTO(free_str) char *mounts = xasprintf("%s/mounts", state_dir);
	AUTO(free_str) char *own = record_dir(state_dir, dir);
	AUTO(free_str) char *path = mount_list_record(state_dir, dir);
	AUTO(free_str) char *temporary = xasprintf("%s/mount.json.new", own);

	if (unlink(path) != 0 && errno != ENOENT)
		return err_errno(e, errno, "%s cannot be removed (see state_dir)", path);
	(void)unlink(temporary);
	if (rmdir(own) != 0)
		return errno == ENOENT
		               ? 0
		               : err_errno(e, errno, "%s cannot be removed (see state_dir)", own);
	return sync_dir(mounts, e);
}

static int load_record(const char *path, struct mount_record *ret_rec, struct err *e)
{
	AUTO(free_str) char *text = NULL;
	AUTO(json_drop) json_t *json = NULL;
	size_t size_bytes = 0;
	int r = read_file(path, O_NOFOLLOW, RECORD_MAX_BYTES, &text, &size_bytes, e);

	if (r == 0)
		r = json_parse_object(text, size_bytes, &json, e);
	return r < 0 ? r : mount_record_parse(json, true, ret_rec, e);
}

struct records {
	const char *mounts;
	struct log *log;
	struct mount_record *all;
	uint32_t n;
};

static void records_clear(struct records *records)
{
	for (uint32_t i = 0; i < records->n; i++)
		mount_record_clear(&records->all[i]);
	free(records->all);
}

static int load_entry(void *arg, int dir_fd, const struct dirent *entry)
{
	struct records *records = arg;
	AUTO(free_str)
	char *path = xasprintf("%s/%s/mount.json", records->mounts, entry->d_name);
	struct mount_record rec = { 0 };
	struct err why = { 0 };

	(void)dir_fd;
	if (entry->d_name[0] == '.')
		return 0;
	if (load_record(path, &rec, &why) < 0) {
		log_warn(records->log, "a listed mount cannot be read and is passed over",
		         "file=%s error=%s", LOG_Q(path), LOG_Q(why.msg));
		return 0;
	}
	records->all = xrealloc(records->all, records->n + 1, sizeof(rec));
	records->all[records->n++] = rec;
	return records->n == MOUNTS_MAX; /* that is all there can be */
}

int mount_list_load(const char *state_dir, struct log *log,
                    void (*fn)(void *arg, const struct mount_record *rec), void *arg, struct err *e)
{
	AUTO(free_str) char *mounts = xasprintf("%s/mounts", state_dir);
	AUTO(records_clear) struct records records = { .mounts = mounts, .log = log };
	const int r = dir_each(AT_FDCWD, mounts, 0, load_entry, &records);

	if (r == -ENOENT && records.n == 0)
		return 0;
	if (r < 0)
		return err_errno(e, -r, "%s cannot be read to its end", mounts);
	for (uint32_t i = 0; i < records.n; i++)
		fn(arg, &records.all[i]);
	return 0;
}
