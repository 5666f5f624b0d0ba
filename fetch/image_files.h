/*
 * image_files: the names of the files in images/<digest>/. docs/on-disk.md fixes them.
 */
#pragma once
#include "layout.h"
#include <stdio.h>

#define IMAGE_FILE_MANIFEST   "manifest.json"
#define IMAGE_FILE_BOOTSTRAP  "image.boot"
#define IMAGE_FILE_SOURCE     "source.json"
#define IMAGE_FILE_INDEX      "index.json" /* that led to the manifest, if one did */
#define IMAGE_FILE_LAYER      "layer" /* with the bootstrap, as the registry has it: for others */
#define IMAGE_FILE_READS      "first-reads" /* first_reads.h */
#define IMAGE_FILE_NAME_BYTES (BLOB_ID_MAX + 16)

/* The blob's chunk index in local form (blob_meta.h); blob_id: of the object that carries it. */
static inline void image_file_meta(const char *blob_id, char ret_name[IMAGE_FILE_NAME_BYTES])
{
	(void)snprintf(ret_name, IMAGE_FILE_NAME_BYTES, "%s.blob.meta", blob_id);
}

/* The blob's chunk digests, 32 bytes a chunk, as its TOC vouches for them. */
static inline void image_file_digests(const char *blob_id, char ret_name[IMAGE_FILE_NAME_BYTES])
{
	(void)snprintf(ret_name, IMAGE_FILE_NAME_BYTES, "%s.blob.digest", blob_id);
}

/* The blob's last parts, as they stand at its origin (blob_tail.h): for others. */
static inline void image_file_tail(const char *blob_id, char ret_name[IMAGE_FILE_NAME_BYTES])
{
	(void)snprintf(ret_name, IMAGE_FILE_NAME_BYTES, "%s.blob.tail", blob_id);
}
