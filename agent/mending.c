/*
 * mending: see mending.h.
 *
 * One prefetch at a time, of all blobs concerned: it asks for what is missing and nothing else.
 * What is lost meanwhile, or could not be had, is asked for again AGAIN_MS later.
 */
#include "mending.h"
#include "bytes.h"
#include "gc.h"
#include "mem.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define AGAIN_MS 2000U

/* What is asked for: chunks of blobs, each of an image whose mount has the file. By the same index.
 */
struct damage {
	uint32_t n;
	struct fetch_blob **blobs;  /* borrowed from the images */
	struct bitmap **named;      /* likewise */
	struct lazy_image **images; /* references */
};

struct mending {
	struct mending_opts opts;
	struct loop_call lost_call;
	atomic_bool lost; /* the call is posted */
	struct damage damage;
	struct fetch_prefetch *prefetch;
	struct timer again;
	bool stopped;
};

static void damage_clear(struct damage *d)
{
	while (d->n > 0)
		lazy_image_release(&d->images[--d->n]);
	free(d->blobs);
	free(d->named);
	free(d->images);
	*d = (struct damage){ .n = 0 };
}

static void damage_add(struct damage *d, struct lazy_image *image, uint32_t blob_idx)
{
	d->blobs = xrealloc(d->blobs, d->n + 1, sizeof(struct fetch_blob *));
	d->named = xrealloc(d->named, d->n + 1, sizeof(struct bitmap *));
	d->images = xrealloc(d->images, d->n + 1, sizeof(struct lazy_image *));
	d->blobs[d->n] = image->blobs[blob_idx];
	d->named[d->n] = image->named[blob_idx];
	d->images[d->n++] = lazy_image_ref(image);
}

/* Of another image, whose mount has no such file, the blob may well have chunks that are not here.
 */
static bool may_have_files(const struct mounted *m)
{
	return m->image != NULL && (m->erofs || m->state != MOUNT_UP);
}

static void damage_find(const struct mounts *mounts, struct damage *d)
{
	for (const struct mounted *it = mounts_first(mounts); it != NULL; it = it->next) {
		const uint32_t n_blobs = may_have_files(it) ? it->image->n_blobs : 0;

		for (uint32_t i = 0; i < n_blobs; i++) {
			const struct cas_blob *blob = fetch_blob_cas(it->image->blobs[i]);

			if (cas_blob_is_pinned(blob) &&
			    !cas_blob_is_whole(blob, it->image->named[i]))
				damage_add(d, it->image, i);
		}
	}
}

static void on_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	(void)arg;
	(void)done_bytes;
	(void)total_bytes;
}

static void on_done(void *arg, int result, const struct err *why)
{
	struct mending *m = arg;

	m->prefetch = NULL;
	damage_clear(&m->damage);
	if (m->stopped)
		return;
	if (result == 0)
		log_info(m->opts.log, "what the kernel reads by itself is whole again", "%s", "");
	else
		log_error(m->opts.log, "a file that the kernel reads by itself has wrong bytes",
		          "error=%s again_ms=%u", LOG_Q(why->msg), AGAIN_MS);
	timer_start(&m->again, AGAIN_MS);
}

static void mend(struct mending *m)
{
	struct fetch_prefetch_opts opts = { .progress = on_progress, .done = on_done, .arg = m };

	if (m->stopped || m->prefetch != NULL)
		return; /* on_done() looks again */
	damage_find(m->opts.mounts, &m->damage);
	opts.n_blobs = m->damage.n;
	opts.blobs = m->damage.blobs;
	opts.named = m->damage.named;
	if (opts.n_blobs > 0)
		m->prefetch = fetch_prefetch_start(m->opts.fetch, &opts);
}

static void on_lost(struct loop_call *call)
{
	struct mending *m = container_of(call, struct mending, lost_call);

	atomic_store(&m->lost, false);
	mend(m);
}

static void on_again(struct timer *t)
{
	mend(container_of(t, struct mending, again));
}

struct mending *mending_new(const struct mending_opts *opts)
{
	struct mending *m = xcalloc(1, sizeof(*m));

	m->opts = *opts;
	m->lost_call.fn = on_lost;
	timer_init(&m->again, opts->loop, on_again);
	return m;
}

void mending_blob_lost(struct mending *mending, const struct cas_blob *blob)
{
	if (cas_blob_is_pinned(blob) && !atomic_exchange(&mending->lost, true))
		loop_post(mending->opts.loop, &mending->lost_call);
}

void mending_stop(struct mending *mending)
{
	mending->stopped = true;
	timer_stop(&mending->again);
	if (mending->prefetch != NULL)
		fetch_prefetch_cancel(mending->prefetch);
}

void mending_free(struct mending **mending)
{
	struct mending *m = *mending;

	*mending = NULL;
	if (m == NULL)
		return;
	timer_fini(&m->again);
	free(m);
}
