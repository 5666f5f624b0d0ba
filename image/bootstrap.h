/*
 * bootstrap: what the parts of the image module share: the open bootstrap, and what RAFS v5 and v6
 * have in common.
 *
 * Two formats, one table of operations each (v5_ops, v6_ops); everything above works on the words
 * defined here.
 */
#pragma once
#include "bytes.h"
#include "chunk_index.h"
#include "image.h"

/* RAFS superblock flags. Source: nydus, rafs/src/metadata/mod.rs. */
#define SUPER_COMPRESSOR_NONE UINT64_C(0x1)
#define SUPER_COMPRESSOR_LZ4  UINT64_C(0x2)
#define SUPER_COMPRESSOR_GZIP UINT64_C(0x40)
#define SUPER_COMPRESSOR_ZSTD UINT64_C(0x80)
#define SUPER_DIGEST_BLAKE3   UINT64_C(0x4)
#define SUPER_DIGEST_SHA256   UINT64_C(0x8)
#define SUPER_OWNERS          UINT64_C(0x10)
#define SUPER_XATTRS          UINT64_C(0x20)
#define SUPER_TARFS           UINT64_C(0x200)
#define SUPER_KNOWN           UINT64_C(0xff0003ff)

/* RAFS blob features. Source: nydus, storage/src/device.rs. */
enum blob_features {
	BLOB_ALIGNED = 0x1,
	BLOB_INLINED_FS_META = 0x2,
	BLOB_CI_V2 = 0x4,
	BLOB_ZRAN = 0x8,
	BLOB_SEPARATE = 0x10,
	BLOB_INLINED_DIGESTS = 0x20,
	BLOB_TARFS = 0x40,
	BLOB_BATCH = 0x80,
	BLOB_ENCRYPTED = 0x100,
	BLOB_CHUNK_DICT = 0x200,
	BLOB_EXTERNAL = 0x800,
	BLOB_HAS_TAR_HEADER = 0x10000000,
	BLOB_CAP_TAR_TOC = 0x40000000,
};
#define BLOB_INCOMPATIBLE_BITS  0x0000ffffU
#define BLOB_INCOMPATIBLE_KNOWN 0x00000fffU

#define TAR_HEADER_BYTES 512

struct blob_entry {
	struct image_blob pub;
	struct blob_cipher cipher;
	uint64_t packed_data_end; /* where chunk data ends in the object; 0: not known */
};

/* An inode's attributes, in the words of neither format. */
struct node_attr {
	uint64_t node;
	uint64_t size_bytes;
	uint64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
	uint32_t nlink;
	uint32_t rdev; /* as Linux encodes a device number in 32 bits */
};

struct name {
	const char *s; /* no NUL at the end */
	size_t size_bytes;
};

/* Extended attributes still to be read: a range of the bootstrap. */
struct xattr_cursor {
	const uint8_t *p;
	const uint8_t *end;
};

struct xattr {
	const char *prefix; /* "" where name is the full name */
	struct name name;
	const uint8_t *value;
	uint32_t value_size_bytes;
};

/* A piece of a file that somebody wants, and where to put the answer. */
struct map_query {
	uint64_t node;
	uint64_t offset;
	uint64_t size_bytes;
	struct image_segment *segments;
	uint32_t max_segments;
};

struct image_ops {
	int (*attr)(const struct image *im, uint64_t node, struct node_attr *ret_attr,
	            struct err *e);
	int (*lookup)(const struct image *im, uint64_t dir, const struct name *name,
	              uint64_t *ret_node, struct err *e);
	int (*readdir)(const struct image *im, uint64_t dir, uint64_t cookie,
	               struct image_dirent *ret_entry, struct err *e);
	int (*symlink)(const struct image *im, uint64_t node, struct name *ret_target,
	               struct err *e);
	int (*xattrs)(const struct image *im, uint64_t node, struct xattr_cursor *ret_cursor,
	              struct err *e);
	int (*xattr_next)(struct xattr_cursor *c, struct xattr *ret_xattr, struct err *e);
	int (*map)(const struct image *im, const struct map_query *q, struct err *e);
};

struct v6_super {
	uint64_t meta_offset; /* where nid 0 stands */
	uint64_t root_nid;
};

struct v5_super {
	uint64_t inode_table_offset;
	uint32_t n_entries; /* of the inode table */
	bool names_sorted;  /* neighbouring siblings are in byte order, all over the table */
};

struct image {
	const struct image_ops *ops;
	const uint8_t *data;
	uint64_t size_bytes;
	uint64_t mount_time_s;
	enum image_format format;
	uint64_t flags;
	uint64_t n_inodes;
	uint32_t chunk_size_bytes;
	uint32_t n_blobs;
	struct blob_entry *blobs;
	bool has_chunk_table;
	struct chunk_index chunks;
	union {
		struct v5_super v5;
		struct v6_super v6;
	};
};

/* Which format is this? recognise.c. @return 0; -ENOTSUP, named in *e; -EUCLEAN too short */
MUST_CHECK int bootstrap_recognise(const uint8_t *data, uint64_t size_bytes,
                                   enum image_format *ret_format, struct err *e);

/* Read superblock and tables into a zeroed image that has data, size and time. */
MUST_CHECK int v5_open(struct image *im, struct err *e);
MUST_CHECK int v6_open(struct image *im, struct err *e);

/* Is this a name that a directory may hold: 1..255 bytes, no '/' and no NUL? */
bool name_is_sound(const struct name *name);
/* Is a sound name "." or ".."? */
bool name_is_dots(const struct name *name);
/* Byte order, as the builder sorts. */
int name_compare(const struct name *a, const struct name *b);

/* Chunk size and superblock flags, the same rules in both formats. */
MUST_CHECK int super_check(const struct image *im, struct err *e);
enum compressor super_compressor(uint64_t flags);
enum digest_alg super_digest_alg(uint64_t flags);

/* Is the blob one that shoal can read, its id one that can name a file, its sizes in bounds? */
MUST_CHECK int blob_entry_check(const struct image *im, uint32_t blob_idx, struct err *e);
/* What must be had before the layout is known, once features, sizes and chunk index are. */
void blob_entry_needs(const struct image *im, struct blob_entry *b);

/* Copy an id of at most BLOB_ID_MAX bytes. @return false: it cannot name a file or an object */
bool blob_id_set(char ret_id[BLOB_ID_MAX + 1], const uint8_t *text, size_t size_bytes);
