/*
 * blob_files: see blob_files.h.
 *
 * A range is looked up by halving: layouts are ordered by place. Where a layout has holes in its
 * index (an image on a chunk dictionary describes some chunks of a blob), a list of the chunks that
 * are described is made first.
 */
#include "blob_files.h"
#include "bitmap.h"
#include "bytes.h"
#include "fuse_member.h"
#include "mem.h"
#include "tree.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT_NODE       FUSE_ROOT_ID
#define FIRST_FILE_NODE 2
#define KEEP_S          1e9
#define BACKGROUND_MAX  64

struct blob_file {
	struct fetch_blob *blob; /* borrowed from the image */
	const struct blob_layout
		*layout;            /* as it was at the mount: it has all that the image names */
	const struct bitmap *named; /* what of it the image names, borrowed; NULL: all */
	uint64_t size_bytes;
	uint32_t n_chunks; /* that are named */
	uint32_t *chunks;  /* their indices, in order; NULL: all of them are */
};

struct blob_files {
	uint32_t n_files;
	struct blob_file files[];
};

static uint32_t chunk_at(const struct blob_file *f, uint32_t i)
{
	return f->chunks != NULL ? f->chunks[i] : i;
}

/* Others' chunks are zeros like padding: whoever mounts this image may not have theirs. */
static bool is_named(const struct blob_file *f, uint32_t i)
{
	return f->layout->chunks[i].plain_size_bytes > 0 &&
	       (f->named == NULL || bitmap_get(f->named, i));
}

static uint32_t n_named(const struct blob_file *f)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->layout->n_chunks; i++)
		n += is_named(f, i);
	return n;
}

static int list_chunks(struct blob_file *f, struct err *e)
{
	const struct blob_layout *l = f->layout;
	uint32_t n = 0;

	f->n_chunks = n_named(f);
	if (f->n_chunks != l->n_chunks) {
		f->chunks = calloc((size_t)f->n_chunks + 1, sizeof(f->chunks[0]));
		if (f->chunks == NULL)
			return err_set(e, ENOMEM, "no memory for a list of %" PRIu32 " chunks",
			               f->n_chunks);
	}
	for (uint32_t i = 0; i < l->n_chunks; i++) {
		if (!is_named(f, i))
			continue;
		if (l->chunks[i].plain_offset % BLOB_FILE_BLOCK_BYTES != 0)
			return err_set(e, ENOTSUP,
			               "the chunks of blob %s do not stand at whole blocks",
			               l->blob_id);
		if (f->chunks != NULL)
			f->chunks[n++] = i;
	}
	return 0;
}

static int file_init(struct blob_file *f, const struct lazy_image *image, uint32_t i, struct err *e)
{
	const uint64_t block = BLOB_FILE_BLOCK_BYTES;

	f->blob = image->blobs[i];
	f->named = image->named[i];
	f->layout = cas_blob_layout(fetch_blob_cas(f->blob));
	assert(f->named == NULL || f->named->n_bits == f->layout->n_chunks);
	f->size_bytes = (f->layout->plain_size_bytes + block - 1) / block * block;
	return list_chunks(f, e);
}

int blob_files_new(const struct lazy_image *image, struct blob_files **ret_files, struct err *e)
{
	AUTO(blob_files_free)
	struct blob_files *files =
		xcalloc(1, sizeof(*files) + image->n_blobs * sizeof(files->files[0]));

	files->n_files = image->n_blobs; /* <= IMAGE_BLOBS_MAX */
	for (uint32_t i = 0; i < files->n_files; i++) {
		const int r = file_init(&files->files[i], image, i, e);

		if (r < 0)
			return r;
	}
	*ret_files = files;
	files = NULL;
	return 0;
}

void blob_files_free(struct blob_files **files)
{
	struct blob_files *gone = *files;

	*files = NULL;
	if (gone == NULL)
		return;
	for (uint32_t i = 0; i < gone->n_files; i++)
		free(gone->files[i].chunks);
	free(gone);
}

void blob_file_name(uint32_t blob_idx, char ret_name[BLOB_FILE_NAME_BYTES])
{
	(void)snprintf(ret_name, BLOB_FILE_NAME_BYTES, "%" PRIu32, blob_idx);
}

static const struct blob_file *file_of(const struct blob_files *files, uint64_t node)
{
	if (node < FIRST_FILE_NODE || node - FIRST_FILE_NODE >= files->n_files)
		return NULL;
	return &files->files[node - FIRST_FILE_NODE];
}

/* The first named chunk that ends behind offset: its place in the list; n_chunks: none. */
static uint32_t first_behind(const struct blob_file *f, uint64_t offset)
{
	uint32_t low = 0;
	uint32_t high = f->n_chunks;

	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;
		const struct chunk_rec *c = &f->layout->chunks[chunk_at(f, middle)];

		if (c->plain_offset + c->plain_size_bytes > offset)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

int blob_files_piece(const struct blob_files *files, uint64_t node, uint64_t offset,
                     uint32_t max_bytes, struct fetch_piece *ret_piece)
{
	const struct blob_file *f = file_of(files, node);
	const struct chunk_rec *c = NULL;
	uint64_t left_bytes;
	uint32_t i;

	if (f == NULL)
		return -ENOENT;
	if (offset >= f->size_bytes)
		return 1;
	left_bytes = min_u64(max_bytes, f->size_bytes - offset);
	i = first_behind(f, offset);
	if (i < f->n_chunks)
		c = &f->layout->chunks[chunk_at(f, i)];
	*ret_piece = (struct fetch_piece){ .size_bytes = (uint32_t)left_bytes };
	if (c == NULL)
		return 0;
	if (c->plain_offset > offset) { /* padding before it */
		ret_piece->size_bytes = (uint32_t)min_u64(left_bytes, c->plain_offset - offset);
		return 0;
	}
	ret_piece->blob = f->blob;
	ret_piece->chunk_idx = chunk_at(f, i);
	ret_piece->chunk_offset = (uint32_t)(offset - c->plain_offset);
	ret_piece->size_bytes =
		(uint32_t)min_u64(left_bytes, c->plain_size_bytes - ret_piece->chunk_offset);
	return 0;
}

/* ---- what the kernel asks ---- */

static const struct blob_files *files_of(fuse_req_t req)
{
	return ((const struct tree *)fuse_req_userdata(req))->files;
}

static void fill_stat(uint64_t node, const struct blob_file *f, struct stat *ret_st)
{
	*ret_st = (struct stat){ .st_ino = node,
		                 .st_mode = f != NULL ? S_IFREG | 0400 : S_IFDIR | 0500,
		                 .st_nlink = f != NULL ? 1 : 2,
		                 .st_size = f != NULL ? (off_t)f->size_bytes : 0,
		                 .st_blksize = BLOB_FILE_BLOCK_BYTES };
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->want = conn->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_EXPLICIT_INVAL_DATA |
	                              FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_NO_OPENDIR_SUPPORT);
	conn->max_write = FUSE_READ_MAX_BYTES; /* see tree.c */
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX;
}

static void op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	const struct blob_files *files = files_of(req);
	struct fuse_entry_param entry = { .entry_timeout = KEEP_S, .attr_timeout = KEEP_S };

	for (uint32_t i = 0; dir == ROOT_NODE && i < files->n_files; i++) {
		char known[BLOB_FILE_NAME_BYTES];

		blob_file_name(i, known);
		if (strcmp(known, name) != 0)
			continue;
		entry.ino = i + FIRST_FILE_NODE;
		fill_stat(entry.ino, &files->files[i], &entry.attr);
		(void)fuse_reply_entry(req, &entry);
		return;
	}
	(void)fuse_reply_err(req, ENOENT);
}

static void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	const struct blob_file *f = file_of(files_of(req), node);
	struct stat st;

	(void)fi;
	if (f == NULL && node != ROOT_NODE) {
		(void)fuse_reply_err(req, ENOENT);
		return;
	}
	fill_stat(node, f, &st);
	(void)fuse_reply_attr(req, &st, KEEP_S);
}

/* ENOSYS: the kernel opens by itself, and there are no handles that could get lost. */
static void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	(void)fi;
	(void)fuse_reply_err(req, ENOSYS);
}

const struct fuse_lowlevel_ops blob_files_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.open = op_open,
	.read = tree_op_read,
};
