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
 * All of it belongs to the loop thread; a worker touches struct step and what that borrows. Every
 * request carries the deadline.
 */
#include "pull.h"
#include "hex.h"
#include "mem.h"
#include "pull_steps.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_HOPS_MAX 2U /* an index, or an index of indexes */

enum state { START, LOOK, HEAD, MANIFEST, CHECK, LAYER, KEEP, DONE, N_STATES };

/* What a worker has of a pull. */
struct step {
	struct job job;
	int r;
	struct err err;
	struct look look;
	struct check check;
	struct keep keep;
};

struct pull {
	struct image_loader_opts env;
	struct pull_opts opts;
	struct reference ref;
	enum state state;
	int result;
	struct err err;
	struct pulled got;
	char want[DIGEST_TEXT_BYTES];  /* manifest or index that comes next; "": what the tag means
	                                */
	char told[DIGEST_TEXT_BYTES];  /* what the registry says it sent; "": it says nothing */
	char known[DIGEST_TEXT_BYTES]; /* what the tag meant when it was here last */
	uint32_t n_hops;
	struct registry_req *req;
	struct buffer manifest_bytes;
	struct buffer layer_bytes;
	struct manifest manifest;
	struct step step;
	bool out;       /* a worker has step */
	bool cancelled; /* ... and this is freed when it comes back */
};

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
	[MANIFEST] = { "getting its manifest", enter_manifest, BIT(CHECK) | BIT(DONE) },
	[CHECK] = { "checking its manifest", enter_check, BIT(LOOK) | BIT(LAYER) | BIT(DONE) },
	[LAYER] = { "getting its bootstrap layer", enter_layer, BIT(KEEP) | BIT(DONE) },
	[KEEP] = { "unpacking its bootstrap", enter_keep, BIT(DONE) },
	[DONE] = { "done", NULL, 0 },
};

static void pull_free(struct pull *op)
{
	buffer_clear(&op->manifest_bytes);
	buffer_clear(&op->layer_bytes);
	free(op);
}

static void pull_finish(struct pull *op)
{
	if (op->result >= 0 && (op->got.from_registry || op->told[0] != '\0'))
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

static void pull_run(struct pull *op, enum state next)
{
	pull_walk(op, next);
	if (op->state == DONE)
		pull_finish(op);
}

/* op->err is set. */
static enum state failed(struct pull *op)
{
	AUTO(free_str) char *name = reference_text(&op->ref);

	op->result = err_wrap(&op->err, "image %s: %s", name, states[op->state].name);
	return DONE;
}

static enum state found(struct pull *op, const char *digest)
{
	memcpy(op->got.digest, digest, DIGEST_TEXT_BYTES);
	return DONE;
}

/* ---- workers ---- */

static void submit(struct pull *op, void (*work)(struct job *job), void (*after)(struct job *job))
{
	op->step.job = (struct job){ .work = work, .after = after, .prio = JOB_READER };
	op->out = true;
	pool_submit(op->env.pool, &op->step.job);
}

/* The step is back. @return NULL: nobody waits for it any more, and it is gone */
static struct pull *came_back(struct job *job)
{
	struct pull *op = container_of(job, struct pull, step.job);

	op->out = false;
	if (op->cancelled) {
		pull_free(op);
		return NULL;
	}
	if (op->step.r < 0)
		op->err = op->step.err;
	return op;
}

static void look_work(struct job *job)
{
	struct step *step = container_of(job, struct step, job);

	step->r = look_here(&step->look, &step->err);
}

static void look_after(struct job *job)
{
	struct pull *op = came_back(job);
	const struct look *look = NULL;
	enum state next = MANIFEST;

	if (op == NULL)
		return;
	look = &op->step.look;
	if (op->step.r < 0) {
		next = failed(op);
	} else if (look->ret_digest[0] != '\0') {
		op->got.anonymous = look->ret_anonymous;
		memcpy(op->known, look->ret_digest, DIGEST_TEXT_BYTES);
		next = op->want[0] != '\0' || op->opts.offline_ok ? found(op, op->known) : HEAD;
	}
	pull_run(op, next);
}

static enum state enter_look(struct pull *op)
{
	op->step.look = (struct look){ .cas = op->env.cas, .ref = &op->ref, .digest = op->want };
	submit(op, look_work, look_after);
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
	req->host = op->ref.host;
	req->repository = op->ref.repository;
	req->retry = true;
	req->deadline_ns = op->opts.deadline_ns;
	req->arg = op;
	if (registry_start(op->env.registry, req, &op->req, &op->err) < 0)
		return failed(op);
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
	if (r == -EAGAIN)
		(void)err_set(&op->err, EAGAIN,
		              "%.300s (to go on with what is here, name it by digest: "
		              "@sha256:%s)",
		              why->msg, op->known);
	return failed(op);
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
		next = strcmp(op->told, op->known) == 0 ? found(op, op->known) : LOOK;
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
	if (r != 0)
		op->err = *why;
	pull_run(op, r == 0 ? CHECK : failed(op));
}

static enum state enter_manifest(struct pull *op)
{
	struct registry_request req = { .body = on_manifest_body, .end = on_manifest_end };

	buffer_clear(&op->manifest_bytes);
	op->manifest_bytes.max_bytes = MANIFEST_MAX_BYTES;
	op->told[0] = '\0';
	op->got.from_registry = true;
	return ask_for_manifest(op, &req);
}

static void check_work(struct job *job)
{
	struct step *step = container_of(job, struct step, job);

	step->r = check_manifest(&step->check, &step->err);
}

/* The manifest is what it should be: where does it lead? */
static enum state after_manifest(struct pull *op)
{
	const struct check *check = &op->step.check;

	if (op->got.top_digest[0] == '\0')
		memcpy(op->got.top_digest, check->ret_digest, DIGEST_TEXT_BYTES);
	if (check->ret_is_here)
		return found(op, check->ret_digest);
	op->manifest = check->ret_manifest;
	if (op->manifest.kind == MANIFEST_INDEX) {
		memcpy(op->want, op->manifest.next_digest, DIGEST_TEXT_BYTES);
		if (op->n_hops++ < INDEX_HOPS_MAX)
			return LOOK;
		(void)err_set(&op->err, ENOTSUP,
		              "an index in an index in an index (at most %u in one another)",
		              INDEX_HOPS_MAX);
		return failed(op);
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
		pull_run(op, op->step.r < 0 ? failed(op) : after_manifest(op));
}

static enum state enter_check(struct pull *op)
{
	op->step.check = (struct check){ .cas = op->env.cas,
		                         .manifest = &op->manifest_bytes,
		                         .digest = op->want,
		                         .told_digest = op->told };
	submit(op, check_work, check_after);
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
		op->err = *why;
		next = failed(op);
	} else if (op->layer_bytes.size_bytes != op->manifest.next_size_bytes) {
		(void)err_set(&op->err, EBADMSG,
		              "%" PRIu64 " bytes came, the manifest says %" PRIu64,
		              op->layer_bytes.size_bytes, op->manifest.next_size_bytes);
		next = failed(op);
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

	memcpy(digest + strlen("sha256:"), op->manifest.next_digest, DIGEST_TEXT_BYTES);
	op->layer_bytes.max_bytes = op->manifest.next_size_bytes;
	return ask(op, &req);
}

static void keep_work(struct job *job)
{
	struct step *step = container_of(job, struct step, job);

	step->r = keep_image(&step->keep, &step->err);
}

static void keep_after(struct job *job)
{
	struct pull *op = came_back(job);

	if (op != NULL)
		pull_run(op, op->step.r < 0 ? failed(op) : DONE);
}

static enum state enter_keep(struct pull *op)
{
	op->step.keep = (struct keep){
		.cas = op->env.cas,
		.ref = &op->ref,
		.digest = op->got.digest,
		.anonymous =
			registry_was_anonymous(op->env.registry, op->ref.host, op->ref.repository),
		.manifest = &op->manifest_bytes,
		.layer = &op->layer_bytes,
		.layer_digest = op->manifest.next_digest,
	};
	submit(op, keep_work, keep_after);
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
	op->cancelled = true;
	if (!op->out)
		pull_free(op);
}
