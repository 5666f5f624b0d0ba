/*
 * readahead: the window policy of one blob. Knows units by number and size alone.
 */
#include "readahead.h"
#include "bytes.h"

#define GAIN                2 /* credit for a useful byte: the window more than doubles */
#define CREDIT_MAX_BYTES    READAHEAD_PROVEN_BYTES
#define SEQUENCE_BYTES      (64U << 10)  /* credit for a miss next to the last window, at most */
#define BACKWARD_FROM_BYTES (8U << 10)   /* credit from which it is worth to look back */
#define MARK_FROM_BYTES     (64U << 10)  /* smaller windows are asked for by the next miss */
#define SURE_FROM_BYTES     (4U << 20)   /* touched: fewer say little */
#define SURE_EIGHTHS        7U           /* of what was read ahead were touched */
#define ALL_FROM_BYTES      (512U << 10) /* likewise, where nearly all of it was: */
#define ALL_SIXTEENTHS      15U
#define RECORD_MAX_BYTES    (32U << 20) /* what is older counts for less */

void readahead_init(struct readahead *ra, struct readahead_record *record,
                    struct readahead_starts *starts)
{
	*ra = (struct readahead){ .record = record, .starts = starts };
	for (uint32_t i = 0; i < READAHEAD_STREAMS; i++)
		ra->streams[i].marker_unit = READAHEAD_NO_MARKER;
}

static void earn(struct readahead *ra, uint64_t bytes)
{
	ra->credit_bytes = min_u64(ra->credit_bytes + bytes, CREDIT_MAX_BYTES);
}

/* Is all but a little read of what is brought? Asks for more evidence than a window does. */
static bool reads_all(const struct readahead_record *r, uint64_t open_bytes)
{
	return r->useful_bytes >= ALL_FROM_BYTES &&
	       r->useful_bytes / ALL_SIXTEENTHS >= (r->ahead_bytes + open_bytes) / 16;
}

static void note_ahead(struct readahead *ra, uint64_t bytes)
{
	struct readahead_record *r = ra->record;

	r->ahead_bytes += bytes;
	if (r->ahead_bytes > RECORD_MAX_BYTES) {
		r->ahead_bytes /= 2;
		r->useful_bytes /= 2;
	}
	r->reads_all = r->reads_all && reads_all(r, 0);
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
	if (ra->sweeps && ra->record->reads_all)
		return READAHEAD_PROVEN_BYTES;
	return min_u64(max_u64(ra->record->useful_bytes / 2, READAHEAD_PROVEN_BYTES),
	               READAHEAD_MAX_BYTES);
}

static uint64_t starts_bytes(const struct readahead_starts *s)
{
	return READAHEAD_STARTS_BYTES - min_u64(s->owed_bytes, READAHEAD_STARTS_BYTES);
}

static void pay_back(struct readahead_starts *s, uint64_t touched_bytes)
{
	s->owed_bytes -= min_u64(s->owed_bytes, min_u64(touched_bytes, READAHEAD_STARTS_BYTES) *
	                                                READAHEAD_START_GAIN);
}

uint64_t readahead_rest_bytes(const struct readahead *ra)
{
	return starts_bytes(ra->starts);
}

void readahead_rest_asked(struct readahead *ra, uint64_t packed_bytes)
{
	ra->starts->owed_bytes += packed_bytes;
}

void readahead_rest_useful(struct readahead *ra, uint64_t packed_bytes)
{
	pay_back(ra->starts, packed_bytes);
}

static void goes_on(struct readahead_starts *s)
{
	s->end_bytes = s->left_bytes - s->left_bytes / READAHEAD_START_IDLE;
}

void readahead_useful(struct readahead *ra, uint64_t packed_bytes)
{
	struct readahead_record *r = ra->record;

	/* What others brought ahead is touched, too: it outweighs no windows of later. */
	r->useful_bytes += min_u64(packed_bytes, RECORD_MAX_BYTES);
	r->useful_bytes = min_u64(r->useful_bytes, r->ahead_bytes + RECORD_MAX_BYTES);
	earn(ra, min_u64(packed_bytes, CREDIT_MAX_BYTES) * GAIN);
	goes_on(ra->starts);
	pay_back(ra->starts, packed_bytes);
}

void readahead_starts(struct readahead *ra)
{
	struct readahead_starts *s = ra->starts;

	s->left_bytes = min_u64(starts_bytes(s), READAHEAD_START_BYTES);
	goes_on(s);
}

static void pay_for_start(struct readahead_starts *s, uint64_t unasked_bytes)
{
	if (s->left_bytes == 0)
		return;
	s->left_bytes -= min_u64(s->left_bytes, unasked_bytes);
	s->owed_bytes += unasked_bytes;
	if (s->left_bytes <= s->end_bytes)
		s->left_bytes = 0;
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

static struct readahead_window widened_for_start(struct readahead_window w)
{
	w.forward_bytes = max_u64(w.forward_bytes, READAHEAD_START_FORWARD);
	w.backward_bytes = max_u64(w.backward_bytes, READAHEAD_START_BACK);
	w.total_bytes = max_u64(w.total_bytes, READAHEAD_START_FORWARD + READAHEAD_START_BACK);
	return w;
}

struct readahead_window readahead_miss(struct readahead *ra, const struct plan_span *demand)
{
	struct readahead_window w;
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
	w = (struct readahead_window){
		.forward_bytes = bytes,
		.backward_bytes = ra->credit_bytes > BACKWARD_FROM_BYTES ? bytes / 2 : 0,
		.total_bytes = bytes,
	};
	if (backward)
		w = (struct readahead_window){ .backward_bytes = bytes, .total_bytes = bytes };
	return ra->starts->left_bytes > 0 ? widened_for_start(w) : w;
}

uint32_t readahead_issued(struct readahead *ra, const struct plan_span *span, uint32_t first_ahead)
{
	struct readahead_stream *s = &ra->streams[ra->next_stream];
	const uint32_t end = span->first_unit + span->n_units;

	pay_for_start(ra->starts, span->packed_bytes - ra->demand_bytes);
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

/* Brought in windows that nobody went on from so far. */
static uint64_t open_bytes(const struct readahead *ra)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < READAHEAD_STREAMS; i++)
		bytes += ra->streams[i].before_bytes + ra->streams[i].ahead_bytes;
	return bytes;
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
		/* Of the window before it all was touched that will be, and of this one little: at
		 * other times what is touched is ahead of what is counted as brought. */
		ra->record->reads_all = reads_all(ra->record, open_bytes(ra));
		return true;
	}
	return false;
}
