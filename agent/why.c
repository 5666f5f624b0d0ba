/*
 * why: see why.h.
 */
#include "why.h"
#include "mem.h"
#include "source.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PARTS_MAX 6 /* the last ones: enough for one read with its second tries */

static bool is_wait(const struct fetch_event *ev)
{
	return ev->kind == FETCH_STEP && strstr(ev->detail, SOURCE_NOTE_WAITED) != NULL;
}

static bool is_told(const struct fetch_event *ev)
{
	return ev->kind != FETCH_STEP || is_wait(ev);
}

static const char *source_words(const char *source)
{
	if (strcmp(source, "origin") == 0)
		return "the origin";
	if (strcmp(source, "elsewhere") == 0)
		return "the origin of another blob that has it";
	return strcmp(source, "peer") == 0 ? "a peer" : source;
}

static double ms(uint32_t us)
{
	return (double)us / 1000.0;
}

static char *gave_words(const struct fetch_event *ev)
{
	const char *who = source_words(ev->source);

	if (ev->first_unit_us == 0)
		return xasprintf("%s gave it in %.1f ms", who, ms(ev->took_us));
	return xasprintf(
		"%s's first chunk came after %.1f ms, all that was asked for after %.1f ms", who,
		ms(ev->first_unit_us), ms(ev->took_us));
}

static const char *nobody_words(const char *source)
{
	if (strcmp(source, "elsewhere") == 0)
		return "no other blob's origin";
	return strcmp(source, "peer") == 0 ? "no peer" : "no other origin";
}

static char *open_words(const struct fetch_event *ev)
{
	if (strcmp(ev->source, FETCH_NOBODY) == 0)
		return xstrdup(ev->detail);
	return xasprintf("%s%s%s%s has been asked for %.1f ms, and has not given it yet",
	                 source_words(ev->source), ev->detail[0] != '\0' ? " (" : "", ev->detail,
	                 ev->detail[0] != '\0' ? ")" : "", ms(ev->took_us));
}

static char *answer_words(const struct fetch_event *ev)
{
	const char *who = source_words(ev->source);

	switch (ev->result) {
	case SOURCE_OK:
		return gave_words(ev);
	case SOURCE_MISS:
		return xasprintf("%s had it, asked for %.1f ms", nobody_words(ev->source),
		                 ms(ev->took_us));
	case SOURCE_GONE:
		if (strcmp(ev->source, "elsewhere") == 0)
			return xasprintf("%s has it (%.1f ms)", nobody_words(ev->source),
			                 ms(ev->took_us));
		return xasprintf("%s has it no more (%.1f ms)", who, ms(ev->took_us));
	case -EACCES:
	case -EPERM:
		return xasprintf("%s refused access after %.1f ms (%s)", who, ms(ev->took_us),
		                 ev->detail);
	case -EBADMSG:
		return xasprintf("what %s gave had a wrong digest, and it was fetched again", who);
	default:
		return xasprintf("%s failed after %.1f ms (%s)", who, ms(ev->took_us), ev->detail);
	}
}

static char *part_words(const struct fetch_event *ev)
{
	switch (ev->kind) {
	case FETCH_STEP: /* of those that are told: "peer NAME: ..." */
		return xasprintf("%.13s was fetching it: waited for that, %.1f ms", ev->detail,
		                 ms(ev->took_us));
	case FETCH_OPEN:
		return open_words(ev);
	case FETCH_LEASE:
		return xasprintf("no peer had it, and this node was let fetch it after %.1f ms",
		                 ms(ev->took_us));
	case FETCH_SOME:
		return xasprintf("%s gave some of what was asked for in %.1f ms",
		                 source_words(ev->source), ms(ev->took_us));
	case FETCH_ANSWER:
	default:
		return answer_words(ev);
	}
}

static char *nothing_asked(enum why_place place)
{
	switch (place) {
	case WHY_SHARED:
		return xstrdup("another image here had the chunk: nobody had to be asked");
	case WHY_HERE:
		return xstrdup(
			"it is here, and no question for it is remembered: a read takes what "
			"the disk takes");
	case WHY_ABSENT:
	default:
		return xstrdup("it is not here: nobody has read it");
	}
}

/* The index of the first event of the last PARTS_MAX that are told. */
static uint32_t first_told(const struct fetch_event *events, uint32_t n)
{
	uint32_t n_parts = 0;

	while (n > 0 && n_parts < PARTS_MAX)
		n_parts += is_told(&events[--n]);
	return n;
}

/* All of them in order, malloc'd; NULL: none is told. */
static char *join(const struct fetch_event *events, uint32_t n)
{
	char *text = NULL;

	for (uint32_t i = first_told(events, n); i < n; i++) {
		AUTO(free_str) char *before = text;
		AUTO(free_str) char *part = NULL;

		if (!is_told(&events[i])) {
			before = NULL; /* text stays */
			continue;
		}
		part = part_words(&events[i]);
		text = before == NULL ? xstrdup(part) : xasprintf("%s; then %s", before, part);
	}
	return text;
}

bool why_gave(const struct fetch_event *ev)
{
	return ev->kind == FETCH_ANSWER && ev->result == SOURCE_OK;
}

/* Who it is or was for. */
static const char *whom_for(const struct fetch_event *events, uint32_t n)
{
	bool waited = false;

	for (uint32_t i = 0; i < n; i++) {
		if (events[i].kind == FETCH_OPEN && events[i].reader)
			return "a reader waits";
		waited = waited || events[i].reader;
	}
	if (waited)
		return "a reader waited";
	return events[n - 1].kind == FETCH_OPEN ? "it is being fetched, and nobody waits for it"
	                                        : "fetched before anybody asked";
}

char *why_words(const struct fetch_event *events, uint32_t n, enum why_place place)
{
	AUTO(free_str) char *parts = join(events, n);

	if (parts == NULL)
		return nothing_asked(place);
	return xasprintf("%s: %s%s", whom_for(events, n), parts,
	                 place == WHY_ABSENT && why_gave(&events[n - 1]) ? "; now it is not here"
	                                                                 : "");
}
