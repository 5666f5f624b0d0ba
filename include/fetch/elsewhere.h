/*
 * elsewhere: the source that asks for chunks at other blobs' origins: where a registered blob
 * describes the same chunk, whatever its compression, its origins can give it when the blob's own
 * are gone. Stands behind the origins, and is asked first while those are down.
 *
 * The database names the blobs; how they are packed is read from their images in the state
 * directory, when it is needed. Every chunk's digest is computed here before it is handed on, so
 * wrong bytes are passed over without the asker's help. Counted as "origin" in metrics.
 */
#pragma once
#include "cas.h"
#include "source.h"

struct elsewhere_opts {
	struct loop *loop; /* borrowed, all of them */
	struct pool *pool;
	struct cas *cas;
	const struct clock *clock;
	struct log *log;
	struct metrics *metrics;
	struct source *origins; /* origin.h; outlives it */
};

struct source *elsewhere_source_new(const struct elsewhere_opts *opts);
/** [loop] All questions have ended or been cancelled, and the workers are through. NULL is fine. */
void elsewhere_source_free(struct source **source);
/** [loop] Are the workers through, with cancelled questions too? */
bool elsewhere_is_idle(const struct source *source);
