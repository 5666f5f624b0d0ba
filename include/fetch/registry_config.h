/*
 * registry_config: what the configuration says of one registry host. Filled by agent, read by
 * fetch.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct registry_config {
	const char *host;           /* "HOST[:PORT]", or "*": every other host */
	const char *scheme;         /* "https" or "http"; NULL: https */
	const char *ca_file;        /* PEM; of a mount, perhaps several, one a line; NULL: the
	                             * system's */
	const char *username;       /* with password_file; NULL: none */
	const char *password_file;  /* first line is the password; read again when it changes and on
	                               a 401 */
	const char *docker_config;  /* a docker config.json; NULL: that of the user that the agent
	                               runs as */
	const char *proxy;          /* http proxy URL; NULL: none */
	const char *proxy_username; /* of a mount's proxy, a secret: never of the configuration,
	                             * where it stands in the URL */
	const char *proxy_password;
	bool skip_verify; /* TLS without a look at the certificate: only by a mount's hint */
	const char *const *mirrors; /* hosts asked before this one: as their own entry says, else
	                               as this one, with credentials of their own alone */
	uint32_t n_mirrors;
	uint32_t requests_per_s;    /* 0: no limit */
	const char *share_metadata; /* "public", "cluster", "never" */
};
