/*
 * origin_dir: a local directory with one file a blob, named by its id. Read on the pool, piece by
 * piece: as long as a piece is being handed on, the next one is not read.
 */
#include "bytes.h"
#include "mem.h"
#include "origin_kind.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES 262144U /* the loop copies as much in some 20 us */

struct dir_ask {
	struct origin_ask ask;
	struct pool *pool;
	struct job job;
	char *path;
	int fd;
	uint64_t at; /* offset of the next piece */
	uint64_t end;
	uint64_t file_bytes;
	int result; /* of the last piece */
	uint32_t piece_bytes;
	struct err err;
	bool cancelled;
	uint8_t piece[PIECE_BYTES];
};

static int parse(const char *text, struct origin_addr *ret_addr, struct err *e)
{
	const char *path = text + strlen("dir:");

	if (*path != '/')
		return err_set(e, EINVAL,
		               "\"%.100s\": a directory is named from the root: dir:/path", text);
	ret_addr->host = xstrdup("dir");
	ret_addr->place = xstrdup(path);
	return 0;
}

static void dir_free(struct dir_ask *d)
{
	close_fd(&d->fd);
	free_str(&d->path);
	free(d);
}

/* ---- on a worker ---- */

static int open_file(struct dir_ask *d, struct err *e)
{
	struct stat st;

	if (d->fd >= 0)
		return 0;
	d->fd = open(d->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (d->fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return err_errno(e, ENOENT, "%s", d->path);
	if (d->fd < 0 && (errno == EACCES || errno == EPERM))
		return err_errno(e, errno, "%s", d->path);
	if (d->fd < 0 || fstat(d->fd, &st) < 0) {
		(void)err_errno(e, errno, "%s", d->path);
		e->code = EAGAIN;
		return -EAGAIN;
	}
	if (!S_ISREG(st.st_mode))
		return err_set(e, ENOENT, "%s is not a file", d->path);
	d->file_bytes = (uint64_t)st.st_size;
	if (!d->ask.size_only && d->file_bytes < d->end)
		return err_set(e, EPROTO, "%s has %llu bytes, not the %llu that are wanted",
		               d->path, (unsigned long long)d->file_bytes,
		               (unsigned long long)d->end);
	return 0;
}

static int read_piece(struct dir_ask *d, struct err *e)
{
	const size_t want = (size_t)min_u64(PIECE_BYTES, d->end - d->at);
	ssize_t n;

	n = pread(d->fd, d->piece, want, (off_t)d->at);
	if (n < 0) {
		(void)err_errno(e, errno, "%s", d->path);
		e->code = EAGAIN;
		return -EAGAIN;
	}
	if (n == 0)
		return err_set(e, EAGAIN, "%s became shorter", d->path);
	d->piece_bytes = (uint32_t)n;
	return 0;
}

static void work(struct job *job)
{
	struct dir_ask *d = container_of(job, struct dir_ask, job);

	d->piece_bytes = 0;
	d->result = open_file(d, &d->err);
	if (d->result == 0 && !d->ask.size_only)
		d->result = read_piece(d, &d->err);
}

/* ---- on the loop ---- */

static void finish(struct dir_ask *d, int r)
{
	const struct origin_ask ask = d->ask;
	const uint64_t file_bytes = d->file_bytes;
	const struct err why = d->err;

	dir_free(d);
	if (r == 0 && ask.size_only)
		ask.size(ask.arg, file_bytes);
	ask.end(ask.arg, r, &why);
}

static void after(struct job *job)
{
	struct dir_ask *d = container_of(job, struct dir_ask, job);
	int r = d->result;

	if (!d->cancelled && r == 0 && d->piece_bytes > 0) {
		/* cancel() from inside body() only sets the mark: the job is still ours. */
		r = d->ask.body(d->ask.arg, d->piece, d->piece_bytes);
		d->at += d->piece_bytes;
	}
	if (d->cancelled)
		dir_free(d);
	else if (r != 0 || d->ask.size_only || d->at >= d->end)
		finish(d, r);
	else
		pool_submit(d->pool, &d->job);
}

static int start(const struct origin_source_opts *opts, const struct origin_ask *ask,
                 void **ret_inner, struct err *e)
{
	struct dir_ask *d;

	/* The layout's check has seen to that already; a path deserves a second look. */
	if (strchr(ask->object, '/') != NULL || strcmp(ask->object, "..") == 0 ||
	    strcmp(ask->object, ".") == 0 || ask->object[0] == '\0')
		return err_set(e, EINVAL, "\"%.64s\" is no blob id", ask->object);
	d = calloc(1, sizeof(*d));
	if (d == NULL)
		return err_set(e, ENOMEM, "no memory to read a file");
	d->ask = *ask;
	d->pool = opts->pool;
	d->fd = -1;
	d->path = xasprintf("%s/%s", ask->addr->place, ask->object);
	d->at = ask->offset;
	d->end = ask->offset + ask->size_bytes;
	d->job = (struct job){ .work = work, .after = after, .prio = JOB_READER };
	pool_submit(opts->pool, &d->job);
	*ret_inner = d;
	return 0;
}

static void cancel(void *inner)
{
	struct dir_ask *d = inner;

	d->cancelled = true; /* a worker has it: freed when that is done */
}

static void whom(const void *inner, char *ret_text, size_t size_bytes)
{
	const struct dir_ask *d = inner;

	(void)snprintf(ret_text, size_bytes, "%s", d->path);
}

const struct origin_kind origin_kind_dir = {
	.prefixes = { "dir:" },
	.parse = parse,
	.start = start,
	.cancel = cancel,
	.whom = whom,
};
