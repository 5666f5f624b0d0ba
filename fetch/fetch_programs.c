/*
 * fetch_programs: the rest of a program that is being started.
 *
 * Programs and libraries of several chunks are mapped, and their pages are read as they are needed:
 * from the end, then here and there, which no window follows; each chunk is a wait of its own. So
 * where a reader has had the head of an ELF file and then misses another chunk of it, the file's
 * other chunks are asked for together, behind that one.
 *
 * That chunks are of one file is told from their sizes: all but the last are as large as the first,
 * a power of two. Knows neither files nor sources.
 */
#include "bytes.h"
#include "engine.h"
#include <string.h>

#define CHUNK_MIN_BYTES (64U << 10) /* plain: of smaller ones a window holds several */
#define PROGRAM_BYTES   (4U << 20)  /* packed, of one program; beside what windows bring */
#define RUN_BYTES       (512U << 10)

static bool is_chunk_size(uint32_t size_bytes)
{
	return size_bytes >= CHUNK_MIN_BYTES && (size_bytes & (size_bytes - 1)) == 0;
}

bool programs_is_head(const struct unit_rec *u, const uint8_t *plain)
{
	static const uint8_t magic[] = { 0x7f, 'E', 'L', 'F' };

	return u->kind == UNIT_CHUNK && is_chunk_size(u->plain_size_bytes) &&
	       memcmp(plain, magic, sizeof(magic)) == 0;
}

void programs_add(struct fetch_blob *blob, uint32_t unit_idx)
{
	blob->programs[blob->next_program] = unit_idx;
	blob->next_program = (blob->next_program + 1) % PROGRAMS_MAX;
}

static uint32_t plain_bytes(const struct fetch_blob *blob, uint32_t unit_idx)
{
	struct unit_rec u;

	return unit_idx < blob->layout->n_units && layout_unit(blob->layout, unit_idx, &u)
	               ? u.plain_size_bytes
	               : 0;
}

/* The end of the file that begins at head, as far as it is asked for. */
static uint32_t end_of(const struct fetch_blob *blob, uint32_t head, uint64_t max_bytes)
{
	const uint32_t full_bytes = plain_bytes(blob, head);
	uint64_t packed = plan_unit(blob->layout, head).packed_bytes;
	uint32_t end = head + 1;

	while (plain_bytes(blob, end - 1) == full_bytes && plain_bytes(blob, end) > 0 &&
	       plain_bytes(blob, end) <= full_bytes) {
		packed += plan_unit(blob->layout, end).packed_bytes;
		if (packed > max_bytes)
			break;
		end++;
	}
	return end;
}

/* The first touch of each will say that it was worth it. @return packed bytes */
static uint64_t ask_rest(struct fetch_blob *blob, uint32_t from_unit, uint32_t end_unit)
{
	struct plan_view view = flight_view(blob);
	struct plan_span span;
	uint32_t at = from_unit;
	uint64_t bytes = 0;

	view.end_unit = end_unit;
	while (at < end_unit && plan_next_span(&view, at, RUN_BYTES, end_unit - at, &span, &at)) {
		for (uint32_t i = span.first_unit; i < span.first_unit + span.n_units; i++) {
			(void)bitmap_clear(blob->touched, i);
			(void)bitmap_set(blob->rest, i);
		}
		bytes += span.packed_bytes;
		(void)run_new(blob, &span, RUN_AHEAD);
	}
	return bytes;
}

/* As far as what starts may bring allows. */
static void charge_rest(struct fetch_blob *blob, uint32_t head)
{
	struct readahead *ra = &blob->ra;
	uint64_t max_bytes;

	readahead_rest_useful(ra, atomic_exchange(&blob->f->rest_useful_bytes, 0));
	max_bytes = min_u64(PROGRAM_BYTES, readahead_rest_bytes(ra));
	readahead_rest_asked(ra, ask_rest(blob, head + 1, end_of(blob, head, max_bytes)));
}

void programs_missed(struct fetch_blob *blob, uint32_t unit_idx)
{
	for (uint32_t i = 0; i < PROGRAMS_MAX; i++) {
		const uint32_t head = blob->programs[i];
		/* Who copies it has read what stands before this. */
		const bool is_start = unit_idx > 0 && !bitmap_get(blob->touched, unit_idx - 1);

		if (head == PROGRAM_NONE || unit_idx <= head ||
		    unit_idx >= end_of(blob, head, PROGRAM_BYTES))
			continue;
		blob->programs[i] = PROGRAM_NONE;
		charge_rest(blob, head);
		if (is_start)
			readahead_starts(&blob->ra);
		return;
	}
}
