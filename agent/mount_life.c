/*
 * mount_life: one mount from the wish to the tree, and back.
 *
 *   CHECK --> LOAD --> ATTACH --> SAVE --> UP --umount--> STOP --> UNLIST --> GONE
 *     |         |         |         |       |<---- busy ---'
 *     |         |         |       failed    |'-- ended from outside, agent leaves --> UNDO
 *     |         |         |         |<------' its record was replaced (mount_replace.c)
 *     `---------'---------'----------'--> UNDO --> GONE, or DOWN when it is listed (or UNLIST,
 *                                                  when it was listed a moment too early)
 *   DOWN --again--> CHECK; DOWN --umount--> UNLIST; on its way up --umount--> UNDO --> UNLIST, GONE
 *
 * What an earlier agent left at a keeper begins at LOAD: its directory waits for us, and must not
 * be touched. If it cannot be taken on, UNDO --> CHECK makes a new mount; so does what was to be in
 * place of another one and failed, by the record of that.
 *
 * All of it on the loop thread; a worker touches struct mount_chore and nothing else. Knows
 * nothing of the other mounts.
 */
#include "mount_life.h"
#include "bytes.h"
#include "mem.h"
#include "mount_auth.h"
#include "mount_chores.h"
#include "mount_list.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_FIRST_MS 2000U
#define RETRY_MAX_MS   60000U

static enum mount_state enter_check(struct mount_life *life);
static enum mount_state enter_load(struct mount_life *life);
static enum mount_state enter_attach(struct mount_life *life);
static enum mount_state enter_save(struct mount_life *life);
static enum mount_state enter_up(struct mount_life *life);
static enum mount_state enter_stop(struct mount_life *life);
static enum mount_state enter_unlist(struct mount_life *life);
static enum mount_state enter_undo(struct mount_life *life);
static enum mount_state enter_down(struct mount_life *life);

static const struct {
	const char *name;
	enum mount_state (*enter)(struct mount_life *life); /* the same state: wait */
	unsigned may_follow;
} states[N_MOUNT_STATES] = {
	[MOUNT_CHECK] = { "checking", enter_check, BIT(MOUNT_LOAD) | BIT(MOUNT_UNDO) },
	[MOUNT_LOAD] = { "loading", enter_load, BIT(MOUNT_ATTACH) | BIT(MOUNT_UNDO) },
	[MOUNT_ATTACH] = { "mounting", enter_attach, BIT(MOUNT_SAVE) | BIT(MOUNT_UNDO) },
	[MOUNT_SAVE] = { "listing", enter_save, BIT(MOUNT_UP) | BIT(MOUNT_UNDO) },
	[MOUNT_UP] = { "mounted", enter_up, BIT(MOUNT_STOP) | BIT(MOUNT_UNDO) | BIT(MOUNT_SAVE) },
	[MOUNT_STOP] = { "unmounting", enter_stop, BIT(MOUNT_UP) | BIT(MOUNT_UNLIST) },
	[MOUNT_UNLIST] = { "unlisting", enter_unlist, BIT(MOUNT_GONE) | BIT(MOUNT_DOWN) },
	[MOUNT_UNDO] = { "undoing", enter_undo,
	                 BIT(MOUNT_GONE) | BIT(MOUNT_DOWN) | BIT(MOUNT_UNLIST) | BIT(MOUNT_CHECK) },
	[MOUNT_DOWN] = { "down", enter_down,
	                 BIT(MOUNT_CHECK) | BIT(MOUNT_LOAD) | BIT(MOUNT_UNLIST) },
	[MOUNT_GONE] = { "gone", NULL, 0 },
};

const char *mount_state_name(enum mount_state state)
{
	return states[state].name;
}

static void life_run(struct mount_life *life, enum mount_state next)
{
	do {
		assert(states[life->pub.state].may_follow & BIT(next));
		life->pub.state = next;
		if (states[next].enter != NULL)
			next = states[next].enter(life);
	} while (next != life->pub.state);
	if (next == MOUNT_GONE || next == MOUNT_DOWN)
		mounts_settle(life->mounts, life);
}

/* The next step up, unless it failed or nobody wants it any more. */
static void life_step(struct mount_life *life, int r, const struct err *why, enum mount_state next)
{
	if (r == 0 && life->abandoned) {
		r = err_set(&life->pub.why, ECANCELED, "it was cancelled");
	} else if (r < 0) {
		life->pub.why = *why;
		life->pub.why.code = -r;
	}
	life_run(life, r < 0 ? MOUNT_UNDO : next);
}

/* ---- chores: what a worker does ---- */

static void chore_submit(struct mount_life *life, void (*work)(struct job *job),
                         void (*after)(struct job *job))
{
	struct mount_chore *chore = &life->chore;

	mount_record_clear(&chore->rec);
	mount_record_copy(&chore->rec, &life->pub.rec);
	chore->state_dir = life->mounts->state_dir;
	chore->log = life->mounts->opts.log;
	chore->kept = life->kept;
	chore->keeper_socket = life->mounts->opts.keeper_socket;
	chore->make_room = life->mounts->opts.make_room;
	chore->make_room_arg = life->mounts->opts.make_room_arg;
	life->kept = NULL;
	chore->replaced = life->replaces;
	chore->restoring = life->restoring;
	life->replaces = 0;
	chore->err = (struct err){ 0 };
	chore->job = (struct job){ .work = work, .after = after, .prio = JOB_NORMAL };
	pool_submit(life->mounts->opts.disk_pool, &chore->job);
}

static struct mount_life *life_of_job(struct job *job)
{
	struct mount_chore *chore = container_of(job, struct mount_chore, job);

	return container_of(chore, struct mount_life, chore);
}

static void check_after(struct job *job)
{
	struct mount_life *life = life_of_job(job);

	life->pub.auth_file_gone = life->chore.auth_file_gone;
	life->unlist = life->pub.rec.transient && life->listed && life->chore.result == -ENOENT;
	life_step(life, life->chore.result, &life->chore.err, MOUNT_LOAD);
}

static enum mount_state enter_check(struct mount_life *life)
{
	chore_submit(life, life->restoring ? mount_chore_check_again : mount_chore_check,
	             check_after);
	return MOUNT_CHECK;
}

/* What it says to its registry, unless it has: credentials are in nobody's memory but that one's.
 */
static void auth_add(struct mount_life *life)
{
	if (!life->auth_added)
		mount_auth_add(life->mounts->opts.registry, &life->pub.rec,
		               life->was_given ? &life->given : NULL);
	life->auth_added = true;
	life->was_given = false;
	credentials_wipe(&life->given);
}

static void renewed(struct mount_life *life)
{
	struct mount_op *op = life->op;
	const bool failed = !life->abandoned && life->chore.result < 0;

	life->renewing = false;
	if (failed && life->before != NULL)
		mount_replace_undo(life);
	else if (failed)
		life->pub.rec.prefetch = false; /* that alone was new */
	auth_add(life);
	if (!failed) {
		life_step(life, 0, NULL, MOUNT_UP);
		return;
	}
	life->op = NULL;
	life_run(life, MOUNT_UP);
	if (op != NULL)
		mount_op_end(op, life->chore.result, NULL, &life->chore.err);
}

static void save_after(struct job *job)
{
	struct mount_life *life = life_of_job(job);

	life->pub.auth_file_gone = life->chore.auth_file_gone; /* no CHECK where it was kept */
	if (life->renewing) {
		renewed(life);
		return;
	}
	/* Nobody waits for it any more: the record that was just written goes again. */
	life->unlist = !life->listed && life->abandoned && !life->mounts->stopping;
	life->listed = life->listed || life->chore.result == 0;
	life_step(life, life->chore.result, &life->chore.err, MOUNT_UP);
}

static enum mount_state enter_save(struct mount_life *life)
{
	if (life->pub.rec.links_dir != NULL)
		blob_links_of(life->pub.image, &life->chore.links);
	chore_submit(life, mount_chore_save, save_after);
	return MOUNT_SAVE;
}

static void unlist_after(struct job *job)
{
	struct mount_life *life = life_of_job(job);
	const int r = life->chore.result;

	if (r < 0)
		life->pub.why = life->chore.err;
	if (life->removed != NULL)
		life->removed(life->removed_arg, r, &life->pub.why);
	life->removed = NULL;
	life->listed = r < 0;
	life_run(life, r < 0 ? MOUNT_DOWN : MOUNT_GONE);
}

/* ---- the image ---- */

void mount_life_loaded(struct mount_life *life, int r, const struct err *why)
{
	life_step(life, r, why, MOUNT_ATTACH);
}

static enum mount_state enter_load(struct mount_life *life)
{
	auth_add(life);
	return mount_load_start(life) < 0 ? MOUNT_UNDO : MOUNT_LOAD;
}

/* ---- the tree ---- */

static enum mount_state ended_from_outside(struct mount_life *life)
{
	log_warn(life->mounts->opts.log, "unmounted from outside", "dir=%s",
	         LOG_Q(life->pub.rec.dir));
	(void)err_set(&life->pub.why, ENOTCONN,
	              "it was unmounted from outside (mount it again, or umount it)");
	life->unlist = life->pub.rec.transient;
	return MOUNT_UNDO;
}

static void on_ended(void *arg, struct image_mount *tree)
{
	struct mount_life *life = arg;

	(void)tree;
	life->ended = true;
	if (life->pub.state == MOUNT_UP) /* else: when it is; or we are taking it down ourselves */
		life_run(life, ended_from_outside(life));
}

static void tell_if_unkept(const struct mount_life *life)
{
	const struct mounts_opts *o = &life->mounts->opts;

	if (o->unkept != NULL && image_mount_waits_for_keeper(life->tree))
		o->unkept(o->unkept_arg);
}

static void on_attached(void *arg, int r, struct image_mount *tree, const struct err *why)
{
	struct mount_life *life = arg;

	if (r == 0) {
		life->tree = tree;
		tell_if_unkept(life);
		life->pub.erofs = image_mount_is_erofs(tree, &life->pub.no_erofs);
	}
	life_step(life, r, why, MOUNT_SAVE);
}

static enum mount_how how_of(const struct mount_life *life)
{
	enum mount_how how = life->mounts->opts.how;

	if (life->pub.rec.how != NULL)
		(void)mount_how_parse(life->pub.rec.how, &how);
	return how;
}

static enum mount_state enter_attach(struct mount_life *life)
{
	const struct mounts_opts *o = &life->mounts->opts;
	const struct image_mount_opts opts = { .dir = life->pub.rec.dir,
		                               .image = life->pub.image,
		                               .how = how_of(life),
		                               .no_erofs = &o->no_erofs,
		                               .keeper_socket = o->keeper_socket,
		                               .kept = life->kept,
		                               .fuse_pool = o->fuse_pool,
		                               .fetch = o->fetch,
		                               .loop = o->loop,
		                               .pool = o->pool,
		                               .clock = o->clock,
		                               .log = o->log,
		                               .metrics = o->metrics,
		                               .ended = on_ended,
		                               .arg = life };

	life->kept = NULL; /* moved */
	if (image_mount_start(&opts, on_attached, life, &life->pub.why) < 0)
		return MOUNT_UNDO;
	return MOUNT_ATTACH;
}

static enum mount_state enter_up(struct mount_life *life)
{
	struct mount_op *op = life->op;
	const bool was_there = op != NULL && op->same_alone;

	/* Not on the way back from a busy umount, nor where it was there. */
	if ((op != NULL && !was_there) || life->restoring)
		log_info(life->mounts->opts.log, "mounted", "dir=%s as=%s image=%s digest=%s",
		         LOG_Q(life->pub.rec.dir), life->pub.erofs ? "erofs" : "tree",
		         LOG_Q(mount_record_image(&life->pub.rec)), life->pub.rec.digest);
	life->restoring = false;
	life->adopting = false;
	life->retry_ms = 0;
	life->pub.why = (struct err){ 0 };
	mount_replace_done(life);
	mounts_look(life->mounts);
	mount_prefetch_start(life);
	life->op = NULL;
	if (op != NULL)
		mount_op_end(op, was_there ? MOUNT_WAS_THERE : 0, &life->pub, NULL);
	return life->ended ? ended_from_outside(life) : MOUNT_UP;
}

/* ---- and back ---- */

static void let_go(struct mount_life *life)
{
	mount_prefetch_stop(life);
	life->tree = NULL;
	life->ended = false;
	life->pub.erofs = false;
	life->pub.no_erofs = NULL;
	life->auth_added = false; /* it stays with the registry, for the next try */
	lazy_image_release(&life->pub.image);
}

static void on_stopped(void *arg, int r, const struct err *why)
{
	struct mount_life *life = arg;

	if (r == 0) {
		log_info(life->mounts->opts.log, "unmounted", "dir=%s", LOG_Q(life->pub.rec.dir));
		let_go(life);
		life_run(life, MOUNT_UNLIST);
		return;
	}
	if (life->removed != NULL)
		life->removed(life->removed_arg, r, why);
	life->removed = NULL;
	life_run(life, MOUNT_UP);
	if (life->mounts->stopping)
		mount_life_leave(life);
}

static enum mount_state enter_stop(struct mount_life *life)
{
	image_mount_stop(life->tree, life->detach, on_stopped, life);
	return MOUNT_STOP;
}

static enum mount_state enter_unlist(struct mount_life *life)
{
	chore_submit(life, mount_chore_unlist, unlist_after);
	return MOUNT_UNLIST;
}

/* It was on its way up, and somebody wants it away. */
static enum mount_state unwanted(struct mount_life *life)
{
	log_info(life->mounts->opts.log, "unmounted on its way up", "dir=%s",
	         LOG_Q(life->pub.rec.dir));
	mount_replace_done(life); /* what was there before does not come back either */
	if (life->listed)
		return MOUNT_UNLIST;
	life->removed(life->removed_arg, 0, NULL);
	life->removed = NULL;
	return MOUNT_GONE;
}

/* Nothing is mounted any more. @return where the life goes on */
static enum mount_state undone(struct mount_life *life)
{
	struct mount_op *op = life->op;

	let_go(life);
	if (life->adopting && !life->mounts->stopping && life->removed == NULL) {
		log_warn(life->mounts->opts.log, "a kept mount cannot be taken on",
		         "dir=%s error=%s", LOG_Q(life->pub.rec.dir), LOG_Q(life->pub.why.msg));
		life->adopting = false;
		return MOUNT_CHECK;
	}
	life->op = NULL;
	life->abandoned = false;
	if (op != NULL)
		mount_op_end(op, -life->pub.why.code, NULL, &life->pub.why);
	if (life->removed != NULL)
		return unwanted(life);
	if (mount_replace_fall_back(life))
		return MOUNT_CHECK;
	if (!life->listed)
		return MOUNT_GONE;
	return life->unlist ? MOUNT_UNLIST : MOUNT_DOWN;
}

static void on_undone(void *arg, int r, const struct err *why)
{
	struct mount_life *life = arg;

	if (r == -EBUSY && life->mounts->stopping && image_mount_is_kept(life->tree)) {
		log_info(life->mounts->opts.log, "in use: left to the keeper", "dir=%s",
		         LOG_Q(life->pub.rec.dir));
		life->left = true;
		image_mount_leave(life->tree, on_undone, life);
		return;
	}
	if (r == -EBUSY && !life->detach) {
		log_warn(life->mounts->opts.log, "in use: detached", "dir=%s",
		         LOG_Q(life->pub.rec.dir));
		life->detach = true;
		image_mount_stop(life->tree, true, on_undone, life);
		return;
	}
	if (r < 0)
		log_warn(life->mounts->opts.log, "unmount failed", "dir=%s error=%s",
		         LOG_Q(life->pub.rec.dir), LOG_Q(why->msg));
	else if (!life->left)
		log_info(life->mounts->opts.log, "unmounted", "dir=%s", LOG_Q(life->pub.rec.dir));
	life_run(life, undone(life));
}

static enum mount_state enter_undo(struct mount_life *life)
{
	life->detach = false;
	if (life->tree != NULL) {
		image_mount_stop(life->tree, false, on_undone, life);
		return MOUNT_UNDO;
	}
	return undone(life);
}

static void on_retry(struct timer *t)
{
	struct mount_life *life = container_of(t, struct mount_life, retry);

	life->restoring = true;
	life_run(life, MOUNT_CHECK);
}

/* A silent registry; or others took what there may be more of in a moment. */
static bool may_pass(int code)
{
	return code == EAGAIN || err_is_no_space(code) || code == EMFILE || code == ENFILE ||
	       code == ENOMEM;
}

/* Trouble that may pass is tried again; the rest waits for a person. */
static enum mount_state enter_down(struct mount_life *life)
{
	const bool again = life->restoring && may_pass(life->pub.why.code);

	if (life->mounts->stopping)
		return MOUNT_DOWN;
	if (life->restoring)
		log_warn(life->mounts->opts.log, "a listed mount cannot be mounted",
		         "dir=%s error=%s again=%s", LOG_Q(life->pub.rec.dir),
		         LOG_Q(life->pub.why.msg), again ? "yes" : "no");
	life->restoring = false;
	mounts_look(life->mounts);
	if (again) {
		life->retry_ms = life->retry_ms == 0 ? RETRY_FIRST_MS
		                                     : min_u64(2 * life->retry_ms, RETRY_MAX_MS);
		timer_start(&life->retry, life->retry_ms);
	}
	return MOUNT_DOWN;
}

/* ---- for mounts.c ---- */

void mount_life_give(struct mount_life *life, const struct credentials *given)
{
	if (life->auth_added)
		(void)mount_auth_give(life->mounts->opts.registry, &life->pub.rec, given);
	if (life->auth_added && !life->renewing) /* else the record of before may need them, too */
		return;
	credentials_wipe(&life->given);
	credentials_copy(&life->given, given);
	life->was_given = true;
}

void mount_life_start(struct mount_life *life)
{
	if (life->retry.fn == NULL)
		timer_init(&life->retry, life->mounts->opts.loop, on_retry);
	timer_stop(&life->retry);
	life->adopting = life->kept != NULL;
	life_run(life, life->adopting ? MOUNT_LOAD : MOUNT_CHECK);
}

void mount_life_abandon(struct mount_life *life)
{
	life->abandoned = true;
	if (life->pub.state == MOUNT_LOAD) {
		image_load_cancel(life->load);
		life->load = NULL;
		(void)err_set(&life->pub.why, ECANCELED, "it was cancelled");
		life_run(life, MOUNT_UNDO);
	} else if (life->pub.state == MOUNT_DOWN) {
		timer_stop(&life->retry);
		life->abandoned = false;
	}
}

void mount_life_remove(struct mount_life *life)
{
	timer_stop(&life->retry);
	if (life->pub.state == MOUNT_UP)
		life_run(life, MOUNT_STOP);
	else if (life->pub.state == MOUNT_DOWN)
		life_run(life, MOUNT_UNLIST);
	else
		mount_life_abandon(life);
}

void mount_life_renew(struct mount_life *life, const struct credentials *given)
{
	life->auth_added = false;
	if (given != NULL)
		mount_life_give(life, given);
	auth_add(life);
	life->renewing = true;
	life_run(life, MOUNT_SAVE);
}

void mount_life_prefetch(struct mount_life *life)
{
	life->pub.rec.prefetch = true;
	life->renewing = true;
	life_run(life, MOUNT_SAVE);
}

void mount_life_leave(struct mount_life *life)
{
	(void)err_set(&life->pub.why, ESHUTDOWN, "the agent is stopping");
	life_run(life, MOUNT_UNDO);
}

void mount_life_free(struct mount_life *life)
{
	timer_fini(&life->retry);
	kept_free(&life->kept);
	kept_free(&life->chore.kept);
	credentials_wipe(&life->given);
	mount_record_clear(&life->chore.rec);
	mount_record_clear(&life->pub.rec);
	free(life);
}
