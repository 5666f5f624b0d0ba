/*
 * keeping: the agent's side of shoal-keeper: it sees to it that there is one, hands out what an
 * earlier agent left there, and gives it all again to one that had to be replaced.
 *
 * Knows keepers and descriptors. Knows of mounts only what their owner tells.
 */
#pragma once
#include "keeper.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "pool.h"
#include <stdbool.h>

struct keeping;
struct keeping_opts {
	const char *socket;  /* borrowed, all of them */
	const char *program; /* to start where nobody answers; NULL: never */
	struct loop *loop;
	struct pool *pool; /* what blocks */
	struct log *log;
	struct metrics *metrics;
	/* [loop] A keeper came that may know nothing: the mounts that can be kept, to be freed;
	 * *ret_kept malloc'd. @return how many */
	uint32_t (*all)(void *arg, struct kept **ret_kept);
	/* [loop] It holds this one now; what becomes of that. */
	enum keep_outcome (*given)(void *arg, const struct kept *kept);
	void *arg;
};

/** [before the loop] Find or start a keeper, and fetch what it has. Where there is none, it is
 * looked for again and again. Never NULL */
struct keeping *keeping_new(const struct keeping_opts *opts);
void keeping_free(
	struct keeping **keeping); /* [after the loop] NULL is fine; a keeper with mounts stays */

/** [before the loop] What an earlier agent left of the mount on dir, which is listed: moved,
 * malloc'd, or NULL. */
struct kept *keeping_take(struct keeping *keeping, const char *dir);

/** [before the loop] The mount on dir was listed, and nobody wants it back: what an earlier agent
 * left of it is let go. Where something still uses it, its readers get an error. */
void keeping_let_go(struct keeping *keeping, const char *dir);

/** [before the loop] Did an earlier agent leave anything: are there readers who wait? */
bool keeping_has_left(const struct keeping *keeping);

/** [loop] A mount came up without a keeper: give all of them again, in a moment. */
void keeping_renew(struct keeping *keeping);

/** [before the loop] What nobody took is let go: its readers get an error. But where nothing was to
 * be taken, the list is not that of these mounts (another state directory): they stay with the
 * keeper, for an agent that has it, until they are unmounted, mounted anew, or the keeper is
 * started anew. */
void keeping_drop_rest(struct keeping *keeping);
