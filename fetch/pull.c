/*
 * pull: from a reference to images/<manifest digest>/.
 *
 *   START -> LOOK --here, by digest (or by tag, and offline is fine)----------------> DONE
 *            ^ | `--here, by tag--> HEAD --the same digest--------------------------> DONE
 *            | |                     | `--no digest told--.
 *            | `--not here-----------+---------------> MANIFEST -> CHECK --here-----> DONE
 *            |`--another digest------'                              | | `--claimed--> DONE
 *            `--index: the manifest of this platform----------------' |
 *                                                 LAYER <--not here---'
 *                                                   `-> KEEP -----------------------> DONE
 *   every state --failure--> DONE
 *
 * Where the registry does not answer soon, and it is known which digest is wanted:
 *
 *   MANIFEST --> OTHERS --> CHECK     LAYER --> OTHERS --> KEEP
 *   OTHERS --nobody has it--> MANIFEST, LAYER: the registry, for a longer while, and so on
 *
 * A tag that the registry cannot be asked about means what it meant here last (HEAD --> DONE), and
 * is counted as stale; one that never meant anything here is the registry's alone to tell.
 *
 * All of it belongs to the loop thread; a worker touches struct step and what that borrows. Every
 * request carries the deadline.
 */
#include "hex.h"
#include "mem.h"
#include "neighbours.h"
#include "pull_impl.h"
#include "pull_steps.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_HOPS_MAX 2U /* an index, or an index of indexes */

static enum state enter_look(struct pull *op);
static enum state enter_head(struct pull *op);
static enum state enter_manifest(struct pull *op);
static enum state enter_check(struct pull *op);
static enum state enter_layer(struct pull *op);
static enum state enter_keep(struct pull *op);

/* enter_*: returns the state itself to wait there for a callback, else the next one. */
static const struct {
	const char *name;
	enum state (*enter)(struct pull *op);
	unsigned may_follow;
} states[N_STATES] = {
	[START] = { "start", NULL, BIT(LOOK) },
	[LOOK] = { "looking for it here", enter_look, BIT(HEAD) | BIT(MANIFEST) | BIT(DONE) },
	[HEAD] = { "asking for its digest", enter_head, BIT(LOOK) | BIT(MANIFEST) | BIT(DONE) },
	[MANIFEST] = { "getting its manifest", enter_manifest,
	               BIT(CHECK) | BIT(OTHERS) | BIT(DONE) },
	[CHECK] = { "checking its manifest", enter_check,
	            BIT(LOOK) | BIT(LAYER) | BIT(OTHERS) | BIT(MANIFEST) | BIT(DONE) },
	[LAYER] = { "getting its bootstrap layer", enter_layer,
	            BIT(KEEP) | BIT(OTHERS) | BIT(DONE) },
	[KEEP] = { "unpacking its bootstrap", enter_keep, BIT(OTHERS) | BIT(LAYER) | BIT(DONE) },
	[OTHERS] = { "asking neighbours", pull_enter_others,
	             BIT(CHECK) | BIT(KEEP) | BIT(MANIFEST) | BIT(LAYER) | BIT(DONE) },
	[DONE] = { "done", NULL, 0 },
};

static void pull_free(struct pull *op)
{
	buffer_clear(&op->index_bytes);
	buffer_clear(&op->manifest_bytes);
	buffer_clear(&op->layer_bytes);
	free(op);
}

static void pull_finish(struct pull *op)
{
	if (op->result >= 0 && op->got.from != PULLED_FROM_OTHERS &&
	    (op->got.from == PULLED_FROM_REGISTRY || op->told[0] != '\0'))
		op->got.anonymous =
			registry_was_anonymous(op->env.registry, op->ref.host, op->ref.repository);
	op->opts.done(op->opts.arg, op->result, &op->got, &op->err);
	pull_free(op);
}

/* As far as it goes without waiting. */
static void pull_walk(struct pull *op, enum state next)
{
	while (next != op->state) {
		assert(states[op->state].may_follow & BIT(next));
		op->state = next;
		if (next == DONE)
			break;
		next = states[next].enter(op);
	}
}

enum state pull_again(struct pull *op)
{
	return states[op->state].enter(op);
}

void pull_run(struct pull *op, enum state next)
{
	pull_walk(op, next);
	if (op->state == DONE)
		pull_finish(op);
}

/* op->err is set. */
enum state pull_failed(struct pull *op)
{
	AUTO(free_str) char *name = reference_text(&op->ref);

	if (op->others_said != NULL)
		(void)err_set(&op->err, op->err.code, "%.180s; %s", op->err.msg, op->others_said);
	op->result = err_wrap(&op->err, "image %s: %s", name, states[op->state].name);
	return DONE;
}

enum state pull_found(struct pull *op, const char *digest)
{
	memcpy(op->got.digest, digest, DIGEST_TEXT_BYTES);
	return DONE;
}

/* ---- workers ---- */

/* The step is back. @return NULL: nobody waits for it any more, and it is gone */
static struct pull *came_back(struct job *job)
{
	struct pull *op = container_of(job, struct pull, step.base.job);

	if (load_step_back(&op->step.base, &op->env, &op->err))
		return op;
	pull_free(op);
	return NULL;
}

static void look_work(struct job *job)
{
	struct step *step = container_of(job, struct step, base.job);

	step->base.r = look_here(&step->look, &step->base.err);
}

static enum state found_here(struct pull *op, const struct look *look)
{
	op->got.anonymous = look->ret_anonymous;
	return op->want[0] != '\0' || op->opts.offline_ok ? pull_found(op, op->known) : HEAD;
}

static void look_after(struct job *job)
{
	struct pull *op = came_back(job);
	const struct look *look = NULL;
	enum state next = MANIFEST;

	if (op == NULL)
		return;
	look = &op->step.look;
	if (op->step.base.r < 0) {
		next = pull_failed(op);
	} else if (look->ret_digest[0] != '\0') {
		memcpy(op->known, look->ret_digest, DIGEST_TEXT_BYTES);
		op->known_is_here = look->ret_is_here;
		if (look->ret_is_here)
			next = found_here(op, look);
	}
	pull_run(op, next);
}

static enum state enter_look(struct pull *op)
{
	op->step.look = (struct look){ .cas = op->env.cas, .ref = &op->ref, .digest = op->want };
	load_step_submit(&op->step.base, &op->env, JOB_READER, look_work, look_after);
	return LOOK;
}

/* ---- the registry ---- */

static void on_head(void *arg, const struct http_head *head)
{
	struct pull *op = arg;
	const char *digest = head->docker_content_digest;

	op->told[0] = '\0';
	if (digest != NULL && strncmp(digest, "sha256:", 7) == 0 && hex_is_sha256(digest + 7))
		memcpy(op->told, digest + 7, DIGEST_TEXT_BYTES);
}

static enum state ask(struct pull *op, struct registry_request *req)
{
	const uint64_t soon_ns = neighbours_due_ns(clock_now_ns(op->env.clock), op->n_rounds);

	op->others_done = op->others_done || (op->n_rounds > 0 && soon_ns >= op->opts.deadline_ns);
	req->host = op->ref.host;
	req->repository = op->ref.repository;
	/* By digest neighbours are as good, if they were not asked just now; what a tag means is
	 * the registry's to say. */
	req->retry = !pull_is_hasty(op) || op->n_rounds > 0 || op->want[0] == '\0';
	req->deadline_ns = op->opts.deadline_ns;
	if (pull_is_hasty(op) && soon_ns < req->deadline_ns)
		req->deadline_ns = soon_ns;
	op->giver = 0;
	req->arg = op;
	if (registry_start(op->env.registry, req, &op->req, &op->err) < 0)
		return pull_failed(op);
	return op->state;
}

static enum state ask_for_manifest(struct pull *op, struct registry_request *req)
{
	char digest[sizeof("sha256:") + DIGEST_TEXT_BYTES] = "sha256:";

	memcpy(digest + strlen("sha256:"), op->want, DIGEST_TEXT_BYTES);
	req->kind = REGISTRY_MANIFEST;
	req->reference = op->want[0] != '\0' ? digest : op->ref.tag;
	req->max_body_bytes = MANIFEST_MAX_BYTES;
	req->head_done = on_head;
	return ask(op, req);
}

static enum state head_failed(struct pull *op, int r, const struct err *why)
{
	if (r == -EPROTO || r == -EMSGSIZE) /* some registries know no HEAD */
		return MANIFEST;
	op->err = *why;
	if (r != -EAGAIN)
		return pull_failed(op);
	pull_tell_stale(op);
	return pull_found(op, op->known);
}

static void on_head_end(void *arg, int r, const struct err *why)
{
	struct pull *op = arg;
	enum state next = MANIFEST;

	op->req = NULL;
	if (r != 0) {
		next = head_failed(op, r, why);
	} else if (op->told[0] != '\0') {
		memcpy(op->got.top_digest, op->told, DIGEST_TEXT_BYTES);
		memcpy(op->want, op->told, DIGEST_TEXT_BYTES);
		next = strcmp(op->told, op->known) == 0 ? pull_found(op, op->known) : LOOK;
	}
	pull_run(op, next);
}

static enum state enter_head(struct pull *op)
{
	struct registry_request req = { .head = true, .end = on_head_end };

	return ask_for_manifest(op, &req);
}

static int on_manifest_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	struct pull *op = arg;

	return buffer_add(&op->manifest_bytes, bytes, size_bytes, &op->err);
}

static void on_manifest_end(void *arg, int r, const struct err *why)
{
	struct pull *op = arg;

	op->req = NULL;
	pull_run(op, r == 0 ? CHECK : pull_registry_failed(op, META_MANIFEST, r, why));
}

static enum state enter_manifest(struct pull *op)
{
	struct registry_request req = { .body = on_manifest_body, .end = on_manifest_end };

	buffer_clear(&op->manifest_bytes);
	op->manifest_bytes.max_bytes = MANIFEST_MAX_BYTES;
	op->told[0] = '\0';
	op->got.from = PULLED_FROM_REGISTRY;
	return ask_for_manifest(op, &req);
}

static void check_work(struct job *job)
{
	struct step *step = container_of(job, struct step, base.job);

	step->base.r = check_manifest(&step->check, &step->base.err);
}

/* The manifest is what it should be: where does it lead? */
static enum state after_manifest(struct pull *op)
{
	const struct check *check = &op->step.check;

	if (op->got.top_digest[0] == '\0')
		memcpy(op->got.top_digest, check->ret_digest, DIGEST_TEXT_BYTES);
	if (check->ret_is_here)
		return pull_found(op, check->ret_digest);
	op->manifest = check->ret_manifest;
	if (op->manifest.kind == MANIFEST_INDEX) {
		memcpy(op->want, op->manifest.next_digest, DIGEST_TEXT_BYTES);
		if (op->n_hops == 0) {
			op->index_bytes = op->manifest_bytes;
			op->manifest_bytes = (struct buffer){ .data = NULL };
		}
		if (op->n_hops++ < INDEX_HOPS_MAX)
			return LOOK;
		(void)err_set(&op->err, ENOTSUP,
		              "an index in an index in an index (at most %u in one another)",
		              INDEX_HOPS_MAX);
		return pull_failed(op);
	}
	memcpy(op->got.digest, check->ret_digest, DIGEST_TEXT_BYTES);
	if (op->opts.claim(op->opts.arg, op->got.digest))
		return LAYER;
	op->result = PULL_ELSEWHERE;
	return DONE;
}

static void check_after(struct job *job)
{
	struct pull *op = came_back(job);

	if (op != NULL)
		pull_run(op, op->step.base.r < 0 ? pull_was_wrong(op, META_MANIFEST)
		                                 : after_manifest(op));
}

static enum state enter_check(struct pull *op)
{
	op->step.check = (struct check){ .cas = op->env.cas,
		                         .manifest = &op->manifest_bytes,
		                         .digest = op->want,
		                         .told_digest = op->told };
	load_step_submit(&op->step.base, &op->env, JOB_READER, check_work, check_after);
	return CHECK;
}

static int on_layer_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	struct pull *op = arg;

	return buffer_add(&op->layer_bytes, bytes, size_bytes, &op->err);
}

static void on_layer_end(void *arg, int r, const struct err *why)
{
	struct pull *op = arg;
	enum state next = KEEP;

	op->req = NULL;
	if (r != 0) {
		next = pull_registry_failed(op, META_BOOT_LAYER, r, why);
	} else if (op->layer_bytes.size_bytes != op->manifest.next_size_bytes) {
		(void)err_set(&op->err, EBADMSG,
		              "%" PRIu64 " bytes came, the manifest says %" PRIu64,
		              op->layer_bytes.size_bytes, op->manifest.next_size_bytes);
		next = pull_failed(op);
	}
	pull_run(op, next);
}

static enum state enter_layer(struct pull *op)
{
	char digest[sizeof("sha256:") + DIGEST_TEXT_BYTES] = "sha256:";
	struct registry_request req = { .kind = REGISTRY_BLOB,
		                        .reference = digest,
		                        .max_body_bytes = op->manifest.next_size_bytes,
		                        .body = on_layer_body,
		                        .end = on_layer_end };

	/* Where its manifest came from, while that is not the registry. */
	if (op->got.from == PULLED_FROM_OTHERS && !op->others_asked) {
		op->others_for = META_BOOT_LAYER;
		return OTHERS;
	}
	memcpy(digest + strlen("sha256:"), op->manifest.next_digest, DIGEST_TEXT_BYTES);
	buffer_clear(&op->layer_bytes);
	op->layer_bytes.max_bytes = op->manifest.next_size_bytes;
	return ask(op, &req);
}

static void keep_work(struct job *job)
{
	struct step *step = container_of(job, struct step, base.job);

	step->base.r = keep_image(&step->keep, &step->base.err);
}

static void keep_after(struct job *job)
{
	struct pull *op = came_back(job);

	if (op != NULL)
		pull_run(op, op->step.base.r < 0 ? pull_was_wrong(op, META_BOOT_LAYER) : DONE);
}

static enum state enter_keep(struct pull *op)
{
	if (op->got.from != PULLED_FROM_OTHERS)
		op->got.anonymous =
			registry_was_anonymous(op->env.registry, op->ref.host, op->ref.repository);
	op->step.keep = (struct keep){
		.cas = op->env.cas,
		.ref = &op->ref,
		.digest = op->got.digest,
		.anonymous = op->got.anonymous,
		.index = &op->index_bytes,
		.manifest = &op->manifest_bytes,
		.layer = &op->layer_bytes,
		.layer_digest = op->manifest.next_digest,
	};
	load_step_submit(&op->step.base, &op->env, JOB_READER, keep_work, keep_after);
	return KEEP;
}

struct pull *pull_start(const struct pull_opts *opts)
{
	struct pull *op = xcalloc(1, sizeof(*op));

	op->opts = *opts;
	op->env = *opts->env;
	op->ref = *opts->ref;
	op->opts.env = NULL;
	op->opts.ref = NULL;
	memcpy(op->want, op->ref.digest, DIGEST_TEXT_BYTES);
	pull_walk(op, LOOK); /* a worker has it now: it cannot be at its end */
	return op;
}

void pull_cancel(struct pull *op)
{
	if (op->req != NULL)
		registry_cancel(op->req);
	op->req = NULL;
	if (op->others != NULL)
		op->env.neighbours->ops->cancel(op->others);
	op->others = NULL;
	if (load_step_cancel(&op->step.base))
		pull_free(op);
}
