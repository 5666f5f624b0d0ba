/*
 * origin_kind: one question to one origin, whatever its kind.
 *
 * A kind is one file: how its text is read, and how bytes of an object are asked for. All on the
 * loop thread.
 */
#pragma once
#include "origin.h"

struct origin_kind;

/* "registry:HOST[:PORT]/REPOSITORY", "dir:/path", "http(s)://.../", taken apart. */
struct origin_addr {
	const struct origin_kind *kind;
	char *text;  /* as it came */
	char *host;  /* "HOST[:PORT]", for metrics as well; "dir" */
	char *place; /* repository, directory, or URL prefix */
};

/* Bytes of one object, or its size. */
struct origin_ask {
	const struct origin_addr *addr; /* borrowed until end() */
	const char *object;             /* blob id; copied */
	bool size_only;                 /* size() then end(); no body() */
	uint64_t offset;
	uint64_t size_bytes;   /* > 0 */
	const char *metric;    /* "data" or "meta"; static */
	bool retry;            /* until deadline_ns */
	bool gave_wrong_bytes; /* of these units: ask the server that has the last word */
	uint64_t deadline_ns;
	const bool *urgent; /* as http_request.urgent */
	void (*size)(void *arg, uint64_t size_bytes);
	int (*body)(void *arg, const uint8_t *bytes, size_t size_bytes); /* non-zero: end with it */
	/* Exactly once, last, not from inside the start: as registry_request.end. */
	void (*end)(void *arg, int r, const struct err *why);
	void *arg;
};

struct origin_asked;

struct origin_kind {
	/* text is of this kind if it begins with one of these */
	const char *prefixes[2];
	int (*parse)(const char *text, struct origin_addr *ret_addr, struct err *e);
	int (*start)(const struct origin_source_opts *opts, const struct origin_ask *ask,
	             void **ret_inner, struct err *e);
	void (*cancel)(void *inner);
	/* For people: whom it asks right now. */
	void (*whom)(const void *inner, char *ret_text, size_t size_bytes);
};
extern const struct origin_kind origin_kind_registry; /* origin_web.c */
extern const struct origin_kind origin_kind_http;     /* origin_web.c */
extern const struct origin_kind origin_kind_dir;      /* origin_dir.c */

/* origin_ask.c */
MUST_CHECK int origin_addr_parse(const char *text, struct origin_addr *ret_addr, struct err *e);
void origin_addr_wipe(struct origin_addr *addr); /* zeroed is fine */

MUST_CHECK int origin_ask_start(const struct origin_source_opts *opts, const struct origin_ask *ask,
                                struct origin_asked **ret_asked, struct err *e);
void origin_ask_cancel(struct origin_asked *asked); /* also from inside body() */
void origin_ask_whom(const struct origin_asked *asked, char *ret_text, size_t size_bytes);
