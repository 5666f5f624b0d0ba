/*
 * pull_impl: a pull, for its two files. Private to pull*.c.
 */
#pragma once
#include "load_step.h"
#include "pull.h"
#include "pull_steps.h"

enum state { START, LOOK, HEAD, MANIFEST, CHECK, LAYER, KEEP, OTHERS, DONE, N_STATES };

/* What a worker has of a pull. */
struct step {
	struct load_step base;
	struct look look;
	struct check check;
	struct keep keep;
};

struct pull {
	struct image_loader_opts env;
	struct pull_opts opts;
	struct reference ref;
	enum state state;
	int result;
	struct err err;
	struct pulled got;
	char want[DIGEST_TEXT_BYTES];  /* manifest or index that comes next; "": what the tag means
	                                */
	char told[DIGEST_TEXT_BYTES];  /* what the registry says it sent; "": it says nothing */
	char known[DIGEST_TEXT_BYTES]; /* what the tag meant when it was here last */
	bool known_is_here;
	uint32_t n_hops;
	struct registry_req *req;
	struct meta_req *others;   /* neighbours that are being asked */
	enum meta_kind others_for; /* META_MANIFEST or META_BOOT_LAYER */
	bool others_asked;         /* just now: the registry's turn, for a while ... */
	bool others_done;          /* ... or to the end */
	uint32_t n_rounds;         /* of others, in vain */
	bool registry_gives;       /* bytes came of it, too slowly: it has time from now on */
	const char *others_said;
	uint32_t giver; /* of the bytes that are being checked; 0: the registry */
	uint32_t n_wrong;
	struct buffer index_bytes; /* of the first index */
	struct buffer manifest_bytes;
	struct buffer layer_bytes;
	struct manifest manifest;
	struct step step;
};

/** The last act of a callback: op may be gone behind it. */
void pull_run(struct pull *op, enum state next);
/** op->err is set. @return DONE */
enum state pull_failed(struct pull *op);
/** The image of this digest is here. @return DONE */
enum state pull_found(struct pull *op, const char *digest);
/** Ask once more what this state asks. */
enum state pull_again(struct pull *op);

/* ---- pull_others.c ---- */

/** Is there something else to do when the registry does not answer? Then it has a moment. */
bool pull_is_hasty(const struct pull *op);
/** A request for bytes came to nothing. */
enum state pull_registry_failed(struct pull *op, enum meta_kind kind, int r, const struct err *why);
/** The tag is taken as it was here last. op->err says why. */
void pull_tell_stale(struct pull *op);
/** op->err is set. Wrong bytes of a neighbour: another one may do better. */
enum state pull_was_wrong(struct pull *op, enum meta_kind kind);
enum state pull_enter_others(struct pull *op);
