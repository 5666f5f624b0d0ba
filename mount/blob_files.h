/*
 * blob_files: the blobs of an image as plain files, for the kernel's EROFS to read (private to
 * mount).
 *
 * One flat directory: file i, named by its decimal index, is the uncompressed address space of the
 * image's blob i, rounded up to whole blocks; what no chunk covers reads as zeros. Requests are
 * answered as those of a tree are (tree_read.c); here is only what differs: names, sizes, and which
 * chunks make up a range.
 */
#pragma once
#include "err.h"
#include "fetch.h"
#include "lazy_image.h"
#include <stdint.h>

struct blob_files;
struct fuse_lowlevel_ops;

#define BLOB_FILE_BLOCK_BYTES 4096
#define BLOB_FILE_NAME_BYTES  12

/**
 * @param image  borrowed, outlives the files
 * @return 0; -ENOTSUP its chunks do not stand at whole blocks; -ENOMEM
 */
MUST_CHECK int blob_files_new(const struct lazy_image *image, struct blob_files **ret_files,
                              struct err *e);
void blob_files_free(struct blob_files **files); /* NULL is fine */

/** The name of file blob_idx. */
void blob_file_name(uint32_t blob_idx, char ret_name[BLOB_FILE_NAME_BYTES]);

/**
 * The piece of a file that begins at offset: of one chunk, or zeros (blob NULL). dst is not set.
 *
 * @param node  as the kernel names it; hostile
 * @return 0; 1: the file ends there; -ENOENT no such file
 */
int blob_files_piece(const struct blob_files *files, uint64_t node, uint64_t offset,
                     uint32_t max_bytes, struct fetch_piece *ret_piece);

/* For fuse_session_new(); userdata is the struct tree. */
extern const struct fuse_lowlevel_ops blob_files_ops;
