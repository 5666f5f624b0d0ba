/*
 * mounts: the list, and who may ask what of which mount.
 *
 * The life of each is mount_life.c's. A directory has at most one mount of ours.
 */
#include "mounts.h"
#include "mem.h"
#include "mount_auth.h"
#include "mount_chores.h"
#include "mount_life.h"
#include "mount_list.h"
#include "unconst.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct mounts *mounts_new(const struct mounts_opts *opts)
{
	struct mounts *m = xcalloc(1, sizeof(*m));

	m->opts = *opts;
	m->state_dir = xstrdup(opts->state_dir);
	return m;
}

/* What it said to the registry goes with it, unless it is said for another mount, too: a hidden one
 * (see mounts_hide()) and the one that took its place have a directory in common. */
void mounts_forget_auth(struct mounts *mounts, const struct mounted *m)
{
	const struct mounted *other;

	DL_FOREACH(mounts->list, other)
	{
		if (other != m && mount_auth_same_scope(&other->rec, &m->rec))
			return;
	}
	mount_auth_forget(mounts->opts.registry, &m->rec);
}

void mounts_free(struct mounts **mounts)
{
	struct mounted *m, *next;

	if (*mounts == NULL)
		return;
	assert((*mounts)->ops == NULL);
	DL_FOREACH_SAFE((*mounts)->list, m, next)
	{
		assert(m->state == MOUNT_DOWN);
		DL_DELETE((*mounts)->list, m);
		mounts_forget_auth(*mounts, m);
		mount_life_free(life_of(m));
	}
	free((*mounts)->state_dir);
	free(*mounts);
	*mounts = NULL;
}

const struct mounted *mounts_first(const struct mounts *mounts)
{
	return mounts->list;
}

uint32_t mounts_count(const struct mounts *mounts)
{
	const struct mounted *m;
	uint32_t n = 0;

	DL_COUNT(mounts->list, m, n);
	return n;
}

static struct mounted *find(const struct mounts *mounts, const char *dir)
{
	struct mounted *m;

	DL_FOREACH(mounts->list, m)
	{
		if (!m->hidden && strcmp(m->rec.dir, dir) == 0)
			return m;
	}
	return NULL;
}

const struct mounted *mounts_find(const struct mounts *mounts, const char *dir)
{
	return find(mounts, dir);
}

const struct mounted *mounts_of_image(const struct mounts *mounts, const char *digest)
{
	const struct mounted *m;

	DL_FOREACH(mounts->list, m)
	{
		if (strcmp(m->rec.digest, digest) == 0)
			return m;
	}
	return NULL;
}

const struct mounted *mounts_resolve(const struct mounts *mounts, const char *path,
                                     const char **ret_rest)
{
	const struct mounted *best = NULL;
	const struct mounted *m;
	size_t best_bytes = 0;

	DL_FOREACH(mounts->list, m)
	{
		const size_t n = strlen(m->rec.dir);

		if (!m->hidden && n > best_bytes && strncmp(path, m->rec.dir, n) == 0 &&
		    (path[n] == '/' || path[n] == '\0')) {
			best = m;
			best_bytes = n;
		}
	}
	if (best != NULL)
		*ret_rest = path + best_bytes;
	return best;
}

uint32_t mounts_asked(const struct mounted *m, struct fuse_asked *ret_asked)
{
	const struct image_mount *tree = life_of(unconst(m))->tree;

	return tree != NULL ? image_mount_asked(tree, ret_asked) : 0;
}

/* ---- operations ---- */

static struct mount_op *op_new(struct mounts *mounts, const char *dir, mounts_added_fn *done,
                               void *arg)
{
	struct mount_op *op = xcalloc(1, sizeof(*op));

	op->mounts = mounts;
	op->dir = xstrdup(dir);
	op->done = done;
	op->arg = arg;
	DL_APPEND(mounts->ops, op);
	return op;
}

static void on_all_stopped(struct loop_call *call)
{
	struct mounts *mounts = container_of(call, struct mounts, stopped_call);

	mounts->stopped(mounts->stopped_arg);
}

/* Of one that was cancelled while a worker looks at its directory, the worker's job comes still. */
static void tell_when_all_stopped(struct mounts *mounts)
{
	const struct mounted *m;

	if (!mounts->stopping || mounts->stopped_call.fn != NULL || mounts->ops != NULL)
		return;
	DL_FOREACH(mounts->list, m)
	{
		if (m->state != MOUNT_DOWN)
			return;
	}
	mounts->stopped_call.fn = on_all_stopped;
	loop_post(mounts->opts.loop, &mounts->stopped_call);
}

static void op_free(struct mount_op *op)
{
	struct mounts *mounts = op->mounts;

	DL_DELETE(mounts->ops, op);
	mount_wish_free(mounts, &op->wish);
	lazy_image_release(&op->image);
	free(op->dir);
	free(op);
	tell_when_all_stopped(mounts);
}

void mount_op_end(struct mount_op *op, int r, const struct mounted *m, const struct err *why)
{
	mounts_added_fn *done = op->done;
	void *arg = op->arg;

	op_free(op);
	if (done != NULL)
		done(arg, r, m, why);
}

/* A refusal that is known at once is told from the loop, as everything else. */
struct refusal {
	struct loop_call call;
	struct mount_op *op;
	struct err why;
};

static void on_refused(struct loop_call *call)
{
	struct refusal *refusal = container_of(call, struct refusal, call);

	mount_op_end(refusal->op, -refusal->why.code, NULL, &refusal->why);
	free(refusal);
}

static struct mount_op *refuse(struct mount_op *op, int code, const char *what)
{
	struct refusal *refusal = xcalloc(1, sizeof(*refusal));

	(void)err_set(&refusal->why, code, "%s %s", op->dir, what);
	refusal->op = op;
	refusal->call.fn = on_refused;
	loop_post(op->mounts->opts.loop, &refusal->call);
	return op;
}

static struct mount_life *life_new(struct mounts *mounts, const struct mount_record *rec)
{
	struct mount_life *life = xcalloc(1, sizeof(*life));

	life->mounts = mounts;
	life->pub.state = MOUNT_DOWN;
	mount_record_copy(&life->pub.rec, rec);
	DL_APPEND(mounts->list, &life->pub);
	return life;
}

struct mount_life *mounts_hide(struct mount_op *op, struct mounted *m,
                               const struct mount_record *rec)
{
	struct mount_life *old = life_of(m);
	struct mount_life *life = life_new(op->mounts, rec);

	m->hidden = true;
	old->listed = false;
	image_mount_unkeep(old->tree);
	life->listed = true;
	op->life = life;
	life->op = op;
	return life;
}

static void was_there(struct mount_op *op, struct mounted *m)
{
	struct mount_life *life = life_of(m);

	if (op->also_prefetch && !m->rec.prefetch) {
		life->op = op;
		mount_life_prefetch(life);
		return;
	}
	if (op->also_prefetch)
		mount_prefetch_start(life); /* again: what was here may be gone */
	mount_op_end(op, MOUNT_WAS_THERE, m, NULL);
}

static void look_work(struct job *job) /* worker */
{
	struct mount_op *op = container_of(job, struct mount_op, look);

	op->is_seen = image_mount_is_seen(op->dir, op->device);
	if (op->wish != NULL)
		(void)mount_auth_file_check(&op->wish->rec, &op->no_auth_file);
}

static void look_after(struct job *job)
{
	struct mount_op *op = container_of(job, struct mount_op, look);
	struct mounted *m = find(op->mounts, op->dir);
	struct err e = { 0 };

	if (op->done == NULL) {
		op_free(op);
		return;
	}
	if (m == NULL || m->state != MOUNT_UP ||
	    image_mount_device(life_of(m)->tree) != op->device) {
		mount_op_end(
			op,
			err_set(&e, EALREADY, "%s was unmounted meanwhile (try again)", op->dir),
			NULL, &e);
		return;
	}
	mount_wish_look_again(op, m);
	if (op->wish == NULL && op->is_seen)
		was_there(op, m);
	else
		mount_replace(op, m);
}

static void look_at(struct mount_op *op, const struct mounted *m)
{
	op->device = image_mount_device(life_of(unconst(m))->tree);
	op->look = (struct job){ .work = look_work, .after = look_after, .prio = JOB_NORMAL };
	pool_submit(op->mounts->opts.disk_pool, &op->look);
}

static void on_same_loaded(void *arg, int r, struct lazy_image *image, const struct err *why)
{
	struct mount_op *op = arg;
	const struct mounted *m = find(op->mounts, op->dir);
	struct err e = { 0 };

	op->load = NULL;
	if (r < 0) {
		mount_op_end(op, r, NULL, why);
		return;
	}
	op->is_other = m != NULL && strcmp(m->rec.digest, image->digest) != 0;
	if (m == NULL || m->state != MOUNT_UP)
		r = err_set(&e, EALREADY, "%s was unmounted meanwhile (try again)", op->dir);
	else if (op->is_other && (op->wish == NULL || op->same_alone))
		r = err_set(&e, EBUSY, "another image is mounted at %s: %s (umount it first)",
		            op->dir, mount_record_image(&m->rec));
	if (op->wish != NULL)
		op->image = image;
	else
		lazy_image_release(&image);
	if (r < 0)
		mount_op_end(op, r, NULL, &e);
	else
		look_at(op, m);
}

/* Something is mounted there. Is it what is asked for? A tag may have moved, so ask. */
static struct mount_op *compare(struct mount_op *op, const struct mount_record *rec)
{
	struct image_load_opts opts = mount_load_opts(rec);
	struct err e = { 0 };

	opts.reference = rec->reference;
	opts.done = on_same_loaded;
	opts.arg = op;
	if (image_load_start(op->mounts->opts.loader, &opts, &op->load, &e) < 0)
		return refuse(op, e.code, e.msg);
	return op;
}

struct mount_op *mounts_add(struct mounts *mounts, const struct mount_record *rec,
                            const struct credentials *given, bool replace, mounts_added_fn *done,
                            void *arg)
{
	struct mounted *m = find(mounts, rec->dir);
	struct mount_op *op = op_new(mounts, rec->dir, done, arg);

	if (mounts->stopping)
		return refuse(
			op, ESHUTDOWN,
			"cannot be mounted: the agent is stopping (mount it once it runs again)");
	if (m == NULL && mounts_count(mounts) >= MOUNTS_MAX)
		return refuse(op, ENOSPC,
		              "cannot be mounted: there are too many mounts (umount some)");
	if (m != NULL && m->state == MOUNT_UP) {
		op->wish = replace ? mount_wish_new(mounts, rec, given)
		                   : mount_wish_of_same(mounts, m, rec);
		op->same_alone = !replace;
		op->also_prefetch = rec->prefetch && op->wish == NULL;
		return compare(op, rec);
	}
	if (m != NULL && m->state != MOUNT_DOWN)
		return refuse(op, EALREADY, "is being mounted or unmounted (wait and try again)");
	if (m != NULL) {
		mounts_forget_auth(mounts, m);
		mount_record_clear(&m->rec);
		mount_record_copy(&m->rec, rec);
	}
	op->life = m != NULL ? life_of(m) : life_new(mounts, rec);
	op->life->op = op;
	op->life->restoring = false;
	if (given != NULL)
		mount_life_give(op->life, given);
	mount_life_start(op->life);
	return op;
}

void mounts_cancel(struct mount_op *op)
{
	struct mount_life *life = op->life;

	op->done = NULL;
	if (op->load != NULL)
		image_load_cancel(op->load);
	if (op->load != NULL || life != NULL) {
		if (life != NULL)
			life->op = NULL;
		op_free(op);
	}
	if (life != NULL)
		mount_life_abandon(life);
}

int mounts_give(struct mounts *mounts, const char *dir, const struct credentials *given,
                struct err *e)
{
	struct mounted *m = find(mounts, dir);

	if (m == NULL)
		return err_set(e, ENOENT, "nothing is mounted at %s (see shoal ls)", dir);
	m->rec.given = true; /* also where it had none so far */
	mount_life_give(life_of(m), given);
	return 0;
}

/* Or is something in the way that will be over? What is being taken over has readers already: it
 * goes as one that is in use. */
static bool can_go(const struct mount_life *life, bool detach)
{
	const enum mount_state state = life->pub.state;

	return life->removed == NULL && !life->renewing && state != MOUNT_STOP &&
	       state != MOUNT_UNLIST && (detach || !life->adopting);
}

void mounts_remove(struct mounts *mounts, const char *dir, bool detach,
                   void (*done)(void *arg, int r, const struct err *why), void *arg)
{
	struct mounted *m = find(mounts, dir);
	struct err e = { 0 };
	int r = 0;

	if (m == NULL)
		r = err_set(&e, ENOENT, "nothing is mounted at %s (see shoal ls)", dir);
	else if (!can_go(life_of(m), detach))
		r = err_set(&e, EALREADY,
		            "%s is being unmounted, or taken over from an earlier agent (wait and "
		            "try again)",
		            dir);
	if (r < 0) {
		done(arg, r, &e);
		return;
	}
	life_of(m)->detach = detach;
	life_of(m)->removed = done;
	life_of(m)->removed_arg = arg;
	mount_life_remove(life_of(m));
}

/* ---- start and end of the agent ---- */

void mounts_set_how(struct mounts *mounts, enum mount_how how)
{
	mounts->opts.how = how;
}

void mounts_restore(struct mounts *mounts, const struct mount_record *rec, struct kept *kept)
{
	struct mount_life *life;

	if (find(mounts, rec->dir) != NULL) {
		kept_free(&kept);
		return;
	}
	life = life_new(mounts, rec);
	life->listed = true;
	life->restoring = true;
	life->kept = kept;
	mount_life_start(life);
}

uint32_t mounts_kept(const struct mounts *mounts, struct kept **ret_kept)
{
	struct mounted *m;
	uint32_t n = 0;

	DL_COUNT(mounts->list, m, n);
	*ret_kept = xcalloc(n + (size_t)1, sizeof(**ret_kept));
	n = 0;
	DL_FOREACH(mounts->list, m)
	{
		const struct image_mount *tree = life_of(m)->tree;

		if (tree != NULL && image_mount_copy_kept(tree, &(*ret_kept)[n]))
			n++;
	}
	return n;
}

/* What was replaced while its copy went there may have come behind the new one's, under its key. */
static enum keep_outcome set_kept(struct image_mount *tree, const struct mounted *m,
                                  const struct kept *kept)
{
	const bool is_its = tree != NULL && kept->note.dev == image_mount_device(tree) &&
	                    strcmp(kept->note.digest, m->rec.digest) == 0;

	if (tree == NULL) /* perhaps given already, and not up yet */
		return KEEP_AGAIN;
	if (image_mount_set_kept(tree, is_its))
		return KEEP_HOLD;
	return !is_its && image_mount_waits_for_keeper(tree) ? KEEP_AGAIN : KEEP_DROP;
}

enum keep_outcome mounts_set_kept(struct mounts *mounts, const struct kept *kept)
{
	struct mounted *m;

	DL_FOREACH(mounts->list, m)
	{
		char own[KEEPER_KEY_BYTES];

		kept_key(m->rec.dir, own);
		if (!m->hidden && strcmp(own, kept->key) == 0)
			return set_kept(life_of(m)->tree, m, kept);
	}
	return KEEP_DROP;
}

void mounts_show(const struct mounts *mounts)
{
	enum { YES, NO, OFF, N };
	static const char *const names[N] = { [YES] = "yes", [NO] = "no", [OFF] = "off" };
	struct metrics *metrics = mounts->opts.metrics;
	const bool is_there =
		metrics_sum(metrics, METRIC_KEEPER) > 0; /* a dead one keeps nothing */
	int64_t n[N] = { 0 };
	struct mounted *m;

	DL_FOREACH(mounts->list, m)
	{
		if (m->state != MOUNT_UP)
			continue;
		if (mounts->opts.keeper_socket == NULL)
			n[OFF]++;
		else
			n[is_there && image_mount_is_kept(life_of(m)->tree) ? YES : NO]++;
	}
	for (int i = 0; i < N; i++)
		series_set(metrics_series(metrics, METRIC_MOUNTS, &names[i]), n[i]);
}

void mounts_look(struct mounts *mounts)
{
	if (mounts->settled || !mounts_are_settled(mounts))
		return;
	mounts->settled = true;
	if (mounts->opts.settled != NULL)
		mounts->opts.settled(mounts->opts.settled_arg);
}

static void on_restored(struct loop_call *call)
{
	mounts_look(container_of(call, struct mounts, restored_call));
}

void mounts_restored(struct mounts *mounts)
{
	mounts->restored = true;
	mounts->restored_call.fn = on_restored;
	loop_post(mounts->opts.loop, &mounts->restored_call);
}

bool mounts_are_settled(const struct mounts *mounts)
{
	struct mounted *m;

	if (!mounts->restored)
		return false;
	DL_FOREACH(mounts->list, m)
	{
		if (life_of(m)->restoring)
			return false;
	}
	return true;
}

void mounts_settle(struct mounts *mounts, struct mount_life *life)
{
	if (life->pub.state == MOUNT_GONE) {
		DL_DELETE(mounts->list, &life->pub);
		mounts_forget_auth(mounts, &life->pub);
		mount_life_free(life);
		mounts_look(mounts);
	}
	tell_when_all_stopped(mounts);
}

void mounts_stop(struct mounts *mounts, void (*done)(void *arg), void *arg)
{
	struct mounted *m, *next;

	mounts->stopping = true;
	mounts->stopped = done;
	mounts->stopped_arg = arg;
	DL_FOREACH_SAFE(mounts->list, m, next)
	{
		if (m->state == MOUNT_UP)
			mount_life_leave(life_of(m));
		else if (m->state != MOUNT_STOP && m->state != MOUNT_UNLIST)
			mount_life_abandon(life_of(m));
	}
	tell_when_all_stopped(mounts);
}
