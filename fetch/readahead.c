/*
 * readahead: the window policy of one blob. Knows units by number and size alone.
 */
#include "readahead.h"
#include "bytes.h"

#define GAIN                2 /* credit for a useful byte: the window more than doubles */
#define CREDIT_MAX_BYTES    READAHEAD_PROVEN_BYTES
#define SEQUENCE_BYTES      (64U << 10) /* credit for a miss next to the last window, at most */
#define BACKWARD_FROM_BYTES (8U << 10)  /* credit from which it is worth to look back */
#define MARK_FROM_BYTES     (64U << 10) /* smaller windows are asked for by the next miss */
#define SURE_FROM_BYTES     (4U << 20)  /* touched: fewer say little */
#define SURE_EIGHTHS        7U          /* of what was read ahead were touched */
#define RECORD_MAX_BYTES    (32U << 20) /* what is older counts for less */

void readahead_init(struct readahead *ra, struct readahead_record *record)
{
	*ra = (struct readahead){ .record = record };
	for (uint32_t i = 0; i < READAHEAD_STREAMS; i++)
		ra->streams[i].marker_unit = READAHEAD_NO_MARKER;
}

static void earn(struct readahead *ra, uint64_t bytes)
{
	ra->credit_bytes = min_u64(ra->credit_bytes + bytes, CREDIT_MAX_BYTES);
}

static void note_ahead(struct readahead *ra, uint64_t bytes)
{
	struct readahead_record *r = ra->record;

	r->ahead_bytes += bytes;
	if (r->ahead_bytes > RECORD_MAX_BYTES) {
		r->ahead_bytes /= 2;
		r->useful_bytes /= 2;
	}
}

/* Nobody goes on here, as far as is known. */
static void give_up(struct readahead *ra)
{
	for (uint32_t i = 0; i < READAHEAD_STREAMS; i++) {
		struct readahead_stream *s = &ra->streams[i];

		note_ahead(ra, s->before_bytes + s->ahead_bytes);
		s->before_bytes = s->ahead_bytes = 0;
	}
}

/* It is the last that was read of, and what was so the longest ago is given up for it. */
static void is_read(struct readahead *ra)
{
	struct readahead **recent = ra->record->recent;
	uint32_t at = 0;

	while (at < READAHEAD_RECENT - 1 && recent[at] != ra)
		at++;
	if (recent[at] != NULL && recent[at] != ra)
		give_up(recent[at]);
	for (; at > 0; at--)
		recent[at] = recent[at - 1];
	recent[0] = ra;
}

void readahead_fini(struct readahead *ra)
{
	give_up(ra);
	for (uint32_t i = 0; i < READAHEAD_RECENT; i++) {
		if (ra->record->recent[i] == ra)
			ra->record->recent[i] = NULL;
	}
}

/* Is about all read that is brought? */
static bool is_sure(const struct readahead *ra)
{
	const struct readahead_record *r = ra->record;

	return r->useful_bytes >= SURE_FROM_BYTES &&
	       r->useful_bytes / SURE_EIGHTHS >= r->ahead_bytes / 8;
}

/* A reader that stops leaves so much unread: never more than what it read of late. */
static uint64_t sure_bytes(const struct readahead *ra)
{
	return min_u64(max_u64(ra->record->useful_bytes / 2, READAHEAD_PROVEN_BYTES),
	               READAHEAD_MAX_BYTES);
}

void readahead_useful(struct readahead *ra, uint64_t packed_bytes)
{
	struct readahead_record *r = ra->record;

	/* What others brought ahead is touched, too: it outweighs no windows of later. */
	r->useful_bytes += min_u64(packed_bytes, RECORD_MAX_BYTES);
	r->useful_bytes = min_u64(r->useful_bytes, r->ahead_bytes + RECORD_MAX_BYTES);
	earn(ra, min_u64(packed_bytes, CREDIT_MAX_BYTES) * GAIN);
}

static void forget(struct readahead_stream *s)
{
	*s = (struct readahead_stream){ .marker_unit = READAHEAD_NO_MARKER };
}

/* Did a recent window end right here, or begin right behind? */
static bool continues(struct readahead *ra, const struct plan_span *demand, bool *ret_backward)
{
	const uint32_t demand_end = demand->first_unit + demand->n_units;

	for (uint32_t i = 0; i < READAHEAD_STREAMS; i++) {
		struct readahead_stream *s = &ra->streams[i];

		if (s->packed_bytes == 0)
			continue;
		*ret_backward = s->first_unit == demand_end;
		if (*ret_backward || s->end_unit == demand->first_unit) {
			earn(ra, min_u64(s->packed_bytes, SEQUENCE_BYTES));
			note_ahead(ra, s->before_bytes);
			ra->before_bytes = s->ahead_bytes;
			forget(s);
			return true;
		}
	}
	*ret_backward = false;
	return false;
}

struct readahead_window readahead_miss(struct readahead *ra, const struct plan_span *demand)
{
	bool backward;
	uint64_t bytes;

	ra->before_bytes = 0;
	ra->demand_bytes = demand->packed_bytes;
	if (!ra->began && is_sure(ra))
		ra->credit_bytes = CREDIT_MAX_BYTES;
	ra->began = true;
	if (!continues(ra, demand, &backward))
		ra->credit_bytes /= 2;
	bytes = min_u64(READAHEAD_MIN_BYTES + ra->credit_bytes, READAHEAD_MISS_MAX_BYTES);
	if (backward)
		return (struct readahead_window){ .backward_bytes = bytes, .total_bytes = bytes };
	return (struct readahead_window){
		.forward_bytes = bytes,
		.backward_bytes = ra->credit_bytes > BACKWARD_FROM_BYTES ? bytes / 2 : 0,
		.total_bytes = bytes,
	};
}

uint32_t readahead_issued(struct readahead *ra, const struct plan_span *span, uint32_t first_ahead)
{
	struct readahead_stream *s = &ra->streams[ra->next_stream];
	const uint32_t end = span->first_unit + span->n_units;

	is_read(ra);
	ra->next_stream = (ra->next_stream + 1) % READAHEAD_STREAMS;
	note_ahead(ra, s->before_bytes + s->ahead_bytes); /* nobody went on there */
	*s = (struct readahead_stream){ .first_unit = span->first_unit,
		                        .end_unit = end,
		                        .packed_bytes = span->packed_bytes,
		                        .ahead_bytes = span->packed_bytes - ra->demand_bytes,
		                        .before_bytes = ra->before_bytes,
		                        .marker_unit = READAHEAD_NO_MARKER };
	if (span->packed_bytes >= MARK_FROM_BYTES && first_ahead < end)
		s->marker_unit = first_ahead;
	return s->marker_unit;
}

bool readahead_next(struct readahead *ra, bool (*touched)(void *arg, uint32_t unit_idx), void *arg,
                    uint32_t *ret_from_unit, uint64_t *ret_bytes)
{
	for (uint32_t i = 0; i < READAHEAD_STREAMS; i++) {
		struct readahead_stream *s = &ra->streams[i];
		const uint32_t marker = s->marker_unit;
		uint64_t bytes = READAHEAD_MIN_BYTES + ra->credit_bytes;

		if (marker == READAHEAD_NO_MARKER || !touched(arg, marker))
			continue;
		/* One touch alone may be chance; with the unit before it, it is a sequence. */
		if (marker == 0 || !touched(arg, marker - 1))
			bytes = min_u64(bytes, READAHEAD_MISS_MAX_BYTES);
		else if (is_sure(ra))
			bytes = sure_bytes(ra);
		else
			bytes = min_u64(bytes, READAHEAD_PROVEN_BYTES);
		*ret_from_unit = s->end_unit;
		*ret_bytes = bytes;
		s->marker_unit = READAHEAD_NO_MARKER;
		if (*ret_bytes < MARK_FROM_BYTES)
			continue;
		note_ahead(ra, s->before_bytes);
		ra->demand_bytes = 0;
		ra->before_bytes = s->ahead_bytes;
		forget(s);
		return true;
	}
	return false;
}
