/*
 * mount_replace: another image, or another way to the same one, in place of what is mounted.
 *
 *   loaded by the new way, and still there --same image--> the record changes below the readers
 *                                       `--another image--> the old one is detached, hidden until
 *                                            nobody uses it; its directory gets the new one
 *
 * So nothing happens to what is mounted where the new image cannot be loaded, and nobody who reads
 * gets an error. What fails after the detaching, or is cancelled, ends with the old image in its
 * directory again, mounted anew. All of it on the loop thread; the detaching is a worker's.
 */
#include "mem.h"
#include "mount_auth.h"
#include "mount_life.h"
#include "mount_list.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* While it is tried, the way is a directory's that cannot be: the mount keeps its own, and another
 * wish for it, too. */
struct mount_wish *mount_wish_new(struct mounts *mounts, const struct mount_record *rec,
                                  const struct credentials *given)
{
	struct mount_wish *wish = xcalloc(1, sizeof(*wish));

	mount_record_copy(&wish->rec, rec);
	mount_record_copy(&wish->way, rec);
	free_str(&wish->way.dir);
	wish->way.dir = xasprintf("%s//new%" PRIu64, rec->dir, ++mounts->n_wishes);
	wish->has_credentials = given != NULL;
	if (given != NULL)
		credentials_copy(&wish->given, given);
	mount_auth_add(mounts->opts.registry, &wish->way, given);
	return wish;
}

void mount_wish_free(struct mounts *mounts, struct mount_wish **wish)
{
	if (*wish == NULL)
		return;
	mount_auth_forget(mounts->opts.registry, &(*wish)->way);
	mount_record_clear(&(*wish)->rec);
	mount_record_clear(&(*wish)->way);
	credentials_wipe(&(*wish)->given);
	free(*wish);
	*wish = NULL;
}

static void remember(struct mount_life *life, const struct mount_record *before)
{
	life->before = xcalloc(1, sizeof(*life->before));
	mount_record_copy(life->before, before);
	life->chore.detached = false;
}

static void renew(struct mount_op *op, struct mounted *m)
{
	struct mount_life *life = life_of(m);

	remember(life, &m->rec);
	m->auth_file_gone = false;
	mounts_forget_auth(op->mounts, m);
	mount_record_clear(&m->rec);
	mount_record_copy(&m->rec, &op->wish->rec);
	memcpy(m->rec.digest, life->before->digest, sizeof(m->rec.digest));
	free_str(&m->rec.how);
	m->rec.how = xstrdup_or_null(life->before->how); /* it is mounted that way */
	if (!m->rec.prefetch && life->prefetch != NULL) {
		fetch_prefetch_cancel(life->prefetch);
		life->prefetch = NULL;
	}
	life->op = op;
	mount_life_renew(life, op->wish->has_credentials ? &op->wish->given : NULL);
}

/* Where its directory was unmounted from outside, nothing has to go from there. */
static void replace(struct mount_op *op, struct mounted *m)
{
	struct mount_life *life = mounts_hide(op, m, &op->wish->rec);

	log_info(op->mounts->opts.log, "replaced: who uses the old one keeps it", "dir=%s old=%s",
	         LOG_Q(op->dir), m->rec.digest);
	if (op->is_seen) {
		life->replaces = op->device;
		remember(life, &m->rec);
	}
	if (op->wish->has_credentials)
		mount_life_give(life, &op->wish->given);
	mount_life_start(life);
}

void mount_replace_done(struct mount_life *life)
{
	if (life->before == NULL)
		return;
	mount_record_clear(life->before);
	free(life->before);
	life->before = NULL;
}

/* Of the record that does not count, its way goes, too. */
static void take_back(struct mount_life *life)
{
	mounts_forget_auth(life->mounts, &life->pub);
	mount_record_clear(&life->pub.rec);
	mount_record_copy(&life->pub.rec, life->before);
	mount_replace_done(life);
}

/* Credentials are in nobody's memory but the asker's: it gives them again. */
void mount_replace_undo(struct mount_life *life)
{
	take_back(life);
	mount_auth_add(life->mounts->opts.registry, &life->pub.rec, NULL);
}

bool mount_replace_fall_back(struct mount_life *life)
{
	struct mounts *mounts = life->mounts;

	/* At the agent's end the list has what the next one mounts. */
	if (life->before == NULL || !life->chore.detached || mounts->stopping) {
		mount_replace_done(life);
		return false;
	}
	log_error(mounts->opts.log, "could not be replaced: the old image is mounted again",
	          "dir=%s old=%s error=%s", LOG_Q(life->pub.rec.dir), life->before->digest,
	          LOG_Q(life->pub.why.msg));
	take_back(life);
	life->unlist = false;
	life->restoring = true;
	return true;
}

void mount_replace(struct mount_op *op, struct mounted *m)
{
	struct err e = op->no_auth_file;

	if (e.code == 0 && (op->is_other || !op->is_seen) && mounts_count(op->mounts) >= MOUNTS_MAX)
		(void)err_set(&e, ENOSPC,
		              "%s cannot be mounted beside what is in use there: there are too "
		              "many mounts (umount some)",
		              op->dir);
	if (e.code != 0)
		mount_op_end(op, -e.code, NULL, &e);
	else if (op->is_other || !op->is_seen)
		replace(op, m);
	else
		renew(op, m);
}
