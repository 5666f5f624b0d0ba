/*
 * image_reads: see the header.
 *
 *   begin --a worker reads the image's list--> bring it
 *     |         `-- there is none --> ask the neighbours --> keep theirs, bring it
 *     `-- log what readers ask for, until WINDOW has passed since the first of them, and keep that
 *         from time to time
 *
 * A list is replaced by a later one that is not much smaller: of a mount that only served a shell,
 * or whose files the kernel reads by itself, little can be learnt. All of it is the loop's; jobs
 * know what they need themselves, since the image may go.
 */
#include "image_reads.h"
#include "bytes.h"
#include "first_reads.h"
#include "image_files.h"
#include "lazy_image_impl.h"
#include "log.h"
#include "mem.h"
#include "read_log.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_NS    (60 * NS_PER_S)  /* from the first read on */
#define UNREAD_NS    (600 * NS_PER_S) /* a mount that nobody has read until then is let be */
#define LOOK_MS      1000U
#define LOOK_IDLE_MS 5000U  /* while nothing was read yet */
#define CHUNKS_MAX   65536U /* that are brought */
#define ASK_MS       2000U
#define MUCH_SMALLER 4U

/* A list on its way from or to the disk. */
struct list_job {
	struct job job;
	struct image_reads *reads; /* reading; NULL: the image is gone */
	struct cas *cas;
	struct log *log;
	char digest[DIGEST_TEXT_BYTES];
	uint8_t *bytes;
	uint64_t size_bytes;
};

struct image_reads {
	struct lazy_image *image;
	const struct image_loader_opts *env;
	uint64_t begun_ns;
	struct timer timer;
	uint64_t seen_bytes; /* packed, noted at the last look */
	uint64_t kept_bytes; /* packed, of what the list that is kept names; 0: there is none */
	struct list_job *reading;
	struct meta_req *asking;
	struct fetch_bring *bring;
};

static const struct blob_layout *layout_of(const struct image_reads *ir, uint32_t blob_idx)
{
	return cas_blob_layout(fetch_blob_cas(ir->image->blobs[blob_idx]));
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
	if (image_store_replace(lj->cas, lj->digest, IMAGE_FILE_READS, lj->bytes, lj->size_bytes,
	                        &e) < 0)
		log_debug(lj->log, "what is read first was not kept", "image=%s why=%s", lj->digest,
		          LOG_Q(e.msg));
	list_job_free(lj);
}

/* Syncing may take long, and no reader must wait for it: not on readers' workers.
 * @param bytes  moved */
static void keep(const struct image_reads *ir, uint8_t *bytes, uint64_t size_bytes)
{
	struct list_job *lj = list_job_new(ir);

	lj->job = (struct job){ .work = keep_work, .prio = JOB_NORMAL };
	lj->bytes = bytes;
	lj->size_bytes = size_bytes;
	pool_submit(cas_writer(lj->cas), &lj->job);
}

static void keep_noted(struct image_reads *ir)
{
	const uint64_t noted_bytes = read_log_state(ir->image->log).packed_bytes;
	struct fetch_stretch *stretches = NULL;
	uint64_t size_bytes = 0;
	uint8_t *bytes;
	uint32_t n;

	if (noted_bytes == ir->kept_bytes || noted_bytes < ir->kept_bytes / MUCH_SMALLER)
		return;
	n = read_log_copy(ir->image->log, &stretches);
	bytes = first_reads_make(stretches, n, &size_bytes);
	free(stretches);
	ir->kept_bytes = noted_bytes;
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

/* Each keeping syncs: when there was a rest, or there is twice as much. */
static void on_look(struct timer *t)
{
	struct image_reads *ir = container_of(t, struct image_reads, timer);
	const uint64_t noted_bytes = read_log_state(ir->image->log).packed_bytes;
	const bool over = is_over(ir);

	if (over)
		read_log_open(ir->image->log, false);
	if (over || noted_bytes == ir->seen_bytes || noted_bytes / 2 >= ir->kept_bytes)
		keep_noted(ir);
	ir->seen_bytes = noted_bytes;
	if (!over)
		timer_start(&ir->timer, noted_bytes > 0 ? LOOK_MS : LOOK_IDLE_MS);
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

/* Does this image say something of all of it? A blob may have chunks of other images. */
static bool is_ours(const struct image_reads *ir, const struct fetch_stretch *s)
{
	const struct bitmap *named = NULL;

	if (s->blob_idx >= ir->image->n_blobs ||
	    (uint64_t)s->first_chunk + s->n_chunks > layout_of(ir, s->blob_idx)->n_chunks)
		return false;
	named = ir->image->named[s->blob_idx];
	return named == NULL ||
	       ((uint64_t)s->first_chunk + s->n_chunks <= named->n_bits &&
	        bitmap_next_clear(named, s->first_chunk) >= s->first_chunk + s->n_chunks);
}

/* @return how many are left */
static uint32_t take_ours(struct image_reads *ir, struct fetch_stretch *s, uint32_t n)
{
	uint32_t n_chunks = 0;
	uint32_t n_ours = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (!is_ours(ir, &s[i]) || s[i].n_chunks > CHUNKS_MAX - n_chunks)
			continue;
		n_chunks += s[i].n_chunks;
		for (uint32_t k = 0; k < s[i].n_chunks; k++)
			ir->kept_bytes += read_log_packed_bytes(layout_of(ir, s[i].blob_idx),
			                                        s[i].first_chunk + k);
		s[n_ours++] = s[i];
	}
	return n_ours;
}

static int bring(struct image_reads *ir, const uint8_t *bytes, uint64_t size_bytes, struct err *e)
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
	opts.n_stretches = take_ours(ir, stretches, n);
	if (opts.n_stretches > 0)
		ir->bring = fetch_bring_start(ir->env->fetch, &opts);
	free(stretches);
	return 0;
}

/* ---- whose list ---- */

static void on_asked(void *arg, int r, const struct meta_got *got)
{
	struct image_reads *ir = arg;
	struct err e = { .code = 0 };

	ir->asking = NULL;
	if (r != META_FOUND)
		return;
	if (bring(ir, got->bytes, got->size_bytes, &e) == 0) {
		keep(ir, got->bytes, got->size_bytes);
		return;
	}
	free(got->bytes);
	ir->env->neighbours->ops->distrust(ir->env->neighbours, got->giver);
}

static void ask_neighbours(struct image_reads *ir)
{
	struct meta_source *s = ir->env->neighbours;
	AUTO(free_str) char *key = xasprintf("sha256:%s", ir->image->digest);
	const struct meta_want want = { .kind = META_FIRST_READS,
		                        .key = key,
		                        .max_bytes = FIRST_READS_MAX_BYTES,
		                        .deadline_ns =
		                                clock_now_ns(ir->env->clock) + ASK_MS * NS_PER_MS };

	if (s != NULL)
		ir->asking = s->ops->get(s, &want, on_asked, ir);
}

static void read_work(struct job *job)
{
	struct list_job *lj = container_of(job, struct list_job, job);
	struct image_file file = { .data = NULL };
	struct err e = { .code = 0 };

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
		ir->reading = NULL;
		if (lj->bytes == NULL || bring(ir, lj->bytes, lj->size_bytes, &e) < 0)
			ask_neighbours(ir);
	}
	list_job_free(lj);
}

static void end_reads(struct lazy_image *image)
{
	struct image_reads *ir = image->reads;
	struct read_log *log = image->log;

	keep_noted(ir);
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
		layouts[i] = cas_blob_layout(fetch_blob_cas(image->blobs[i]));
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
	ir->reading->job =
		(struct job){ .work = read_work, .after = read_after, .prio = JOB_NORMAL };
	pool_submit(ir->env->pool, &ir->reading->job);
}
