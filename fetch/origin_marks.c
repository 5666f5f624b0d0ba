/*
 * origin_marks: two rings of notes, searched from end to end: they are empty on good days.
 */
#include "origin_marks.h"
#include "clock.h"
#include "mem.h"
#include "origin.h"
#include "reference.h"
#include "unconst.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_MARKS      512
#define N_DELIVERIES 256 /* more than there are runs between the line and verification */
#define NO_UNIT      UINT32_MAX
#define TROUBLE_NS   (5 * NS_PER_S)   /* doubled each time that it is still there ... */
#define DOUBLINGS    4                /* ... up to 80 s */
#define FORGET_NS    (300 * NS_PER_S) /* who was not asked for so long is not known to be down */
#define PROBE_NS     (10 * NS_PER_S)  /* one question at a time finds out */
#define GONE_NS      (30 * NS_PER_S)
#define STRIKE_NS    (60 * NS_PER_S)

struct mark {
	char *origin;
	char *blob_key; /* "": of the origin as such */
	uint32_t unit_idx;
	uint32_t n;
	uint64_t until_ns;
};

struct delivery {
	char *origin;
	char *blob_key;
	uint32_t first_unit;
	uint32_t last_unit;
};

struct origin_marks {
	uint32_t next_mark;
	uint64_t last_until_ns; /* no mark holds from then on */
	uint32_t next_delivery;
	struct mark marks[N_MARKS];
	struct delivery deliveries[N_DELIVERIES];
};

struct origin_marks *origin_marks_new(void)
{
	return xcalloc(1, sizeof(struct origin_marks));
}

void origin_marks_free(struct origin_marks **m)
{
	if (*m == NULL)
		return;
	for (uint32_t i = 0; i < N_MARKS; i++) {
		free_str(&(*m)->marks[i].origin);
		free_str(&(*m)->marks[i].blob_key);
	}
	for (uint32_t i = 0; i < N_DELIVERIES; i++) {
		free_str(&(*m)->deliveries[i].origin);
		free_str(&(*m)->deliveries[i].blob_key);
	}
	free(*m);
	*m = NULL;
}

static bool is_of(const struct mark *mark, const char *origin, const char *blob_key,
                  uint32_t unit_idx)
{
	return mark->origin != NULL && mark->unit_idx == unit_idx &&
	       strcmp(mark->origin, origin) == 0 && strcmp(mark->blob_key, blob_key) == 0;
}

static struct mark *find(struct origin_marks *m, const char *origin, const char *blob_key,
                         uint32_t unit_idx)
{
	for (uint32_t i = 0; i < N_MARKS; i++)
		if (is_of(&m->marks[i], origin, blob_key, unit_idx))
			return &m->marks[i];
	return NULL;
}

/* Asked for each unit of each run. @return the number of this mark that still holds; 0: none */
static uint32_t count(const struct origin_marks *m, const char *origin, const char *blob_key,
                      uint32_t unit_idx, uint64_t now_ns)
{
	const struct mark *mark =
		now_ns < m->last_until_ns ? find(unconst(m), origin, blob_key, unit_idx) : NULL;

	return mark != NULL && now_ns < mark->until_ns ? mark->n : 0;
}

static struct mark *find_or_make(struct origin_marks *m, const char *origin, const char *blob_key,
                                 uint32_t unit_idx)
{
	struct mark *mark = find(m, origin, blob_key, unit_idx);

	if (mark != NULL)
		return mark;
	mark = &m->marks[m->next_mark++ % N_MARKS];
	free_str(&mark->origin);
	free_str(&mark->blob_key);
	*mark = (struct mark){
		.origin = xstrdup(origin),
		.blob_key = xstrdup(blob_key),
		.unit_idx = unit_idx,
	};
	return mark;
}

static void hold_until(struct origin_marks *m, struct mark *mark, uint64_t until_ns)
{
	mark->until_ns = until_ns;
	if (until_ns > m->last_until_ns)
		m->last_until_ns = until_ns;
}

static uint32_t add(struct origin_marks *m, struct mark *mark, uint64_t now_ns, uint64_t life_ns)
{
	if (now_ns >= mark->until_ns)
		mark->n = 0;
	hold_until(m, mark, now_ns + life_ns);
	return ++mark->n;
}

bool origin_marks_any(const struct origin_marks *m)
{
	return m->next_mark > 0;
}

/* "registry:HOST/REPOSITORY" -> "registry:HOST/"; a URL likewise. @return false: it has no host */
static bool host_of(const char *origin, char ret_host[ORIGIN_TEXT_MAX_BYTES])
{
	const char *at = strstr(origin, "://");
	size_t n;

	if (at == NULL && registry_of_origin(origin) == NULL)
		return false;
	at = at != NULL ? at + 3 : origin;
	n = (size_t)(at - origin) + strcspn(at, "/") + 1;
	if (n >= ORIGIN_TEXT_MAX_BYTES)
		return false;
	(void)snprintf(ret_host, ORIGIN_TEXT_MAX_BYTES, "%.*s", (int)n, origin);
	return true;
}

bool origin_is_same_host(const char *a, const char *b)
{
	char host_a[ORIGIN_TEXT_MAX_BYTES];
	char host_b[ORIGIN_TEXT_MAX_BYTES];

	if (!host_of(a, host_a) || !host_of(b, host_b))
		return strcmp(a, b) == 0;
	return strcmp(host_a, host_b) == 0;
}

static void more_trouble(struct origin_marks *m, struct mark *mark, uint64_t now_ns)
{
	if (now_ns >= mark->until_ns + FORGET_NS)
		mark->n = 0;
	/* Many runs end at once when a server goes: that is one trouble. */
	if (mark->n == 0 || now_ns >= mark->until_ns)
		mark->n++;
	hold_until(m, mark,
	           now_ns + (TROUBLE_NS << (mark->n - 1 < DOUBLINGS ? mark->n - 1 : DOUBLINGS)));
}

void origin_marks_trouble(struct origin_marks *m, const char *origin, bool of_host, uint64_t now_ns)
{
	char host[ORIGIN_TEXT_MAX_BYTES];

	more_trouble(m, find_or_make(m, origin, "", NO_UNIT), now_ns);
	if (of_host && host_of(origin, host))
		more_trouble(m, find_or_make(m, host, "", NO_UNIT), now_ns);
}

bool origin_marks_has_trouble(const struct origin_marks *m, const char *origin, uint64_t now_ns)
{
	return count(m, origin, "", NO_UNIT, now_ns) > 0;
}

static void forget(struct mark *mark)
{
	if (mark == NULL)
		return;
	mark->n = 0;
	mark->until_ns = 0;
}

void origin_marks_well(struct origin_marks *m, const char *origin, const char *blob_key)
{
	char host[ORIGIN_TEXT_MAX_BYTES];

	if (!origin_marks_any(m))
		return;
	forget(find(m, origin, "", NO_UNIT));
	forget(find(m, origin, blob_key, NO_UNIT));
	if (host_of(origin, host))
		forget(find(m, host, "", NO_UNIT));
}

static bool mark_is_down(struct origin_marks *m, struct mark *mark, bool probe, uint64_t now_ns)
{
	if (mark == NULL || mark->n == 0 || now_ns >= mark->until_ns + FORGET_NS)
		return false;
	if (!probe || now_ns < mark->until_ns)
		return true;
	hold_until(m, mark, now_ns + PROBE_NS); /* the others wait for what this one finds */
	return false;
}

bool origin_marks_is_down(struct origin_marks *m, const char *origin, bool probe, uint64_t now_ns)
{
	char host[ORIGIN_TEXT_MAX_BYTES];

	if (mark_is_down(m, find(m, origin, "", NO_UNIT), probe, now_ns))
		return true;
	return host_of(origin, host) && mark_is_down(m, find(m, host, "", NO_UNIT), probe, now_ns);
}

void origin_marks_gone(struct origin_marks *m, const char *origin, const char *blob_key,
                       uint64_t now_ns)
{
	(void)add(m, find_or_make(m, origin, blob_key, NO_UNIT), now_ns, GONE_NS);
}

bool origin_marks_is_gone(const struct origin_marks *m, const char *origin, const char *blob_key,
                          uint64_t now_ns)
{
	return count(m, origin, blob_key, NO_UNIT, now_ns) > 0;
}

uint32_t origin_marks_strike(struct origin_marks *m, const char *origin, const char *blob_key,
                             uint32_t unit_idx, uint64_t now_ns)
{
	return add(m, find_or_make(m, origin, blob_key, unit_idx), now_ns, STRIKE_NS);
}

uint32_t origin_marks_strikes(const struct origin_marks *m, const char *origin,
                              const char *blob_key, uint32_t unit_idx, uint64_t now_ns)
{
	return count(m, origin, blob_key, unit_idx, now_ns);
}

void origin_marks_delivered(struct origin_marks *m, const char *origin, const char *blob_key,
                            uint32_t first_unit, uint32_t last_unit)
{
	struct delivery *d = &m->deliveries[m->next_delivery++ % N_DELIVERIES];

	free_str(&d->origin);
	free_str(&d->blob_key);
	*d = (struct delivery){
		.origin = xstrdup(origin),
		.blob_key = xstrdup(blob_key),
		.first_unit = first_unit,
		.last_unit = last_unit,
	};
}

const char *origin_marks_deliverer(const struct origin_marks *m, const char *blob_key,
                                   uint32_t unit_idx)
{
	for (uint32_t i = 1; i <= N_DELIVERIES; i++) { /* the latest first */
		const struct delivery *d = &m->deliveries[(m->next_delivery - i) % N_DELIVERIES];

		if (d->origin != NULL && unit_idx >= d->first_unit && unit_idx <= d->last_unit &&
		    strcmp(d->blob_key, blob_key) == 0)
			return d->origin;
	}
	return NULL;
}
