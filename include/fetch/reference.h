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

/** "registry:HOST/REPOSITORY", where the image's blobs are (origin.h). @return malloc'd */
char *reference_origin(const struct reference *ref);
