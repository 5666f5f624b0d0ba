/*
 * image_reads: see the header.
 *
 *   begin --a worker reads the image's list--> bring it
 *     |         `-- there is none --> ask neighbours, where they may hear of the image --> bring
 * theirs
 *     `-- log what readers ask for, until WINDOW has passed since the first of them, and keep that
 *         from time to time
 *
 * Only what was noted here is kept, so a neighbour's list is used once and goes no further. A
 * shorter list does not take a longer one's place before the window is over, nor then if it is much
 * shorter: of a mount that only served a shell, or whose files the kernel reads by itself, little
 * can be learnt. All of it is the loop's; jobs know what they need themselves, since the image may
 * go.
 */
#include "image_reads.h"
#include "bytes.h"
#include "first_reads.h"
#include "image_files.h"
#include "image_shelf.h"
#include "lazy_image_impl.h"
#include "log.h"
#include "mem.h"
#include "public_name.h"
#include "read_log.h"
#include "reads_sift.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_NS    (60 * NS_PER_S)  /* from the first read on */
#define UNREAD_NS    (600 * NS_PER_S) /* a mount that nobody has read until then is let be */
#define LOOK_MS      1000U
#define LOOK_IDLE_MS 5000U /* while nothing was read yet */
#define REST_LOOKS   3U    /* without anything new: it is kept */
#define GROWN_CHUNKS 64U   /* likewise, of twice this at least, and twice what was kept */
#define ASK_MS       2000U
#define MUCH_SHORTER 4U

/* A list on its way from or to the disk. */
struct list_job {
	struct job job;
	struct image_reads *reads; /* reading; NULL: the image is gone */
	struct cas *cas;
	struct log *log;
	const struct registry *registry; /* reading, as what follows: */
	bool users_config;               /* registry_users_config_is_there() */
	char digest[DIGEST_TEXT_BYTES];
	uint8_t *bytes;
	uint64_t size_bytes;
};

struct image_reads {
	struct lazy_image *image;
	const struct image_loader_opts *env;
	uint64_t begun_ns;
	struct timer timer;
	uint32_t seen_chunks;  /* noted at the last look ... */
	uint32_t n_rests;      /* ... and at so many before it */
	uint32_t noted_chunks; /* of those, kept by this mount */
	uint32_t kept_chunks;  /* that the list on disk names; 0: there is none, or it was not read
	                          yet */
	bool users_config;     /* list_job's, once that was read */
	struct list_job *reading;
	struct meta_req *asking;
	struct fetch_bring *bring;
};

static const struct blob_layout *layout_of(const struct lazy_image *image, uint32_t blob_idx)
{
	return cas_blob_layout(fetch_blob_cas(image->blobs[blob_idx]));
}

/* ---- keeping ---- */

static struct list_job *list_job_new(const struct image_reads *ir)
{
	struct list_job *lj = xcalloc(1, sizeof(*lj));

	lj->cas = ir->env->cas;
	lj->log = ir->env->log;
	memcpy(lj->digest, ir->image->digest, sizeof(lj->digest));
	return lj;
}

static void list_job_free(struct list_job *lj)
{
	free(lj->bytes);
	free(lj);
}

static void keep_work(struct job *job)
{
	struct list_job *lj = container_of(job, struct list_job, job);
	struct err e = { .code = 0 };

	/* The image may have been removed, the disk may be full: it is a hint. */
	if (image_store_hint(lj->cas, lj->digest, IMAGE_FILE_READS, lj->bytes, lj->size_bytes, &e) <
	    0)
		log_debug(lj->log, "what is read first was not kept", "image=%s why=%s", lj->digest,
		          LOG_Q(e.msg));
	list_job_free(lj);
}

/* By the writer: in order, and no reader waits for the disk. @param bytes  moved */
static void keep(const struct image_reads *ir, uint8_t *bytes, uint64_t size_bytes)
{
	struct list_job *lj = list_job_new(ir);

	lj->job = (struct job){ .work = keep_work, .prio = JOB_NORMAL };
	lj->bytes = bytes;
	lj->size_bytes = size_bytes;
	pool_submit(cas_writer(lj->cas), &lj->job);
}

static bool has_credentials(const struct image_reads *ir)
{
	const struct reference *at = &ir->image->blobs_at;

	return registry_has_credentials(ir->env->registry, at->host, at->repository,
	                                ir->users_config);
}

/* Nobody has asked the registry for a bootstrap file: whose it is, is known by its blobs. What was
 * said to it last may be old: who has credentials for it had better take it for private. */
static void note_anonymous(const struct image_reads *ir)
{
	struct lazy_image *image = ir->image;
	const struct reference *at = &image->blobs_at;

	if (at->host[0] == '\0' || image->anonymous ||
	    !registry_was_anonymous(ir->env->registry, at->host, at->repository) ||
	    has_credentials(ir))
		return;
	image->anonymous = true;
	lazy_image_record(image, image->name, true);
}

/* @param at_end  of the window: a shorter list may replace a longer one. */
static void keep_noted(struct image_reads *ir, bool at_end)
{
	const uint32_t n_chunks = read_log_state(ir->image->log).n_chunks;
	struct fetch_stretch *stretches = NULL;
	uint64_t size_bytes = 0;
	uint8_t *bytes;
	uint32_t n;

	if (ir->reading != NULL || n_chunks == ir->noted_chunks)
		return;
	if (n_chunks < (at_end ? ir->kept_chunks / MUCH_SHORTER : ir->kept_chunks))
		return;
	n = read_log_copy(ir->image->log, &stretches);
	bytes = first_reads_make(stretches, n, &size_bytes);
	free(stretches);
	ir->noted_chunks = n_chunks;
	ir->kept_chunks = n_chunks;
	note_anonymous(ir);
	keep(ir, bytes, size_bytes);
}

static bool is_over(const struct image_reads *ir)
{
	const uint64_t now = clock_now_ns(ir->env->clock);
	const struct read_log_state state = read_log_state(ir->image->log);

	if (!read_log_is_open(ir->image->log))
		return true;
	return state.first_ns != 0 ? now >= state.first_ns + WINDOW_NS
	                           : now >= ir->begun_ns + UNREAD_NS;
}

/* Nothing new for a while, or much. */
static bool is_time(struct image_reads *ir)
{
	const uint32_t n_chunks = read_log_state(ir->image->log).n_chunks;

	ir->n_rests = n_chunks == ir->seen_chunks ? ir->n_rests + 1 : 0;
	ir->seen_chunks = n_chunks;
	return ir->n_rests == REST_LOOKS ||
	       n_chunks / 2 >= (ir->noted_chunks > GROWN_CHUNKS ? ir->noted_chunks : GROWN_CHUNKS);
}

static void on_look(struct timer *t)
{
	struct image_reads *ir = container_of(t, struct image_reads, timer);
	const bool over = is_over(ir);

	if (over)
		read_log_open(ir->image->log, false);
	if (is_time(ir) || over)
		keep_noted(ir, over);
	if (!over || ir->reading != NULL)
		timer_start(&ir->timer, ir->seen_chunks > 0 ? LOOK_MS : LOOK_IDLE_MS);
}

/* ---- bringing ---- */

static void on_brought(void *arg, uint64_t packed_bytes_asked)
{
	struct image_reads *ir = arg;

	ir->bring = NULL;
	if (packed_bytes_asked > 0)
		log_info(ir->env->log, "what is read first was asked for",
		         "image=%s packed_bytes=%" PRIu64, ir->image->digest, packed_bytes_asked);
}

/* @return how many are left */
static uint32_t take_ours(const struct image_reads *ir, struct fetch_stretch *s, uint32_t n,
                          uint32_t *ret_n_chunks)
{
	const struct lazy_image *image = ir->image;
	uint32_t *n_chunks = xcalloc(image->n_blobs, sizeof(*n_chunks));
	const struct sift_opts opts = { .n_blobs = image->n_blobs,
		                        .n_chunks = n_chunks,
		                        .named = image->named };
	uint32_t n_ours;

	for (uint32_t i = 0; i < image->n_blobs; i++)
		n_chunks[i] = layout_of(image, i)->n_chunks;
	n_ours = reads_sift(&opts, s, n, ret_n_chunks);
	free(n_chunks);
	return n_ours;
}

/* @param ret_n_chunks  of it, this image's */
static int bring(struct image_reads *ir, const uint8_t *bytes, uint64_t size_bytes,
                 uint32_t *ret_n_chunks, struct err *e)
{
	struct fetch_stretch *stretches = NULL;
	uint32_t n = 0;
	const int r = first_reads_parse(bytes, size_bytes, &stretches, &n, e);
	struct fetch_bring_opts opts = { .blobs = ir->image->blobs,
		                         .n_blobs = ir->image->n_blobs,
		                         .stretches = stretches,
		                         .done = on_brought,
		                         .arg = ir };

	if (r < 0)
		return r;
	opts.n_stretches = take_ours(ir, stretches, n, ret_n_chunks);
	if (opts.n_stretches > 0)
		ir->bring = fetch_bring_start(ir->env->fetch, &opts);
	free(stretches);
	return 0;
}

/* ---- whose list ---- */

static void was_no_list(const struct image_reads *ir, const char *whose, const struct err *e)
{
	log_debug(ir->env->log, "a list of first reads is none", "image=%s whose=%s why=%s",
	          ir->image->digest, whose, LOG_Q(e->msg));
}

/* Whatever it is, it is not held against who gave it: a later form, or a bad disk. */
static void on_asked(void *arg, int r, const struct meta_got *got)
{
	struct image_reads *ir = arg;
	struct err e = { .code = 0 };
	uint32_t n_chunks = 0;

	ir->asking = NULL;
	if (r != META_FOUND)
		return;
	if (bring(ir, got->bytes, got->size_bytes, &n_chunks, &e) < 0)
		was_no_list(ir, "neighbour", &e);
	free(got->bytes);
}

/* Of a bootstrap file nothing was asked yet; who has no credentials for it has what anybody has. */
static bool may_ask(const struct image_reads *ir)
{
	const struct lazy_image *image = ir->image;
	const struct reference *at = &image->blobs_at;
	AUTO(free_str) char *name = at->host[0] != '\0' ? reference_text(at) : xstrdup(image->name);

	return image_shelf_tells(ir->env->shelf, name,
	                         image->anonymous || (at->host[0] != '\0' && !has_credentials(ir)));
}

/* The question tells who knows the image already that somebody mounts it: so it is put only where
 * its metadata is anybody's. */
static void ask_neighbours(struct image_reads *ir)
{
	struct meta_source *s = ir->env->neighbours;
	AUTO(public_namer_free) struct public_namer *namer = public_image_namer_new();
	char key[PUBLIC_IMAGE_NAME_BYTES];
	const struct meta_want want = { .kind = META_FIRST_READS,
		                        .key = key,
		                        .max_bytes = FIRST_READS_MAX_BYTES,
		                        .deadline_ns =
		                                clock_now_ns(ir->env->clock) + ASK_MS * NS_PER_MS };

	if (s == NULL || ir->env->shelf == NULL || !may_ask(ir) ||
	    !public_image_name(namer, ir->image->digest, key))
		return;
	ir->asking = s->ops->get(s, &want, on_asked, ir);
}

static void read_work(struct job *job)
{
	struct list_job *lj = container_of(job, struct list_job, job);
	struct image_file file = { .data = NULL };
	struct err e = { .code = 0 };

	lj->users_config = registry_users_config_is_there(lj->registry);
	if (image_store_map(lj->cas, lj->digest, IMAGE_FILE_READS, FIRST_READS_MAX_BYTES, &file,
	                    &e) < 0)
		return;
	lj->bytes = xcalloc(1, file.size_bytes);
	memcpy(lj->bytes, file.data, file.size_bytes);
	lj->size_bytes = file.size_bytes;
	image_file_unmap(&file);
}

static void read_after(struct job *job)
{
	struct list_job *lj = container_of(job, struct list_job, job);
	struct image_reads *ir = lj->reads;
	struct err e = { .code = 0 };

	if (ir != NULL) {
		int r = -ENOENT;

		ir->reading = NULL;
		ir->users_config = lj->users_config;
		if (lj->bytes != NULL) {
			r = bring(ir, lj->bytes, lj->size_bytes, &ir->kept_chunks, &e);
			if (r < 0)
				was_no_list(ir, "own", &e);
		}
		if (r < 0)
			ask_neighbours(ir);
	}
	list_job_free(lj);
}

static void end_reads(struct lazy_image *image)
{
	struct image_reads *ir = image->reads;
	struct read_log *log = image->log;

	keep_noted(ir, false);
	timer_fini(&ir->timer);
	if (ir->reading != NULL)
		ir->reading->reads = NULL;
	if (ir->asking != NULL)
		ir->env->neighbours->ops->cancel(ir->asking);
	if (ir->bring != NULL)
		fetch_bring_cancel(ir->bring);
	free(ir);
	image->reads = NULL;
	image->log = NULL;
	read_log_free(&log);
	image->end_reads = NULL;
}

static struct read_log *make_log(const struct lazy_image *image,
                                 const struct image_loader_opts *env)
{
	const struct blob_layout **layouts =
		xcalloc(image->n_blobs, sizeof(const struct blob_layout *));
	const struct read_log_opts opts = { .blobs = image->blobs,
		                            .layouts = layouts,
		                            .n_blobs = image->n_blobs,
		                            .clock = env->clock };
	struct read_log *log;

	for (uint32_t i = 0; i < image->n_blobs; i++)
		layouts[i] = layout_of(image, i);
	log = read_log_new(&opts);
	free(layouts);
	return log;
}

void image_reads_begin(struct lazy_image *image)
{
	struct read_log *log;
	struct image_reads *ir;

	if (image->reads != NULL || image->n_blobs == 0)
		return;
	log = make_log(image, &image->loader->opts);
	if (log == NULL)
		return;
	ir = xcalloc(1, sizeof(*ir));
	image->reads = ir;
	image->end_reads = end_reads;
	ir->image = image;
	ir->env = &image->loader->opts;
	ir->begun_ns = clock_now_ns(ir->env->clock);
	read_log_open(log, true);
	image->log = log;
	timer_init(&ir->timer, ir->env->loop, on_look);
	timer_start(&ir->timer, LOOK_MS);
	ir->reading = list_job_new(ir);
	ir->reading->reads = ir;
	ir->reading->registry = ir->env->registry;
	ir->reading->job =
		(struct job){ .work = read_work, .after = read_after, .prio = JOB_NORMAL };
	pool_submit(ir->env->pool, &ir->reading->job);
}
