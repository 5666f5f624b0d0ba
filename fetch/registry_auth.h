/*
 * registry_auth: the Authorization header for one repository of one registry.
 *
 * Many requests share one header and, when it is refused or ends, one flow to get the next: read
 * the credentials (on the pool), then make the Basic header or ask the token service.
 * All on the loop thread. Source: distribution's docs/spec/auth/token and .../oauth; RFC 7617.
 */
#pragma once
#include "auto.h"
#include "given.h"
#include "hints.h"
#include "registry.h"
#include "registry_host.h"

struct registry_auth;
struct auth_files;

/* What all of them share; borrowed. */
struct registry_auths {
	const struct registry_opts *opts;
	struct registry_hosts *hosts;
	struct auth_files *files; /* docker configs of mounts */
	struct givens givens;     /* what mounts were given */
	struct hints hints;       /* what mounts say of how registries are reached */
	char *default_config;     /* the user's docker config; or NULL */
	struct registry_auth *first;
};

/** Made when asked for first; lives until registry_auths_free(). */
struct registry_auth *registry_auth_of(struct registry_auths *auths, struct registry_host *host,
                                       const char *repository);
void registry_auths_free(struct registry_auths *auths); /* what it holds; nobody may wait */

/* One that waits for a header. Embedded in the waiter's object. */
struct auth_wait {
	/* Once, not from inside registry_auth_get(). r: 0 ask for the header again; -EACCES;
	 * -EAGAIN */
	void (*done)(struct auth_wait *wait, int r, const struct err *why);
	struct auth_wait **list; /* where it waits; NULL: nowhere */
	struct auth_wait *prev;
	struct auth_wait *next;
};
void registry_auth_unwait(struct auth_wait *wait); /* fine when it does not wait */

struct auth_header {
	const char *text; /* "Authorization: ..."; NULL: ask without. Borrowed until the loop's next
	                     round */
	uint64_t generation; /* to be told to registry_auth_refused() and _accepted() */
	bool anonymous;      /* no credentials of ours stand behind it */
};

enum { AUTH_WAIT = 1 };

/** @return 0 and the header; AUTH_WAIT wait->done() follows */
int registry_auth_get(struct registry_auth *auth, struct auth_wait *wait,
                      struct auth_header *ret_header);

/**
 * The registry said 401 or 403 to a request with the header of that generation: it is dropped, and
 * the next registry_auth_get() waits for a new one.
 *
 * @param www_authenticate  or NULL: as the last time
 * @return 0; -EACCES there is no answer to what it asks for
 */
MUST_CHECK int registry_auth_refused(struct registry_auth *auth, uint64_t generation,
                                     const char *www_authenticate, struct err *e);

/**
 * The header of that generation was refused, and never taken. Are there credentials of another
 * mount that have not been tried? The next header is made of those: to be called before
 * registry_auth_refused().
 */
bool registry_auth_turn(struct registry_auth *auth, uint64_t generation);

/** The registry took it. */
void registry_auth_accepted(struct registry_auth *auth, uint64_t generation);

/** Was this generation ever taken, or replaced meanwhile? (If so, a refusal only means that it has
 * ended.) */
bool registry_auth_was_accepted(const struct registry_auth *auth, uint64_t generation);

/* Was the last answer got without credentials? For registry_was_anonymous(). */
void registry_auth_note_anonymous(struct registry_auth *auth, bool anonymous);
bool registry_auths_anonymous(const struct registry_auths *auths, const char *host,
                              const char *repository);

/* ---- docker configs of mounts ---- */

struct auth_files *auth_files_new(void); /* never NULL */
void auth_files_free(struct auth_files **files);
void auth_files_add(struct auth_files *files, const char *host, const char *repository,
                    const char *path);
void auth_files_remove(struct auth_files *files, const char *host, const char *repository,
                       const char *path);
/** Copies of the paths for HOST/REPOSITORY, the latest first. @return malloc'd array, each malloc'd
 */
char **auth_files_for(const struct auth_files *files, const char *host, const char *repository,
                      uint32_t *ret_n);
