/*
 * image_loader: one flight an image, whatever the number of those who ask for it.
 *
 *   START -> PULL --------------------> ASSEMBLE -> DONE     a reference
 *     |      ^ | `--in use-----------------------> DONE
 *     |      | `--another flight--> JOIN --its image--> DONE
 *     |      `---it came to nothing--'
 *     `----> ADOPT, then as after PULL                         a bootstrap file
 *
 * JOIN also waits for a BAR, a flight that goes nowhere: the image is being removed. It comes to
 * nothing when that is done.
 *
 * Where what is kept of the image turns out to be no good, ASSEMBLE leads back, once. Where a load
 * that waits longer has come meanwhile, what ended at the deadline of those before it begins anew.
 *
 * A load waits on a flight; a flight without loads is cancelled. Flights of the same name are one
 * from the start; those of different names are one from where their digest is known.
 * All of it belongs to the loop thread; a worker touches struct step, while the loop leaves it
 * alone.
 */
#include "assemble.h"
#include "bytes.h"
#include "lazy_image_impl.h"
#include "load_step.h"
#include "mem.h"
#include "pull.h"
#include "pull_steps.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum state { START, PULL, ADOPT, JOIN, ASSEMBLE, BAR, DONE, N_STATES };

struct image_load {
	struct flight *flight;
	uint64_t deadline_ns;
	void (*done)(void *arg, int r, struct lazy_image *image, const struct err *why);
	void *arg;
	struct image_load *prev, *next;
};

/* What a worker has of a flight. */
struct step {
	struct load_step base;
	struct adopt adopt;
	const struct registry *registry;
	bool users_config; /* registry_users_config_is_there() */
};

struct flight {
	struct image_loader *loader;
	char *key;       /* what it is shared by */
	char *name;      /* what the image is recorded and shown as */
	char *origin;    /* of its blobs */
	char *metas_dir; /* of a file: where blobs' chunk indexes may lie, too; or NULL */
	bool by_file;    /* name is the path of a bootstrap */
	bool offline_ok;
	struct reference ref; /* of a file: of its blobs, host "": they are not at a registry */
	uint64_t started_ns;
	uint64_t deadline_ns; /* of what is under way: of who waited longest when that began */
	uint64_t n_removals;  /* when that began */
	enum state state;
	struct pull *pull;
	struct assemble *assemble;
	struct flight *joined;
	struct step step;
	bool again;        /* what was kept here was no good */
	struct pulled got; /* digest "": not known yet */
	struct lazy_image *image;
	int result;
	struct err err;
	struct image_load *loads;
	struct flight *next;
};

static enum state enter_pull(struct flight *f);
static enum state enter_adopt(struct flight *f);
static enum state enter_join(struct flight *f);
static enum state enter_assemble(struct flight *f);

/* enter_*: returns the state itself to wait there for a callback, else the next one. */
static const struct {
	enum state (*enter)(struct flight *f);
	unsigned may_follow;
} states[N_STATES] = {
	[START] = { NULL, BIT(PULL) | BIT(ADOPT) },
	[PULL] = { enter_pull, BIT(JOIN) | BIT(ASSEMBLE) | BIT(DONE) },
	[ADOPT] = { enter_adopt, BIT(JOIN) | BIT(ASSEMBLE) | BIT(DONE) },
	[JOIN] = { enter_join, BIT(PULL) | BIT(ADOPT) | BIT(DONE) },
	[ASSEMBLE] = { enter_assemble, BIT(PULL) | BIT(ADOPT) | BIT(DONE) },
	[BAR] = { NULL, 0 },
	[DONE] = { NULL, 0 },
};

static void unlist(struct flight *f)
{
	struct flight **p = &f->loader->flights;

	while (*p != f)
		p = &(*p)->next;
	*p = f->next;
}

/* One that was woken and is given up before its turn has an image, too. */
static void flight_free(struct flight *f)
{
	lazy_image_release(&f->image);
	free(f->key);
	free(f->name);
	free(f->origin);
	free(f->metas_dir);
	free(f);
}

/* Those who waited for this flight get its image, or try for themselves: run_woken(). */
static void wake_joined(struct image_loader *loader, const struct flight *ended)
{
	struct flight *f = loader->flights;

	for (; f != NULL; f = f->next) {
		if (f->state != JOIN || f->joined != ended)
			continue;
		f->joined = NULL;
		f->image = ended->image != NULL ? lazy_image_ref(ended->image) : NULL;
	}
}

/* Of a bootstrap file: what its registry gave without credentials it gave so to everybody, as long
 * as none are given. By another origin nobody will hear that it does so no more. An image that is
 * in use may have learnt that since it was recorded. */
static void note_anonymous(struct flight *f)
{
	const struct reference *at = &f->ref;

	f->got.anonymous = (f->step.adopt.ret_anonymous || f->image->anonymous) &&
	                   at->host[0] != '\0' &&
	                   !registry_has_credentials(f->loader->opts.registry, at->host,
	                                             at->repository, f->step.users_config);
}

static void remember(struct flight *f)
{
	static const char *const from[] = { [PULLED_FROM_DISK] = "disk",
		                            [PULLED_FROM_REGISTRY] = "registry",
		                            [PULLED_FROM_OTHERS] = "neighbours" };

	lazy_image_add_origin(f->image, f->origin);
	if (f->by_file)
		note_anonymous(f);
	if (strcmp(f->image->name, f->name) == 0) {
		f->image->anonymous = f->got.anonymous;
		if (f->by_file)
			f->image->blobs_at = f->ref;
	}
	lazy_image_record(f->image, f->name, f->got.anonymous);
	lazy_image_record_index(f->image, &f->ref, f->got.top_digest, f->got.anonymous);
	log_info(f->loader->opts.log, "image ready",
	         "image=%s digest=sha256:%s blobs=%" PRIu32 " bootstrap_from=%s took_ms=%" PRIu64,
	         LOG_Q(f->name), f->got.digest, f->image->n_blobs, from[f->got.from],
	         (clock_now_ns(f->loader->opts.clock) - f->started_ns) / NS_PER_MS);
}

/* Its last act puts it among those that run_woken() frees. */
static void flight_finish(struct flight *f)
{
	struct image_loader *loader = f->loader;

	unlist(f);
	if (f->image != NULL)
		remember(f);
	wake_joined(loader, f);
	assert(!loader->is_telling);
	loader->is_telling = true;
	while (f->loads != NULL) {
		struct image_load *load = f->loads;

		DL_DELETE(f->loads, load);
		load->done(load->arg, f->result, f->image != NULL ? lazy_image_ref(f->image) : NULL,
		           &f->err);
		free(load);
	}
	loader->is_telling = false;
	f->next = loader->ended;
	loader->ended = f;
}

/* As far as it goes without waiting. */
static void flight_walk(struct flight *f, enum state next)
{
	while (next != f->state) {
		assert(states[f->state].may_follow & BIT(next));
		f->state = next;
		if (next == DONE)
			break;
		next = states[next].enter(f);
	}
}

static struct flight *find_woken(const struct image_loader *loader)
{
	struct flight *f = loader->flights;

	while (f != NULL && (f->state != JOIN || f->joined != NULL))
		f = f->next;
	return f;
}

/* Each may end at once and wake more, and its loads may start and cancel others. */
static void run_woken(struct image_loader *loader)
{
	struct flight *f = NULL;

	while ((f = find_woken(loader)) != NULL) {
		flight_walk(f, f->image != NULL ? DONE : f->by_file ? ADOPT : PULL);
		if (f->state == DONE)
			flight_finish(f);
	}
	while ((f = loader->ended) != NULL) {
		loader->ended = f->next;
		flight_free(f);
	}
}

static void flight_run(struct flight *f, enum state next)
{
	struct image_loader *loader = f->loader;

	flight_walk(f, next);
	if (f->state == DONE) {
		flight_finish(f);
		run_woken(loader);
	}
}

static enum state failed(struct flight *f, int r, const struct err *why)
{
	f->result = r;
	f->err = *why;
	return DONE;
}

/* Who else is bringing this image, or removing it? @param f  NULL: it is nobody yet who asks */
static struct flight *other_flight(const struct image_loader *loader, const struct flight *f,
                                   const char *digest)
{
	struct flight *other = loader->flights;

	for (; other != NULL; other = other->next) {
		if (other != f && other->state != JOIN && strcmp(other->got.digest, digest) == 0)
			return other;
	}
	return NULL;
}

/* The digest is known, and its directory is here. */
static enum state located(struct flight *f)
{
	struct lazy_image *in_use;

	if (other_flight(f->loader, f, f->got.digest) != NULL)
		return JOIN;
	in_use = lazy_image_find(f->loader, f->got.digest);
	if (in_use == NULL)
		return ASSEMBLE;
	/* It was removed since it was looked what is here. That it is in use says nothing. */
	if (f->n_removals < in_use->removed)
		return f->by_file ? enter_adopt(f) : enter_pull(f);
	f->image = lazy_image_ref(in_use);
	return DONE;
}

/* ---- deadlines ---- */

static uint64_t longest_ns(const struct flight *f)
{
	uint64_t longest = 0;

	for (const struct image_load *load = f->loads; load != NULL; load = load->next)
		longest = max_u64(longest, load->deadline_ns);
	return longest;
}

/* Did it end for those whose time is over, while somebody waits longer? */
static bool ended_early(const struct flight *f, int r)
{
	return r == -EAGAIN && longest_ns(f) > f->deadline_ns;
}

/* ---- a reference ---- */

static bool on_claim(void *arg, const char *digest)
{
	struct flight *f = arg;

	if (other_flight(f->loader, f, digest) != NULL)
		return false;
	memcpy(f->got.digest, digest, DIGEST_TEXT_BYTES);
	return true;
}

static void on_pulled(void *arg, int r, const struct pulled *got, const struct err *why)
{
	struct flight *f = arg;
	enum state next = JOIN;

	f->pull = NULL;
	if (ended_early(f, r)) {
		next = enter_pull(f);
	} else if (r < 0) {
		next = failed(f, r, why);
	} else {
		f->got = *got;
		next = r == PULL_ELSEWHERE ? JOIN : located(f);
	}
	flight_run(f, next);
}

static enum state enter_pull(struct flight *f)
{
	f->deadline_ns = longest_ns(f);

	const struct pull_opts opts = { .env = &f->loader->opts,
		                        .ref = &f->ref,
		                        .offline_ok = f->offline_ok,
		                        .deadline_ns = f->deadline_ns,
		                        .claim = on_claim,
		                        .done = on_pulled,
		                        .arg = f };

	f->n_removals = f->loader->n_removals;
	f->got = (struct pulled){ .digest = "" };
	f->pull = pull_start(&opts);
	return PULL;
}

/* ---- a bootstrap file ---- */

static void adopt_work(struct job *job)
{
	struct step *step = container_of(job, struct step, base.job);

	step->users_config = registry_users_config_is_there(step->registry);
	step->base.r = adopt_bootstrap(&step->adopt, &step->base.err);
}

static void adopt_after(struct job *job)
{
	struct flight *f = container_of(job, struct flight, step.base.job);
	enum state next = DONE;
	struct err e;

	if (!load_step_back(&f->step.base, &f->loader->opts, &e)) {
		flight_free(f);
		return;
	}
	if (f->step.base.r < 0) {
		next = failed(f, f->step.base.r, &e);
	} else {
		memcpy(f->got.digest, f->step.adopt.ret_digest, DIGEST_TEXT_BYTES);
		(void)reference_of_origin(f->origin, f->got.digest, &f->ref);
		next = located(f);
	}
	flight_run(f, next);
}

static enum state enter_adopt(struct flight *f)
{
	f->n_removals = f->loader->n_removals;
	f->got = (struct pulled){ .digest = "" };
	f->step = (struct step){
		.adopt = { .cas = f->loader->opts.cas, .path = f->name, .blobs_origin = f->origin },
		.registry = f->loader->opts.registry,
	};
	load_step_submit(&f->step.base, &f->loader->opts, JOB_READER, adopt_work, adopt_after);
	return ADOPT;
}

/* ---- both ---- */

/* The other may have ended since it was found, never within one round of the loop: it is there. */
static enum state enter_join(struct flight *f)
{
	f->joined = other_flight(f->loader, f, f->got.digest);
	assert(f->joined != NULL);
	if (f->joined->state == BAR)
		log_info(f->loader->opts.log, "an image is asked for: it is just being removed",
		         "image=%s digest=sha256:%s", LOG_Q(f->name), f->got.digest);
	return JOIN;
}

static void on_assembled(void *arg, int r, struct lazy_image *image, const struct err *why)
{
	struct flight *f = arg;
	enum state next = DONE;

	f->assemble = NULL;
	if ((r == -ESTALE && !f->again) || ended_early(f, r)) {
		f->again = f->again || r == -ESTALE;
		next = f->by_file ? ADOPT : PULL;
	} else if (r < 0) {
		next = failed(f, r, why);
	} else {
		f->image = image;
		lazy_image_adopt(f->loader, image);
	}
	flight_run(f, next);
}

static enum state enter_assemble(struct flight *f)
{
	f->deadline_ns = longest_ns(f);

	const struct assemble_opts opts = { .env = &f->loader->opts,
		                            .digest = f->got.digest,
		                            .name = f->name,
		                            .origin = f->origin,
		                            .bootstrap_path = f->by_file ? f->name : NULL,
		                            .metas_dir = f->metas_dir,
		                            .deadline_ns = f->deadline_ns,
		                            .done = on_assembled,
		                            .arg = f };

	f->assemble = assemble_start(&opts);
	return ASSEMBLE;
}

/* ---- the public face ---- */

int image_loader_new(const struct image_loader_opts *opts, struct image_loader **ret_loader,
                     struct err *e)
{
	struct image_loader *loader = NULL;

	if (opts->timeout_ms == 0 || opts->timeout_max_ms < opts->timeout_ms)
		return err_set(e, EINVAL, "the image loader needs a timeout, and a longest one");
	loader = xcalloc(1, sizeof(*loader));
	loader->opts = *opts;
	loader->opts.n_out = &loader->n_out;
	*ret_loader = loader;
	return 0;
}

void image_loader_allow_unverified(struct image_loader *loader, bool allow)
{
	loader->opts.allow_unverified = allow;
}

bool image_loader_is_idle(const struct image_loader *loader)
{
	return loader->n_out == 0;
}

void image_loader_free(struct image_loader **loader)
{
	if (*loader == NULL)
		return;
	assert((*loader)->flights == NULL && (*loader)->images == NULL);
	free(*loader);
	*loader = NULL;
}

static int describe_file(const struct image_load_opts *opts, struct flight *f, struct err *e)
{
	const int r = adopt_check(opts->bootstrap_path, opts->blobs_origin, e);

	if (r < 0)
		return r;
	f->by_file = true;
	f->name = xstrdup(opts->bootstrap_path);
	f->origin = xstrdup(opts->blobs_origin);
	f->metas_dir = xstrdup_or_null(opts->metas_dir);
	f->key = xasprintf("file %s %s", f->origin, f->name);
	return 0;
}

static int describe(const struct image_load_opts *opts, struct flight *f, struct err *e)
{
	int r;

	if (opts->reference == NULL)
		return describe_file(opts, f, e);
	r = reference_parse(opts->reference, &f->ref, e);
	if (r < 0)
		return r;
	f->offline_ok = opts->offline_ok;
	f->name = reference_text(&f->ref);
	f->origin = reference_origin(&f->ref);
	f->key = xasprintf("%s %s", f->offline_ok ? "offline" : "online", f->name);
	return 0;
}

static struct flight *find_flight(const struct image_loader *loader, const char *key)
{
	struct flight *f = loader->flights;

	while (f != NULL && strcmp(f->key, key) != 0)
		f = f->next;
	return f;
}

static struct image_load *load_new(struct flight *f)
{
	struct image_load *load = xcalloc(1, sizeof(*load));

	load->flight = f;
	DL_APPEND(f->loads, load);
	return load;
}

static void flight_list(struct image_loader *loader, struct flight *f)
{
	f->loader = loader;
	f->started_ns = clock_now_ns(loader->opts.clock);
	f->next = loader->flights;
	loader->flights = f;
}

int image_load_start(struct image_loader *loader, const struct image_load_opts *opts,
                     struct image_load **ret_load, struct err *e)
{
	const struct image_loader_opts *o = &loader->opts;
	const uint64_t timeout_ms = opts->timeout_ms != 0
	                                    ? min_u64(opts->timeout_ms, o->timeout_max_ms)
	                                    : o->timeout_ms;
	struct flight *f = xcalloc(1, sizeof(*f));
	struct flight *under_way = NULL;
	struct image_load *load = NULL;
	const int r = describe(opts, f, e);

	if (r < 0) {
		flight_free(f);
		return r;
	}
	under_way = find_flight(loader, f->key);
	load = load_new(under_way != NULL ? under_way : f);
	load->done = opts->done;
	load->arg = opts->arg;
	load->deadline_ns = clock_now_ns(o->clock) + timeout_ms * NS_PER_MS;
	if (under_way != NULL) {
		flight_free(f);
	} else {
		flight_list(loader, f);
		/* A worker has it then: it is not at its end. */
		flight_walk(f, f->by_file ? ADOPT : PULL);
	}
	*ret_load = load;
	return 0;
}

int image_load_bar(struct image_loader *loader, const char *digest, struct image_load **ret_bar,
                   struct err *e)
{
	const struct flight *other = other_flight(loader, NULL, digest);
	struct flight *f;

	if (other != NULL && other->state != BAR)
		return err_set(e, EBUSY, "being loaded as %s (wait for that)", other->name);
	f = xcalloc(1, sizeof(*f));
	f->key = xasprintf("removal %s", digest);
	memcpy(f->got.digest, digest, DIGEST_TEXT_BYTES);
	f->state = BAR;
	flight_list(loader, f);
	*ret_bar = load_new(f);
	return 0;
}

static void flight_cancel(struct flight *f)
{
	struct image_loader *loader = f->loader;

	unlist(f);
	if (f->state == BAR)
		lazy_image_removed(loader, f->got.digest);
	if (f->pull != NULL)
		pull_cancel(f->pull);
	if (f->assemble != NULL)
		assemble_cancel(f->assemble);
	wake_joined(loader, f);
	if (load_step_cancel(&f->step.base))
		flight_free(f);
	/* Who is being told of an image may give up another load: nobody else is told inside that.
	 * Those who were woken come after him. */
	if (!loader->is_telling)
		run_woken(loader);
}

void image_load_cancel(struct image_load *load)
{
	struct flight *f = load->flight;

	DL_DELETE(f->loads, load);
	free(load);
	/* A flight that is DONE is telling its loads, and frees itself. */
	if (f->loads == NULL && f->state != DONE)
		flight_cancel(f);
}
