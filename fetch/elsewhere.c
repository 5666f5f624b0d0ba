/*
 * elsewhere: chunks from other blobs' origins, one blob after the other until nothing is wanted.
 *
 *   FIND --> CHOOSE --known how it is packed--> ASK --> CHOOSE
 *              |  `--else--> READ --> ASK          all given, or no blob is left: the end
 *              `-- no blob is left: the end
 *
 * FIND and READ are on a worker. Blobs whose origins are down come last. All of it is the loop's
 * but what a job says; a question that was cancelled goes when its workers are through.
 */
#include "bytes.h"
#include "elsewhere_impl.h"
#include "mem.h"
#include "share.h"
#include "unconst.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOBS_TRIED_MAX 8U
#define ROUNDS_A_BLOB   2U /* the second, where some bytes were wrong */

struct source_req {
	struct elsewhere *s;
	const struct unit_run *run; /* borrowed, until the end or the cancel */
	struct source_events ev;
	void *arg;
	struct cas_blob *blob; /* a reference: workers may be at it after a cancel */
	const struct blob_layout *layout;
	uint32_t *chunks; /* that are wanted, in order */
	bool *given;      /* each */
	uint32_t n_chunks;
	uint32_t n_given;
	struct cas_twins twins;
	uint8_t rounds[CAS_TWIN_BLOBS_MAX]; /* of each blob */
	uint32_t n_tried;
	uint32_t blob_idx; /* that is asked */
	struct round *round;
	uint64_t progress_bytes;
	bool trouble; /* another time it may work */
	struct err why;
	bool cancelled;
	/* The worker's. */
	struct job job;
	bool at_work;
	int result;
	struct err err;
	struct blob_layout *read; /* NULL: no image tells */
};

static void choose(struct source_req *req);

static struct elsewhere *elsewhere_of(const struct source *source)
{
	struct source *ours = unconst(source);

	return container_of(ours, struct elsewhere, source);
}

static void req_free(struct source_req *req)
{
	req->s->n_reqs--;
	cas_twins_clear(&req->twins);
	layout_unref(&req->read);
	cas_blob_release(&req->blob);
	free(req->chunks);
	free(req->given);
	free(req);
}

static void finish(struct source_req *req)
{
	const struct source_events ev = req->ev;
	void *arg = req->arg;
	struct err why = req->why;
	int r = SOURCE_OK;

	if (req->n_given < req->n_chunks)
		r = req->trouble ? -EAGAIN : SOURCE_GONE;
	why.code = r < 0 ? -r : r == SOURCE_GONE ? ENOENT : 0;
	req_free(req);
	ev.end(arg, r, &why);
}

static const struct cas_twin_blob *blob_of(const struct source_req *req)
{
	return &req->twins.blobs[req->blob_idx];
}

/* ---- asking ---- */

static uint32_t index_of(const struct source_req *req, uint32_t chunk_idx)
{
	uint32_t at = 0;
	uint32_t end = req->n_chunks;

	while (at < end) {
		const uint32_t middle = at + (end - at) / 2;

		if (req->chunks[middle] < chunk_idx)
			at = middle + 1;
		else
			end = middle;
	}
	assert(at < req->n_chunks && req->chunks[at] == chunk_idx);
	return at;
}

static bool is_wanted(void *arg, uint32_t chunk_idx)
{
	const struct source_req *req = arg;

	return !req->given[index_of(req, chunk_idx)];
}

static void on_chunk(void *arg, uint32_t chunk_idx, uint8_t *plain)
{
	struct source_req *req = arg;
	const uint32_t at = index_of(req, chunk_idx);
	const struct chunk_bytes bytes = {
		.data = plain, .size_bytes = req->run->layout->chunks[chunk_idx].plain_size_bytes
	};

	assert(!req->given[at]);
	req->given[at] = true;
	req->n_given++;
	req->ev.chunk(req->arg, chunk_idx, bytes, 0);
}

static void on_progress(void *arg, uint64_t more_bytes)
{
	struct source_req *req = arg;

	req->progress_bytes += more_bytes;
	if (req->ev.wait != NULL)
		req->ev.wait(req->arg, req->progress_bytes);
}

/* For people, and for whoever gets the last word. */
static void tell(struct source_req *req, const struct round *round)
{
	const char *origin = origin_marks_deliverer(req->s->origins->marks, round->blob->key,
	                                            round->pairs[0].unit_idx);
	AUTO(free_str) char *text = NULL;

	if (origin == NULL)
		origin = round->blob->origins[0].text;
	text = xasprintf("blob %.12s at %s: %u of %u chunks%s%s", round->blob->key, origin,
	                 round->n_given, round->n_pairs, round->why.code != 0 ? "; " : "",
	                 round->why.code != 0 ? round->why.msg : "");
	if (req->ev.note != NULL)
		req->ev.note(req->arg, text);
	if (round->n_given < round->n_pairs)
		(void)err_set(&req->why, EIO, "%s", text);
}

static void end_round(struct source_req *req)
{
	struct round *round = req->round;

	tell(req, round);
	req->trouble = req->trouble || round->end == ROUND_TROUBLE;
	if (!round->again)
		req->rounds[req->blob_idx] = ROUNDS_A_BLOB;
	req->round = NULL;
	round_free(round);
}

static void on_done(void *arg)
{
	struct source_req *req = arg;

	if (req->cancelled) {
		round_free(req->round);
		req_free(req);
		return;
	}
	end_round(req);
	choose(req);
}

/* @param theirs  moved. @return false: nothing is to be had there */
static bool ask(struct source_req *req, struct blob_layout *theirs)
{
	struct round *round = xcalloc(1, sizeof(*round));

	*round = (struct round){ .s = req->s,
		                 .asker = req->run,
		                 .layout = req->layout,
		                 .blob = blob_of(req),
		                 .theirs = theirs,
		                 .chunk = on_chunk,
		                 .progress = on_progress,
		                 .done = on_done,
		                 .arg = req };
	if (!round_plan(round, is_wanted, req)) {
		req->rounds[req->blob_idx] = ROUNDS_A_BLOB;
		round_free(round);
		return false;
	}
	req->round = round;
	if (round_start(round))
		return true;
	end_round(req);
	return false;
}

/* ---- on a worker ---- */

static void submit(struct source_req *req, void (*work)(struct job *job),
                   void (*after)(struct job *job))
{
	req->job = (struct job){ .work = work,
		                 .after = after,
		                 .prio = req->run->reader ? JOB_READER : JOB_NORMAL };
	req->at_work = true;
	pool_submit(req->s->opts.pool, &req->job);
}

/* @return false: nobody waits for it any more, and it is gone */
static bool came_back(struct source_req *req)
{
	req->at_work = false;
	if (req->cancelled) {
		req_free(req);
		return false;
	}
	if (req->result < 0)
		req->why = req->err;
	return true;
}

static void read_work(struct job *job)
{
	struct source_req *req = container_of(job, struct source_req, job);

	req->result = elsewhere_layout_read(req->s->opts.cas, req->s->opts.log, blob_of(req)->key,
	                                    &req->read, &req->err);
}

static void read_after(struct job *job)
{
	struct source_req *req = container_of(job, struct source_req, job);
	struct blob_layout *theirs;

	if (!came_back(req))
		return;
	if (req->result >= 0)
		elsewhere_layouts_add(req->s->layouts, blob_of(req)->key, req->read);
	else
		req->trouble = true;
	theirs = req->read;
	req->read = NULL;
	if (theirs == NULL)
		req->rounds[req->blob_idx] = ROUNDS_A_BLOB;
	if (theirs == NULL || !ask(req, theirs))
		choose(req);
}

static void find_work(struct job *job)
{
	struct source_req *req = container_of(job, struct source_req, job);

	req->result = cas_twins_find(req->s->opts.cas, req->blob, req->chunks, req->n_chunks,
	                             &req->twins, &req->err);
}

static void find_after(struct job *job)
{
	struct source_req *req = container_of(job, struct source_req, job);

	if (!came_back(req))
		return;
	if (req->result == 0) {
		req->trouble = req->twins.is_cut;
		if (req->twins.n_blobs == 0)
			(void)err_set(&req->why, ENOENT, "no other blob has it");
		choose(req);
		return;
	}
	req->trouble = true;
	finish(req);
}

/* ---- which blob ---- */

static bool may_help(struct source_req *req, uint32_t i)
{
	const struct cas_twin_blob *b = &req->twins.blobs[i];

	if (req->rounds[i] >= ROUNDS_A_BLOB)
		return false;
	for (uint32_t k = 0; k < b->n_twins; k++)
		if (is_wanted(req, b->twins[k].chunk_idx))
			return true;
	return false;
}

static bool is_down(const struct source_req *req, uint32_t i)
{
	const struct cas_twin_blob *b = &req->twins.blobs[i];
	const struct origin_target target = { .key = b->key,
		                              .origins = b->origins,
		                              .n_origins = b->n_origins };

	return origin_is_down(req->s->origins, &target, false);
}

/* @return false: none is left */
static bool next_blob(struct source_req *req)
{
	for (int down = 0; down <= 1; down++) {
		for (uint32_t i = 0; i < req->twins.n_blobs; i++) {
			if (!may_help(req, i) || is_down(req, i) != down)
				continue;
			req->n_tried += req->rounds[i] == 0;
			if (req->n_tried > BLOBS_TRIED_MAX) {
				req->trouble = true; /* those that are left may have it */
				return false;
			}
			req->rounds[i]++;
			req->blob_idx = i;
			return true;
		}
	}
	return false;
}

/* Its last act: the question may be gone. */
static void choose(struct source_req *req)
{
	while (req->n_given < req->n_chunks && next_blob(req)) {
		struct blob_layout *theirs = NULL;

		if (!elsewhere_layouts_find(req->s->layouts, blob_of(req)->key, &theirs)) {
			submit(req, read_work, read_after);
			return;
		}
		if (theirs == NULL)
			req->rounds[req->blob_idx] = ROUNDS_A_BLOB;
		else if (ask(req, theirs))
			return;
	}
	finish(req);
}

/* ---- the source's calls ---- */

static uint32_t n_members(const struct unit_run *run)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < run->n_units; i++) {
		struct unit_rec u;

		if (layout_unit(run->layout, run->first_unit + i, &u))
			n += u.n_members;
	}
	return n;
}

static int by_index(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a;
	const uint32_t y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Without a digest there is nothing to find it by, nor to hold it against. */
static void want_chunks(struct source_req *req, const struct unit_run *run)
{
	const struct blob_layout *l = run->layout;

	req->chunks = xcalloc(n_members(run) + (size_t)1, sizeof(*req->chunks));
	for (uint32_t i = 0; i < run->n_units; i++) {
		struct unit_rec u;

		if (!layout_unit(l, run->first_unit + i, &u))
			continue;
		for (uint32_t k = 0; k < u.n_members; k++) {
			const uint32_t chunk_idx = layout_member(l, &u, k);

			if (!cas_blob_is_present(run->blob, chunk_idx))
				req->chunks[req->n_chunks++] = chunk_idx;
		}
	}
	qsort(req->chunks, req->n_chunks, sizeof(*req->chunks), by_index);
	req->given = xcalloc(req->n_chunks + (size_t)1, sizeof(*req->given));
}

static int get(struct source *source, const struct unit_run *run, const struct source_events *ev,
               void *arg, struct source_req **ret_req, struct err *e)
{
	struct source_req *req = xcalloc(1, sizeof(*req));

	(void)e;
	req->s = elsewhere_of(source);
	req->s->n_reqs++;
	req->run = run;
	req->ev = *ev;
	req->arg = arg;
	req->blob = cas_blob_ref(run->blob);
	req->layout = run->layout;
	want_chunks(req, run);
	submit(req, find_work, find_after);
	*ret_req = req;
	return 0;
}

static void cancel(struct source_req *req)
{
	req->cancelled = true;
	if (req->round != NULL) {
		round_cancel(req->round);
		if (req->round->n_jobs > 0)
			return;
		round_free(req->round);
		req->round = NULL;
	}
	if (!req->at_work)
		req_free(req);
}

static void hurry(struct source_req *req, uint32_t unit_idx)
{
	struct unit_rec u;

	if (req->round == NULL || !layout_unit(req->layout, unit_idx, &u))
		return;
	for (uint32_t i = 0; i < u.n_members; i++)
		round_hurry(req->round, layout_member(req->layout, &u, i));
}

/* Wrong bytes are not handed on: what is said to be wrong here is so for another reason. */
static bool distrust(struct source *s, const struct unit_run *run, uint32_t unit_idx,
                     uint32_t giver)
{
	(void)s;
	(void)run;
	(void)unit_idx;
	(void)giver;
	return false;
}

static void whom(const struct source_req *req, char *ret_text, size_t size_bytes)
{
	if (req->round != NULL)
		(void)snprintf(ret_text, size_bytes, "blob %.12s at %s", req->round->blob->key,
		               req->round->blob->origins[0].text);
	else
		(void)snprintf(ret_text, size_bytes, "looks for another blob that has it");
}

static const struct source_ops ops = {
	.name = "elsewhere",
	.get = get,
	.cancel = cancel,
	.distrust = distrust,
	.hurry = hurry,
	.whom = whom,
};

struct source *elsewhere_source_new(const struct elsewhere_opts *opts)
{
	struct elsewhere *s = xcalloc(1, sizeof(*s));

	s->source.ops = &ops;
	s->opts = *opts;
	s->origins = origin_source_of(opts->origins);
	s->layouts = elsewhere_layouts_new(opts->loop, opts->clock);
	return &s->source;
}

bool elsewhere_is_idle(const struct source *source)
{
	return elsewhere_of(source)->n_reqs == 0;
}

void elsewhere_source_free(struct source **source)
{
	struct elsewhere *s;

	if (*source == NULL)
		return;
	s = elsewhere_of(*source);
	*source = NULL;
	elsewhere_layouts_free(&s->layouts);
	if (s->n_reqs == 0) /* else a worker was stuck, and the loop ended without it */
		free(s);
}
