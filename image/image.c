/*
 * image: the public face: open a bootstrap of either format, answer for its tree. What is the same
 * in both formats is done here, the rest by the format's table of operations.
 */
#include "image.h"
#include "blob_meta.h"
#include "bootstrap.h"
#include "mem.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#define STAT_BLOCK_BYTES 512
#define IO_BLOCK_BYTES   4096

bool name_is_sound(const struct name *name)
{
	return name->size_bytes > 0 && name->size_bytes <= IMAGE_NAME_MAX &&
	       memchr(name->s, '/', name->size_bytes) == NULL &&
	       memchr(name->s, '\0', name->size_bytes) == NULL;
}

bool name_is_dots(const struct name *name)
{
	return name->s[0] == '.' &&
	       (name->size_bytes == 1 || (name->size_bytes == 2 && name->s[1] == '.'));
}

int name_compare(const struct name *a, const struct name *b)
{
	const size_t common = a->size_bytes < b->size_bytes ? a->size_bytes : b->size_bytes;
	const int order = memcmp(a->s, b->s, common);

	if (order != 0)
		return order;
	return (a->size_bytes > b->size_bytes) - (a->size_bytes < b->size_bytes);
}

static int check_root(const struct image *im, struct err *e)
{
	struct node_attr root;
	int r = im->ops->attr(im, IMAGE_ROOT, &root, e);

	if (r == 0 && S_ISDIR(root.mode))
		return 0;
	if (r == 0)
		(void)err_set(e, EUCLEAN, "mode 0%o, no directory", root.mode);
	e->code = EUCLEAN; /* also where there is no such node */
	return err_wrap(e, "bootstrap: its root");
}

int image_open(const struct image_opts *opts, struct image **ret_image, struct err *e)
{
	AUTO(image_close) struct image *im = NULL;
	enum image_format format;
	int r = bootstrap_recognise(opts->data, opts->size_bytes, &format, e);

	if (r < 0)
		return r;
	im = xcalloc(1, sizeof(*im));
	im->data = opts->data;
	im->size_bytes = opts->size_bytes;
	im->mount_time_s = opts->mount_time_s;
	im->format = format;
	r = format == IMAGE_RAFS_V6 ? v6_open(im, e) : v5_open(im, e);
	if (r == 0)
		r = check_root(im, e);
	if (r < 0)
		return r;
	*ret_image = im;
	im = NULL;
	return 0;
}

void image_close(struct image **image)
{
	struct image *im = *image;

	*image = NULL;
	if (im == NULL)
		return;
	chunk_index_fini(&im->chunks);
	if (im->blobs != NULL) /* it holds keys */
		explicit_bzero(im->blobs, im->n_blobs * sizeof(*im->blobs));
	free(im->blobs);
	free(im);
}

void image_info(const struct image *image, struct image_info *ret_info)
{
	*ret_info = (struct image_info){
		.format = image->format,
		.n_inodes = image->n_inodes,
		.n_blobs = image->n_blobs,
		.chunk_size_bytes = image->chunk_size_bytes,
		.flags = image->flags,
	};
	for (uint32_t i = 0; i < image->n_blobs; i++)
		ret_info->plain_bytes += image->blobs[i].pub.plain_size_bytes;
}

void image_blob(const struct image *image, uint32_t blob_idx, struct image_blob *ret_blob)
{
	*ret_blob = image->blobs[blob_idx].pub;
}

void image_blob_cipher(const struct image *image, uint32_t blob_idx, struct blob_cipher *ret_cipher)
{
	*ret_cipher = image->blobs[blob_idx].cipher;
}

/* Linux's 32-bit device number: 8 bits of minor, 12 of major, 12 more of minor. */
static dev_t device_number(uint32_t rdev)
{
	return makedev(rdev >> 8 & 0xfff, (rdev & 0xff) | (rdev >> 12 & 0xfff00));
}

int image_getattr(const struct image *image, uint64_t node, struct stat *ret_st, struct err *e)
{
	struct node_attr a;
	int r = image->ops->attr(image, node, &a, e);

	if (r < 0)
		return r;
	*ret_st = (struct stat){
		.st_ino = a.node,
		.st_mode = a.mode,
		.st_nlink = a.nlink,
		.st_uid = (image->flags & SUPER_OWNERS) != 0 ? a.uid : 0,
		.st_gid = (image->flags & SUPER_OWNERS) != 0 ? a.gid : 0,
		.st_blksize = IO_BLOCK_BYTES,
		.st_mtim = { (time_t)a.mtime_s, (long)a.mtime_ns },
	};
	ret_st->st_atim = ret_st->st_ctim = ret_st->st_mtim;
	if (S_ISCHR(a.mode) || S_ISBLK(a.mode))
		ret_st->st_rdev = device_number(a.rdev);
	if (S_ISREG(a.mode) || S_ISDIR(a.mode) || S_ISLNK(a.mode)) {
		ret_st->st_size = (off_t)a.size_bytes;
		ret_st->st_blocks = (blkcnt_t)(a.size_bytes / STAT_BLOCK_BYTES +
		                               (a.size_bytes % STAT_BLOCK_BYTES != 0));
	}
	return 0;
}

int image_lookup(const struct image *image, uint64_t dir, const char *name, size_t name_size_bytes,
                 uint64_t *ret_node, struct err *e)
{
	const struct name n = { name, name_size_bytes };

	return image->ops->lookup(image, dir, &n, ret_node, e);
}

int image_readdir(const struct image *image, uint64_t dir, uint64_t cookie,
                  struct image_dirent *ret_entry, struct err *e)
{
	return image->ops->readdir(image, dir, cookie, ret_entry, e);
}

int image_readlink(const struct image *image, uint64_t node, char ret_target[IMAGE_SYMLINK_MAX + 1],
                   struct err *e)
{
	struct name target;
	int r = image->ops->symlink(image, node, &target, e);

	if (r < 0)
		return r;
	if (target.size_bytes == 0 || target.size_bytes > IMAGE_SYMLINK_MAX ||
	    memchr(target.s, '\0', target.size_bytes) != NULL)
		return err_set(e, EUCLEAN, "node %" PRIu64 ": a bad symlink of %zu bytes", node,
		               target.size_bytes);
	memcpy(ret_target, target.s, target.size_bytes);
	ret_target[target.size_bytes] = '\0';
	return 0;
}

/* NOLINTNEXTLINE(readability-function-size): one more than six, as pread() of a layered file */
int image_map(const struct image *image, uint64_t node, uint64_t offset, uint64_t size_bytes,
              struct image_segment *ret_segments, uint32_t max_segments, struct err *e)
{
	const struct map_query q = {
		.node = node,
		.offset = offset,
		.size_bytes = size_bytes,
		.segments = ret_segments,
		.max_segments = max_segments < INT32_MAX ? max_segments : INT32_MAX,
	};

	return image->ops->map(image, &q, e);
}

bool image_segment_fits(const struct image_segment *seg, const struct blob_layout *layout)
{
	const struct chunk_rec *c;

	if (seg->chunk_idx >= layout->n_chunks)
		return false;
	c = &layout->chunks[seg->chunk_idx];
	return c->plain_size_bytes > 0 && c->plain_offset == seg->chunk_plain_offset &&
	       range_fits(seg->chunk_offset, seg->size_bytes, c->plain_size_bytes);
}
