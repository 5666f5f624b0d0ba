/*
 * ways: how the repositories of mounts are reached, and as whom; in memory alone.
 *
 * A way is whole: scheme, proxy, CA and credentials as one owner has told them, over what is
 * configured. A request goes one way from its first question to its last answer, and never with
 * the credentials of one way through another. Owners who say the same share a way, and so its
 * tokens; owners who say nothing share the plain one: as configured.
 *
 * Which owners there are for a repository, and which of their ways failed, is kept apart from what
 * a way is. All on the loop thread.
 */
#pragma once
#include "registry.h"
#include "registry_host.h"

#define WAYS_IN_A_ROW 8 /* so many are tried before a rest */

struct registry_auth;
struct way_owner;

/* Never changed; counted. */
struct way {
	char *scheme; /* these four or NULL */
	char *ca_file;
	char *proxy;
	char *auth_file; /* a docker config */
	bool skip_verify;
	bool to_come; /* the credentials were given to an earlier agent, and not yet to this one */
	bool given;   /* else what auth_file and the configuration say */
	struct credentials credentials;
	uint64_t id;                 /* 0: the plain one */
	uint32_t n_refs;             /* of the plain one without a meaning */
	struct registry_auth *auths; /* its headers; end with it */
	struct way *next;
};
void way_ref(struct way *way);

/** The settings for a server that is asked that way. The server's own entry in the configuration
 * counts before what a mount says. @return its texts are borrowed from both */
struct registry_config way_reach(const struct way *way, const struct registry_host *host);

/* Zeroed is empty, but for the plain way. */
struct ways {
	struct way plain;
	struct way *first;
	struct way_owner *owners; /* the latest first */
	uint64_t n_made;          /* ever; makes ids */
	uint64_t n_events;        /* ever; orders failures and successes */
};
void ways_free(struct ways *ways); /* what it holds; nobody holds a way any more */
void way_unref(struct ways *ways, struct way **way);

/* Each makes the owner known, where it is not. */
void ways_say(struct ways *ways, const struct registry_scope *scope,
              const struct registry_hints *said);
/** @param credentials  NULL: to come, unless they are here */
void ways_give(struct ways *ways, const struct registry_scope *scope,
               const struct credentials *credentials);
/** The owner's, if it is known, gives none any more. */
void ways_take(struct ways *ways, const struct registry_scope *scope);
void ways_forget(struct ways *ways, const struct registry_scope *scope);

/**
 * The way to try next: that of the owner whose way has failed least lately, then of the latest.
 *
 * @param tried  those that were tried in this row, and whatever is the same to this host
 * @return borrowed; NULL: there is no other. The plain one where nobody owns any
 */
struct way *ways_next(struct ways *ways, const struct registry_host *host, const char *repository,
                      struct way *const *tried, uint32_t n_tried);

/** Others are tried before it from now on. */
void ways_failed(struct ways *ways, const struct registry_host *host, const char *repository,
                 const struct way *way);
void ways_worked(struct ways *ways, const struct registry_host *host, const char *repository,
                 const struct way *way);
/** @return the greater, the later; 0: it never did */
uint64_t ways_worked_at(const struct ways *ways, const struct registry_host *host,
                        const char *repository, const struct way *way);

/** Does any owner give credentials for it, or name a file of them, or are some to come? */
bool ways_any_credentials(const struct ways *ways, const struct registry_host *host,
                          const char *repository);

/** Does any owner say how this host is reached, for whichever repository? */
bool ways_any_said(const struct ways *ways, const struct registry_host *host);
