/*
 * v5: what the RAFS v5 files share: a checked inode.
 */
#pragma once
#include "bootstrap.h"

#define V5_SUPER_BYTES 8192

extern const struct image_ops v5_ops;

/* An inode whose every claim lies inside the bootstrap: name, target, attributes, chunk records. */
struct v5_inode {
	struct node_attr attr;
	uint64_t ino; /* = the node id */
	uint64_t parent;
	struct name name;
	struct name symlink;
	uint64_t xattr_offset;
	uint64_t xattr_size_bytes;
	uint32_t first_child; /* directories: entry of the inode table, from 1 */
	uint32_t n_children;  /* directories */
	uint32_t n_chunks;    /* regular files */
	uint64_t chunk_offset;
};

/**
 * Entry pos (from 1) of the inode table. Its ino may be another one: a hard link, an inode like
 * that other one but with a name of its own. @return 0; -EUCLEAN
 */
MUST_CHECK int v5_inode_load(const struct image *im, uint64_t pos, struct v5_inode *ret_inode,
                             struct err *e);
/** By node id. @return 0; -ENOENT; -EUCLEAN */
MUST_CHECK int v5_inode_get(const struct image *im, uint64_t node, struct v5_inode *ret_inode,
                            struct err *e);

int v5_attr(const struct image *im, uint64_t node, struct node_attr *ret_attr, struct err *e);
int v5_lookup(const struct image *im, uint64_t dir, const struct name *name, uint64_t *ret_node,
              struct err *e);
int v5_readdir(const struct image *im, uint64_t dir, uint64_t cookie,
               struct image_dirent *ret_entry, struct err *e);
int v5_symlink(const struct image *im, uint64_t node, struct name *ret_target, struct err *e);
int v5_xattrs(const struct image *im, uint64_t node, struct xattr_cursor *ret_cursor,
              struct err *e);
int v5_xattr_next(struct xattr_cursor *c, struct xattr *ret_xattr, struct err *e);
int v5_map(const struct image *im, const struct map_query *q, struct err *e);

/** Blob table and extended blob table: v5_blobs.c. */
MUST_CHECK int v5_blob_table_read(struct image *im, struct err *e);
/** What the extended table lacks, from the chunk index. */
MUST_CHECK int v5_blobs_complete(struct image *im, struct err *e);
