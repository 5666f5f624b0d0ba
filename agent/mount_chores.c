/*
 * mount_chores: looking at directories, detaching dead mounts, writing records: on a worker,
 * because each of these may block, on a dead file system even for long.
 *
 * Sees struct mount_chore and nothing else of a mount.
 */
#include "mount_chores.h"
#include "erofs.h"
#include "mem.h"
#include "mount_life.h"
#include "mount_list.h"
#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define DEAD_MOUNTS_MAX 64 /* one above the other: each crash leaves at most one */

/* A FUSE file system whose agent is dead says so when it is asked; the kernel answers stat() from
 * its cache, statfs() never. */
static void detach_dead(const char *dir)
{
	struct statfs fs;

	for (int i = 0; i < DEAD_MOUNTS_MAX; i++) {
		if (statfs(dir, &fs) == 0 || (errno != ENOTCONN && errno != ECONNABORTED))
			return;
		if (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) != 0)
			return;
	}
}

static int check_dir(const char *dir, struct err *e)
{
	struct stat st;

	if (stat(dir, &st) != 0)
		return err_errno(e, errno, "the directory %s cannot be used (make it first)", dir);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ENOTDIR, "%s is no directory (images are mounted on one)", dir);
	return 0;
}

/* Where it is mounted anew, nobody comes back for what another state directory's agent left. */
static void let_go_of_others(const struct mount_chore *chore)
{
	char key[KEEPER_KEY_BYTES], elsewhere[KEEPER_KEY_BYTES];
	struct err e = { 0 };

	if (chore->keeper_socket == NULL)
		return;
	kept_key(chore->rec.dir, key);
	kept_key_elsewhere(key, elsewhere);
	if (keeper_drop(chore->keeper_socket, elsewhere, &e) < 0) /* no keeper: nothing is held */
		log_debug(chore->log, "no keeper was asked", "error=%s", LOG_Q(e.msg));
}

/* What cannot be taken on: its readers get an error, and what is mounted is dead then. */
static void let_go(struct mount_chore *chore)
{
	struct err e = { 0 };

	let_go_of_others(chore);
	if (chore->kept != NULL && keeper_drop(chore->keeper_socket, chore->kept->key, &e) < 0)
		log_warn(chore->log, "the keeper does not let go of a mount", "dir=%s error=%s",
		         LOG_Q(chore->rec.dir), LOG_Q(e.msg));
	kept_free(&chore->kept);
}

int mount_auth_file_check(const struct mount_record *rec, struct err *e)
{
	if (rec->auth_file == NULL || access(rec->auth_file, R_OK) == 0)
		return 0;
	return err_set(e, ENOENT,
	               "the auth file %s cannot be read by the agent (it reads it as its own "
	               "user, where it runs)",
	               rec->auth_file);
}

static void detach_left_erofs(const struct mount_chore *chore)
{
	AUTO(free_str) char *images_dir = xasprintf("%s/images", chore->state_dir);

	erofs_detach_left(chore->rec.dir, images_dir, chore->log);
}

static int check(struct mount_chore *chore, bool again)
{
	struct err why = { 0 };
	int r;

	let_go(chore);
	r = chore->replaced != 0 ? image_mount_detach(chore->rec.dir, chore->replaced, &chore->err)
	                         : 0;
	chore->detached = chore->replaced != 0 && r == 0;
	detach_dead(chore->rec.dir);
	if (r == 0)
		detach_left_erofs(chore);
	if (r == 0)
		r = check_dir(chore->rec.dir, &chore->err);
	chore->auth_file_gone = mount_auth_file_check(&chore->rec, &why) < 0;
	if (r == 0 && chore->auth_file_gone && !again) {
		chore->err = why;
		r = -why.code;
	}
	return r;
}

void mount_chore_check(struct job *job)
{
	struct mount_chore *chore = container_of(job, struct mount_chore, job);

	chore->result = check(chore, false);
}

void mount_chore_check_again(struct job *job)
{
	struct mount_chore *chore = container_of(job, struct mount_chore, job);

	chore->result = check(chore, true);
}

void mount_chore_save(struct job *job)
{
	struct mount_chore *chore = container_of(job, struct mount_chore, job);
	struct err why = { 0 };

	chore->auth_file_gone = mount_auth_file_check(&chore->rec, &why) < 0;
	chore->result = mount_list_save(chore->state_dir, &chore->rec, &chore->err);
	if (err_is_no_space(-chore->result) && chore->make_room != NULL &&
	    chore->make_room(chore->make_room_arg))
		chore->result = mount_list_save(chore->state_dir, &chore->rec, &chore->err);
	if (chore->result < 0 && chore->restoring) {
		log_warn(chore->log, "the record of a mount cannot be written: the old one stays",
		         "dir=%s error=%s", LOG_Q(chore->rec.dir), LOG_Q(chore->err.msg));
		chore->result = 0;
	}
	if (chore->result == 0 && chore->rec.links_dir != NULL)
		blob_links_make(&chore->links, chore->state_dir, chore->rec.links_dir, chore->log);
	blob_links_free(&chore->links);
}

void mount_chore_unlist(struct job *job)
{
	struct mount_chore *chore = container_of(job, struct mount_chore, job);

	if (chore->kept != NULL) { /* it was to be taken over */
		let_go(chore);
		detach_dead(chore->rec.dir);
		detach_left_erofs(chore);
	}
	chore->result = mount_list_remove(chore->state_dir, chore->rec.dir, &chore->err);
}
