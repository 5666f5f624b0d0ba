/*
 * origin_ask: picks the kind of an origin, and counts the bytes that come.
 */
#include "mem.h"
#include "origin_kind.h"
#include "text.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct origin_asked {
	struct origin_ask ask;
	void *inner; /* the kind's */
	struct series *received;
};

static const struct origin_kind *const kinds[] = { &origin_kind_registry, &origin_kind_dir,
	                                           &origin_kind_http };

static bool is_of(const struct origin_kind *kind, const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(kind->prefixes); i++)
		if (kind->prefixes[i] != NULL &&
		    strncmp(text, kind->prefixes[i], strlen(kind->prefixes[i])) == 0)
			return true;
	return false;
}

int origin_addr_parse(const char *text, struct origin_addr *ret_addr, struct err *e)
{
	struct origin_addr addr = { 0 };
	int r;

	if (strlen(text) >= ORIGIN_TEXT_MAX_BYTES)
		return err_set(e, EINVAL, "an origin is at most %d characters long",
		               ORIGIN_TEXT_MAX_BYTES - 1);
	if (text_has_control(text))
		return err_set(e, EINVAL, "an origin has no control characters");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (!is_of(kinds[i], text))
			continue;
		r = kinds[i]->parse(text, &addr, e);
		if (r < 0)
			return r;
		addr.kind = kinds[i];
		addr.text = xstrdup(text);
		*ret_addr = addr;
		return 0;
	}
	return err_set(e, EINVAL,
	               "\"%.100s\" is no origin: it is registry:HOST[:PORT]/REPOSITORY, dir:/path, "
	               "or an http(s)://.../ prefix",
	               text);
}

void origin_addr_wipe(struct origin_addr *addr)
{
	free_str(&addr->text);
	free_str(&addr->host);
	free_str(&addr->place);
}

int origin_check(const char *text, struct err *e)
{
	struct origin_addr addr;
	const int r = origin_addr_parse(text, &addr, e);

	if (r == 0)
		origin_addr_wipe(&addr);
	return r;
}

/* ---- asking ---- */

static void on_size(void *arg, uint64_t size_bytes)
{
	const struct origin_asked *a = arg;

	a->ask.size(a->ask.arg, size_bytes);
}

static int on_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	const struct origin_asked *a = arg;

	series_add(a->received, (int64_t)size_bytes);
	return a->ask.body(a->ask.arg, bytes, size_bytes);
}

static void on_end(void *arg, int r, const struct err *why)
{
	struct origin_asked *a = arg;
	const struct origin_ask ask = a->ask;

	free(a);
	ask.end(ask.arg, r, why);
}

int origin_ask_start(const struct origin_source_opts *opts, const struct origin_ask *ask,
                     struct origin_asked **ret_asked, struct err *e)
{
	struct origin_asked *a = xcalloc(1, sizeof(*a));
	struct origin_ask inner = *ask;
	int r;

	a->ask = *ask;
	a->received = metrics_series(opts->metrics, METRIC_ORIGIN_RECEIVED_BYTES,
	                             (const char *const[]){ ask->addr->host, ask->metric });
	inner.size = on_size;
	inner.body = on_body;
	inner.end = on_end;
	inner.arg = a;
	r = ask->addr->kind->start(opts, &inner, &a->inner, e);
	if (r < 0) {
		free(a);
		return r;
	}
	*ret_asked = a;
	return 0;
}

void origin_ask_cancel(struct origin_asked *asked)
{
	asked->ask.addr->kind->cancel(asked->inner);
	free(asked);
}

void origin_ask_whom(const struct origin_asked *asked, char *ret_text, size_t size_bytes)
{
	asked->ask.addr->kind->whom(asked->inner, ret_text, size_bytes);
}
