/*
 * live: what an agent is doing now, as one document: for the page and for `shoal top`.
 */
#pragma once
#include "agent.h"
#include "sums.h"

/** [loop] Sums since the start, each mount with a strip of its chunks, peers, open questions. Its
 * cost is bounded whatever the number and the size of images: strips are sampled. */
json_t *live_document(struct agent *agent);

/** ... and `past`: the sums of the last minutes, oldest first. */
json_t *live_document_with_past(struct agent *agent);

/** [loop] Keep sums of the last minutes from now on, whether or not somebody looks: 12 KB, and a
 * few microseconds every five seconds. */
void live_start(struct agent *agent);
void live_stop(struct agent *agent); /* [after the loop] also when it never started */
