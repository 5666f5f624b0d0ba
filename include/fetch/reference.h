/*
 * reference: the name of an image at a registry, taken apart. Pure functions; any thread.
 * Source: OCI distribution-spec 1.1 (repository and tag grammar), docker's reference grammar.
 */
#pragma once
#include "auto.h"
#include "digest.h"
#include "err.h"

struct reference {
	char host[256]; /* HOST[:PORT] */
	char repository[256];
	char tag[129];                  /* "" when by digest alone */
	char digest[DIGEST_TEXT_BYTES]; /* hex of the SHA-256; "" when by tag */
};

/** @return 0; -EINVAL with what is wrong and what would be right */
MUST_CHECK int reference_parse(const char *text, struct reference *ret_ref, struct err *e);

/** HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:HEX. @return malloc'd */
char *reference_text(const struct reference *ref);

#define REGISTRY_ORIGIN "registry:" /* what the origins that are registries begin with */

/** HOST/REPOSITORY of such an origin. @return borrows it; NULL: it is no registry's */
const char *registry_of_origin(const char *origin);

/** "registry:HOST/REPOSITORY", where the image's blobs are (origin.h). @return malloc'd */
char *reference_origin(const struct reference *ref);

/** The other way: what is of that digest there. @return false: it is no registry's origin */
bool reference_of_origin(const char *origin, const char *digest, struct reference *ret_ref);
