/*
 * manifest: an OCI or Docker manifest or index, from JSON to the one thing that comes next: the
 * manifest of this platform, or the layer that holds the bootstrap.
 *
 * Bytes in, checked words out: no network; the caller holds the bytes against their digest. All
 * input is hostile. Pure functions; any thread.
 * Source: OCI image-spec 1.1 (manifest.md, image-index.md, descriptor.md); Docker Image Manifest
 * V2, Schema 2; docs/rafs.md, "In a registry".
 */
#pragma once
#include "auto.h"
#include "digest.h"
#include "err.h"
#include <stdint.h>

#define MANIFEST_MAX_BYTES (4U << 20)

/* What an index is searched for. */
struct platform {
	const char *os;
	const char *arch;    /* as Go has it: "amd64", "arm64", "arm" ... */
	const char *variant; /* the best that this machine can do: "v8"; "" if there are none */
};

/** That of the machine that this was compiled for. */
struct platform platform_here(void);

enum manifest_kind {
	MANIFEST_IMAGE, /* of a nydus image; next is the bootstrap layer */
	MANIFEST_INDEX, /* next is the manifest that suits this platform best */
};

struct manifest {
	enum manifest_kind kind;
	char next_digest[DIGEST_TEXT_BYTES]; /* hex of the SHA-256 */
	uint64_t next_size_bytes; /* <= BOOT_LAYER_PACKED_MAX_BYTES or MANIFEST_MAX_BYTES */
};

/**
 * @param json  size_bytes bytes, no NUL needed
 * @return 0; -EUCLEAN not a manifest, or a broken one; -EMSGSIZE a size beyond its limit;
 *         -ENOTSUP something that shoal does not read, *e says what and what to do
 */
MUST_CHECK int manifest_parse(const void *json, uint64_t size_bytes,
                              const struct platform *platform, struct manifest *ret_manifest,
                              struct err *e);
