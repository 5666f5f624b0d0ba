/*
 * lazy_world: the network half of the fakes: registry and origins, and what moves it all.
 */
#include "lazy_world.h"
#include "fake_pool.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYOUT TESTS_DATA "/layout/blobs/sha256/"

uint8_t *world_object(const char *hex, uint64_t *ret_size_bytes)
{
	char path[512];
	uint8_t *bytes = NULL;
	FILE *f = NULL;
	long size = 0;

	(void)snprintf(path, sizeof(path), LAYOUT "%s", hex);
	f = fopen(path, "rb");
	if (f == NULL)
		return NULL;
	assert(fseek(f, 0, SEEK_END) == 0);
	size = ftell(f);
	assert(size >= 0 && fseek(f, 0, SEEK_SET) == 0);
	bytes = xcalloc(1, (size_t)size + 1);
	assert(fread(bytes, 1, (size_t)size, f) == (size_t)size);
	(void)fclose(f);
	*ret_size_bytes = (uint64_t)size;
	return bytes;
}

/* ---- registry ---- */

int registry_start(struct registry *r, const struct registry_request *req,
                   struct registry_req **ret_req, struct err *e)
{
	(void)e;
	for (size_t i = 0; i < WORLD_REQUESTS_MAX; i++) {
		struct registry_req *slot = &r->reqs[i];

		if (slot->used)
			continue;
		*slot = (struct registry_req){ .req = *req, .used = true };
		(void)snprintf(slot->reference, sizeof(slot->reference), "%s", req->reference);
		*ret_req = slot;
		return 0;
	}
	abort();
}

void registry_cancel(struct registry_req *req)
{
	assert(req->used);
	req->used = false;
}

bool registry_was_anonymous(const struct registry *r, const char *host, const char *repository)
{
	(void)host;
	(void)repository;
	return !r->asks_for_credentials;
}

bool registry_users_config_is_there(const struct registry *r)
{
	return r->users_config;
}

bool registry_has_credentials(struct registry *r, const char *host, const char *repository,
                              bool users_config)
{
	return users_config || !registry_was_anonymous(r, host, repository);
}

static void count(struct registry *r, const struct registry_request *req)
{
	if (req->head)
		r->n_heads++;
	else if (req->kind == REGISTRY_MANIFEST)
		r->n_manifests++;
	else
		r->n_blobs++;
}

/* The hex that a request means. NULL: no such thing. */
static const char *resolve(const struct registry *r, const struct registry_req *slot)
{
	const char *colon = r->tag != NULL ? strrchr(r->tag, ':') : NULL;

	if (strncmp(slot->reference, "sha256:", 7) == 0)
		return slot->reference + 7;
	if (colon != NULL && strcmp(colon + 1, slot->reference) == 0)
		return r->tag_digest;
	return NULL;
}

static uint8_t *object_of(const struct registry *r, const char *hex, uint64_t *ret_size_bytes)
{
	uint8_t *bytes = NULL;

	if (r->index != NULL && strcmp(hex, r->index_digest) == 0) {
		*ret_size_bytes = strlen(r->index);
		return (uint8_t *)xstrdup(r->index);
	}
	bytes = world_object(hex, ret_size_bytes);
	if (bytes != NULL && r->spoilt != NULL && strcmp(hex, r->spoilt) == 0)
		bytes[*ret_size_bytes / 2] ^= 4;
	return bytes;
}

static int send_body(const struct registry *r, const struct registry_request *req,
                     const uint8_t *bytes, uint64_t size_bytes)
{
	int end = 0;

	for (uint64_t at = 0; end == 0 && at < size_bytes; at += 16384) {
		const uint64_t left = size_bytes - at;

		end = req->body(req->arg, bytes + at, left < 16384 ? left : 16384);
		if (end == 0 && r->is_slow && req->kind == REGISTRY_BLOB)
			end = -EAGAIN;
	}
	return end;
}

static void answer(struct registry *r, struct registry_req *slot)
{
	const struct registry_request req = slot->req;
	const char *hex = resolve(r, slot);
	AUTO(free_bytes) uint8_t *bytes = NULL;
	char told[80];
	struct http_head head = { .status = 200 };
	struct err why = { .code = 0 };
	uint64_t size_bytes = 0;
	int end = r->fail;

	count(r, &req);
	if (end == 0 && hex != NULL)
		bytes = object_of(r, hex, &size_bytes);
	if (end == 0 && bytes == NULL)
		end = -ENOENT;
	if (end == 0 && size_bytes > req.max_body_bytes && !req.head)
		end = -EMSGSIZE;
	(void)snprintf(told, sizeof(told), "sha256:%s", hex != NULL ? hex : "");
	head.docker_content_digest = r->tells_no_digest ? NULL : told;
	if (end == 0 && req.head_done != NULL)
		req.head_done(req.arg, &head);
	if (end == 0 && !req.head)
		end = send_body(r, &req, bytes, size_bytes);
	if (end != 0)
		(void)err_set(&why, -end, "the fake registry says %d", end);
	slot->used = false;
	req.end(req.arg, end, &why);
}

/* ---- origins ---- */

int origin_check(const char *text, struct err *e)
{
	if (strncmp(text, "registry:", 9) == 0 || strncmp(text, "dir:", 4) == 0)
		return 0;
	return err_set(e, EINVAL, "no origin: %s", text);
}

static struct origin_read *take_read(struct source *source)
{
	struct origins *o = container_of(source, struct origins, source);

	for (size_t i = 0; i < WORLD_REQUESTS_MAX; i++) {
		if (!o->reads[i].used) {
			o->reads[i] = (struct origin_read){ .used = true };
			return &o->reads[i];
		}
	}
	abort();
}

int origin_read_start(struct source *source, const struct origin_read_opts *opts,
                      struct origin_read **ret_read, struct err *e)
{
	(void)e;
	*ret_read = take_read(source);
	(*ret_read)->opts = *opts;
	(void)snprintf((*ret_read)->object, sizeof((*ret_read)->object), "%s", opts->object);
	return 0;
}

/* NOLINTNEXTLINE(readability-function-size): origin.h fixes the parameters */
int origin_size_start(struct source *source, const char *origin, const char *object,
                      uint64_t deadline_ns,
                      void (*size)(void *arg, int r, uint64_t size_bytes, const struct err *why),
                      void *arg, struct origin_read **ret_read, struct err *e)
{
	(void)origin;
	(void)deadline_ns;
	(void)e;
	*ret_read = take_read(source);
	(*ret_read)->opts.arg = arg;
	(*ret_read)->size = size;
	(void)snprintf((*ret_read)->object, sizeof((*ret_read)->object), "%s", object);
	return 0;
}

void origin_read_cancel(struct origin_read *read)
{
	assert(read->used);
	read->used = false;
}

static void answer_size(struct origin_read *slot, int end, uint64_t size_bytes,
                        const struct err *why)
{
	const struct origin_read read = *slot;

	slot->used = false;
	read.size(read.opts.arg, end, size_bytes, why);
}

static bool is_spoilt(const struct origins *o, const struct origin_read *slot)
{
	return o->spoilt != NULL && strcmp(slot->object, o->spoilt) == 0 &&
	       (o->spoilt_kind == NULL || strcmp(slot->opts.kind, o->spoilt_kind) == 0);
}

static void answer_read(struct origins *o, struct origin_read *slot)
{
	AUTO(free_bytes) uint8_t *bytes = NULL;
	const struct origin_read_opts opts = slot->opts;
	struct err why = { .code = 0 };
	uint64_t size_bytes = o->object_size_bytes;
	int end = o->fail;

	if (o->n_fails > 0 && --o->n_fails == 0)
		o->fail = 0;
	if (o->object_bytes != NULL) {
		bytes = xcalloc(1, size_bytes + 1);
		memcpy(bytes, o->object_bytes, size_bytes);
	} else {
		bytes = world_object(slot->object, &size_bytes);
	}
	if (end == 0 && bytes == NULL)
		end = -ENOENT;
	if (end != 0)
		(void)err_set(&why, -end, "the fake origin says %d", end);
	if (slot->size != NULL) {
		o->n_sizes++;
		answer_size(slot, end, size_bytes, &why);
		return;
	}
	o->n_reads++;
	if (end == 0 && is_spoilt(o, slot))
		bytes[opts.offset + opts.size_bytes / 2] ^= 4;
	if (end == 0) {
		assert(opts.offset + opts.size_bytes <= size_bytes);
		o->n_bytes += opts.size_bytes;
		end = opts.body(opts.arg, bytes + opts.offset, opts.size_bytes);
	}
	slot->used = false;
	opts.end(opts.arg, end, &why);
}

/* ---- neighbours ---- */

static struct meta_req *meta_get(struct meta_source *s, const struct meta_want *want,
                                 void (*done)(void *arg, int r, const struct meta_got *got),
                                 void *arg)
{
	struct neighbours *n = container_of(s, struct neighbours, source);

	n->n_gets++;
	for (size_t i = 0; i < ARRAY_LEN(n->reqs); i++) {
		struct meta_req *req = &n->reqs[i];

		if (req->used)
			continue;
		*req = (struct meta_req){ .kind = want->kind,
			                  .max_bytes = want->max_bytes,
			                  .done = done,
			                  .arg = arg,
			                  .used = true };
		(void)snprintf(req->key, sizeof(req->key), "%s", want->key);
		return req;
	}
	abort();
}

static void meta_cancel(struct meta_req *req)
{
	req->used = false;
}

static void meta_distrust(struct meta_source *s, uint32_t giver)
{
	assert(giver == 7);
	container_of(s, struct neighbours, source)->n_distrusts++;
}

static const struct meta_source_ops meta_ops = { .get = meta_get,
	                                         .cancel = meta_cancel,
	                                         .distrust = meta_distrust };

static void answer_meta(struct neighbours *n, struct meta_req *slot)
{
	const struct meta_req req = *slot;
	struct meta_got got = { .giver = 7 };
	struct meta_item item;
	struct err e;
	int r = n->shelf->ops->open(n->shelf, req.kind, req.key, &item, &e);

	slot->used = false;
	assert(r >= 0);
	if (n->n_away > 0 && n->away_in == req.kind) {
		n->n_away--;
		if (r == META_FOUND)
			n->shelf->ops->close(n->shelf, &item);
		r = META_NOWHERE;
	}
	if (r == META_FOUND && item.size_bytes > req.max_bytes) {
		n->shelf->ops->close(n->shelf, &item);
		r = META_NOWHERE;
	}
	if (r == META_FOUND) {
		got.bytes = xcalloc(1, item.size_bytes);
		memcpy(got.bytes, item.data, item.size_bytes);
		got.size_bytes = item.size_bytes;
		got.is_public = item.is_public;
		n->shelf->ops->close(n->shelf, &item);
		if (n->n_liars > 0 && n->lies_in == req.kind) {
			n->n_liars--;
			got.bytes[got.size_bytes - 1] ^= 4;
		}
	}
	req.done(req.arg, r, &got);
}

/* ---- all of it ---- */

static void new_loader(struct world *w)
{
	const struct image_loader_opts opts = { .pool = w->pool,
		                                .cas = &w->cas,
		                                .fetch = &w->fetch,
		                                .registry = &w->registry,
		                                .origins = &w->origins.source,
		                                .neighbours = w->neighbours.source.ops != NULL
		                                                      ? &w->neighbours.source
		                                                      : NULL,
		                                .metrics = w->metrics,
		                                .clock = &w->clock.clock,
		                                .state_dir = "/tmp",
		                                .timeout_ms = WORLD_TIMEOUT_MS,
		                                .timeout_max_ms = WORLD_TIMEOUT_MAX_MS };
	struct err e;

	assert(image_loader_new(&opts, &w->loader, &e) == 0);
}

void world_open(struct world *w)
{
	struct err e;

	*w = (struct world){ .pool = NULL };
	fake_clock_init(&w->clock);
	assert(pool_new(NULL, 1, "work", &w->pool, &e) == 0);
	assert(pool_new(NULL, 1, "write", &w->cas.writer, &e) == 0);
	w->metrics = metrics_new();
	new_loader(w);
}

void world_restart(struct world *w)
{
	world_settle(w);
	image_loader_free(&w->loader);
	new_loader(w);
	w->registry.n_heads = 0;
	w->registry.n_manifests = 0;
	w->registry.n_blobs = 0;
	w->origins.n_reads = 0;
}

void world_close(struct world *w)
{
	world_settle(w);
	image_loader_free(&w->loader);
	pool_free(&w->pool);
	pool_free(&w->cas.writer);
	image_shelf_free(&w->neighbours.shelf);
	metrics_free(&w->metrics);
	assert(world_n_blobs_open(w) == 0);
	for (size_t i = 0; i < WORLD_FILES_MAX; i++)
		free(w->cas.files[i].data);
}

bool world_step(struct world *w)
{
	if (fake_pool_run_one(w->pool) > 0 || fake_pool_run_one(w->cas.writer) > 0)
		return true;
	for (size_t i = WORLD_REQUESTS_MAX; i-- > 0;) { /* the youngest first */
		if (w->registry.reqs[i].used) {
			answer(&w->registry, &w->registry.reqs[i]);
			return true;
		}
		if (w->origins.reads[i].used) {
			answer_read(&w->origins, &w->origins.reads[i]);
			return true;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(w->neighbours.reqs); i++) {
		if (w->neighbours.reqs[i].used) {
			answer_meta(&w->neighbours, &w->neighbours.reqs[i]);
			return true;
		}
	}
	return false;
}

void world_settle(struct world *w)
{
	while (world_step(w))
		;
}

void world_meet(struct world *w, struct world *other, const struct registry_config *configs,
                uint32_t n_configs)
{
	const struct image_shelf_opts opts = { .cas = &other->cas,
		                               .configs = configs,
		                               .n_configs = n_configs };

	image_shelf_free(&w->neighbours.shelf);
	w->neighbours.shelf = image_shelf_new(&opts);
	w->neighbours.source.ops = &meta_ops;
	world_restart(w);
}
