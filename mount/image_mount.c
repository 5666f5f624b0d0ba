/*
 * image_mount: how a mounted tree comes and goes.
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
 * Knows mounts, sessions and threads. Does not know what is asked of the tree.
 */
#include "image_mount.h"
#include "fuse_dev.h"
#include "fuse_member.h"
#include "loop.h"
#include "mem.h"
#include "pool.h"
#include "tree.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_AHEAD_KIB 1024
#define GRACE_MS       200

enum state { START, MOUNTED, UNMOUNT, GRACE, LEAVE, DRAIN, CLOSE, GONE, N_STATES };

struct image_mount {
	struct image_mount_opts opts;
	char *dir;
	enum state state;
	struct tree tree;
	struct fuse_session *session; /* owns the descriptor */
	struct fuse_member *member;
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

/* ---- libfuse's session on our own descriptor ---- */

/* A reader that went away, or a mount that did, is nothing to tell: ENOENT is what libfuse keeps
 * quiet about; all else it would print. */
static ssize_t device_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	const ssize_t n = writev(fd, iov, count);

	(void)userdata;
	if (n < 0 && (errno == ENODEV || errno == ECONNABORTED || errno == EINVAL))
		errno = ENOENT;
	return n;
}

static ssize_t device_read(int fd, void *buf, size_t size_bytes, void *userdata)
{
	(void)userdata;
	return read(fd, buf, size_bytes);
}

static const struct fuse_custom_io device_io = { .writev = device_writev, .read = device_read };

/* On success the session owns *fd. */
static int session_open(struct image_mount *m, int *fd, struct err *e)
{
	char name[] = "shoal";
	char *argv[] = { name, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	int r;

	m->session = fuse_session_new(&args, &tree_ops, sizeof(tree_ops), &m->tree);
	fuse_opt_free_args(&args);
	if (m->session == NULL)
		return err_set(e, ENOMEM, "libfuse gives no session (too many mounts?)");
	r = fuse_session_custom_io(m->session, &device_io, *fd);
	if (r != 0)
		return err_set(e, EIO, "libfuse takes no descriptor: error %d", r);
	*fd = -1;
	m->tree.session = m->session;
	return 0;
}

static void session_request(void *arg, void *buf, size_t size_bytes)
{
	struct image_mount *m = arg;
	const struct fuse_buf b = { .mem = buf, .size = size_bytes };

	fuse_session_process_buf(m->session, &b);
}

static void session_gone(void *arg)
{
	struct image_mount *m = arg;

	loop_post(m->opts.loop, &m->gone_call);
}

static void session_close(struct image_mount *m)
{
	if (m->session != NULL)
		fuse_session_destroy(
			m->session); /* closes the descriptor: the kernel ends the rest */
	m->session = NULL;
}

/* ---- start ---- */

static void mount_free(struct image_mount *m)
{
	timer_fini(&m->grace);
	lazy_image_release(&m->opts.image);
	tree_fini(&m->tree);
	free_str(&m->dir);
	free(m);
}

/* The tree is at dir, and a thread is needed for whatever is done with it. */
static int serve_mounted(struct image_mount *m, struct err *e)
{
	const struct fuse_member_opts opts = { .fd = fuse_session_fd(m->session),
		                               .request = session_request,
		                               .gone = session_gone,
		                               .arg = m };
	int r = fuse_pool_add(m->opts.fuse_pool, &opts, &m->member, e);

	if (r == 0)
		r = fuse_dev_number(m->dir, &m->dev, e); /* waits for INIT */
	if (r == 0)
		fuse_dev_set_read_ahead(m->dev, READ_AHEAD_KIB, m->opts.log);
	return r;
}

/* worker */
static void start_work(struct job *job)
{
	struct image_mount *m = container_of(job, struct image_mount, job);
	AUTO(close_fd) int fd = -1;

	m->result = fuse_dev_check_dir(m->dir, m->opts.log, &m->why);
	if (m->result == 0)
		m->result = fuse_dev_mount(m->dir, FUSE_READ_MAX_BYTES, &fd, &m->why);
	if (m->result < 0)
		return;
	m->result = session_open(m, &fd, &m->why);
	if (m->result == 0)
		m->result = serve_mounted(m, &m->why);
	if (m->result == 0)
		return;
	fuse_dev_detach(m->dir, m->opts.log);
	fuse_pool_remove(m->opts.fuse_pool, &m->member);
	session_close(m);
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

static void run_job(struct image_mount *m, void (*work)(struct job *), void (*after)(struct job *))
{
	m->why = (struct err){ 0 };
	m->job = (struct job){ .work = work, .after = after, .prio = JOB_NORMAL };
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
	run_job(m, unmount_work, unmount_after);
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

	fuse_pool_remove(m->opts.fuse_pool, &m->member);
}

static void leave_after(struct job *job)
{
	mount_run(container_of(job, struct image_mount, job), DRAIN);
}

static enum state enter_leave(struct image_mount *m)
{
	timer_stop(&m->grace);
	atomic_store(&m->tree.ending, true);
	run_job(m, leave_work, leave_after);
	return LEAVE;
}

static enum state enter_drain(struct image_mount *m)
{
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
	session_close(container_of(job, struct image_mount, job));
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
	run_job(m, close_work, close_after);
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
	run_job(m, start_work, start_after);
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

const char *image_mount_dir(const struct image_mount *mount)
{
	return mount->dir;
}

struct lazy_image *image_mount_image(const struct image_mount *mount)
{
	return mount->opts.image;
}
