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
#define PROGRAM_BYTES   (4U << 20)  /* packed, of one program */
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
static uint32_t end_of(const struct fetch_blob *blob, uint32_t head)
{
	const uint32_t full_bytes = plain_bytes(blob, head);
	uint64_t packed = plan_unit(blob->layout, head).packed_bytes;
	uint32_t end = head + 1;

	while (plain_bytes(blob, end - 1) == full_bytes && plain_bytes(blob, end) > 0 &&
	       plain_bytes(blob, end) <= full_bytes) {
		packed += plan_unit(blob->layout, end).packed_bytes;
		if (packed > PROGRAM_BYTES)
			break;
		end++;
	}
	return end;
}

struct bound {
	struct fetch_blob *blob;
	uint32_t end_unit;
};

static bool is_wanted(void *arg, uint32_t unit_idx)
{
	const struct bound *bound = arg;

	return unit_idx < bound->end_unit && flight_wanted(bound->blob, unit_idx);
}

static void ask_rest(struct fetch_blob *blob, uint32_t from_unit, uint32_t end_unit)
{
	struct bound bound = { .blob = blob, .end_unit = end_unit };
	const struct plan_view view = { .layout = blob->layout,
		                        .wanted = is_wanted,
		                        .arg = &bound };
	struct plan_span span;
	uint32_t at = from_unit;

	while (at < end_unit && plan_next_span(&view, at, RUN_BYTES, end_unit - at, &span, &at))
		(void)run_new(blob, &span, RUN_AHEAD);
}

void programs_missed(struct fetch_blob *blob, uint32_t unit_idx)
{
	for (uint32_t i = 0; i < PROGRAMS_MAX; i++) {
		const uint32_t head = blob->programs[i];
		uint32_t end;

		if (head == PROGRAM_NONE || unit_idx <= head)
			continue;
		end = end_of(blob, head);
		if (unit_idx >= end)
			continue;
		blob->programs[i] = PROGRAM_NONE;
		ask_rest(blob, head + 1, end);
		return;
	}
}
