/*
 * mount_record: what is remembered of one listed mount, as JSON in the API and on disk.
 *
 * Pure functions on texts; no I/O. All input is hostile.
 */
#pragma once
#include "digest.h"
#include "err.h"
#include "json_util.h"
#include <stdbool.h>

/* As long may whoever wants a mount let its registry take: load_timeout_ms below. */
#define MOUNT_TIMEOUT_MAX_S 600

struct mount_record {
	char *dir;       /* absolute, no "." or ".." or empty part in it */
	char *reference; /* at a registry; or NULL and the two below */
	char *bootstrap; /* absolute path */
	char *blobs;     /* origin.h */
	char *auth_file; /* path of a docker config.json, never its content; or NULL */
	bool prefetch;
	bool transient; /* it goes from the list when it is unmounted from outside, or its directory
	                   is gone */
	bool given;     /* its credentials come through the API and are not stored */
	bool skip_verify;    /* TLS without a look at the registry's certificate */
	bool proxy_fallback; /* the registry is asked directly where its proxy does not work */
	char *how;           /* "auto", "tree", "erofs"; NULL: as the configuration says */
	char *links_dir;     /* where its blobs' files are to be seen, too; absolute; or NULL */
	/* For a registry that the configuration has no entry for; NULL: as configured. */
	char *scheme;                   /* "http", "https"; "any": mount_auth.c */
	char *ca_file;                  /* absolute paths, one a line */
	char *proxy;                    /* URL without user info: that comes with credentials */
	uint32_t load_timeout_ms;       /* for whoever waits for it; 0: as every load. Not stored */
	char digest[DIGEST_TEXT_BYTES]; /* of the image, once it is known; else "" */
};

void mount_record_clear(struct mount_record *rec); /* frees the texts; zeroed is fine */
void mount_record_copy(struct mount_record *ret_copy, const struct mount_record *rec);

/** What people call the image: the reference, or the bootstrap's path. Borrowed. */
const char *mount_record_image(const struct mount_record *rec);

/** A new object. */
json_t *mount_record_json(const struct mount_record *rec);

/**
 * From an object with the members of docs/api.md, "A mount"; with stored also digest. Everything is
 * checked: paths, reference, origin. @return 0; -EINVAL
 */
MUST_CHECK int mount_record_parse(const json_t *object, bool stored, struct mount_record *ret_rec,
                                  struct err *e);

/** Is this an absolute path without "", "." and ".." parts, not "/" itself? */
bool path_is_plain(const char *path);
