/*
 * session: see session.h.
 */
#include "session.h"
#include "fuse_member.h"
#include "mem.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

struct session {
	struct session_opts opts;
	struct fuse_session *fuse; /* owns the descriptor */
	struct fuse_member *member;
};

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

/* On success libfuse owns *fd. */
static int open_fuse(struct session *s, int *fd, struct err *e)
{
	char name[] = "shoal";
	char *argv[] = { name, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	int r;

	s->fuse = fuse_session_new(&args, s->opts.ops, sizeof(*s->opts.ops), s->opts.tree);
	fuse_opt_free_args(&args);
	if (s->fuse == NULL)
		return err_set(e, ENOMEM, "libfuse gives no session (too many mounts?)");
	r = fuse_session_custom_io(s->fuse, &device_io, *fd);
	if (r != 0)
		return err_set(e, EIO, "libfuse takes no descriptor: error %d", r);
	*fd = -1;
	s->opts.tree->session = s->fuse;
	return 0;
}

static void on_request(void *arg, void *buf, size_t size_bytes)
{
	struct session *s = arg;
	const struct fuse_buf b = { .mem = buf, .size = size_bytes };

	fuse_session_process_buf(s->fuse, &b);
}

static void on_gone(void *arg)
{
	struct session *s = arg;

	s->opts.gone(s->opts.arg);
}

int session_new(const struct session_opts *opts, int *fd, struct session **ret_session,
                struct err *e)
{
	struct session *s = xcalloc(1, sizeof(*s));
	struct fuse_member_opts member = { .request = on_request, .gone = on_gone, .arg = s };
	int r;

	s->opts = *opts;
	r = open_fuse(s, fd, e);
	if (r == 0) {
		member.fd = fuse_session_fd(s->fuse);
		r = fuse_pool_add(opts->fuse_pool, &member, &s->member, e);
	}
	if (r < 0) {
		session_free(&s);
		return r;
	}
	*ret_session = s;
	return 0;
}

void session_leave(struct session *session)
{
	if (session != NULL)
		fuse_pool_remove(session->opts.fuse_pool, &session->member);
}

void session_free(struct session **session)
{
	struct session *s = *session;

	*session = NULL;
	if (s == NULL)
		return;
	if (s->fuse != NULL)
		fuse_session_destroy(s->fuse);
	free(s);
}
