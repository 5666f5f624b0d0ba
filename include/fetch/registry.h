/*
 * registry: requests to OCI registries: who may ask, where the bytes are, when to ask again.
 *
 * Anonymous, Basic and Bearer flows with a token cache renewed before expiry; 307 targets cached
 * per blob and dropped when they go stale; Retry-After and requests_per_s respected per host;
 * mirrors. Credentials are read from files again when those change and on a 401; never stored,
 * never logged. All on the loop thread; credential files are read on the pool.
 * Source: OCI distribution-spec 1.1; the Bearer token flow of distribution/distribution
 * (docs/spec/auth/token).
 */
#pragma once
#include "http.h"
#include "metrics.h"
#include "pool.h"
#include "registry_config.h"

struct registry;
struct registry_req;

struct registry_opts {
	struct loop *loop; /* borrowed, all of them */
	struct pool *pool;
	struct http *http;
	const struct clock *clock;
	struct log *log;
	struct metrics *metrics;
	const struct registry_config *configs; /* borrowed, with all strings */
	uint32_t n_configs;
};

MUST_CHECK int registry_new(const struct registry_opts *opts, struct registry **ret_registry,
                            struct err *e);
/** [loop] Before the pool is freed: credential files and helpers that are not asked yet are not
 * asked any more, and who waits for them has -EAGAIN. */
void registry_stop(struct registry *r);
void registry_free(struct registry **registry);

/** [loop] Other entries from now on. Borrowed, and the old ones stay borrowed: requests that run
 * may use their texts. Credentials are read anew when a registry asks for them. */
void registry_configure(struct registry *r, const struct registry_config *configs,
                        uint32_t n_configs);

/* Who says how a repository is reached, or gives credentials for it. Each has a way of its own to
 * that repository: what it says and gives, over what is configured. A request goes one way as a
 * whole, never with one's credentials through another's proxy or scheme. Where a way fails, those
 * of the other owners are tried, the latest first. */
struct registry_scope {
	const char *host; /* "HOST[:PORT]" */
	const char *repository;
	const char *owner; /* any text: a mount's directory */
};

/* What opens a registry. All NULL: nothing does. Secrets: wiped by credentials_wipe(). */
struct credentials {
	char *username;
	char *password;
	char *identity_token; /* instead of a password: for the token service alone */
	char *bearer;         /* instead of all: sent to the registry as it is */
	char *proxy_username; /* for the proxy that is said beside them (registry_hints) */
	char *proxy_password;
	bool for_proxy_alone; /* of the registry nothing is said: files and configuration count */
};
void credentials_wipe(struct credentials *c); /* zeroed is fine */
void credentials_copy(struct credentials *ret_copy, const struct credentials *c);

/**
 * Credentials of one mount, before those of files and configuration; held in memory alone, until
 * forgotten. Replaces what this owner gave before.
 *
 * @param credentials  copied; NULL: they are still to come, unless they are here already. Until
 *                     then what the registry does not give without is asked for again until its
 *                     deadline, and not refused
 */
void registry_give_credentials(struct registry *r, const struct registry_scope *scope,
                               const struct credentials *credentials);

/** This owner gives none any more: a docker config and the configuration count. */
void registry_take_credentials(struct registry *r, const struct registry_scope *scope);

/* What a mount says of how its repository is reached. The first four count at a registry that the
 * configuration has no entry of its own for. */
struct registry_hints {
	const char *scheme;    /* "https", "http"; NULL: as configured, as for the two below */
	const char *ca_file;   /* PEM; or several, one a line */
	const char *proxy;     /* URL */
	bool skip_verify;      /* TLS without a look at the certificate */
	const char *auth_file; /* a docker config.json that is looked into first; or NULL */
};
/** Copied; until it is forgotten. Counts for this repository alone. A mount without any says so
 * too (all zero): else it has no way of its own, and depends on what others say. */
void registry_hint(struct registry *r, const struct registry_scope *scope,
                   const struct registry_hints *hints);

/** Does any mount say how this host is reached? Then trouble on the way to one repository says
 * nothing of the others. */
bool registry_is_hinted(struct registry *r, const char *host);

/** Drop what this owner said and gave. Requests that are on its way end on it. */
void registry_forget(struct registry *r, const struct registry_scope *scope);

enum registry_kind {
	REGISTRY_MANIFEST,
	REGISTRY_BLOB,
	REGISTRY_URL, /* no registry but a plain server: reference is the URL, host its HOST[:PORT],
	               * repository "". The same politeness, credentials and redirects; no mirrors
	               */
};

struct registry_request {
	const char *host; /* "HOST[:PORT]"; copied, as all strings */
	const char *repository;
	enum registry_kind kind;
	const char *reference; /* tag or "sha256:..." */
	bool head;             /* HEAD instead of GET */
	bool past_mirrors;     /* the registry itself: a mirror may have given wrong bytes */
	bool has_range;
	uint64_t range_first,
		range_last;      /* inclusive. A server that ignores Range (200) is read past the
	                          * front, and cut after range_last: body() gets the range alone */
	uint64_t max_body_bytes; /* more: -EMSGSIZE. 0: no limit */
	/* Ask again after network trouble, 429 and 5xx, with backoff, until deadline_ns. Bytes that
	 * body() already got are not repeated: the range goes on where it stopped. */
	bool retry;
	uint64_t deadline_ns; /* 0: none, and no retry */
	const bool *urgent;   /* as http_request.urgent */
	void (*head_done)(void *arg,
	                  const struct http_head *head); /* NULL is fine; once, on 200/206 */
	int (*body)(void *arg, const uint8_t *bytes, size_t size_bytes); /* non-zero: end with it */
	/* Exactly once, last. 0 complete; -ENOENT 404/410; -EACCES 401/403 with fresh credentials;
	 * -EAGAIN trouble that may pass; -EMSGSIZE; -EPROTO; what body() returned. */
	void (*end)(void *arg, int r, const struct err *why);
	void *arg;
};

MUST_CHECK int registry_start(struct registry *r, const struct registry_request *req,
                              struct registry_req **ret_req, struct err *e);
void registry_cancel(struct registry_req *req); /* no callback will follow */
/** For people: which server is asked right now, what for, and by which way. */
void registry_whom(const struct registry_req *req, char *ret_text, size_t size_bytes);

/** Was the last answer for this repository got without credentials? */
bool registry_was_anonymous(const struct registry *r, const char *host, const char *repository);
/** [worker] Is there a docker config of the user that this program runs as? */
bool registry_users_config_is_there(const struct registry *r);
/** Does a mount give credentials for it, or name or expect some, or may the configuration or the
 * user's docker config (users_config: there is one) have any? */
bool registry_has_credentials(struct registry *r, const char *host, const char *repository,
                              bool users_config);
