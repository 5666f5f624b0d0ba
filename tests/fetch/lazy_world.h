/*
 * lazy_world: what an image loader works with, faked: a registry and origins that serve the real
 * images of tests/data/layout when they are told to, and an image store and cache in memory.
 *
 * Linked in place of registry, origin, image_store, cas and fetch's blobs; all on one thread.
 */
#pragma once
#include "fake_clock.h"
#include "image_shelf.h"
#include "lazy_image.h"

#define WORLD_REQUESTS_MAX 64
#define WORLD_FILES_MAX    256
#define WORLD_BLOBS_MAX    64

#define WORLD_TIMEOUT_MS     30000 /* of a load that says none, and the longest */
#define WORLD_TIMEOUT_MAX_MS 90000

struct registry_req {
	struct registry_request req;
	char reference[160];
	bool used;
};

struct registry {
	const char *tag;        /* "REPOSITORY:TAG" that is known, and ... */
	const char *tag_digest; /* ... the hex it means */
	char *index;            /* not NULL: JSON of an index that is served for index_digest */
	char index_digest[DIGEST_TEXT_BYTES];
	int fail; /* not 0: what every request ends with */
	bool asks_for_credentials;
	bool users_config;
	bool is_slow;         /* the first bytes of a blob come in time, and no more */
	bool tells_no_digest; /* no Docker-Content-Digest */
	const char *spoilt;   /* hex of the object that has one bit flipped */
	uint32_t n_heads, n_manifests, n_blobs, n_cancelled;
	struct registry_req reqs[WORLD_REQUESTS_MAX];
};

struct origin_read {
	struct origin_read_opts opts;
	void (*size)(void *arg, int r, uint64_t size_bytes, const struct err *why);
	char object[80];
	bool used;
};

struct origins {
	struct source source; /* what the loader gets */
	int fail;
	uint32_t n_fails;            /* how often; 0: for ever */
	const char *spoilt;          /* as above, in every read of this ... */
	const char *spoilt_kind;     /* ... kind; NULL: of any */
	const uint8_t *object_bytes; /* not NULL: every object has these */
	uint64_t object_size_bytes;
	uint32_t n_reads, n_sizes, n_cancelled;
	uint64_t n_bytes;
	struct origin_read reads[WORLD_REQUESTS_MAX];
};

struct store_file {
	char digest[DIGEST_TEXT_BYTES];
	char name[128];
	uint8_t *data;
	uint64_t size_bytes;
	bool draft; /* not committed */
	bool used;
};

struct cas_blob {
	struct blob_layout *layout;
	uint32_t refs;
	uint32_t n_put;
	char origins[4][128];
	uint32_t n_origins;
};

struct cas {
	struct pool *writer;
	bool full; /* nothing can be written */
	struct store_file files[WORLD_FILES_MAX];
	struct image_record records[16];
	uint32_t n_records;
	struct cas_blob blobs[WORLD_BLOBS_MAX]; /* refs 0: free */
};

struct fetch_blob {
	struct cas_blob *cas;
	bool used;
};

struct fetch {
	struct fetch_blob blobs[WORLD_BLOBS_MAX];
};

/* Another node that is asked when the registry does not answer: it gives what is on its shelf. */
struct meta_req {
	enum meta_kind kind;
	char key[META_KEY_MAX + 1];
	uint64_t max_bytes;
	void (*done)(void *arg, int r, const struct meta_got *got);
	void *arg;
	bool used;
};

struct neighbours {
	struct meta_source source; /* ops NULL: there are none */
	struct meta_shelf *shelf;
	uint32_t n_liars;       /* so many answers yet have one bit flipped */
	enum meta_kind lies_in; /* of this kind */
	uint32_t n_away;        /* so many questions yet find nobody, as a node that starts anew */
	enum meta_kind away_in; /* of this kind */
	uint32_t n_gets, n_distrusts;
	struct meta_req reqs[8];
};

struct world {
	struct fake_clock clock;
	struct pool *pool;
	struct cas cas;
	struct fetch fetch;
	struct registry registry;
	struct origins origins;
	struct neighbours neighbours;
	struct metrics *metrics;
	struct image_loader *loader;
};

void world_open(struct world *w);
void world_close(struct world *w);   /* nothing may be in use any more */
void world_restart(struct world *w); /* a new loader, the same disk */

/** From now on (a new loader) other is w's neighbour. configs: other's, of registries. */
void world_meet(struct world *w, struct world *other, const struct registry_config *configs,
                uint32_t n_configs);

/** Move everything until all is still. */
void world_settle(struct world *w);

/** Move it by one: a request is answered or a job runs. @return false: all is still */
bool world_step(struct world *w);

/** An object of tests/data/layout. malloc'd */
uint8_t *world_object(const char *hex, uint64_t *ret_size_bytes);

bool world_has_file(struct world *w, const char *digest, const char *name);
void world_drop_file(struct world *w, const char *digest, const char *name);
void world_drop_image(struct world *w, const char *digest); /* its files; its names stay */
uint32_t world_n_blobs_open(const struct world *w);
