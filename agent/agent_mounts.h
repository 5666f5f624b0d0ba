/*
 * agent_mounts: the part of the wiring that mounts are made with: who keeps them, whether the
 * kernel can have them, and which come back from the list.
 *
 * All of it before the loop runs: it may block.
 */
#pragma once
#include "agent.h"

/** Make agent->keeping (NULL: none is wanted), ->no_erofs and ->mounts. All that stands before
 * these is there. */
void agent_mounts_start(struct agent *agent);

/** Begin to mount what is listed, and let go what an earlier agent left and nobody wants.
 * @return 0; -errno of the list: then nothing was begun and nothing let go */
MUST_CHECK int agent_mounts_restore(struct agent *agent, struct err *e);
