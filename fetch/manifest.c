/*
 * manifest: which layer of an image manifest is the bootstrap; and what else it may be.
 *
 * Knows media types and annotations of nydus images. Does not know registries, nor what is in the
 * layers. Which entry of an index is the right one: manifest_index.c.
 */
#include "manifest.h"
#include "boot_layer.h"
#include "hex.h"
#include "manifest_json.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define NYDUS_BLOB_TYPE       "application/vnd.oci.image.layer.nydus.blob.v1"
#define DOCKER_SCHEMA_1       "application/vnd.docker.distribution.manifest.v1+"
#define ANNOTATION_BOOTSTRAP  "containerd.io/snapshot/nydus-bootstrap"
#define ANNOTATION_BLOB       "containerd.io/snapshot/nydus-blob"
#define ANNOTATION_FS_VERSION "containerd.io/snapshot/nydus-fs-version"

const char *json_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

const char *json_annotation(const json_t *object, const char *name)
{
	return json_text(json_object_get(object, "annotations"), name);
}

int descriptor_parse(const json_t *descriptor, const char *what, uint64_t max_bytes,
                     struct manifest *ret_manifest, struct err *e)
{
	const char *digest = json_text(descriptor, "digest");
	const json_t *size = json_object_get(descriptor, "size");

	if (!json_is_integer(size) || json_integer_value(size) <= 0)
		return err_set(e, EUCLEAN, "the descriptor of the %s has no valid size", what);
	if ((uint64_t)json_integer_value(size) > max_bytes)
		return err_set(e, EMSGSIZE,
		               "the %s has %" JSON_INTEGER_FORMAT " bytes (at most %" PRIu64 ")",
		               what, json_integer_value(size), max_bytes);
	if (strncmp(digest, "sha512:", 7) == 0)
		return err_set(e, ENOTSUP,
		               "the %s is named by a SHA-512 (shoal reads sha256 alone)", what);
	if (strncmp(digest, "sha256:", 7) != 0 || !hex_is_sha256(digest + 7))
		return err_set(e, EUCLEAN, "the descriptor of the %s has no valid sha256 digest",
		               what);
	memcpy(ret_manifest->next_digest, digest + 7, DIGEST_TEXT_BYTES);
	ret_manifest->next_size_bytes = (uint64_t)json_integer_value(size);
	return 0;
}

static bool is_bootstrap(const json_t *layer)
{
	return strcmp(json_annotation(layer, ANNOTATION_BOOTSTRAP), "true") == 0;
}

static bool is_nydus_blob(const json_t *layer)
{
	return strcmp(json_text(layer, "mediaType"), NYDUS_BLOB_TYPE) == 0 ||
	       strcmp(json_annotation(layer, ANNOTATION_BLOB), "true") == 0;
}

/* The layer that says so; else the last one, where the others are nydus blobs. NULL: no nydus. */
static const json_t *find_bootstrap(const json_t *layers)
{
	const size_t n = json_array_size(layers);
	const json_t *last = n > 0 ? json_array_get(layers, n - 1) : NULL;
	bool has_blobs = false;

	for (size_t i = n; i > 0; i--) {
		const json_t *layer = json_array_get(layers, i - 1);

		if (is_bootstrap(layer))
			return layer;
		has_blobs = has_blobs || is_nydus_blob(layer);
	}
	return has_blobs && !is_nydus_blob(last) ? last : NULL;
}

static int no_nydus(const json_t *root, const json_t *layers, struct err *e)
{
	const char *type = json_text(json_array_get(layers, 0), "mediaType");
	const char *artifact = json_text(root, "artifactType");

	if (artifact[0] != '\0')
		return err_set(e, ENOTSUP, "it is an artifact of type %.100s, not a nydus image",
		               artifact);
	return err_set(e, ENOTSUP,
	               "it is an ordinary OCI image (%zu layers, the first %.100s), not a nydus "
	               "image (convert it first: nydusify convert --source IMAGE --target "
	               "IMAGE-nydus)",
	               json_array_size(layers), type[0] != '\0' ? type : "of no type");
}

static bool says_v3(const json_t *object)
{
	return strcmp(json_annotation(object, ANNOTATION_FS_VERSION), "7") == 0;
}

static int parse_image(const json_t *root, const json_t *layers, struct manifest *ret_manifest,
                       struct err *e)
{
	const json_t *boot = find_bootstrap(layers);

	if (boot == NULL)
		return no_nydus(root, layers, e);
	if (says_v3(boot) || says_v3(root))
		return err_set(e, ENOTSUP,
		               "it is a nydus v3 image (fs version 7); shoal reads RAFS v5 and v6 "
		               "(convert it with nydusify --fs-version 6)");
	if (strstr(json_text(boot, "mediaType"), "+encrypted") != NULL)
		return err_set(e, ENOTSUP,
		               "its bootstrap layer is encrypted (ocicrypt), which shoal does not "
		               "read");
	ret_manifest->kind = MANIFEST_IMAGE;
	return descriptor_parse(boot, "bootstrap layer", BOOT_LAYER_PACKED_MAX_BYTES, ret_manifest,
	                        e);
}

static int parse_root(const json_t *root, const struct platform *platform,
                      struct manifest *ret_manifest, struct err *e)
{
	const json_t *layers = json_object_get(root, "layers");
	const json_t *entries = json_object_get(root, "manifests");

	if (strncmp(json_text(root, "mediaType"), DOCKER_SCHEMA_1, strlen(DOCKER_SCHEMA_1)) == 0 ||
	    json_integer_value(json_object_get(root, "schemaVersion")) == 1)
		return err_set(e, ENOTSUP,
		               "it is a Docker schema 1 manifest, which no nydus image has (push "
		               "the image again with a current tool)");
	/* Both: two readers could take it for different things (image-spec, manifest.md). */
	if (json_is_array(layers) == json_is_array(entries))
		return err_set(e, EUCLEAN,
		               "neither an image manifest nor an index (\"layers\" or "
		               "\"manifests\", not both)");
	if (json_is_array(entries)) {
		ret_manifest->kind = MANIFEST_INDEX;
		return manifest_index_choose(entries, platform, ret_manifest, e);
	}
	return parse_image(root, layers, ret_manifest, e);
}

int manifest_parse(const void *json, uint64_t size_bytes, const struct platform *platform,
                   struct manifest *ret_manifest, struct err *e)
{
	struct manifest manifest = { .kind = MANIFEST_IMAGE };
	json_error_t where;
	json_t *root = NULL;
	int r;

	if (size_bytes > MANIFEST_MAX_BYTES)
		return err_set(e, EMSGSIZE, "a manifest of %" PRIu64 " bytes (at most %u)",
		               size_bytes, MANIFEST_MAX_BYTES);
	root = json_loadb(json, size_bytes, JSON_REJECT_DUPLICATES, &where);
	if (root == NULL)
		return err_set(e, EUCLEAN, "not a manifest: line %d: %.150s", where.line,
		               where.text);
	r = parse_root(root, platform, &manifest, e);
	json_decref(root);
	if (r == 0)
		*ret_manifest = manifest;
	return r;
}
