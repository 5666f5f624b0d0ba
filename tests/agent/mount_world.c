/*
 * mount_world: see mount_world.h. Everything that waits is held until the test lets it go on.
 */
#include "mount_world.h"
#include "fake_pool.h"
#include "image_reads.h"
#include "mem.h"
#include "mount_list.h"
#include "origin.h"
#include "remove_tree.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- fetch/: the loader ---- */

int image_load_start(struct image_loader *loader, const struct image_load_opts *opts,
                     struct image_load **ret_load, struct err *e)
{
	struct image_load *load = xcalloc(1, sizeof(*load));

	(void)e;
	load->loader = loader;
	load->opts = *opts;
	load->offline_ok = opts->offline_ok;
	(void)snprintf(load->reference, sizeof(load->reference), "%s",
	               opts->reference != NULL ? opts->reference : opts->bootstrap_path);
	load->next = loader->loads;
	loader->loads = load;
	loader->n_started++;
	*ret_load = load;
	return 0;
}

static void load_remove(struct image_load *load)
{
	struct image_load **at = &load->loader->loads;

	while (*at != load)
		at = &(*at)->next;
	*at = load->next;
	free(load);
}

void image_load_cancel(struct image_load *load)
{
	load->loader->n_cancelled++;
	load_remove(load);
}

int image_load_bar(struct image_loader *loader, const char *digest, struct image_load **ret_bar,
                   struct err *e)
{
	(void)loader;
	(void)digest;
	(void)ret_bar;
	(void)e;
	abort(); /* no image is removed here */
}

struct lazy_image *lazy_image_ref(struct lazy_image *image)
{
	image->refs++;
	return image;
}

void lazy_image_release(struct lazy_image **image)
{
	if (*image != NULL && --(*image)->refs == 0) {
		(*image)->loader->n_images--;
		free((*image)->blobs);
		free(*image);
	}
	*image = NULL;
}

void image_reads_begin(struct lazy_image *image)
{
	image->loader->n_reads_begun++;
}

int origin_check(const char *text, struct err *e)
{
	return strncmp(text, "dir:", 4) == 0 ? 0 : err_set(e, EINVAL, "no origin");
}

/* ---- fetch/: prefetch and registries ---- */

struct fetch_prefetch *fetch_prefetch_start(struct fetch *f, const struct fetch_prefetch_opts *opts)
{
	struct fetch_prefetch *p = xcalloc(1, sizeof(*p));

	assert(opts->progress != NULL);
	p->fetch = f;
	p->opts = *opts;
	f->n_prefetches++;
	f->n_started++;
	return p;
}

void fetch_prefetch_cancel(struct fetch_prefetch *p)
{
	const struct err why = { .code = ECANCELED };

	p->fetch->n_prefetches--;
	p->opts.done(p->opts.arg, -ECANCELED, &why);
	free(p);
}

void registry_give_credentials(struct registry *r, const struct registry_scope *scope,
                               const struct credentials *credentials)
{
	const char *user = credentials != NULL ? credentials->username : "later";
	const size_t n = strlen(r->gifts);

	user = user != NULL ? user : "-";
	(void)snprintf(r->gifts + n, sizeof(r->gifts) - n, "%s=%s ", scope->owner, user);
	if (credentials == NULL && r->given[0] != '\0')
		return;
	(void)snprintf(r->given, sizeof(r->given), "%s %s %s %s", scope->host, scope->repository,
	               scope->owner, user);
}

/* The last that is there counts. */
static void count_hints(struct registry *r)
{
	const struct hint none = { 0 };
	const struct hint *last = r->n_hints > 0 ? &r->hints[r->n_hints - 1] : &none;

	(void)snprintf(r->hinted, sizeof(r->hinted), "%s", last->text);
	(void)snprintf(r->owner, sizeof(r->owner), "%s", last->owner);
}

static void hint_remove(struct registry *r, const struct registry_scope *scope)
{
	AUTO(free_str) char *start = xasprintf("%s %s ", scope->host, scope->repository);
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n_hints; i++) {
		if (strcmp(r->hints[i].owner, scope->owner) != 0 ||
		    strncmp(r->hints[i].text, start, strlen(start)) != 0)
			r->hints[n++] = r->hints[i];
	}
	r->n_hints = n;
}

void registry_hint(struct registry *r, const struct registry_scope *scope,
                   const struct registry_hints *hints)
{
	struct hint *hint;

	hint_remove(r, scope);
	assert(r->n_hints < WORLD_OPS_MAX);
	hint = &r->hints[r->n_hints++];
	(void)snprintf(hint->text, sizeof(hint->text), "%s %s %s %s", scope->host,
	               scope->repository, hints->scheme != NULL ? hints->scheme : "-",
	               hints->auth_file != NULL ? hints->auth_file : "-");
	(void)snprintf(hint->owner, sizeof(hint->owner), "%s", scope->owner);
	count_hints(r);
}

void registry_take_credentials(struct registry *r, const struct registry_scope *scope)
{
	if (strstr(r->given, scope->owner) != NULL)
		r->given[0] = '\0';
}

void registry_forget(struct registry *r, const struct registry_scope *scope)
{
	AUTO(free_str)
	char *start = xasprintf("%s %s %s ", scope->host, scope->repository, scope->owner);

	if (strncmp(r->given, start, strlen(start)) == 0)
		r->given[0] = '\0';
	hint_remove(r, scope);
	count_hints(r);
}

struct cas_blob *fetch_blob_cas(struct fetch_blob *blob)
{
	(void)blob;
	abort(); /* the images here have no blobs */
}

/* ---- mount/ ---- */

int image_mount_start(const struct image_mount_opts *opts,
                      void (*done)(void *arg, int r, struct image_mount *mount,
                                   const struct err *why),
                      void *arg, struct err *e)
{
	struct image_mount *tree = xcalloc(1, sizeof(*tree));

	(void)e;
	tree->pool = opts->fuse_pool;
	tree->opts = *opts;
	tree->kept = opts->keeper_socket != NULL;
	tree->device = opts->fuse_pool->n_trees + 1;
	tree->pool->n_adopted += opts->kept != NULL;
	kept_free(&tree->opts.kept);
	tree->done = done;
	tree->arg = arg;
	tree->pool->starting = tree;
	tree->pool->n_trees++;
	return 0;
}

uint64_t image_mount_device(const struct image_mount *mount)
{
	return mount->device;
}

bool image_mount_is_seen(const char *dir, uint64_t device)
{
	(void)dir;
	return device != 0;
}

int image_mount_detach(const char *dir, uint64_t device, struct err *e)
{
	(void)dir;
	return device == DEVICE_COVERED ? err_set(e, EBUSY, "something else is there") : 0;
}

uint32_t image_mount_asked(const struct image_mount *mount, struct fuse_asked *ret_asked)
{
	(void)mount;
	(void)ret_asked;
	return 0;
}

void image_mount_unkeep(struct image_mount *mount)
{
	mount->kept = false;
}

void image_mount_stop(struct image_mount *mount, bool lazy,
                      void (*done)(void *arg, int r, const struct err *why), void *arg)
{
	mount->stopped = done;
	mount->stopped_arg = arg;
	mount->next_stopping = mount->pool->stopping;
	mount->pool->stopping = mount;
	mount->pool->n_lazy += lazy;
}

bool image_mount_is_kept(const struct image_mount *mount)
{
	return mount->kept;
}

bool image_mount_waits_for_keeper(const struct image_mount *mount)
{
	return mount->opts.keeper_socket != NULL && !mount->kept;
}

bool image_mount_set_kept(struct image_mount *mount, bool is_there)
{
	mount->kept = is_there && mount->opts.keeper_socket != NULL;
	return mount->kept;
}

bool image_mount_copy_kept(const struct image_mount *mount, struct kept *ret_kept)
{
	*ret_kept = (struct kept){ .fd = -1 };
	return mount->kept;
}

void image_mount_leave(struct image_mount *mount,
                       void (*done)(void *arg, int r, const struct err *why), void *arg)
{
	mount->pool->n_left++;
	image_mount_stop(mount, false, done, arg);
}

bool image_mount_is_erofs(const struct image_mount *mount, const char **ret_why)
{
	*ret_why = "";
	return mount->opts.how == HOW_EROFS;
}

/* ---- what the test does ---- */

void world_settle(struct world *w)
{
	(void)fake_pool_settle(w->pool);
}

void world_load_ends(struct world *w, int r, const char *digest)
{
	struct image_load *load = w->loader.loads;
	struct lazy_image *image = NULL;
	struct err why = { 0 };
	struct image_load_opts opts;

	assert(load != NULL);
	opts = load->opts;
	load_remove(load);
	if (r == 0) {
		image = xcalloc(1, sizeof(*image));
		image->refs = 1;
		image->loader = &w->loader;
		image->n_blobs = 1;
		image->blobs = xcalloc(1, sizeof(struct fetch_blob *));
		(void)snprintf(image->digest, sizeof(image->digest), "%s", digest);
		w->loader.n_images++;
	} else {
		(void)err_set(&why, -r, "the load failed");
	}
	opts.done(opts.arg, r, image, &why);
}

void world_load_done(struct world *w, int r, const char *digest)
{
	world_load_ends(w, r, digest);
	world_settle(w);
}

void world_tree_up(struct world *w)
{
	struct image_mount *tree = w->fuse_pool.starting;

	assert(tree != NULL);
	w->fuse_pool.starting = NULL;
	w->fuse_pool.up = tree;
	tree->done(tree->arg, 0, tree, NULL);
}

void world_tree_done(struct world *w, int r)
{
	struct image_mount *tree = w->fuse_pool.starting;
	struct err why = { 0 };

	assert(tree != NULL);
	if (r == 0) {
		world_tree_up(w);
	} else {
		w->fuse_pool.starting = NULL;
		(void)err_set(&why, -r, "the tree failed");
		tree->done(tree->arg, r, NULL, &why);
		w->fuse_pool.n_trees--;
		free(tree);
	}
	world_settle(w);
}

void world_stop_done(struct world *w, int r)
{
	struct image_mount *tree = w->fuse_pool.stopping;
	struct err why = { 0 };

	assert(tree != NULL);
	w->fuse_pool.stopping = tree->next_stopping;
	if (r < 0)
		(void)err_set(&why, -r, "the tree is in use");
	tree->stopped(tree->stopped_arg, r, &why);
	if (r == 0) {
		w->fuse_pool.n_trees--;
		free(tree);
	}
	world_settle(w);
}

static void on_added(void *arg, int r, const struct mounted *m, const struct err *why)
{
	struct world *w = arg;

	assert((r >= 0) == (m != NULL));
	w->n_added++;
	w->added = r;
	if (r < 0)
		w->why = *why;
}

struct mount_op *world_add_record(struct world *w, const struct mount_record *rec)
{
	struct mount_op *op = mounts_add(w->mounts, rec, w->given, w->replace, on_added, w);

	world_settle(w);
	return op;
}

struct mount_op *world_add(struct world *w, const char *reference, const char *dir)
{
	AUTO(mount_record_clear)
	struct mount_record rec = { .dir = xstrdup(dir), .reference = xstrdup(reference) };

	return world_add_record(w, &rec);
}

void world_bring_up(struct world *w, const char *digest)
{
	world_load_done(w, 0, digest);
	world_tree_done(w, 0);
}

static void on_removed(void *arg, int r, const struct err *why)
{
	struct world *w = arg;

	w->n_removed++;
	w->removed = r;
	if (r < 0)
		w->why = *why;
}

void world_remove(struct world *w, const char *dir)
{
	mounts_remove(w->mounts, dir, w->detach, on_removed, w);
	world_settle(w);
}

static void on_stopped(void *arg)
{
	struct world *w = arg;

	w->n_stopped++;
}

void world_stop(struct world *w)
{
	mounts_stop(w->mounts, on_stopped, w);
	world_settle(w);
}

static void count(void *arg, const struct mount_record *rec)
{
	(void)rec;
	(*(uint32_t *)arg)++;
}

uint32_t n_listed(const struct world *w)
{
	uint32_t n = 0;
	struct err e = { 0 };
	const int r = mount_list_load(w->state_dir, NULL, count, &n, &e);

	assert(r == 0);
	return n;
}

enum mount_state state_of(const struct world *w)
{
	const struct mounted *m = mounts_find(w->mounts, w->dir);

	return m != NULL ? m->state : MOUNT_GONE;
}

/* ---- from nothing and back ---- */

static void on_settled(void *arg)
{
	struct world *w = arg;

	w->n_settled++;
}

static void mounts_make(struct world *w)
{
	const struct mounts_opts opts = { .state_dir = w->state_dir,
		                          .loop = w->loop,
		                          .pool = w->pool,
		                          .disk_pool = w->pool,
		                          .fetch = &w->fetch,
		                          .registry = &w->registry,
		                          .loader = &w->loader,
		                          .fuse_pool = &w->fuse_pool,
		                          .clock = clock_real(),
		                          .keeper_socket =
		                                  w->with_keeper ? "/nowhere/keeper.sock" : NULL,
		                          .settled = on_settled,
		                          .settled_arg = w };

	w->mounts = mounts_new(&opts);
}

static void restore(void *arg, const struct mount_record *rec)
{
	const struct world *w = arg;
	struct kept *kept = NULL;

	if (w->with_keeper) {
		kept = xcalloc(1, sizeof(*kept));
		kept_key(rec->dir, kept->key);
		kept->fd = dup(STDIN_FILENO);
	}
	mounts_restore(w->mounts, rec, kept);
}

void world_restart(struct world *w)
{
	struct err e = { 0 };
	int r;

	mounts_free(&w->mounts);
	mounts_make(w);
	r = mount_list_load(w->state_dir, NULL, restore, w, &e);
	assert(r == 0);
	w->n_settled = w->n_stopped = 0;
	mounts_restored(w->mounts);
	world_settle(w);
}

void world_stop_and_restart(struct world *w)
{
	world_stop(w);
	world_stop_done(w, 0);
	world_restart(w);
}

int world_setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct err e = { 0 };
	const char *made;
	int r;

	(void)snprintf(w->state_dir, sizeof(w->state_dir), "/tmp/shoal-test-XXXXXX");
	made = mkdtemp(w->state_dir);
	assert(made != NULL);
	(void)snprintf(w->dir, sizeof(w->dir), "%s/mnt", w->state_dir);
	r = mkdir(w->dir, 0700);
	assert(r == 0);
	r = loop_new(&w->loop, &e);
	assert(r == 0);
	r = pool_new(w->loop, 1, "fake", &w->pool, &e);
	assert(r == 0);
	mounts_make(w);
	*state = w;
	return 0;
}

int world_teardown(void **state)
{
	struct world *w = *state;

	world_stop(w);
	while (w->fuse_pool.stopping != NULL)
		world_stop_done(w, 0);
	assert(w->n_stopped == 1);
	mounts_free(&w->mounts);
	assert(w->loader.loads == NULL && w->loader.n_images == 0);
	assert(w->fuse_pool.n_trees == 0 && w->fetch.n_prefetches == 0);
	pool_free(&w->pool);
	loop_free(&w->loop);
	(void)remove_tree(w->state_dir);
	free(w);
	return 0;
}
