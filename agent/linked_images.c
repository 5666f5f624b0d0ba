/*
 * linked_images: see linked_images.h.
 *
 *   IDLE --timer--> LOOKING (desk: which image has nobody?) --one--> FORGETTING (writer) --> IDLE
 *                        `---- none, or somebody mounts or loads just now ------------------^
 *
 * A file that was given another name carries a mark, so that one that never had any is left alone.
 */
#include "linked_images.h"
#include "image_store.h"
#include "mem.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LOOK_AGAIN_MS 5000
#define MARK          "user.shoal.linked"

/* [any] Was one of this file's names made by us, and are all of them but our own gone? */
static bool linked_file_is_let_go(const char *path)
{
	struct stat st;

	return getxattr(path, MARK, NULL, 0) >= 0 && stat(path, &st) == 0 && st.st_nlink == 1;
}

void linked_file_mark(const char *path)
{
	(void)setxattr(path, MARK, "1", 1, 0); /* without it the blob is only kept longer */
}

struct linked_images {
	struct linked_images_opts opts;
	struct timer timer;
	struct image_load *bar;       /* who would load the one that is being forgotten; or NULL */
	struct job job;               /* one at a time; a worker touches what follows alone */
	char skip[DIGEST_TEXT_BYTES]; /* was wanted when it was found: others first */
	char digest[DIGEST_TEXT_BYTES];
	char name[CAS_ORIGIN_MAX_BYTES];
	bool let_go; /* of the image that is being looked at */
	bool removed;
};

/* ---- workers ---- */

static int see_blob(void *arg, const char *key)
{
	struct linked_images *l = arg;
	AUTO(free_str) char *path = xasprintf("%s/blobs/%s.blob.data", l->opts.state_dir, key);

	l->let_go = l->let_go || linked_file_is_let_go(path);
	return 0;
}

/* Named by a bootstrap file that is gone, and a blob of it was collected. */
static int see_image(void *arg, const struct image_record *rec)
{
	struct linked_images *l = arg;
	struct err ignored = { 0 };

	if (rec->name[0] != '/' || rec->pinned || strcmp(rec->digest, l->skip) == 0 ||
	    access(rec->name, F_OK) == 0)
		return 0;
	l->let_go = false;
	if (image_store_blobs(l->opts.cas, rec->digest, see_blob, l, &ignored) < 0 || !l->let_go)
		return 0;
	memcpy(l->digest, rec->digest, sizeof(l->digest));
	memcpy(l->name, rec->name, sizeof(l->name));
	return 1;
}

static void look_work(struct job *job) /* desk */
{
	struct linked_images *l = container_of(job, struct linked_images, job);
	struct err ignored = { 0 };

	l->digest[0] = '\0';
	if (image_store_list(l->opts.cas, see_image, l, &ignored) < 0)
		l->digest[0] = '\0';
}

static void forget_work(struct job *job) /* writer */
{
	struct linked_images *l = container_of(job, struct linked_images, job);
	struct err ignored = { 0 };

	l->removed = image_store_remove(l->opts.cas, l->digest, &ignored) == 0;
}

/* ---- the loop ---- */

static void let_load(struct linked_images *l)
{
	if (l->bar != NULL)
		image_load_cancel(l->bar);
	l->bar = NULL;
}

static void forget_after(struct job *job)
{
	struct linked_images *l = container_of(job, struct linked_images, job);

	let_load(l);
	if (l->removed)
		log_info(l->opts.log, "image forgotten: its owner has let go of it",
		         "image=%s digest=%s", LOG_Q(l->name), l->digest);
	timer_start(&l->timer, LOOK_AGAIN_MS);
}

/* Mounted, or is something on its way up, which may be this image? */
static bool is_wanted(const struct linked_images *l)
{
	for (const struct mounted *m = mounts_first(l->opts.mounts); m != NULL; m = m->next) {
		if (m->state != MOUNT_UP && m->state != MOUNT_DOWN)
			return true;
	}
	return mounts_of_image(l->opts.mounts, l->digest) != NULL;
}

/* If so, who wants it from here on waits until it is gone. */
static bool may_forget(struct linked_images *l)
{
	struct err ignored;

	return !is_wanted(l) && image_load_bar(l->opts.loader, l->digest, &l->bar, &ignored) == 0;
}

static void look_after(struct job *job)
{
	struct linked_images *l = container_of(job, struct linked_images, job);
	const bool wanted = l->digest[0] != '\0' && !may_forget(l);

	l->skip[0] = '\0';
	if (wanted)
		memcpy(l->skip, l->digest, sizeof(l->skip));
	if (l->digest[0] == '\0' || wanted) {
		timer_start(&l->timer, LOOK_AGAIN_MS);
		return;
	}
	l->job = (struct job){ .work = forget_work, .after = forget_after, .prio = JOB_NORMAL };
	pool_submit(cas_writer(l->opts.cas), &l->job);
}

static void look(struct timer *t)
{
	struct linked_images *l = container_of(t, struct linked_images, timer);

	l->job = (struct job){ .work = look_work, .after = look_after, .prio = JOB_NORMAL };
	pool_submit(l->opts.desk, &l->job);
}

struct linked_images *linked_images_new(const struct linked_images_opts *opts)
{
	struct linked_images *l = xcalloc(1, sizeof(*l));

	l->opts = *opts;
	timer_init(&l->timer, opts->loop, look);
	timer_start(&l->timer, LOOK_AGAIN_MS);
	return l;
}

void linked_images_stop(struct linked_images *images)
{
	if (images != NULL)
		let_load(images);
}

void linked_images_free(struct linked_images **images)
{
	if (*images == NULL)
		return;
	timer_fini(&(*images)->timer);
	free(*images);
	*images = NULL;
}
