/*
 * mount_replace: another image, or another way to the same one, in place of what is mounted.
 *
 *   loaded by the new way, and still there --same image--> the record changes below the readers
 *                                       `--another image--> the old one is detached, hidden until
 *                                            nobody uses it; its directory gets the new one
 *
 * So nothing happens to what is mounted where the new image cannot be loaded, and nobody who reads
 * gets an error. All of it on the loop thread; the detaching is a worker's.
 */
#include "mem.h"
#include "mount_auth.h"
#include "mount_life.h"
#include <stdlib.h>
#include <string.h>

/* While it is tried, the way is a directory's that cannot be: the mount keeps its own. */
struct mount_wish *mount_wish_new(struct mounts *mounts, const struct mount_record *rec,
                                  const struct credentials *given)
{
	struct mount_wish *wish = xcalloc(1, sizeof(*wish));

	mount_record_copy(&wish->rec, rec);
	mount_record_copy(&wish->way, rec);
	free_str(&wish->way.dir);
	wish->way.dir = xasprintf("%s//new", rec->dir);
	wish->has_credentials = given != NULL;
	if (given != NULL)
		wish->given = (struct credentials){ .username = xstrdup_or_null(given->username),
			                            .password = xstrdup_or_null(given->password),
			                            .bearer = xstrdup_or_null(given->bearer) };
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

static void renew(struct mount_op *op, struct mounted *m)
{
	struct mount_life *life = life_of(m);
	char digest[DIGEST_TEXT_BYTES];

	memcpy(digest, m->rec.digest, sizeof(digest));
	mounts_forget_auth(op->mounts, m);
	mount_record_clear(&m->rec);
	mount_record_copy(&m->rec, &op->wish->rec);
	memcpy(m->rec.digest, digest, sizeof(digest));
	life->op = op;
	mount_life_renew(life, op->wish->has_credentials ? &op->wish->given : NULL);
}

/* Where its directory was unmounted from outside, nothing has to go from there. */
static void replace(struct mount_op *op, struct mounted *m)
{
	struct mount_life *life = mounts_hide(op, m, &op->wish->rec);

	log_info(op->mounts->opts.log, "replaced: who uses the old one keeps it", "dir=%s old=%s",
	         LOG_Q(op->dir), m->rec.digest);
	life->replaces = op->is_seen ? op->device : 0;
	if (op->wish->has_credentials)
		mount_life_give(life, &op->wish->given);
	mount_life_start(life);
}

void mount_replace(struct mount_op *op, struct mounted *m)
{
	if (op->is_other || !op->is_seen)
		replace(op, m);
	else
		renew(op, m);
}
