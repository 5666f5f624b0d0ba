/*
 * v6: what the RAFS v6 files share: a checked inode, a checked directory block.
 */
#pragma once
#include "bootstrap.h"

#define V6_BLOCK_BYTES 4096

extern const struct image_ops v6_ops;

enum v6_data { V6_FLAT_PLAIN = 0, V6_FLAT_INLINE = 2, V6_CHUNK_BASED = 4 };

/* An inode whose every claim lies inside the bootstrap: what follows it, too. */
struct v6_inode {
	struct node_attr attr;
	uint64_t nid;
	uint64_t xattr_offset;
	uint32_t xattr_size_bytes; /* 0: none */
	uint32_t i_u;
	enum v6_data data;
	uint64_t tail_offset;  /* inline: of the last, partial block */
	uint64_t chunk_offset; /* regular files: of the chunk addresses */
};

uint64_t v6_node(const struct image *im, uint64_t nid);

/** @return 0; -EUCLEAN */
MUST_CHECK int v6_inode_load(const struct image *im, uint64_t nid, struct v6_inode *ret_inode,
                             struct err *e);
/** By node id. @return 0; -ENOENT; -EUCLEAN */
MUST_CHECK int v6_inode_get(const struct image *im, uint64_t node, struct v6_inode *ret_inode,
                            struct err *e);

/** Block idx of a directory's or symlink's data. @return its bytes, <= V6_BLOCK_BYTES of them */
const uint8_t *v6_flat_block(const struct image *im, const struct v6_inode *inode, uint64_t idx,
                             uint32_t *ret_size_bytes);

int v6_attr(const struct image *im, uint64_t node, struct node_attr *ret_attr, struct err *e);
int v6_lookup(const struct image *im, uint64_t dir, const struct name *name, uint64_t *ret_node,
              struct err *e);
int v6_readdir(const struct image *im, uint64_t dir, uint64_t cookie,
               struct image_dirent *ret_entry, struct err *e);
int v6_symlink(const struct image *im, uint64_t node, struct name *ret_target, struct err *e);
int v6_xattrs(const struct image *im, uint64_t node, struct xattr_cursor *ret_cursor,
              struct err *e);
int v6_xattr_next(struct xattr_cursor *c, struct xattr *ret_xattr, struct err *e);
int v6_map(const struct image *im, const struct map_query *q, struct err *e);

/** Read the blob table: v6_blobs.c. The chunk index must be there. */
MUST_CHECK int v6_blob_table_read(struct image *im, uint64_t offset, uint32_t n_blobs,
                                  struct err *e);
