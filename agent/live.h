/*
 * live: what an agent is doing now, as one document: for the page and for `shoal top`.
 */
#pragma once
#include "agent.h"
#include "json_util.h"

/** [loop] Sums since the start, each mount with a strip of its chunks, peers, open questions. Its
 * cost is bounded whatever the number and the size of images: strips are sampled. */
json_t *live_document(struct agent *agent);
