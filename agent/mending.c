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

struct mending {
	struct mending_opts opts;
	struct loop_call lost_call;
	atomic_bool lost; /* the call is posted */
	struct fetch_prefetch *prefetch;
	struct timer again;
	bool stopped;
};

/* @return how many; *ret_blobs malloc'd, borrowed from the images */
static uint32_t damaged(const struct mending *m, struct fetch_blob ***ret_blobs)
{
	struct fetch_blob **blobs = NULL;
	uint32_t n = 0;

	for (const struct mounted *it = mounts_first(m->opts.mounts); it != NULL; it = it->next) {
		const uint32_t n_blobs = it->image != NULL ? it->image->n_blobs : 0;

		for (uint32_t i = 0; i < n_blobs; i++) {
			const struct cas_blob *blob = fetch_blob_cas(it->image->blobs[i]);

			if (!cas_blob_is_pinned(blob) || cas_blob_is_whole(blob))
				continue;
			blobs = xrealloc(blobs, n + 1, sizeof(struct fetch_blob *));
			blobs[n++] = it->image->blobs[i];
		}
	}
	*ret_blobs = blobs;
	return n;
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
	struct fetch_blob **blobs = NULL;
	struct fetch_prefetch_opts opts = { .progress = on_progress, .done = on_done, .arg = m };

	if (m->stopped || m->prefetch != NULL)
		return; /* on_done() looks again */
	opts.n_blobs = damaged(m, &blobs);
	opts.blobs = blobs;
	if (opts.n_blobs > 0)
		m->prefetch = fetch_prefetch_start(m->opts.fetch, &opts);
	free(blobs);
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
