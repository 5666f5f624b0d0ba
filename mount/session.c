/*
 * session: see session.h.
 */
#include "session.h"
#include "fuse_member.h"
#include "mem.h"
#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Newer than the kernel headers of Debian 12. Source: Linux fuse.h, FUSE_NOTIFY_RESEND (6.9). */
#define NOTIFY_RESEND 7

struct session {
	struct session_opts opts;
	uint8_t init[KEPT_INIT_MAX_BYTES]; /* the kernel's first request */
	atomic_uint init_bytes;            /* set once it is there */
	struct fuse_session *fuse;         /* owns the descriptor */
	struct fuse_member *member;
};

/* A reader that went away, or a mount that did, is nothing to tell: ENOENT is what libfuse keeps
 * quiet about; all else it would print. */
static ssize_t device_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	const struct tree *tree = userdata;
	ssize_t n = 0;

	if (tree->swallow_replies) {
		for (int i = 0; i < count; i++)
			n += (ssize_t)iov[i].iov_len;
		return n;
	}
	n = writev(fd, iov, count);
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

/* INIT comes alone: nothing else follows before it is answered. */
static void remember_init(struct session *s, const void *buf, size_t size_bytes)
{
	struct fuse_in_header header;

	if (size_bytes < sizeof(header) || size_bytes > sizeof(s->init))
		return;
	memcpy(&header, buf, sizeof(header));
	if (header.opcode != FUSE_INIT)
		return;
	memcpy(s->init, buf, size_bytes);
	atomic_store(&s->init_bytes, (unsigned)size_bytes);
}

static void on_request(void *arg, void *buf, size_t size_bytes)
{
	struct session *s = arg;
	const struct fuse_buf b = { .mem = buf, .size = size_bytes };

	if (atomic_load(&s->init_bytes) == 0)
		remember_init(s, buf, size_bytes);
	fuse_session_process_buf(s->fuse, &b);
}

/* What was read of the descriptor, but not answered, can be read again. */
static int resend(const struct session *s, struct err *e)
{
	struct fuse_out_header header = { .len = sizeof(header), .error = NOTIFY_RESEND };

	if (write(fuse_session_fd(s->fuse), &header, sizeof(header)) == (ssize_t)sizeof(header))
		return 0;
	return err_set(e, ENOTSUP, "this kernel does not ask again what was not answered (%s)",
	               strerrordesc_np(errno));
}

static int take_on(struct session *s, const struct kept *kept, struct err *e)
{
	struct fuse_buf b = { .mem = s->init, .size = kept->note.init_bytes };

	remember_init(s, kept->note.init, kept->note.init_bytes);
	if (atomic_load(&s->init_bytes) == 0)
		return err_set(e, EUCLEAN, "the kept connection has no INIT");
	s->opts.tree->swallow_replies = true;
	fuse_session_process_buf(s->fuse, &b);
	s->opts.tree->swallow_replies = false;
	return resend(s, e);
}

int session_describe(struct session *session, struct kept *ret_kept, struct err *e)
{
	const int r = resend(session, e); /* a trial: nobody waits yet */

	if (r < 0)
		return r;
	ret_kept->fd = fuse_session_fd(session->fuse);
	ret_kept->note.init_bytes = atomic_load(&session->init_bytes);
	memcpy(ret_kept->note.init, session->init, sizeof(session->init));
	return ret_kept->note.init_bytes > 0 ? 0 : err_set(e, ENOTSUP, "its INIT is not known");
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
	if (r == 0 && opts->kept != NULL)
		r = take_on(s, opts->kept, e);
	s->opts.kept = NULL; /* borrowed for this call */
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

int session_fd(const struct session *session)
{
	return fuse_session_fd(session->fuse);
}

static bool is_among(const struct fuse_asked *asked, uint32_t n, uint64_t unique)
{
	while (n > 0 && asked[n - 1].unique != unique)
		n--;
	return n > 0;
}

/* A thread that hands a read to fetch has it for a moment, too. */
uint32_t session_asked(const struct session *session, struct fuse_asked *ret_asked, uint32_t n_max)
{
	struct fuse_asked inside[FUSE_THREADS_MAX];
	const uint32_t n_inside =
		fuse_pool_inside(session->opts.fuse_pool, session->member, inside);
	uint32_t n = tree_asked(session->opts.tree, ret_asked, n_max - FUSE_THREADS_MAX);

	for (uint32_t i = 0; i < n_inside; i++) {
		if (!is_among(ret_asked, n, inside[i].unique))
			ret_asked[n++] = inside[i];
	}
	return n;
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
