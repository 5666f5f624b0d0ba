/*
 * registry_auth: the Authorization header for one repository of one registry, on one way there.
 *
 * Many requests share one header and, when it is refused or ends, one flow to get the next: read
 * the credentials (on the pool), then make the Basic header or ask the token service.
 * All on the loop thread. Source: distribution's docs/spec/auth/token and .../oauth; RFC 7617.
 */
#pragma once
#include "auto.h"
#include "registry.h"
#include "registry_host.h"
#include "ways.h"
#include <stdatomic.h>

struct registry_auth;

/* What all of them share; borrowed. */
struct registry_auths {
	const struct registry_opts *opts;
	struct registry_hosts *hosts;
	struct ways ways;
	char *default_config; /* the user's docker config; or NULL */
	atomic_bool stopping; /* no credentials are looked for any more: -EAGAIN */
};

/** Made when asked for first; lives as long as the way. */
struct registry_auth *registry_auth_of(struct registry_auths *auths, struct way *way,
                                       struct registry_host *host, const char *repository);
void registry_auths_free(struct registry_auth **first); /* all of one way; nobody may wait */

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

/** The registry took it. */
void registry_auth_accepted(struct registry_auth *auth, uint64_t generation);

/** Was this generation ever taken, or replaced meanwhile? (If so, a refusal only means that it has
 * ended.) */
bool registry_auth_was_accepted(const struct registry_auth *auth, uint64_t generation);

/** Has no other header been made, and has none been dropped, since that generation? */
bool registry_auth_is_current(const struct registry_auth *auth, uint64_t generation);

/* Was the last answer got without credentials? For registry_was_anonymous(). */
void registry_auth_note_anonymous(struct registry_auths *auths, struct registry_host *host,
                                  const char *repository, bool anonymous);
bool registry_auths_anonymous(const struct registry_auths *auths, const char *host,
                              const char *repository);
