/*
 * tree: lookups, attributes, directories, links and xattrs of an image, as FUSE asks for them.
 *
 * Nothing here has state: node ids are the image's, directories are read by cookie (OPEN and
 * OPENDIR are answered ENOSYS, so there are no handles), and FORGET means nothing. What the kernel
 * learns it may keep for ever, names that do not exist included: the content cannot change.
 */
#include "tree.h"
#include "blob_files.h"
#include "fuse_member.h"
#include "tree_ahead.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/statvfs.h>

#define KEEP_S             1e9  /* how long the kernel may keep what it was told: 30 years */
#define BACKGROUND_MAX     64   /* readahead requests that the kernel may have under way */
#define RAFS_HAS_XATTRS    0x20 /* superblock flag: docs/rafs.md, "RAFS v6" */
#define STATFS_BLOCK_BYTES 4096

void tree_init(struct tree *tree, const struct tree_opts *opts)
{
	struct image_info info;

	image_info(opts->image->image, &info);
	*tree = (struct tree){ .image = opts->image,
		               .fetch = opts->fetch,
		               .fuse_pool = opts->fuse_pool,
		               .blocks = fuse_pool_blocks(opts->fuse_pool),
		               .ahead = tree_ahead_new(),
		               .clock = opts->clock,
		               .log = opts->log,
		               .metrics = opts->metrics,
		               .drained = opts->drained,
		               .has_xattrs = (info.flags & RAFS_HAS_XATTRS) != 0 };
	pthread_mutex_init(&tree->lock, NULL);
	for (uint32_t i = 0; i < N_FOUND; i++) {
		const char *const labels[] = { fetch_found_names[i], opts->image->name };

		tree->read_bytes[i] = metrics_hold(opts->metrics, METRIC_READ_BYTES, labels);
		tree->read_seconds[i] = metrics_series(opts->metrics, METRIC_READ_SECONDS, labels);
	}
}

void tree_fini(struct tree *tree)
{
	if (tree->image != NULL)
		pthread_mutex_destroy(&tree->lock);
	for (uint32_t i = 0; i < N_FOUND; i++)
		metrics_release(tree->metrics, &tree->read_bytes[i]);
	tree_ahead_free(&tree->ahead);
	blob_files_free(&tree->files);
	tree->image = NULL;
}

void tree_bad_node(struct tree *tree, uint64_t node, const struct err *why)
{
	bool told = false;

	pthread_mutex_lock(&tree->lock);
	for (uint32_t i = 0; i < tree->n_bad_nodes && !told; i++)
		told = tree->bad_nodes[i] == node;
	if (!told && tree->n_bad_nodes < BAD_NODES_MAX)
		tree->bad_nodes[tree->n_bad_nodes++] = node;
	else
		told = true; /* an image that is broken everywhere must not fill the log */
	pthread_mutex_unlock(&tree->lock);
	if (!told)
		log_error(tree->log, "image is corrupt here", "image=%s node=%" PRIu64 " why=%s",
		          LOG_Q(tree->image->name), node, LOG_Q(why->msg));
}

static struct tree *tree_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static const struct image *image_of(fuse_req_t req)
{
	return tree_of(req)->image->image;
}

/* Answer an image's -errno. What is corrupt is EIO to the reader, and told to the log. */
static void reply_failure(fuse_req_t req, uint64_t node, int r, const struct err *why)
{
	if (r == -EUCLEAN) {
		tree_bad_node(tree_of(req), node, why);
		r = -EIO;
	}
	(void)fuse_reply_err(req, -r);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct tree *tree = userdata;
	const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS |
	                        FUSE_CAP_READDIRPLUS | FUSE_CAP_CACHE_SYMLINKS |
	                        FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_NO_OPEN_SUPPORT |
	                        FUSE_CAP_NO_OPENDIR_SUPPORT;

	conn->want = conn->capable & wanted;
	/* libfuse derives max_pages, and with it the largest read, from the largest write. */
	conn->max_write = FUSE_READ_MAX_BYTES;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX;
	tree->open_needed = !(conn->capable & FUSE_CAP_NO_OPEN_SUPPORT);
	tree->opendir_needed = !(conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT);
}

/* ENOSYS: the kernel never asks again, opens files by itself and keeps their pages. */
static void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	if (!tree_of(req)->open_needed) {
		(void)fuse_reply_err(req, ENOSYS);
		return;
	}
	fi->keep_cache = 1;
	(void)fuse_reply_open(req, fi);
}

static void op_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	if (!tree_of(req)->opendir_needed) {
		(void)fuse_reply_err(req, ENOSYS);
		return;
	}
	fi->keep_cache = 1;
	fi->cache_readdir = 1;
	(void)fuse_reply_open(req, fi);
}

static void op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct fuse_entry_param entry = { .entry_timeout = KEEP_S, .attr_timeout = KEEP_S };
	struct err e = { 0 };
	uint64_t node = 0;
	int r;

	if (strlen(name) > IMAGE_NAME_MAX) { /* the kernel lets 1,024 bytes pass */
		(void)fuse_reply_err(req, ENAMETOOLONG);
		return;
	}
	r = image_lookup(image_of(req), dir, name, strlen(name), &node, &e);
	if (r == 0)
		r = image_getattr(image_of(req), node, &entry.attr, &e);
	else if (r == -ENOENT)
		r = 0; /* ino 0: the kernel remembers that there is no such name */
	entry.ino = node;
	if (r < 0)
		reply_failure(req, node != 0 ? node : dir, r, &e);
	else
		(void)fuse_reply_entry(req, &entry);
}

static void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct stat st;
	struct err e = { 0 };
	const int r = image_getattr(image_of(req), node, &st, &e);

	(void)fi;
	if (r < 0)
		reply_failure(req, node, r, &e);
	else
		(void)fuse_reply_attr(req, &st, KEEP_S);
}

static void op_readlink(fuse_req_t req, fuse_ino_t node)
{
	char target[IMAGE_SYMLINK_MAX + 1];
	struct err e = { 0 };
	const int r = image_readlink(image_of(req), node, target, &e);

	if (r < 0)
		reply_failure(req, node, r, &e);
	else
		(void)fuse_reply_readlink(req, target);
}

/* Add one entry of dir to buf. @return bytes that it takes: more than room_bytes, and it does not
 * fit */
typedef size_t add_fn(fuse_req_t req, uint64_t dir, const struct image_dirent *dirent, char *buf,
                      size_t room_bytes);

static void copy_name(const struct image_dirent *dirent, char ret_name[IMAGE_NAME_MAX + 1])
{
	memcpy(ret_name, dirent->name, dirent->name_size_bytes);
	ret_name[dirent->name_size_bytes] = '\0';
}

static size_t add_entry(fuse_req_t req, uint64_t dir, const struct image_dirent *dirent, char *buf,
                        size_t room_bytes)
{
	char name[IMAGE_NAME_MAX + 1];
	const struct stat st = { .st_ino = dirent->node, .st_mode = dirent->type };

	(void)dir;
	copy_name(dirent, name);
	return fuse_add_direntry(req, buf, room_bytes, name, &st, (off_t)dirent->next_cookie);
}

static bool is_dots(const struct image_dirent *d)
{
	return d->name[0] == '.' &&
	       (d->name_size_bytes == 1 || (d->name_size_bytes == 2 && d->name[1] == '.'));
}

static void remember_listed(struct tree *tree, uint64_t dir, const struct image_dirent *dirent,
                            const struct stat *st)
{
	if (dirent->node == dir && is_dots(dirent) && dirent->name_size_bytes == 1)
		tree_ahead_begin(tree->ahead, dir);
	else if (S_ISREG(st->st_mode) && st->st_size > 0 && st->st_size <= SMALL_FILE_MAX_BYTES)
		tree_ahead_listed(tree->ahead, dir, dirent->node);
}

/* The same with attributes, so that the kernel need not look it up. ino 0: it has to, because the
 * inode is broken (the lookup will say so), or because these are the dots. */
static size_t add_entry_plus(fuse_req_t req, uint64_t dir, const struct image_dirent *dirent,
                             char *buf, size_t room_bytes)
{
	struct fuse_entry_param entry = { .entry_timeout = KEEP_S, .attr_timeout = KEEP_S };
	char name[IMAGE_NAME_MAX + 1];
	struct err e = { 0 };
	size_t n;

	copy_name(dirent, name);
	if (!is_dots(dirent) && image_getattr(image_of(req), dirent->node, &entry.attr, &e) == 0)
		entry.ino = dirent->node;
	else
		entry.attr = (struct stat){ .st_ino = dirent->node, .st_mode = dirent->type };
	n = fuse_add_direntry_plus(req, buf, room_bytes, name, &entry, (off_t)dirent->next_cookie);
	if (n <= room_bytes)
		remember_listed(tree_of(req), dir, dirent, &entry.attr);
	return n;
}

/* Fill buf with entries from cookie on. @return bytes filled; -errno and nothing filled */
static int64_t fill_entries(fuse_req_t req, uint64_t dir, uint64_t cookie, char *buf,
                            size_t size_bytes, add_fn *add)
{
	size_t filled_bytes = 0;

	for (;;) {
		struct image_dirent dirent;
		struct err e = { 0 };
		const int r = image_readdir(image_of(req), dir, cookie, &dirent, &e);
		size_t n;

		if (r == -EUCLEAN)
			tree_bad_node(tree_of(req), dir, &e);
		if (r < 0 && filled_bytes == 0)
			return r;
		if (r <= 0) /* a failure after some entries comes with the next request again */
			return (int64_t)filled_bytes;
		n = add(req, dir, &dirent, buf + filled_bytes, size_bytes - filled_bytes);
		if (n > size_bytes - filled_bytes)
			return (int64_t)filled_bytes;
		filled_bytes += n;
		cookie = dirent.next_cookie;
	}
}

static void read_entries(fuse_req_t req, fuse_ino_t dir, size_t size_bytes, off_t cookie,
                         add_fn *add)
{
	struct tree *tree = tree_of(req);
	char *buf = block_take(tree->blocks);
	int64_t n;

	if (buf == NULL) {
		(void)fuse_reply_err(req, ENOMEM);
		return;
	}
	if (size_bytes > FUSE_READ_MAX_BYTES)
		size_bytes = FUSE_READ_MAX_BYTES;
	n = fill_entries(req, dir, (uint64_t)cookie, buf, size_bytes, add);
	if (n < 0)
		(void)fuse_reply_err(req, n == -EUCLEAN ? EIO : (int)-n);
	else
		(void)fuse_reply_buf(req, buf, (size_t)n);
	block_give(tree->blocks, buf);
}

static void op_readdir(fuse_req_t req, fuse_ino_t dir, size_t size_bytes, off_t cookie,
                       struct fuse_file_info *fi)
{
	(void)fi;
	read_entries(req, dir, size_bytes, cookie, add_entry);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t dir, size_t size_bytes, off_t cookie,
                           struct fuse_file_info *fi)
{
	(void)fi;
	read_entries(req, dir, size_bytes, cookie, add_entry_plus);
}

/* Size 0 asks how much there is. */
static void reply_xattr(fuse_req_t req, const void *value, size_t value_bytes, size_t room_bytes)
{
	if (room_bytes == 0)
		(void)fuse_reply_xattr(req, value_bytes);
	else if (value_bytes > room_bytes)
		(void)fuse_reply_err(req, ERANGE);
	else
		(void)fuse_reply_buf(req, value, value_bytes);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t size_bytes)
{
	const uint8_t *value = NULL;
	uint32_t value_bytes = 0;
	struct err e = { 0 };
	int r;

	if (!tree_of(req)->has_xattrs) { /* for all of this mount: the kernel asks no more */
		(void)fuse_reply_err(req, ENOSYS);
		return;
	}
	r = image_getxattr(image_of(req), node, name, &value, &value_bytes, &e);
	if (r < 0)
		reply_failure(req, node, r, &e);
	else
		reply_xattr(req, value, value_bytes, size_bytes);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t size_bytes)
{
	struct tree *tree = tree_of(req);
	struct err e = { 0 };
	char *buf = block_take(tree->blocks);
	int64_t n;

	if (buf == NULL) {
		(void)fuse_reply_err(req, ENOMEM);
		return;
	}
	n = image_listxattr(tree->image->image, node, buf, FUSE_READ_MAX_BYTES, &e);
	if (n > FUSE_READ_MAX_BYTES)
		n = -E2BIG;
	if (n < 0)
		reply_failure(req, node, (int)n, &e);
	else
		reply_xattr(req, buf, (size_t)n, size_bytes);
	block_give(tree->blocks, buf);
}

static void op_statfs(fuse_req_t req, fuse_ino_t node)
{
	struct image_info info;
	struct statvfs st = { .f_bsize = STATFS_BLOCK_BYTES,
		              .f_frsize = STATFS_BLOCK_BYTES,
		              .f_namemax = IMAGE_NAME_MAX };

	(void)node;
	image_info(image_of(req), &info);
	st.f_blocks = info.plain_bytes / STATFS_BLOCK_BYTES +
	              (info.plain_bytes % STATFS_BLOCK_BYTES != 0);
	st.f_files = info.n_inodes;
	(void)fuse_reply_statfs(req, &st);
}

const struct fuse_lowlevel_ops tree_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.open = op_open,
	.read = tree_op_read,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.statfs = op_statfs,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
};
