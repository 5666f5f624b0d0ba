/*
 * origin_read: bytes or size of one object at one origin, asked for until it answers or the
 * deadline is over. For blob metas and whole blobs; chunks come by origin_run.c.
 */
#include "mem.h"
#include "origin_run.h"
#include <errno.h>
#include <stdlib.h>

struct origin_read {
	struct origin_source *s;
	struct origin_addr addr;
	struct origin_asked *asked;
	uint64_t size_bytes; /* where it was asked for */
	int (*body)(void *arg, const uint8_t *bytes, size_t size_bytes);
	void (*end)(void *arg, int r, const struct err *why);
	void (*size)(void *arg, int r, uint64_t size_bytes, const struct err *why);
	void *arg;
};

static void read_free(struct origin_read *read)
{
	read->s->n_runs--;
	origin_addr_wipe(&read->addr);
	free(read);
}

static void on_size(void *arg, uint64_t size_bytes)
{
	struct origin_read *read = arg;

	read->size_bytes = size_bytes;
}

static int on_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	const struct origin_read *read = arg;

	return read->body(read->arg, bytes, size_bytes);
}

static void on_end(void *arg, int r, const struct err *why)
{
	struct origin_read *read = arg;
	const struct origin_read told = *read;

	read_free(read);
	if (told.size != NULL)
		told.size(told.arg, r, told.size_bytes, why);
	else
		told.end(told.arg, r, why);
}

/* @param read  freed when it does not start */
static int start(struct origin_read *read, const char *origin, struct origin_ask *ask,
                 struct origin_read **ret_read, struct err *e)
{
	int r;

	read->s->n_runs++;
	r = origin_addr_parse(origin, &read->addr, e);
	ask->addr = &read->addr;
	ask->retry = true;
	ask->size = on_size;
	ask->body = on_body;
	ask->end = on_end;
	ask->arg = read;
	if (r == 0)
		r = origin_ask_start(&read->s->opts, ask, &read->asked, e);
	if (r < 0) {
		read_free(read);
		return r;
	}
	*ret_read = read;
	return 0;
}

int origin_read_start(struct source *origin_source, const struct origin_read_opts *opts,
                      struct origin_read **ret_read, struct err *e)
{
	struct origin_ask ask = {
		.object = opts->object,
		.offset = opts->offset,
		.size_bytes = opts->size_bytes,
		.metric = opts->kind,
		.deadline_ns = opts->deadline_ns,
	};
	struct origin_read *read;

	if (opts->size_bytes == 0 || opts->size_bytes > INT64_MAX ||
	    opts->offset > INT64_MAX - opts->size_bytes)
		return err_set(e, EINVAL, "blob %.64s: not a range: %llu bytes from %llu",
		               opts->object, (unsigned long long)opts->size_bytes,
		               (unsigned long long)opts->offset);
	read = xcalloc(1, sizeof(*read));
	read->s = origin_source_of(origin_source);
	read->body = opts->body;
	read->end = opts->end;
	read->arg = opts->arg;
	return start(read, opts->origin, &ask, ret_read, e);
}

void origin_read_cancel(struct origin_read *read)
{
	if (read->asked != NULL)
		origin_ask_cancel(read->asked);
	read_free(read);
}

/* NOLINTNEXTLINE(readability-function-size): a callback and its argument are two parameters */
int origin_size_start(struct source *origin_source, const char *origin, const char *object,
                      uint64_t deadline_ns,
                      void (*size)(void *arg, int r, uint64_t size_bytes, const struct err *why),
                      void *arg, struct origin_read **ret_read, struct err *e)
{
	struct origin_ask ask = {
		.object = object,
		.size_only = true,
		.metric = "meta",
		.deadline_ns = deadline_ns,
	};
	struct origin_read *read = xcalloc(1, sizeof(*read));

	read->s = origin_source_of(origin_source);
	read->size = size;
	read->arg = arg;
	return start(read, origin, &ask, ret_read, e);
}
