/*
 * nydusd_config: nydusd's configuration document: where an image's blobs are, and what opens them.
 *
 * Pure; hostile input. JSON in nydusd's version 1 (what nydus-snapshotter writes), JSON or TOML in
 * version 2.
 * Unknown keys are passed over, as nydusd does.
 */
#pragma once
#include "json_util.h"

#define NYDUSD_CONFIG_MAX_BYTES (1U << 20)

struct nydusd_config {
	char *blobs;   /* an origin (origin.h) */
	char *backend; /* "registry", "localfs", "http-proxy" */
	char *scheme; /* a registry's: "any" where none is said. NULL: not said, as for all below */
	json_t *ca_files; /* an array of texts */
	char *proxy;
	bool proxy_fallback;
	bool skip_verify;
	char *username; /* secrets */
	char *password;
	char *token;
	char *proxy_username; /* with the password, or both NULL */
	char *proxy_password;
	bool id_mapping; /* there is one, and it means nothing here */
	char *work_dir;  /* of the cache */
	char *id;        /* what metrics call it */
	bool prefetch;   /* the whole image */
	json_t *shown;   /* the document without secrets */
};
void nydusd_config_clear(struct nydusd_config *config); /* zeroed is fine; wipes the secrets */

/** @return 0; -EINVAL; -ENOTSUP a backend that shoal does not have */
MUST_CHECK int nydusd_config_parse(const char *text, size_t size_bytes,
                                   struct nydusd_config *ret_config, struct err *e);

/** "USER:PASSWORD" in base64. ret_...: malloc'd secrets. @return 0; -EINVAL */
MUST_CHECK int nydusd_auth_parse(const char *base64, char **ret_username, char **ret_password,
                                 struct err *e);
