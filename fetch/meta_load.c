/*
 * meta_load: a blob's chunk index and chunk digests from its tail.
 *
 *   START -> SIZE -> TOC -> CHECK -> DIGESTS -> CI -> UNPACK -> DONE
 *
 * in this order, passing over what is not needed: SIZE, TOC and CHECK where the image does not
 * vouch for a TOC, DIGESTS and CI where they are not wanted (or, DIGESTS, not there). Every failure
 * leads to DONE.
 *
 * Where the origin is a registry that does not answer soon: SIZE --> OTHERS --> CHECK, with the
 * parts that a neighbour kept; they are held against the TOC just so, and without one that vouches
 * for all of them none are taken. OTHERS --nobody has them--> SIZE, for a longer while, and so on
 * to the deadline.
 *
 * All of it belongs to the loop thread; a worker touches struct step and what that borrows. Every
 * request carries the deadline.
 */
#include "meta_load.h"
#include "blob_tail.h"
#include "bytes.h"
#include "load_step.h"
#include "mem.h"
#include "meta_steps.h"
#include "neighbours.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOC_GUESS_BYTES 4096U /* where its size is not told: docs/rafs.md */
#define TOC_UNIT_BYTES  128U

enum state { START, SIZE, TOC, CHECK, DIGESTS, CI, UNPACK, OTHERS, DONE, N_STATES };

/* What a worker has of it. */
struct step {
	struct load_step base;
	struct unpack_extras unpack;
};

struct meta_load {
	struct image_loader_opts env;
	struct meta_load_opts opts;
	char origin[CAS_ORIGIN_MAX_BYTES];
	char image_digest[DIGEST_TEXT_BYTES];
	struct image_blob blob;
	struct blob_cipher cipher;
	enum state state;
	int result;
	struct err err;
	uint64_t object_size_bytes; /* 0: not known */
	struct origin_read *read;
	struct buffer *into; /* what is being read */
	uint64_t want_bytes; /* of it */
	struct buffer toc_bytes, digests_bytes, ci_bytes;
	struct toc toc;
	const struct toc_entry *digests_entry;
	struct meta_req *others; /* neighbours that are being asked */
	bool others_done;        /* the origin's turn, to the end */
	uint32_t n_rounds;       /* of others, in vain */
	uint32_t giver;          /* of the parts; 0: they are the origin's */
	uint32_t n_wrong;
	struct step step;
};

static enum state enter_size(struct meta_load *op);
static enum state enter_toc(struct meta_load *op);
static enum state enter_check(struct meta_load *op);
static enum state enter_digests(struct meta_load *op);
static enum state enter_ci(struct meta_load *op);
static enum state enter_unpack(struct meta_load *op);
static enum state enter_others(struct meta_load *op);

#define AFTER_WRONG (BIT(OTHERS) | BIT(SIZE) | BIT(DONE))

/* enter_*: returns the state itself to wait there for a callback, else the next one. */
static const struct {
	const char *name;
	enum state (*enter)(struct meta_load *op);
	unsigned may_follow;
} states[N_STATES] = {
	[START] = { "start", NULL, BIT(SIZE) },
	[SIZE] = { "asking for its size", enter_size, BIT(TOC) | BIT(OTHERS) | BIT(DONE) },
	[TOC] = { "getting its table of contents", enter_toc, BIT(CHECK) | BIT(CI) | BIT(DONE) },
	[CHECK] = { "checking its table of contents", enter_check, BIT(DIGESTS) | AFTER_WRONG },
	[DIGESTS] = { "getting its chunk digests", enter_digests, BIT(CI) | AFTER_WRONG },
	[CI] = { "getting its chunk index", enter_ci, BIT(UNPACK) | AFTER_WRONG },
	[UNPACK] = { "unpacking its chunk index", enter_unpack, AFTER_WRONG },
	[OTHERS] = { "asking neighbours", enter_others, BIT(CHECK) | BIT(SIZE) | BIT(DONE) },
	[DONE] = { "done", NULL, 0 },
};

/* What came before is of no use: the next one starts afresh. */
static void forget_parts(struct meta_load *op)
{
	buffer_clear(&op->toc_bytes);
	buffer_clear(&op->digests_bytes);
	buffer_clear(&op->ci_bytes);
	blob_extras_clear(&op->step.unpack.ret_extras);
	op->digests_entry = NULL;
	op->giver = 0;
}

static void load_free(struct meta_load *op)
{
	forget_parts(op);
	explicit_bzero(&op->cipher, sizeof(op->cipher));
	free(op);
}

/* As far as it goes without waiting. */
static void load_walk(struct meta_load *op, enum state next)
{
	while (next != op->state) {
		assert(states[op->state].may_follow & BIT(next));
		op->state = next;
		if (next == DONE)
			break;
		next = states[next].enter(op);
	}
}

static void load_run(struct meta_load *op, enum state next)
{
	load_walk(op, next);
	if (op->state != DONE)
		return;
	op->opts.done(op->opts.arg, op->result, &op->step.unpack.ret_extras, &op->err);
	load_free(op);
}

static enum state was_wrong(struct meta_load *op)
{
	op->env.neighbours->ops->distrust(op->env.neighbours, op->giver);
	forget_parts(op);
	if (op->n_wrong++ < NEIGHBOURS_WRONG_MAX)
		return OTHERS;
	op->others_done = true;
	return SIZE;
}

/* op->err is set. What a neighbour gave may be better elsewhere. */
static enum state failed(struct meta_load *op)
{
	if (op->giver != 0)
		return was_wrong(op);
	op->result = err_wrap(&op->err, "blob %s at %s: %s", op->blob.blob_id, op->origin,
	                      states[op->state].name);
	return DONE;
}

/* ---- reads ---- */

static int on_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	struct meta_load *op = arg;

	return buffer_add(op->into, bytes, size_bytes, &op->err);
}

/* Start reading a range of the object; its bytes go to *into. @return the state itself, or DONE */
static enum state read_range(struct meta_load *op, struct buffer *into, uint64_t offset,
                             uint64_t size_bytes, void (*end)(void *, int, const struct err *))
{
	const struct origin_read_opts opts = { .origin = op->origin,
		                               .object = op->blob.meta_blob_id,
		                               .offset = offset,
		                               .size_bytes = size_bytes,
		                               .kind = "meta",
		                               .deadline_ns = op->opts.deadline_ns,
		                               .body = on_body,
		                               .end = end,
		                               .arg = op };

	if (op->object_size_bytes != 0 && !range_fits(offset, size_bytes, op->object_size_bytes)) {
		(void)err_set(&op->err, EUCLEAN,
		              "%" PRIu64 " bytes at %" PRIu64 " do not lie inside the object's "
		              "%" PRIu64,
		              size_bytes, offset, op->object_size_bytes);
		return failed(op);
	}
	into->max_bytes = size_bytes;
	op->into = into;
	op->want_bytes = size_bytes;
	if (origin_read_start(op->env.origins, &opts, &op->read, &op->err) < 0)
		return failed(op);
	return op->state;
}

static void read_ended(struct meta_load *op, int r, const struct err *why, enum state next)
{
	op->read = NULL;
	if (r == 0 && op->into->size_bytes != op->want_bytes) {
		(void)err_set(&op->err, EBADMSG, "%" PRIu64 " bytes came instead of %" PRIu64,
		              op->into->size_bytes, op->want_bytes);
		next = failed(op);
	} else if (r != 0) {
		op->err = *why;
		next = failed(op);
	}
	load_run(op, next);
}

static bool has_others(const struct meta_load *op)
{
	return op->env.neighbours != NULL && !op->others_done;
}

static void on_size(void *arg, int r, uint64_t size_bytes, const struct err *why)
{
	struct meta_load *op = arg;

	enum state next = TOC;

	op->read = NULL;
	op->object_size_bytes = size_bytes;
	if (r != 0) {
		op->err = *why;
		next = r == -EAGAIN && has_others(op) ? OTHERS : failed(op);
	}
	load_run(op, next);
}

static enum state enter_size(struct meta_load *op)
{
	const uint64_t soon_ns = neighbours_due_ns(clock_now_ns(op->env.clock), op->n_rounds);
	uint64_t deadline_ns = op->opts.deadline_ns;

	op->others_done = op->others_done || (op->n_rounds > 0 && soon_ns >= deadline_ns);
	if (has_others(op))
		deadline_ns = min_u64(deadline_ns, soon_ns);
	/* The size in the image's blob table can leave out the blob's last parts. */
	if (!op->blob.toc_vouched)
		return TOC;
	if (origin_size_start(op->env.origins, op->origin, op->blob.meta_blob_id, deadline_ns,
	                      on_size, op, &op->read, &op->err) < 0)
		return failed(op);
	return SIZE;
}

static void on_toc_end(void *arg, int r, const struct err *why)
{
	read_ended(arg, r, why, CHECK);
}

static enum state enter_toc(struct meta_load *op)
{
	const uint64_t object_bytes = op->object_size_bytes;
	uint64_t toc_bytes = op->blob.toc_size_bytes;

	if (!op->blob.toc_vouched)
		return CI;
	if (toc_bytes == 0)
		toc_bytes =
			min_u64(TOC_GUESS_BYTES, object_bytes & ~(uint64_t)(TOC_UNIT_BYTES - 1));
	if (toc_bytes == 0 || toc_bytes > TOC_MAX_BYTES || toc_bytes > object_bytes) {
		(void)err_set(&op->err, EUCLEAN,
		              "%" PRIu64 " bytes are no size for it (the object has %" PRIu64 ")",
		              toc_bytes, object_bytes);
		return failed(op);
	}
	return read_range(op, &op->toc_bytes, object_bytes - toc_bytes, toc_bytes, on_toc_end);
}

/* A neighbour gave it with the rest. */
static enum state part_is_here(struct meta_load *op, const struct buffer *part, uint64_t size_bytes,
                               enum state next)
{
	if (part->size_bytes == size_bytes)
		return next;
	(void)err_set(&op->err, EBADMSG, "a neighbour gave %" PRIu64 " bytes, not %" PRIu64,
	              part->size_bytes, size_bytes);
	return failed(op);
}

static enum state ci_is_here(struct meta_load *op)
{
	if (toc_find(&op->toc, "blob.meta") != NULL &&
	    toc_find(&op->toc, "blob.meta.header") != NULL)
		return part_is_here(op, &op->ci_bytes,
		                    op->blob.ci_packed_size_bytes + CI_HEADER_BYTES, UNPACK);
	forget_parts(op); /* it may be right; there is no way to tell */
	op->others_done = true;
	return SIZE;
}

static void on_digests_end(void *arg, int r, const struct err *why)
{
	read_ended(arg, r, why, CI);
}

static enum state enter_digests(struct meta_load *op)
{
	const struct toc_entry *entry = NULL;

	if (op->opts.wants_digests)
		entry = toc_find(&op->toc, "blob.digest");
	if (entry == NULL)
		return CI;
	if (entry->stored_size_bytes > IMAGE_CI_MAX_BYTES || entry->stored_size_bytes == 0) {
		(void)err_set(&op->err, EUCLEAN, "%" PRIu64 " bytes are no size for them",
		              entry->stored_size_bytes);
		return failed(op);
	}
	op->digests_entry = entry;
	if (op->giver != 0)
		return part_is_here(op, &op->digests_bytes, entry->stored_size_bytes, CI);
	return read_range(op, &op->digests_bytes, entry->stored_offset, entry->stored_size_bytes,
	                  on_digests_end);
}

static void on_ci_end(void *arg, int r, const struct err *why)
{
	read_ended(arg, r, why, UNPACK);
}

static enum state enter_ci(struct meta_load *op)
{
	if (!op->opts.wants_meta)
		return UNPACK;
	if (op->blob.ci_packed_size_bytes > IMAGE_CI_MAX_BYTES) {
		(void)err_set(&op->err, EUCLEAN, "%" PRIu64 " bytes are no size for it",
		              op->blob.ci_packed_size_bytes);
		return failed(op);
	}
	if (op->giver != 0)
		return ci_is_here(op);
	return read_range(op, &op->ci_bytes, op->blob.ci_offset,
	                  op->blob.ci_packed_size_bytes + CI_HEADER_BYTES, on_ci_end);
}

/* ---- workers ---- */

static void came_back(struct job *job, enum state next)
{
	struct meta_load *op = container_of(job, struct meta_load, step.base.job);

	if (load_step_back(&op->step.base, &op->env, &op->err))
		load_run(op, op->step.base.r < 0 ? failed(op) : next);
	else
		load_free(op);
}

static void check_work(struct job *job)
{
	struct meta_load *op = container_of(job, struct meta_load, step.base.job);

	op->step.base.r = check_toc(&op->blob, &op->toc_bytes, op->object_size_bytes, &op->toc,
	                            &op->step.base.err);
}

static void check_after(struct job *job)
{
	came_back(job, DIGESTS);
}

static enum state enter_check(struct meta_load *op)
{
	load_step_submit(&op->step.base, &op->env, JOB_READER, check_work, check_after);
	return CHECK;
}

static void unpack_work(struct job *job)
{
	struct step *step = container_of(job, struct step, base.job);

	step->base.r = unpack_extras(&step->unpack, &step->base.err);
}

static void unpack_after(struct job *job)
{
	came_back(job, DONE);
}

static enum state enter_unpack(struct meta_load *op)
{
	op->step.unpack = (struct unpack_extras){
		.cas = op->env.cas,
		.log = op->env.log,
		.image_digest = op->image_digest,
		.blob = &op->blob,
		.cipher = &op->cipher,
		.toc = op->blob.toc_vouched ? &op->toc : NULL,
		.digests_entry = op->digests_entry,
		.ci = &op->ci_bytes,
		.digests = &op->digests_bytes,
		.toc_bytes = &op->toc_bytes,
		.object_size_bytes = op->object_size_bytes,
		.is_whole = op->opts.wants_meta == op->blob.needs_meta &&
		            op->opts.wants_digests == op->blob.needs_digests,
	};
	load_step_submit(&op->step.base, &op->env, JOB_READER, unpack_work, unpack_after);
	return UNPACK;
}

/* ---- neighbours ---- */

static int copy_part(const struct blob_part *part, struct buffer *into, struct err *e)
{
	buffer_clear(into);
	into->max_bytes = part->size_bytes;
	return part->size_bytes > 0 ? buffer_add(into, part->data, part->size_bytes, e) : 0;
}

static enum state take_tail(struct meta_load *op, const struct meta_got *got)
{
	struct blob_tail tail;
	int r = blob_tail_parse(got->bytes, got->size_bytes, &tail, &op->err);

	op->giver = got->giver;
	if (r == 0) {
		op->object_size_bytes = tail.object_size_bytes;
		r = copy_part(&tail.toc, &op->toc_bytes, &op->err);
	}
	if (r == 0)
		r = copy_part(&tail.digests, &op->digests_bytes, &op->err);
	if (r == 0)
		r = copy_part(&tail.ci, &op->ci_bytes, &op->err);
	return r == 0 ? CHECK : failed(op);
}

static void on_others(void *arg, int r, const struct meta_got *got)
{
	struct meta_load *op = arg;
	enum state next = SIZE;

	op->others = NULL;
	if (r == META_FOUND) {
		next = take_tail(op, got);
		free(got->bytes);
		if (next == OTHERS)
			next = enter_others(op);
	} else {
		op->n_rounds++;
	}
	load_run(op, next);
}

static enum state enter_others(struct meta_load *op)
{
	AUTO(free_str)
	char *key = neighbours_tail_key(op->origin, op->image_digest, op->blob.meta_blob_id);
	const uint64_t digests_bytes = (uint64_t)op->blob.n_chunks * DIGEST_BYTES;
	const struct meta_want want = {
		.kind = META_BLOB_TAIL,
		.key = key,
		.max_bytes = min_u64(BLOB_TAIL_MAX_BYTES, BLOB_TAIL_HEADER_BYTES + TOC_MAX_BYTES +
		                                                  2 * digests_bytes +
		                                                  op->blob.ci_packed_size_bytes +
		                                                  UINT64_C(2) * CI_HEADER_BYTES),
		.deadline_ns = op->opts.deadline_ns
	};

	op->object_size_bytes = 0;
	if (key == NULL) {
		op->others_done = true;
		return SIZE;
	}
	op->others = op->env.neighbours->ops->get(op->env.neighbours, &want, on_others, op);
	return OTHERS;
}

int meta_load_start(const struct meta_load_opts *opts, struct meta_load **ret_load, struct err *e)
{
	struct meta_load *op = xcalloc(1, sizeof(*op));
	int r = 0;

	op->opts = *opts;
	op->env = *opts->env;
	(void)snprintf(op->origin, sizeof(op->origin), "%s", opts->origin);
	(void)snprintf(op->image_digest, sizeof(op->image_digest), "%s", opts->image_digest);
	image_blob(opts->image, opts->blob_idx, &op->blob);
	image_blob_cipher(opts->image, opts->blob_idx, &op->cipher);
	op->opts.env = NULL;
	op->opts.image = NULL;
	if (op->blob.meta_blob_id[0] == '\0') {
		r = err_set(e, ENODATA,
		            "blob %s: its chunk index is not beside the bootstrap, and the image "
		            "does not say where else",
		            op->blob.blob_id);
		load_free(op);
		return r;
	}
	load_walk(op, SIZE);
	if (op->state == DONE) {
		*e = op->err;
		r = op->result;
		load_free(op);
	} else {
		*ret_load = op;
	}
	return r;
}

void meta_load_cancel(struct meta_load *op)
{
	if (op->read != NULL)
		origin_read_cancel(op->read);
	op->read = NULL;
	if (op->others != NULL)
		op->env.neighbours->ops->cancel(op->others);
	op->others = NULL;
	if (load_step_cancel(&op->step.base))
		load_free(op);
}
