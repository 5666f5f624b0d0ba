/*
 * agent_end: the end of one shoald: what it does ends, then its loop, then its parts are freed, the
 * other way round than agent.c made them.
 *
 *   agent_stop() --> the API's calls are over --> the mounts are down --> no job is out --> the
 * loop ends
 */
#include "agent.h"
#include "api.h"
#include "elsewhere.h"
#include "http_page.h"
#include "image_shelf.h"
#include "keeping.h"
#include "linked_images.h"
#include "live.h"
#include "mem.h"
#include "mending.h"
#include "origin.h"
#include <unistd.h>

#define OUT_AT_MOST_MS 15000 /* a credential helper has 10 s, systemd waits for 30 */

/* Workers may be at what readers wanted a moment ago, at an image whose mount was cancelled, or at
 * credentials that nobody asks for any more. */
static uint64_t idle_mark(const void *arg)
{
	const struct agent *a = arg;
	struct pool *const pools[] = { a->pool, a->desk, a->keys, a->chores };

	if (!fetch_is_idle(a->fetch) || !elsewhere_is_idle(a->elsewhere) ||
	    !image_loader_is_idle(a->loader))
		return 0;
	return pools_idle_mark(pools, ARRAY_LEN(pools));
}

static void on_mounts_stopped(void *arg)
{
	struct agent *a = arg;

	leaving_begin(&a->leaving, a->loop, a->clock, OUT_AT_MOST_MS, idle_mark, a);
}

static void on_api_stopped(struct loop_call *call)
{
	struct agent *a = container_of(call, struct agent, api_stopped);

	mounts_stop(a->mounts, on_mounts_stopped, a);
}

/* Told from inside a call's end: the next step waits for the next round. */
static void on_api_empty(void *arg)
{
	struct agent *a = arg;

	a->api_stopped.fn = on_api_stopped;
	loop_post(a->loop, &a->api_stopped);
}

void agent_stop(struct agent *a)
{
	if (a->stopping)
		return;
	a->stopping = true;
	log_info(a->log, "stopping", "pid=%d", (int)getpid());
	mending_stop(a->mending);
	registry_stop(a->registry);
	if (a->peer != NULL)
		peer_stop(a->peer);
	api_stop(a->api, on_api_empty, a);
}

void agent_free(struct agent *a)
{
	loop_end(a->loop); /* who is freed first may have posted, and who is freed last may post */
	leaving_fini(&a->leaving);
	live_stop(a);
	mounts_free(&a->mounts);
	fuse_pool_free(&a->fuse_pool);
	pool_free(&a->desk);
	pool_free(&a->keys);
	pool_free(&a->chores);
	keeping_free(&a->keeping);
	free_str(&a->keeper_program);
	pool_free(&a->pool);
	linked_images_stop(a->linked_images);
	image_loader_free(&a->loader);
	fetch_free(&a->fetch);
	cas_hooks_off(a->cas); /* its evictor and its writer still run */
	mending_free(&a->mending);
	peer_free(&a->peer);
	image_shelf_free(&a->shelf);
	elsewhere_source_free(&a->elsewhere);
	origin_source_free(&a->origins);
	registry_free(&a->registry);
	http_free(&a->http);
	cas_close(&a->cas);
	linked_images_free(&a->linked_images);
	http_page_free(&a->page);
	api_free(&a->api);
	metrics_free(&a->metrics);
	loop_free(&a->loop);
}
