/*
 * given: the credentials that mounts were given through the API, in memory alone.
 *
 * Each belongs to an owner and is for one repository. An owner without any is one whose credentials
 * are still to come: after a restart of the agent.
 */
#pragma once
#include "registry.h"

struct given_entry;

/* Zeroed is empty. All on the loop thread. */
struct givens {
	struct given_entry *first; /* the latest first */
	uint64_t n_put;            /* ever; makes ids */
	uint64_t n_refusals;       /* ever; orders them */
};
void givens_free(struct givens *givens); /* what it holds */

void givens_put(struct givens *givens, const struct registry_scope *scope,
                const struct credentials *credentials);
void givens_remove(struct givens *givens, const struct registry_scope *scope);

/* What there is for one repository, for a worker. */
struct given {
	bool here;                      /* else they are still to come */
	uint64_t id;                    /* for givens_refused(); 0: none is here */
	struct credentials credentials; /* copies */
};
/** The latest of those that were refused least lately. @return false: nobody was given, or waits
 * for, credentials for it. ret_given: zeroed before; to be wiped */
bool givens_find(const struct givens *givens, const char *host, const char *repository,
                 struct given *ret_given);

/** The registry does not take these; others, if there are any, are found from now on.
 * @return how many others there are for this repository */
uint32_t givens_refused(struct givens *givens, const char *host, const char *repository,
                        uint64_t id);

/** @return false: they are still to come */
bool given_copy(const struct given *given, struct credentials *ret_credentials);
