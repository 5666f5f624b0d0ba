/*
 * credentials: who shoal is to a registry, read anew from files and helpers each time.
 *
 * [worker] Blocks. What is read is a secret: never stored, never logged.
 */
#pragma once
#include "docker_config.h"
#include "log.h"
#include <stdbool.h>
#include <stdint.h>

#define PASSWORD_MAX_BYTES 65536

/* Where to look, in this order. */
struct credentials_query {
	const char *host; /* "HOST[:PORT]" */
	const char *repository;
	const struct credentials *given; /* what the mount was given; or NULL */
	const char *auth_file;           /* the mount's docker config; or NULL */
	bool to_come;                    /* the mount's will be given: until then it is -EAGAIN */
	const char *username;            /* with password_file; or NULL */
	const char *password_file;
	const char *docker_config;  /* or NULL */
	const char *default_config; /* of the user; or NULL */
	uint32_t helper_timeout_ms;
	struct log *log;
};

/**
 * @param ret_credentials  the caller's, ended by credentials_wipe(); all NULL: none, ask
 * anonymously
 * @return 0; -EAGAIN a file or helper that is there cannot be read now, or makes no sense (it may
 *         be about to be replaced), or those of a mount have not been given again yet
 */
MUST_CHECK int credentials_find(const struct credentials_query *query,
                                struct credentials *ret_credentials, struct err *e);
