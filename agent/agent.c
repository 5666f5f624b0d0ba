/*
 * agent: the wiring of one shoald.
 *
 * Threads: the loop (the caller of loop_run()); "shoal-work", one a CPU, what readers wait for;
 * "shoal-desk", two, what blocks a moment and no reader waits for; "shoal-keys", two, credentials;
 * "shoal-chores", two, what takes minutes (verify, gc); cas's writer; FUSE's; one
 * while the names of peers are asked, which nobody waits for. Made in the order
 * of struct agent, freed the other way round.
 */
#include "agent.h"
#include "agent_mounts.h"
#include "api.h"
#include "bytes.h"
#include "elsewhere.h"
#include "heap.h"
#include "http_page.h"
#include "image_shelf.h"
#include "keeping.h"
#include "linked_images.h"
#include "live.h"
#include "mending.h"
#include "origin.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DESK_THREADS          2
#define KEYS_THREADS          2
#define CHORES_THREADS        2 /* one each */
#define WORKERS_MAX           64
#define LOAD_TIMEOUT_MS       60000 /* where whoever wants a mount says none */
#define ORIGIN_CONNECT_MS     5000
#define ORIGIN_SILENCE_MS     10000
#define ORIGIN_SILENCE_MIN_MS 1000
#define SWARM_RUN_BYTES       (1U << 20)
#define QUIET_MS              1000

static uint32_t n_cpus(uint32_t at_most)
{
	const long n = sysconf(_SC_NPROCESSORS_ONLN);

	if (n < 1)
		return 1;
	return n > (long)at_most ? at_most : (uint32_t)n;
}

/* [worker] Nothing was fetched or given to others for a while: what that took is not needed now. */
static void on_quiet(void *arg)
{
	(void)arg;
	heap_give_back();
}

static int start_base(struct agent *a, struct err *e)
{
	int r;

	heap_configure(n_cpus(WORKERS_MAX));
	r = loop_new(&a->loop, e);

	a->metrics = metrics_new();
	if (r == 0)
		r = pool_new(a->loop, n_cpus(WORKERS_MAX), "shoal-work", &a->pool, e);
	if (r == 0)
		pool_on_quiet(a->pool, QUIET_MS, on_quiet, NULL);
	if (r == 0)
		r = pool_new(a->loop, DESK_THREADS, "shoal-desk", &a->desk, e);
	if (r == 0)
		r = pool_new(a->loop, KEYS_THREADS, "shoal-keys", &a->keys, e);
	if (r == 0)
		r = pool_new(a->loop, CHORES_THREADS, "shoal-chores", &a->chores, e);
	return r;
}

/* [any thread] */
static void on_chunk_ready(void *arg, struct cas_blob *blob, uint32_t chunk_idx)
{
	const struct agent *a = arg;

	if (a->peer != NULL)
		peer_on_ready(a->peer, blob, chunk_idx);
}

static void on_chunk_gone(void *arg, struct cas_blob *blob, uint32_t chunk_idx)
{
	const struct agent *a = arg;

	if (a->peer != NULL)
		peer_on_gone(a->peer, blob, chunk_idx);
	mending_blob_lost(a->mending, blob);
}

static struct cas_opts cas_opts_of(const struct agent *a)
{
	const struct config *c = a->config;

	return (struct cas_opts){ .state_dir = c->state_dir,
		                  .loop = a->loop,
		                  .clock = a->clock,
		                  .log = a->log,
		                  .metrics = a->metrics,
		                  .quota_bytes = c->cache_quota_bytes,
		                  .reserve_bytes = c->cache_reserve_bytes,
		                  .high_percent = c->cache_high_watermark_percent,
		                  .low_percent = c->cache_low_watermark_percent,
		                  .dedup = c->cache_dedup };
}

static int start_cas(struct agent *a, struct err *e)
{
	const struct cas_opts opts = cas_opts_of(a);

	return cas_open(&opts, &a->cas, e);
}

/* A silent origin leaves a reader time for somebody else who has it. */
static uint32_t share_of_budget_ms(const struct config *config, uint32_t at_most_ms)
{
	const uint64_t share_ms = max_u64(config->read_timeout_ms / 3, ORIGIN_SILENCE_MIN_MS);

	return (uint32_t)min_u64(share_ms, at_most_ms);
}

static void start_elsewhere(struct agent *a)
{
	const struct elsewhere_opts opts = { .loop = a->loop,
		                             .pool = a->pool,
		                             .cas = a->cas,
		                             .clock = a->clock,
		                             .log = a->log,
		                             .metrics = a->metrics,
		                             .origins = a->origins };

	a->elsewhere = elsewhere_source_new(&opts);
}

static int start_origins(struct agent *a, struct err *e)
{
	const struct http_opts http = {
		.loop = a->loop,
		.clock = a->clock,
		.log = a->log,
		.bytes_per_s = a->config->limits_origin_bytes_per_s,
		.connect_timeout_ms = share_of_budget_ms(a->config, ORIGIN_CONNECT_MS),
		.stall_timeout_ms = share_of_budget_ms(a->config, ORIGIN_SILENCE_MS),
	};
	struct registry_opts registry = { .loop = a->loop,
		                          .pool = a->keys,
		                          .clock = a->clock,
		                          .log = a->log,
		                          .metrics = a->metrics,
		                          .configs = a->config->registries,
		                          .n_configs = a->config->n_registries };
	struct origin_source_opts origins = { .loop = a->loop,
		                              .pool = a->pool,
		                              .clock = a->clock,
		                              .log = a->log,
		                              .metrics = a->metrics };
	int r = http_new(&http, &a->http, e);

	registry.http = a->http;
	if (r == 0)
		r = registry_new(&registry, &a->registry, e);
	origins.http = a->http;
	origins.registry = a->registry;
	if (r == 0)
		r = origin_source_new(&origins, &a->origins, e);
	if (r == 0)
		start_elsewhere(a);
	return r;
}

static const char *none_if_empty(const char *text)
{
	return text != NULL && text[0] != '\0' ? text : NULL;
}

static int start_peers(struct agent *a, struct err *e)
{
	const struct config *c = a->config;
	const struct image_shelf_opts shelf = { .cas = a->cas,
		                                .configs = c->registries,
		                                .n_configs = c->n_registries };
	struct peer_opts opts = { .loop = a->loop,
		                  .pool = a->pool,
		                  .desk = a->desk,
		                  .cas = a->cas,
		                  .clock = a->clock,
		                  .log = a->log,
		                  .metrics = a->metrics,
		                  .state_dir = c->state_dir,
		                  .listen = c->peers_listen,
		                  .advertise = none_if_empty(c->peers_advertise),
		                  .members = c->peers_members,
		                  .n_members = c->n_peers_members,
		                  .dns = none_if_empty(c->peers_dns),
		                  .zone = c->peers_zone,
		                  .tls_ca = c->peers_tls_ca,
		                  .tls_cert = c->peers_tls_cert,
		                  .tls_key = c->peers_tls_key,
		                  .insecure = c->peers_insecure,
		                  .upload_bytes_per_s = c->limits_upload_bytes_per_s,
		                  .download_bytes_per_s = c->limits_download_bytes_per_s };

	if (strcmp(c->peers_listen, "off") == 0)
		return 0;
	a->shelf = image_shelf_new(&shelf);
	opts.shelf = a->shelf;
	return peer_new(&opts, &a->peer, e);
}

/* [worker] */
static void on_packed(void *arg, struct cas_blob *blob, uint32_t chunk_idx,
                      struct chunk_bytes bytes)
{
	peer_on_packed(arg, blob, chunk_idx, bytes);
}

static void on_blob_opened(void *arg, struct cas_blob *blob)
{
	const struct agent *a = arg;

	if (a->peer != NULL)
		peer_blob_opened(a->peer, blob);
}

/* The order in which a missing chunk is looked for stands here and nowhere else. */
static int start_fetch(struct agent *a, struct err *e)
{
	struct source *sources[FETCH_SOURCES_MAX] = { NULL };
	uint32_t n_sources = 0;
	struct fetch_opts opts = { .loop = a->loop,
		                   .pool = a->pool,
		                   .cas = a->cas,
		                   .clock = a->clock,
		                   .log = a->log,
		                   .metrics = a->metrics,
		                   .sources = sources,
		                   .read_timeout_ms = a->config->read_timeout_ms };

	if (a->peer != NULL) {
		sources[n_sources++] = peer_source(a->peer);
		opts.prefetch_run_bytes = SWARM_RUN_BYTES;
		opts.packed = on_packed;
		opts.packed_arg = a->peer;
	}
	sources[n_sources++] = a->origins;
	sources[n_sources++] = a->elsewhere;
	opts.n_sources = n_sources;
	opts.blob_opened = on_blob_opened;
	opts.blob_opened_arg = a;
	return fetch_new(&opts, &a->fetch, e);
}

static int start_images(struct agent *a, struct err *e)
{
	const struct image_loader_opts opts = {
		.loop = a->loop,
		.pool = a->pool,
		.cas = a->cas,
		.fetch = a->fetch,
		.registry = a->registry,
		.origins = a->origins,
		.neighbours = a->peer != NULL ? peer_meta_source(a->peer) : NULL,
		.shelf = a->shelf,
		.clock = a->clock,
		.log = a->log,
		.metrics = a->metrics,
		.state_dir = a->config->state_dir,
		.allow_unverified = a->config->images_allow_unverified,
		.timeout_ms = LOAD_TIMEOUT_MS,
		.timeout_max_ms = MOUNT_TIMEOUT_MAX_S * 1000ULL
	};

	return image_loader_new(&opts, &a->loader, e);
}

/* From here on chunks that come and go are told of: before any blob is open. */
static void start_mending(struct agent *a)
{
	const struct cas_hooks hooks = { .on_ready = on_chunk_ready,
		                         .on_gone = on_chunk_gone,
		                         .arg = a };

	a->mending = mending_new(&(struct mending_opts){
		.loop = a->loop, .fetch = a->fetch, .mounts = a->mounts, .log = a->log });
	cas_hooks_on(a->cas, &hooks);
}

static int start_mounts(struct agent *a, struct err *e)
{
	const int r = fuse_pool_new(n_cpus(FUSE_THREADS_MAX), a->log, &a->fuse_pool, e);

	if (r < 0)
		return r;
	agent_mounts_start(a);
	start_mending(a);
	a->linked_images =
		linked_images_new(&(struct linked_images_opts){ .state_dir = a->config->state_dir,
	                                                        .loop = a->loop,
	                                                        .desk = a->desk,
	                                                        .cas = a->cas,
	                                                        .mounts = a->mounts,
	                                                        .loader = a->loader,
	                                                        .log = a->log });
	return 0;
}

int agent_start(struct agent *a, const struct config *config, struct log *log, struct err *e)
{
	int r;

	a->config = config;
	a->log = log;
	a->clock = clock_real();
	a->started_ns = clock_now_ns(a->clock);
	r = start_base(a, e);
	if (r == 0)
		r = start_cas(a, e);
	if (r == 0)
		r = start_origins(a, e);
	if (r == 0)
		r = start_peers(a, e);
	if (r == 0)
		r = start_fetch(a, e);
	if (r == 0)
		r = start_images(a, e);
	if (r == 0)
		r = start_mounts(a, e);
	if (r == 0)
		live_start(a);
	if (r == 0)
		r = api_listen(a, config->api_socket, &a->api, e);
	if (r == 0)
		r = http_page_new(a, config->http_listen, &a->page, e);
	if (r == 0) /* last: from here on there is something to take down */
		r = agent_mounts_restore(a, e);
	return r;
}

static void peers_changed(const struct agent *a)
{
	const struct config *c = a->config;

	peer_set_budgets(a->peer, c->limits_upload_bytes_per_s, c->limits_download_bytes_per_s);
	peer_set_members(a->peer, c->peers_members, c->n_peers_members,
	                 none_if_empty(c->peers_dns));
}

void agent_config_changed(struct agent *a)
{
	const struct config *c = a->config;
	const struct cas_opts cas = cas_opts_of(a);
	enum mount_how how;

	cas_set_limits(a->cas, &cas);
	http_set_budget(a->http, c->limits_origin_bytes_per_s);
	http_set_timeouts(a->http, share_of_budget_ms(c, ORIGIN_CONNECT_MS),
	                  share_of_budget_ms(c, ORIGIN_SILENCE_MS));
	fetch_set_read_timeout(a->fetch, c->read_timeout_ms);
	if (a->peer != NULL)
		peers_changed(a);
	registry_configure(a->registry, c->registries, c->n_registries);
	if (a->shelf != NULL)
		image_shelf_configure(a->shelf, c->registries, c->n_registries);
	image_loader_allow_unverified(a->loader, c->images_allow_unverified);
	if (mount_how_parse(c->mount, &how)) /* the setting is one of them */
		mounts_set_how(a->mounts, how);
}

void agent_look_at_certificate(struct agent *a)
{
	if (a->peer != NULL)
		peer_look_at_certificate(a->peer);
}

bool agent_is_ready(const struct agent *a)
{
	return !a->stopping && mounts_are_settled(a->mounts);
}
