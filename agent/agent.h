/*
 * agent: the parts of one shoald, made in order and taken down in order.
 *
 * The one place that knows all modules, and the order in which sources are asked. What has a
 * thread of its own is said where it is made (agent.c).
 */
#pragma once
#include "cas.h"
#include "config.h"
#include "leaving.h"
#include "mounts.h"
#include "peer.h"
#include <stdbool.h>

struct agent {
	/* [loop] Once: agent_is_ready() from now on. Set before agent_start(). */
	void (*ready)(struct agent *agent);
	const struct config *config; /* borrowed */
	const struct clock *clock;
	struct log *log; /* borrowed */
	uint64_t started_ns;
	struct loop *loop;
	struct metrics *metrics;
	struct pool *pool; /* readers: unpack, verify, write, answer */
	struct pool
		*desk; /* the API's short blocking work, so that it never stands before a reader */
	struct pool *keys;   /* credentials: files and helpers; readers wait for what they bring */
	struct pool *chores; /* verify and gc: minutes */
	struct cas *cas;
	struct http *http;
	struct registry *registry;
	struct source *origins;
	struct source *elsewhere; /* other blobs' origins */
	struct meta_shelf *shelf; /* image_shelf.h */
	struct peer *peer;        /* NULL: this node is alone */
	struct fetch *fetch;
	struct image_loader *loader;
	struct fuse_pool *fuse_pool;
	struct err no_erofs; /* why the kernel cannot mount images; code 0: it can */
	char *keeper_program;
	struct keeping *keeping; /* NULL: no keeper */
	struct mounts *mounts;
	struct mending *mending;
	struct linked_images *linked_images;
	struct api *api;
	struct http_page *page;
	struct past *past;       /* what was counted over the last minutes ... */
	struct timer past_timer; /* ... a sample every PAST_STEP_MS */
	bool stopping;
	struct loop_call api_stopped;
	struct leaving leaving;
};

/** [before the loop] Make all parts, listen, and start to mount what is listed. */
MUST_CHECK int agent_start(struct agent *agent, const struct config *config, struct log *log,
                           struct err *e);

/** [loop] Take the mounts down, then stop the loop. */
void agent_stop(struct agent *agent);

/** [after the loop] Free all parts. Also after a failed agent_start(). */
void agent_free(struct agent *agent);

/** [loop] The configuration that it borrows took over what counts at once: let it count. */
void agent_config_changed(struct agent *agent);

/** [loop] Is there a new certificate where the configuration says? */
void agent_look_at_certificate(struct agent *agent);

/** [loop] Is everything that is listed mounted, or known not to be? */
bool agent_is_ready(const struct agent *agent);
