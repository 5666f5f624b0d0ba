/*
 * mount_prefetch: the rest of a mounted image, in the background.
 *
 * Knows the mount whose image it is; what becomes of it is a line in the log. All on the loop
 * thread.
 */
#include "mount_life.h"
#include <errno.h>

/* Nobody watches: shoal ls counts what is here. */
static void on_prefetch_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	(void)arg;
	(void)done_bytes;
	(void)total_bytes;
}

static void on_prefetched(void *arg, int result, const struct err *why)
{
	struct mount_life *life = arg;

	life->prefetch = NULL;
	if (result == 0)
		log_info(life->mounts->opts.log, "prefetched", "dir=%s", LOG_Q(life->pub.rec.dir));
	else if (result != -ECANCELED)
		log_warn(life->mounts->opts.log, "prefetch failed", "dir=%s error=%s",
		         LOG_Q(life->pub.rec.dir), LOG_Q(why->msg));
}

void mount_prefetch_start(struct mount_life *life)
{
	const struct lazy_image *image = life->pub.image;
	const struct fetch_prefetch_opts opts = { .blobs = image->blobs,
		                                  .n_blobs = image->n_blobs,
		                                  .named = image->named,
		                                  .progress = on_prefetch_progress,
		                                  .done = on_prefetched,
		                                  .arg = life };

	if (life->pub.rec.prefetch && life->prefetch == NULL && image->n_blobs > 0)
		life->prefetch = fetch_prefetch_start(life->mounts->opts.fetch, &opts);
}

void mount_prefetch_stop(struct mount_life *life)
{
	if (life->prefetch != NULL)
		fetch_prefetch_cancel(life->prefetch);
	life->prefetch = NULL;
}
