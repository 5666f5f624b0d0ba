/*
 * mount_replace: another image, or another way to the same one, in place of what is mounted; or the
 * same again where it was unmounted from outside.
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
#include "text.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* While it is tried, the way is a directory's that cannot be: the mount keeps its own, and another
 * wish for it, too. */
static struct mount_wish *wish_by(struct mounts *mounts, const struct mount_record *rec,
                                  const struct mount_record *way, const struct credentials *given)
{
	struct mount_wish *wish = xcalloc(1, sizeof(*wish));

	mount_record_copy(&wish->rec, rec);
	mount_record_copy(&wish->way, way);
	free_str(&wish->way.dir);
	wish->way.dir = xasprintf("%s//new%" PRIu64, rec->dir, ++mounts->n_wishes);
	wish->has_credentials = given != NULL;
	if (given != NULL)
		credentials_copy(&wish->given, given);
	mount_auth_add(mounts->opts.registry, &wish->way, given);
	return wish;
}

struct mount_wish *mount_wish_new(struct mounts *mounts, const struct mount_record *rec,
                                  const struct credentials *given)
{
	return wish_by(mounts, rec, rec, given);
}

/* Credentials that were given come before an auth file: there it would change nothing. */
static bool takes_auth_file(const struct mounted *m, const struct mount_record *said)
{
	return said->auth_file != NULL && !m->rec.given && mount_auth_same_scope(said, &m->rec) &&
	       (m->auth_file_gone || !same_text(said->auth_file, m->rec.auth_file));
}

/* What is there, but for what was said and can be so at once. */
static void same_but_for(const struct mount_record *said, const struct mounted *m,
                         struct mount_record *ret_rec)
{
	mount_record_copy(ret_rec, &m->rec);
	free_str(&ret_rec->auth_file);
	ret_rec->auth_file = xstrdup(said->auth_file);
	ret_rec->prefetch = ret_rec->prefetch || said->prefetch;
}

/* The image is asked for in the mount's way; of what is there nothing is kept until it is here. */
struct mount_wish *mount_wish_of_same(struct mounts *mounts, const struct mounted *m,
                                      const struct mount_record *said)
{
	AUTO(mount_record_clear) struct mount_record way = { 0 };

	if (!takes_auth_file(m, said))
		return NULL;
	same_but_for(said, m, &way);
	return wish_by(mounts, said, &way, NULL);
}

void mount_wish_look_again(struct mount_op *op, const struct mounted *m)
{
	struct mount_record rec = { 0 };

	if (op->wish == NULL || !op->same_alone)
		return;
	if (!takes_auth_file(m, &op->wish->rec)) {
		op->also_prefetch = op->wish->rec.prefetch;
		mount_wish_free(op->mounts, &op->wish);
		return;
	}
	same_but_for(&op->wish->rec, m, &rec);
	mount_record_clear(&op->wish->rec);
	op->wish->rec = rec;
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

static void remember(struct mount_life *life, const struct mounted *before)
{
	life->before = xcalloc(1, sizeof(*life->before));
	mount_record_copy(life->before, &before->rec);
	life->gone_before = before->auth_file_gone;
	life->chore.detached = false;
}

/* Where a hidden mount says the same, what was given for the directory is not forgotten: it would
 * come before the docker config that is to open the registry from now on. */
static void keep_none(const struct mounts *mounts, const struct mount_record *rec)
{
	if (!rec->given)
		mount_auth_take(mounts->opts.registry, rec);
}

static void renew(struct mount_op *op, struct mounted *m)
{
	struct mount_life *life = life_of(m);

	remember(life, m);
	m->auth_file_gone = false;
	mounts_forget_auth(op->mounts, m);
	mount_record_clear(&m->rec);
	mount_record_copy(&m->rec, &op->wish->rec);
	keep_none(op->mounts, &m->rec);
	memcpy(m->rec.digest, life->before->digest, sizeof(m->rec.digest));
	free_str(&m->rec.how);
	m->rec.how = xstrdup_or_null(life->before->how); /* it is mounted that way */
	if (!m->rec.prefetch)
		mount_prefetch_stop(life);
	life->op = op;
	mount_life_renew(life, op->wish->has_credentials ? &op->wish->given : NULL);
}

static void tell(const struct mount_op *op, const struct mounted *m)
{
	struct log *log = op->mounts->opts.log;

	if (op->is_other)
		log_info(log, "replaced: who uses the old one keeps it", "dir=%s old=%s",
		         LOG_Q(op->dir), m->rec.digest);
	else
		log_warn(log, "unmounted from outside, but in use: mounted again", "dir=%s",
		         LOG_Q(op->dir));
}

/* Where its directory was unmounted from outside, and an overlay holds it, nothing has to go from
 * there. */
static void replace(struct mount_op *op, struct mounted *m)
{
	const struct mount_wish *wish = op->wish;
	const struct mount_record *rec = wish != NULL ? &wish->rec : &m->rec;
	struct mount_life *life;

	op->same_alone = false;
	mount_prefetch_stop(life_of(m)); /* the new one brings what it has in common with it */
	life = mounts_hide(op, m, rec);
	life->pub.rec.prefetch = rec->prefetch || op->also_prefetch;
	keep_none(op->mounts, rec);
	tell(op, m);
	if (op->is_seen) {
		life->replaces = op->device;
		remember(life, m);
	}
	if (wish != NULL && wish->has_credentials)
		mount_life_give(life, &wish->given);
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

/* Credentials are in nobody's memory but the asker's, who gives them again: but for those that came
 * since the record was replaced. */
void mount_replace_undo(struct mount_life *life)
{
	take_back(life);
	life->pub.rec.given = life->pub.rec.given || life->was_given;
	life->pub.auth_file_gone = life->gone_before;
	keep_none(life->mounts, &life->pub.rec);
	life->auth_added = false;
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
	const bool stays = op->wish != NULL && op->is_seen && !op->is_other;
	struct err e = { 0 };

	if (op->wish != NULL)
		e = op->no_auth_file;
	if (e.code == 0 && !stays && mounts_count(op->mounts) >= MOUNTS_MAX)
		(void)err_set(&e, ENOSPC,
		              "%s cannot be mounted beside what is in use there: there are too "
		              "many mounts (umount some)",
		              op->dir);
	if (e.code != 0)
		mount_op_end(op, -e.code, NULL, &e);
	else if (stays)
		renew(op, m);
	else
		replace(op, m);
}
