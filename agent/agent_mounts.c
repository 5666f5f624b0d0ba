/*
 * agent_mounts: see agent_mounts.h.
 */
#include "agent_mounts.h"
#include "erofs.h"
#include "gc.h"
#include "keeping.h"
#include "mount_ended.h"
#include "mount_list.h"
#include "path.h"
#include "share.h"

/* ---- what is listed ---- */

/* Whoever mounted it ended while no agent ran. What was unmounted then may live on below an
 * overlay, with readers who wait for an agent: none will serve them. @return false: it is wanted */
static bool forget_ended(const struct agent *a, const struct mount_record *rec)
{
	const struct config *c = a->config;
	struct err e = { 0 };

	if (!rec->transient || !mount_ended_is_noted(c->api_socket, c->state_dir, rec->dir) ||
	    mount_list_remove(c->state_dir, rec->dir, &e) < 0)
		return false;
	log_info(a->log, "whoever mounted it ended meanwhile: it is forgotten", "dir=%s",
	         LOG_Q(rec->dir));
	if (a->keeping != NULL)
		keeping_let_go(a->keeping, rec->dir);
	return true;
}

static void restore(void *arg, const struct mount_record *rec)
{
	const struct agent *a = arg;
	struct kept *kept;

	if (forget_ended(a, rec))
		return;
	kept = a->keeping != NULL ? keeping_take(a->keeping, rec->dir) : NULL;
	mounts_restore(a->mounts, rec, kept);
}

int agent_mounts_restore(struct agent *a, struct err *e)
{
	const int r = mount_list_load(a->config->state_dir, a->log, restore, a, e);

	if (r < 0) /* whom it would have named waits for the next start */
		return r;
	mount_ended_clear(a->config->api_socket);
	if (a->keeping != NULL)
		keeping_drop_rest(a->keeping);
	mounts_restored(a->mounts);
	return 0;
}

/* ---- the keeper ---- */

static uint32_t all_kept(void *arg, struct kept **ret_kept)
{
	const struct agent *a = arg;

	return mounts_kept(a->mounts, ret_kept);
}

static enum keep_outcome set_kept(void *arg, const struct kept *kept)
{
	const struct agent *a = arg;

	return mounts_set_kept(a->mounts, kept);
}

static void on_unkept(void *arg)
{
	const struct agent *a = arg;

	if (a->keeping != NULL)
		keeping_renew(a->keeping);
}

/* Without a keeper there are mounts, too: they end with us, unless one comes. */
static void start_keeping(struct agent *a)
{
	struct keeping_opts opts = { .socket = a->config->keeper_socket,
		                     .loop = a->loop,
		                     .pool = a->desk,
		                     .log = a->log,
		                     .all = all_kept,
		                     .given = set_kept,
		                     .metrics = a->metrics,
		                     .arg = a };

	if (opts.socket == NULL)
		return;
	a->keeper_program = path_beside_program("shoal-keeper");
	if (a->config->keeper_start)
		opts.program = a->keeper_program;
	a->keeping = keeping_new(&opts);
}

/* ---- the mounts ---- */

/* Before the loop runs: it may block. */
static void try_erofs(struct agent *a)
{
	if (erofs_trial(a->config->state_dir, &a->no_erofs) == 0)
		a->no_erofs = (struct err){ 0 };
	else
		log_info(a->log, "the kernel cannot mount images", "why=%s",
		         LOG_Q(a->no_erofs.msg));
}

static bool make_room(void *arg)
{
	const struct agent *a = arg;

	return cas_make_room(a->cas, 0);
}

static void on_settled(void *arg)
{
	struct agent *a = arg;

	cas_join_behind(a->cas, false);
	if (a->ready != NULL && !a->stopping)
		a->ready(a);
}

void agent_mounts_start(struct agent *a)
{
	struct mounts_opts opts = { .state_dir = a->config->state_dir,
		                    .loop = a->loop,
		                    .pool = a->pool,
		                    .disk_pool = a->desk,
		                    .fetch = a->fetch,
		                    .registry = a->registry,
		                    .loader = a->loader,
		                    .fuse_pool = a->fuse_pool,
		                    .clock = a->clock,
		                    .log = a->log,
		                    .metrics = a->metrics,
		                    .keeper_socket = a->config->keeper_socket,
		                    .unkept = on_unkept,
		                    .unkept_arg = a,
		                    .make_room = make_room,
		                    .make_room_arg = a,
		                    .settled = on_settled,
		                    .settled_arg = a };

	start_keeping(a);
	/* Readers wait for what the keeper has: what others here share comes behind them. */
	cas_join_behind(a->cas, a->keeping != NULL && keeping_has_left(a->keeping));
	try_erofs(a);
	(void)mount_how_parse(a->config->mount, &opts.how); /* the setting is one of them */
	opts.no_erofs = a->no_erofs;
	a->mounts = mounts_new(&opts);
}
