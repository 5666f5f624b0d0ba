/*
 * fake_source: see the header.
 */
#include "fake_source.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int get(struct source *s, const struct unit_run *run, const struct source_events *ev,
               void *arg, struct source_req **ret_req, struct err *e)
{
	struct fake_source *fake = container_of(s, struct fake_source, source);
	struct fake_ask *ask = &fake->asks[fake->n_asks];
	const int refuse = fake->refused == NULL || fake->refused == run->blob ? fake->refuse : 0;

	assert(fake->n_asks < FAKE_ASKS_MAX);
	fake->n_asks++;
	*ask = (struct fake_ask){
		.run = *run, .live = run, .ev = ev, .arg = arg, .open = refuse == 0
	};
	if (refuse < 0)
		return err_set(e, -refuse, "refused");
	if (refuse > 0)
		return refuse;
	*ret_req = (struct source_req *)(void *)fake;
	return 0;
}

static void cancel(struct source_req *req)
{
	struct fake_source *fake = (struct fake_source *)(void *)req;

	fake->n_cancels++;
}

static bool distrust(struct source *s, const struct unit_run *run, uint32_t unit_idx,
                     uint32_t giver)
{
	struct fake_source *fake = container_of(s, struct fake_source, source);

	(void)run;
	(void)unit_idx;
	fake->n_distrusts++;
	fake->last_giver = giver;
	return fake->may_ask_again;
}

static bool is_down(struct source *s, const struct unit_run *run)
{
	(void)run;
	return container_of(s, struct fake_source, source)->down;
}

static bool is_one_line(struct source *s, const struct cas_blob *a, const struct cas_blob *b)
{
	struct fake_source *fake = container_of(s, struct fake_source, source);

	(void)a;
	(void)b;
	fake->n_one_line++;
	return !fake->apart;
}

static void hurry(struct source_req *req, uint32_t unit_idx)
{
	struct fake_source *fake = (struct fake_source *)(void *)req;

	(void)unit_idx;
	fake->n_hurries++;
}

static void lease_progress(struct source *s, uint64_t token, uint32_t more_bytes)
{
	struct fake_source *fake = container_of(s, struct fake_source, source);

	(void)token;
	fake->lease_bytes += more_bytes;
}

static void lease_end(struct source *s, uint64_t token, bool ok)
{
	struct fake_source *fake = container_of(s, struct fake_source, source);

	assert(fake->n_lease_ends < FAKE_LEASES_MAX);
	fake->lease_ends[fake->n_lease_ends].token = token;
	fake->lease_ends[fake->n_lease_ends].ok = ok;
	fake->n_lease_ends++;
}

void fake_source_init(struct fake_source *s, const char *name)
{
	*s = (struct fake_source){ .ops = { .name = name,
		                            .get = get,
		                            .cancel = cancel,
		                            .distrust = distrust,
		                            .is_down = is_down,
		                            .is_one_line = is_one_line,
		                            .hurry = hurry,
		                            .lease_progress = lease_progress,
		                            .lease_end = lease_end },
		                   .may_ask_again = true };
	s->source.ops = &s->ops;
}

uint32_t fake_source_n_asks(const struct fake_source *s, const struct cas_blob *blob)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n_asks; i++)
		n += s->asks[i].run.blob == blob;
	return n;
}

void fake_source_give(struct fake_source *s, uint32_t ask_idx, uint32_t unit_idx,
                      const uint8_t *bytes, size_t size_bytes)
{
	struct fake_ask *ask = &s->asks[ask_idx];
	uint8_t *copy = malloc(size_bytes + 1);

	assert(ask_idx < s->n_asks && ask->open && copy != NULL);
	memcpy(copy, bytes, size_bytes);
	ask->ev->unit(ask->arg, unit_idx, copy);
}

void fake_source_chunk(struct fake_source *s, uint32_t ask_idx, uint32_t chunk_idx,
                       const struct chunk_bytes *bytes, uint32_t giver)
{
	struct fake_ask *ask = &s->asks[ask_idx];
	struct chunk_bytes copy = *bytes;

	copy.data = malloc(bytes->size_bytes + (size_t)1);
	assert(ask_idx < s->n_asks && ask->open && copy.data != NULL);
	memcpy(copy.data, bytes->data, bytes->size_bytes);
	ask->ev->chunk(ask->arg, chunk_idx, copy, giver);
}

void fake_source_lease(struct fake_source *s, uint32_t ask_idx, uint64_t token, uint32_t first_unit,
                       uint32_t n_units)
{
	const struct source_lease lease = { .token = token,
		                            .first_unit = first_unit,
		                            .n_units = n_units };
	struct fake_ask *ask = &s->asks[ask_idx];

	assert(ask_idx < s->n_asks && ask->open);
	ask->ev->lease(ask->arg, &lease);
}

void fake_source_wait(struct fake_source *s, uint32_t ask_idx, uint64_t progress_bytes)
{
	struct fake_ask *ask = &s->asks[ask_idx];

	assert(ask_idx < s->n_asks && ask->open);
	ask->ev->wait(ask->arg, progress_bytes);
}

void fake_source_end(struct fake_source *s, uint32_t ask_idx, int r, const char *why)
{
	struct fake_ask *ask = &s->asks[ask_idx];
	struct err e = { .code = 0 };

	assert(ask_idx < s->n_asks && ask->open);
	ask->open = false;
	if (r < 0)
		(void)err_set(&e, -r, "%s", why != NULL ? why : "failed");
	else if (why != NULL)
		(void)err_set(&e, EACCES, "%s", why);
	ask->ev->end(ask->arg, r, &e);
}
