/*
 * origin_marks: two rings of notes, searched from end to end: they are empty on good days.
 */
#include "origin_marks.h"
#include "clock.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>

#define N_MARKS      512
#define N_DELIVERIES 256 /* more than there are runs between the line and verification */
#define NO_UNIT      UINT32_MAX
#define TROUBLE_NS   (5 * NS_PER_S)
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

/* Asked for each unit of each run. @return the number of this mark that still holds; 0: none */
static uint32_t count(const struct origin_marks *m, const char *origin, const char *blob_key,
                      uint32_t unit_idx, uint64_t now_ns)
{
	for (uint32_t i = 0; i < N_MARKS && now_ns < m->last_until_ns; i++)
		if (is_of(&m->marks[i], origin, blob_key, unit_idx))
			return now_ns < m->marks[i].until_ns ? m->marks[i].n : 0;
	return 0;
}

static struct mark *find_or_make(struct origin_marks *m, const char *origin, const char *blob_key,
                                 uint32_t unit_idx)
{
	struct mark *mark;

	for (uint32_t i = 0; i < N_MARKS; i++)
		if (is_of(&m->marks[i], origin, blob_key, unit_idx))
			return &m->marks[i];
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

static uint32_t add(struct origin_marks *m, struct mark *mark, uint64_t now_ns, uint64_t life_ns)
{
	if (now_ns + life_ns > m->last_until_ns)
		m->last_until_ns = now_ns + life_ns;
	if (now_ns >= mark->until_ns)
		mark->n = 0;
	mark->until_ns = now_ns + life_ns;
	return ++mark->n;
}

void origin_marks_trouble(struct origin_marks *m, const char *origin, uint64_t now_ns)
{
	(void)add(m, find_or_make(m, origin, "", NO_UNIT), now_ns, TROUBLE_NS);
}

bool origin_marks_has_trouble(const struct origin_marks *m, const char *origin, uint64_t now_ns)
{
	return count(m, origin, "", NO_UNIT, now_ns) > 0;
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
