/*
 * origin: the source that asks a blob's origins, as the CAS database records them.
 *
 * "registry:HOST[:PORT]/REPOSITORY", "dir:/path", "http(s)://.../": one file each behind one
 * interface (fetch/origin_kind.h). Unit ranges are fetched with one request a run.
 */
#pragma once
#include "cas.h"
#include "http.h"
#include "registry.h"
#include "source.h"

#define ORIGIN_TEXT_MAX_BYTES CAS_ORIGIN_MAX_BYTES

struct origin_source_opts {
	struct loop *loop; /* borrowed, all of them */
	struct pool *pool;
	struct http *http;
	struct registry *registry;
	const struct clock *clock;
	struct log *log;
	struct metrics *metrics;
};

MUST_CHECK int origin_source_new(const struct origin_source_opts *opts, struct source **ret_source,
                                 struct err *e);
void origin_source_free(struct source **source);

/** Is this a well-formed origin? @return 0; -EINVAL with what is wrong and what would be right */
MUST_CHECK int origin_check(const char *text, struct err *e);

/* Bytes of an object at one origin, for blob metas, TOCs and whole blobs. */
struct origin_read;
struct origin_read_opts {
	const char *origin; /* copied, as object */
	const char *object; /* blob id */
	uint64_t offset;    /* from the start */
	uint64_t size_bytes;
	const char *kind;     /* "data" or "meta", for shoal_origin_received_bytes_total */
	uint64_t deadline_ns; /* retried with backoff until then */
	int (*body)(void *arg, const uint8_t *bytes, size_t size_bytes);
	void (*end)(void *arg, int r, const struct err *why); /* as registry_request.end */
	void *arg;
};

/** [loop] @return 0: end() follows, not from inside; -errno: not started */
MUST_CHECK int origin_read_start(struct source *origin_source, const struct origin_read_opts *opts,
                                 struct origin_read **ret_read, struct err *e);
void origin_read_cancel(struct origin_read *read);

/** [loop] The object's size (HEAD, stat). size() is called once, not from inside. r as end() above.
 */
MUST_CHECK int origin_size_start(struct source *origin_source, const char *origin,
                                 const char *object, uint64_t deadline_ns,
                                 void (*size)(void *arg, int r, uint64_t size_bytes,
                                              const struct err *why),
                                 void *arg, struct origin_read **ret_read, struct err *e);
