/*
 * image_mount: how a mounted image comes and goes.
 *
 *   START --mounted--> MOUNTED --image_mount_stop()--> UNMOUNT --unmounted--> LEAVE
 *     |                 ^ | `--the kernel ended it: ended()--'|                ^
 *     |                 | `-- in use ------------------------'|--lazy--> GRACE-'
 *     `-- failed --> GONE <-- CLOSE <-- DRAIN <----------------------- LEAVE
 *
 * UNMOUNT, LEAVE and CLOSE are jobs on the pool: they block on the kernel, or on FUSE threads that
 * are inside the session. GRACE: readers of a lazily detached mount, whose files stay open, get
 * their EIO from us rather than an aborted connection. DRAIN: fetch lets go of the last read.
 * All fields belong to the loop thread, but for those that a job works on while it runs.
 *
 * With a keeper: what it holds is taken on instead of a mount at START, and image_mount_leave()
 * goes from MOUNTED to LEAVE, unmounting and answering nothing.
 *
 * Knows mounts, sessions and threads. Does not know what is asked of the tree.
 */
#include "image_mount.h"
#include "blob_files.h"
#include "device_files.h"
#include "erofs_dev.h"
#include "fuse_dev.h"
#include "fuse_member.h"
#include "loop.h"
#include "mem.h"
#include "pool.h"
#include "session.h"
#include "tree.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_AHEAD_KIB 1024
/* Behind a range of a blob stand other files, which nobody may want: fetch knows better. */
#define BLOB_READ_AHEAD_KIB 128
#define GRACE_MS            200

enum state { START, MOUNTED, UNMOUNT, GRACE, LEAVE, DRAIN, CLOSE, GONE, N_STATES };

struct image_mount {
	struct image_mount_opts opts;
	char *dir;
	enum state state;
	struct tree tree;
	struct session *session;
	char *bootstrap; /* path */
	struct handed_files handed;
	bool erofs;          /* it is the kernel that reads the tree */
	struct err no_erofs; /* why not */
	struct kept kept; /* what a keeper needs; its fd is the session's, -1: it cannot be kept */
	bool kept_there;  /* a keeper has it. [loop], and the job */
	bool handing_over;
	dev_t dev;

	struct job job; /* one at a time */
	int result;     /* of the job */
	struct err why;

	struct loop_call gone_call;
	struct loop_call drained_call;
	struct timer grace;
	bool gone; /* the kernel ended the connection */
	bool lazy;

	void (*start_done)(void *arg, int r, struct image_mount *mount, const struct err *why);
	void *start_arg;
	void (*stop_done)(void *arg, int r, const struct err *why);
	void *stop_arg;
};

/* ---- start ---- */

static void mount_free(struct image_mount *m)
{
	timer_fini(&m->grace);
	lazy_image_release(&m->opts.image);
	tree_fini(&m->tree);
	free_str(&m->dir);
	free_str(&m->bootstrap);
	free(m);
}

static void session_gone(void *arg) /* a thread of the FUSE pool */
{
	struct image_mount *m = arg;

	loop_post(m->opts.loop, &m->gone_call);
}

static int serve(struct image_mount *m, const struct fuse_lowlevel_ops *ops, int *fd, struct err *e)
{
	const struct session_opts opts = { .fuse_pool = m->opts.fuse_pool,
		                           .ops = ops,
		                           .tree = &m->tree,
		                           .gone = session_gone,
		                           .arg = m,
		                           .kept = m->opts.kept };

	return session_new(&opts, fd, &m->session, e);
}

/* Whoever closes the last file of a connection first leaves its session, so that no end is told. */
static void unserve(struct image_mount *m)
{
	session_leave(m->session);
	session_free(&m->session);
}

static int attach_tree(struct image_mount *m, struct err *e)
{
	AUTO(close_fd) int fd = -1;
	int r = fuse_dev_mount(m->dir, FUSE_READ_MAX_BYTES, &fd, e);

	if (r < 0)
		return r;
	r = serve(m, &tree_ops, &fd, e);
	if (r == 0)
		r = fuse_dev_number(m->dir, &m->dev, e); /* waits for INIT */
	if (r == 0) {
		fuse_dev_set_read_ahead(m->dev, READ_AHEAD_KIB, m->opts.log);
		return 0;
	}
	fuse_dev_detach(m->dir, m->opts.log);
	unserve(m);
	return r;
}

/* ---- by the kernel ---- */

/* The kernel's EROFS over the files that are served below mount_fd. */
static int attach_kernel(struct image_mount *m, int mount_fd, struct err *e)
{
	AUTO(device_files_close) struct device_files files = { 0 };
	struct erofs_mount_opts opts = { .bootstrap = m->bootstrap, .dir = m->dir };
	struct stat st;
	int r = device_files_open(m->opts.image, mount_fd, &files, &m->handed, e);

	if (r < 0)
		return r;
	if (fstat(mount_fd, &st) == 0)
		fuse_dev_set_read_ahead(st.st_dev, BLOB_READ_AHEAD_KIB, m->opts.log);
	opts.device_fds = files.fds;
	opts.n_devices = files.n;
	r = erofs_dev_mount(&opts, e);
	return r < 0 ? r : fuse_dev_number(m->dir, &m->dev, e);
}

static int attach_erofs(struct image_mount *m, struct err *e)
{
	AUTO(close_fd) int fd = -1;
	AUTO(close_fd) int mount_fd = -1;
	int r = blob_files_new(m->opts.image, &m->tree.files, e);

	if (r == 0)
		r = fuse_dev_mount_nowhere(FUSE_READ_MAX_BYTES, &fd, &mount_fd, e);
	if (r == 0)
		r = serve(m, &blob_files_ops, &fd, e);
	if (r == 0)
		r = attach_kernel(m, mount_fd, e);
	if (r < 0) {
		handed_files_release(&m->handed);
		unserve(m);
		blob_files_free(&m->tree.files);
	}
	return r;
}

/* @return 0; -ENOTSUP or what else it is, with the reason */
static int try_erofs(struct image_mount *m, struct err *e)
{
	struct image_info info;

	image_info(m->opts.image->image, &info);
	if (info.format != IMAGE_RAFS_V6)
		return err_set(e, ENOTSUP, "only RAFS v6 is an EROFS image");
	if (info.n_blobs == 0)
		return err_set(e, ENOTSUP, "the image has no blobs");
	if (m->opts.how == HOW_AUTO && e->code != 0)
		return -e->code;
	return attach_erofs(m, e);
}

static int attach(struct image_mount *m)
{
	const int r = fuse_dev_check_dir(m->dir, m->opts.log, &m->why);

	if (r < 0)
		return r;
	m->erofs = m->opts.how != HOW_TREE && try_erofs(m, &m->no_erofs) == 0;
	if (m->erofs)
		return 0;
	if (m->opts.how != HOW_TREE)
		log_info(m->opts.log, "mounted as a tree, not by the kernel", "dir=%s why=%s",
		         LOG_Q(m->dir), LOG_Q(m->no_erofs.msg));
	return attach_tree(m, &m->why);
}

/* ---- the keeper ---- */

/* Take on what an earlier process left. The directory is not touched: whoever does waits for us. */
static int take_on(struct image_mount *m, struct kept *kept, struct err *e)
{
	AUTO(close_fd) int fd = -1;
	int r = 0;

	if (strcmp(kept->note.digest, m->opts.image->digest) != 0)
		r = err_set(e, EUCLEAN, "the kept mount is of another image");
	else if (!kept_is_alive(kept))
		r = err_set(e, ENOTCONN, "the kept mount was unmounted meanwhile");
	m->erofs = kept->note.erofs != 0;
	m->dev = kept->note.dev;
	if (r == 0 && m->erofs)
		r = blob_files_new(m->opts.image, &m->tree.files, e);
	fd = kept->fd;
	kept->fd = -1;
	if (r == 0)
		r = serve(m, m->erofs ? &blob_files_ops : &tree_ops, &fd, e);
	/* Last, behind the readers: in use, they stay whole anyway. */
	if (r == 0 && m->erofs)
		handed_files_find(m->opts.image, &m->handed);
	return r;
}

/* A mount that cannot be kept is a mount all the same. */
static void give_to_keeper(struct image_mount *m)
{
	struct err e = { 0 };
	int r;

	kept_fill(&m->kept, m->dir, m->opts.image->digest);
	m->kept.note.erofs = m->erofs;
	m->kept.note.dev = m->dev;
	r = session_describe(m->session, &m->kept, &e);
	if (r < 0)
		m->kept = (struct kept){ .fd = -1 };
	else
		r = keeper_keep(m->opts.keeper_socket, &m->kept, &e);
	m->kept_there = r == 0;
	if (r == 0)
		return;
	log_warn(m->opts.log, "this mount does not outlive the agent", "dir=%s until=%s why=%s",
	         LOG_Q(m->dir), m->kept.fd >= 0 ? "another_keeper" : "never", LOG_Q(e.msg));
}

static void take_from_keeper(struct image_mount *m)
{
	struct err e = { 0 };

	if (!m->handing_over && m->kept_there &&
	    keeper_drop(m->opts.keeper_socket, m->kept.key, &e) < 0)
		log_warn(m->opts.log, "the keeper still holds a mount that is gone",
		         "dir=%s why=%s", LOG_Q(m->dir), LOG_Q(e.msg));
	m->kept.fd = -1;
}

/* ---- the job ---- */

/* worker */
static void take_on_work(struct job *job)
{
	struct image_mount *m = container_of(job, struct image_mount, job);

	m->kept = *m->opts.kept;
	m->kept_there = true;
	m->result = take_on(m, m->opts.kept, &m->why);
	kept_free(&m->opts.kept);
	if (m->result == 0) {
		m->kept.fd = session_fd(m->session);
		return;
	}
	m->kept.fd = -1;
	unserve(m);
	take_from_keeper(m); /* its readers get an error */
}

/* worker */
static void start_work(struct job *job)
{
	struct image_mount *m = container_of(job, struct image_mount, job);

	m->result = attach(m);
	if (m->result == 0 && m->opts.keeper_socket != NULL)
		give_to_keeper(m);
}

/* ---- the states ---- */

static enum state enter_unmount(struct image_mount *m);
static enum state enter_grace(struct image_mount *m);
static enum state enter_leave(struct image_mount *m);
static enum state enter_drain(struct image_mount *m);
static enum state enter_close(struct image_mount *m);

static const struct {
	const char *name;
	enum state (*enter)(struct image_mount *m); /* the next state, or its own: wait */
	unsigned may_follow;
} states[N_STATES] = {
	[START] = { "start", NULL, BIT(MOUNTED) | BIT(GONE) },
	[MOUNTED] = { "mounted", NULL, BIT(UNMOUNT) | BIT(LEAVE) },
	[UNMOUNT] = { "unmount", enter_unmount, BIT(MOUNTED) | BIT(GRACE) | BIT(LEAVE) },
	[GRACE] = { "grace", enter_grace, BIT(LEAVE) },
	[LEAVE] = { "leave", enter_leave, BIT(DRAIN) },
	[DRAIN] = { "drain", enter_drain, BIT(CLOSE) },
	[CLOSE] = { "close", enter_close, BIT(GONE) },
	[GONE] = { "gone", NULL, 0 },
};

static void mount_run(struct image_mount *m, enum state next)
{
	while (next != m->state) {
		assert(states[m->state].may_follow & BIT(next));
		m->state = next;
		if (states[next].enter != NULL)
			next = states[next].enter(m);
	}
}

static void run_job(struct image_mount *m, void (*work)(struct job *), void (*after)(struct job *),
                    enum job_prio prio)
{
	m->why = (struct err){ 0 };
	m->job = (struct job){ .work = work, .after = after, .prio = prio };
	pool_submit(m->opts.pool, &m->job);
}

static void start_failed(struct image_mount *m)
{
	void (*const done)(void *arg, int r, struct image_mount *mount, const struct err *why) =
		m->start_done;
	void *const arg = m->start_arg;
	const int r = m->result;
	const struct err why = m->why;

	mount_run(m, GONE);
	mount_free(m); /* first: whoever is told may look for what it held */
	done(arg, r, NULL, &why);
}

static void start_after(struct job *job)
{
	struct image_mount *m = container_of(job, struct image_mount, job);

	if (m->result < 0) {
		start_failed(m);
		return;
	}
	mount_run(m, MOUNTED);
	m->start_done(m->start_arg, 0, m, &m->why);
	if (m->gone && m->state == MOUNTED)
		m->opts.ended(m->opts.arg, m);
}

/* worker */
static void unmount_work(struct job *job)
{
	struct image_mount *m = container_of(job, struct image_mount, job);

	m->result = fuse_dev_umount(m->dir, m->dev, m->lazy, &m->why);
}

static void unmount_after(struct job *job)
{
	struct image_mount *m = container_of(job, struct image_mount, job);

	if (m->result < 0 && !m->lazy && !m->gone) {
		mount_run(m, MOUNTED);
		m->stop_done(m->stop_arg, m->result, &m->why);
		return;
	}
	if (m->result < 0)
		log_warn(m->opts.log, "mount is cut off, not unmounted", "dir=%s why=%s",
		         LOG_Q(m->dir), LOG_Q(m->why.msg));
	mount_run(m, m->lazy && !m->gone ? GRACE : LEAVE);
}

static enum state enter_unmount(struct image_mount *m)
{
	if (m->lazy)
		atomic_store(&m->tree.ending, true);
	run_job(m, unmount_work, unmount_after, JOB_NORMAL);
	return UNMOUNT;
}

static void grace_over(struct timer *t)
{
	mount_run(container_of(t, struct image_mount, grace), LEAVE);
}

static enum state enter_grace(struct image_mount *m)
{
	tree_cancel_reads(&m->tree);
	timer_start(&m->grace, GRACE_MS);
	return GRACE;
}

/* worker */
static void leave_work(struct job *job)
{
	struct image_mount *m = container_of(job, struct image_mount, job);

	session_leave(m->session);
}

static void leave_after(struct job *job)
{
	mount_run(container_of(job, struct image_mount, job), DRAIN);
}

static enum state enter_leave(struct image_mount *m)
{
	timer_stop(&m->grace);
	if (!m->handing_over)
		atomic_store(&m->tree.ending, true);
	run_job(m, leave_work, leave_after, JOB_NORMAL);
	return LEAVE;
}

static enum state enter_drain(struct image_mount *m)
{
	atomic_store(&m->tree.handing_over, m->handing_over);
	tree_cancel_reads(&m->tree);
	return tree_drain(&m->tree) ? CLOSE : DRAIN;
}

static void tree_drained(struct tree *tree) /* any thread */
{
	struct image_mount *m = container_of(tree, struct image_mount, tree);

	loop_post(m->opts.loop, &m->drained_call);
}

static void on_drained(struct loop_call *call)
{
	mount_run(container_of(call, struct image_mount, drained_call), CLOSE);
}

/* worker */
static void close_work(struct job *job)
{
	struct image_mount *m = container_of(job, struct image_mount, job);

	take_from_keeper(m); /* or its copy would keep the connection open */
	session_free(&m->session);
	handed_files_release(&m->handed);
}

static void close_after(struct job *job)
{
	struct image_mount *m = container_of(job, struct image_mount, job);
	const struct err none = { 0 };
	void (*const done)(void *arg, int r, const struct err *why) = m->stop_done;
	void *const arg = m->stop_arg;

	mount_run(m, GONE);
	mount_free(m);
	done(arg, 0, &none);
}

static enum state enter_close(struct image_mount *m)
{
	run_job(m, close_work, close_after, JOB_NORMAL);
	return CLOSE;
}

/* Posted by a thread of the pool: at the latest before LEAVE's job ends, so m is there. */
static void on_gone(struct loop_call *call)
{
	struct image_mount *m = container_of(call, struct image_mount, gone_call);

	m->gone = true;
	if (m->state == GRACE)
		mount_run(m, LEAVE);
	else if (m->state == MOUNTED)
		m->opts.ended(m->opts.arg, m);
}

/* ---- the public face ---- */

int image_mount_start(const struct image_mount_opts *opts,
                      void (*done)(void *arg, int r, struct image_mount *mount,
                                   const struct err *why),
                      void *arg, struct err *e)
{
	struct image_mount *m;
	struct tree_opts tree;

	if (opts->dir == NULL || opts->dir[0] != '/')
		return err_set(e, EINVAL, "%s: the directory must be given as an absolute path",
		               opts->dir == NULL ? "" : opts->dir);
	m = xcalloc(1, sizeof(*m));
	m->opts = *opts;
	m->dir = xstrdup(opts->dir);
	m->opts.image = lazy_image_ref(opts->image);
	m->bootstrap = opts->how != HOW_TREE ? lazy_image_bootstrap_path(opts->image) : NULL;
	m->no_erofs = opts->no_erofs != NULL ? *opts->no_erofs : (struct err){ 0 };
	m->start_done = done;
	m->start_arg = arg;
	m->gone_call.fn = on_gone;
	m->drained_call.fn = on_drained;
	timer_init(&m->grace, opts->loop, grace_over);
	tree = (struct tree_opts){ .image = opts->image,
		                   .fetch = opts->fetch,
		                   .fuse_pool = opts->fuse_pool,
		                   .clock = opts->clock,
		                   .log = opts->log,
		                   .metrics = opts->metrics,
		                   .drained = tree_drained };
	tree_init(&m->tree, &tree);
	m->kept.fd = -1;
	if (opts->kept != NULL)
		run_job(m, take_on_work, start_after, JOB_READER); /* its readers wait already */
	else
		run_job(m, start_work, start_after, JOB_NORMAL);
	return 0;
}

void image_mount_stop(struct image_mount *mount, bool lazy,
                      void (*done)(void *arg, int r, const struct err *why), void *arg)
{
	assert(mount->state == MOUNTED);
	mount->lazy = lazy;
	mount->stop_done = done;
	mount->stop_arg = arg;
	mount_run(mount, mount->gone ? LEAVE : UNMOUNT);
}

void image_mount_leave(struct image_mount *mount,
                       void (*done)(void *arg, int r, const struct err *why), void *arg)
{
	assert(mount->state == MOUNTED && image_mount_is_kept(mount));
	mount->handing_over = true;
	mount->stop_done = done;
	mount->stop_arg = arg;
	mount_run(mount, LEAVE);
}

bool image_mount_is_kept(const struct image_mount *mount)
{
	return mount->kept.fd >= 0 && mount->kept_there;
}

bool image_mount_waits_for_keeper(const struct image_mount *mount)
{
	return mount->kept.fd >= 0 && !mount->kept_there;
}

bool image_mount_set_kept(struct image_mount *mount, bool is_there)
{
	if (mount->kept.fd >= 0 && mount->state < CLOSE) /* then a worker has it let go */
		mount->kept_there = is_there;
	return mount->kept.fd >= 0 && mount->kept_there;
}

bool image_mount_copy_kept(const struct image_mount *mount, struct kept *ret_kept)
{
	if (mount->kept.fd < 0 || mount->state >= CLOSE)
		return false;
	*ret_kept = mount->kept;
	ret_kept->fd = fcntl(mount->kept.fd, F_DUPFD_CLOEXEC, 0);
	return ret_kept->fd >= 0;
}

bool image_mount_is_erofs(const struct image_mount *mount, const char **ret_why)
{
	*ret_why = mount->erofs || mount->opts.how == HOW_TREE ? "" : mount->no_erofs.msg;
	return mount->erofs;
}

uint64_t image_mount_device(const struct image_mount *mount)
{
	return mount->dev;
}

uint32_t image_mount_asked(const struct image_mount *mount, struct fuse_asked *ret_asked)
{
	return mount->state == MOUNTED ? session_asked(mount->session, ret_asked, ASKED_MAX) : 0;
}

void image_mount_unkeep(struct image_mount *mount)
{
	mount->kept = (struct kept){ .fd = -1 };
	mount->kept_there = false;
}
