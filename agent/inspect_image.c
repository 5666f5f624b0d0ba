/*
 * inspect_image: a bootstrap's superblock and blob table for people.
 *
 * Knows image.h. Knows nothing of where the bootstrap came from, nor whether an agent runs.
 */
#include "inspect_image.h"
#include "image.h"
#include "json_util.h"

/* RAFS blob features. Source: nydus, storage/src/device.rs. */
static const struct {
	uint32_t bit;
	const char *name;
} features[] = {
	{ 0x1, "aligned" },
	{ 0x2, "inlined-fs-meta" },
	{ 0x4, "chunk-info-v2" },
	{ 0x8, "zran" },
	{ 0x10, "separate" },
	{ 0x20, "inlined-chunk-digest" },
	{ 0x40, "tarfs" },
	{ 0x80, "batch" },
	{ 0x100, "encrypted" },
	{ 0x200, "chunk-dict-generated" },
	{ 0x400, "separated-with-prefetch-files" },
	{ 0x800, "external" },
	{ 0x10000000, "tar-header" },
	{ 0x20000000, "toc" },
	{ 0x40000000, "cap-tar-toc" },
};

static json_t *feature_names(uint32_t bits)
{
	json_t *names = json_array();

	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		if (bits & features[i].bit)
			(void)json_array_append_new(names, json_string(features[i].name));
	}
	return names;
}

static json_t *blob_json(const struct image *image, uint32_t blob_idx)
{
	struct image_blob blob;

	image_blob(image, blob_idx, &blob);
	return json_pack("{s:o, s:s, s:s, s:I, s:I, s:I, s:b, s:b, s:o}", "blob_id",
	                 json_words(blob.blob_id), "compressor", compressor_name(blob.compressor),
	                 "digest_alg", digest_alg_name(blob.digest_alg), "n_chunks",
	                 (json_int_t)blob.n_chunks, "packed_size_bytes",
	                 (json_int_t)blob.packed_size_bytes, "plain_size_bytes",
	                 (json_int_t)blob.plain_size_bytes, "needs_meta", blob.needs_meta,
	                 "needs_digests", blob.needs_digests, "features",
	                 feature_names(blob.features));
}

int inspect_image(const uint8_t *data, uint64_t size_bytes, json_t **ret_document, struct err *e)
{
	AUTO(image_close) struct image *image = NULL;
	const struct image_opts opts = { .data = data, .size_bytes = size_bytes };
	json_t *blobs = json_array();
	struct image_info info;
	uint64_t n_chunks = 0;
	const int r = image_open(&opts, &image, e);

	if (r < 0) {
		json_drop(&blobs);
		return err_hint(e, IMAGE_HINT);
	}
	image_info(image, &info);
	for (uint32_t i = 0; i < info.n_blobs; i++) {
		json_t *blob = blob_json(image, i);

		n_chunks += json_u64(blob, "n_chunks");
		(void)json_array_append_new(blobs, blob);
	}
	*ret_document =
		json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "format",
	                  info.format == IMAGE_RAFS_V6 ? "RAFS v6" : "RAFS v5", "n_inodes",
	                  (json_int_t)info.n_inodes, "n_chunks", (json_int_t)n_chunks,
	                  "chunk_size_bytes", (json_int_t)info.chunk_size_bytes, "plain_bytes",
	                  (json_int_t)info.plain_bytes, "bootstrap_bytes", (json_int_t)size_bytes,
	                  "n_blobs", (json_int_t)info.n_blobs, "blobs", blobs);
	return 0;
}
