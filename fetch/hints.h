/*
 * hints: what mounts say of how their registries are reached, in memory alone.
 *
 * Each belongs to an owner and is for one repository. Where owners say different things of one
 * repository, what has failed last is tried last: so each has its own way, and none is in the way
 * of another. All on the loop thread.
 */
#pragma once
#include "registry.h"
#include "registry_host.h"

struct hint_entry;

/* Zeroed is empty. */
struct hints {
	struct hint_entry *first; /* the latest first */
	uint64_t n_told;          /* ever; makes ids */
	uint64_t n_failures;      /* ever; orders them */
};
void hints_free(struct hints *hints); /* what it holds */

/** Replaces what this owner said before. Without anything in it: nothing is said. */
void hints_put(struct hints *hints, const struct registry_scope *scope,
               const struct registry_hints *said);
void hints_remove(struct hints *hints, const struct registry_scope *scope);

/* How a host is reached for one repository. */
struct reach {
	struct registry_config config; /* its texts are borrowed: for this round of the loop */
	uint64_t hint_id;              /* 0: no mount has a say */
};
/** The host's own entry in the configuration counts before every hint. */
struct reach hints_reach(const struct hints *hints, const struct registry_host *host,
                         const char *repository);

/** It did not work that way. @return another mount says something else of the same repository */
bool hints_failed(struct hints *hints, const struct registry_host *host, const char *repository,
                  uint64_t hint_id);
