/*
 * fake_cas: see the header.
 */
#include "fake_cas.h"
#include "bitmap.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cas_blob {
	uint32_t refs;
	struct blob_layout *layout;
	struct bitmap *ready;
	struct bitmap *candidate;
	_Atomic bool no_share;
	bool joining;
	uint8_t *data;
	_Atomic int put_says;
	_Atomic uint32_t n_puts, n_rows;
	uint64_t room_bytes;
};

struct cas_blob *fake_cas_blob(uint32_t n_chunks, uint32_t chunk_bytes)
{
	struct cas_blob *b = xcalloc(1, sizeof(*b));

	b->refs = 1;
	b->room_bytes = UINT64_C(1) << 40;
	b->layout = layout_new(n_chunks);
	b->ready = bitmap_new(n_chunks);
	b->candidate = bitmap_new(n_chunks);
	b->data = xcalloc(n_chunks, chunk_bytes);
	assert(b->layout != NULL && b->ready != NULL && b->candidate != NULL);
	memset(b->layout->blob_id, 'a', 64);
	for (uint32_t i = 0; i < n_chunks; i++)
		b->layout->chunks[i] = (struct chunk_rec){
			.plain_offset = (uint64_t)i * chunk_bytes,
			.place = (uint64_t)i * chunk_bytes,
			.plain_size_bytes = chunk_bytes,
			.packed_size_bytes = chunk_bytes,
		};
	b->layout->plain_size_bytes = (uint64_t)n_chunks * chunk_bytes;
	b->layout->packed_data_end = b->layout->plain_size_bytes;
	return b;
}

struct blob_layout *fake_cas_layout(struct cas_blob *blob)
{
	return blob->layout;
}

void fake_cas_pack(struct cas_blob *blob, uint32_t chunks_per_unit)
{
	struct blob_layout *l = blob->layout;
	const uint32_t chunk_bytes = l->chunks[0].plain_size_bytes;
	const uint32_t unit_bytes = chunks_per_unit * chunk_bytes;

	l->n_units = l->n_chunks / chunks_per_unit;
	l->units = xcalloc(l->n_units, sizeof(l->units[0]));
	l->members = xcalloc(l->n_chunks, sizeof(l->members[0]));
	for (uint32_t i = 0; i < l->n_units; i++)
		l->units[i] = (struct unit_rec){ .packed_offset = (uint64_t)i * unit_bytes,
			                         .packed_size_bytes = unit_bytes,
			                         .plain_size_bytes = unit_bytes,
			                         .first_member = i * chunks_per_unit,
			                         .n_members = chunks_per_unit,
			                         .kind = UNIT_BATCH };
	for (uint32_t i = 0; i < l->n_chunks; i++) {
		l->members[i] = i;
		l->chunks[i].place = (uint64_t)(i / chunks_per_unit) << 32 |
		                     (uint64_t)(i % chunks_per_unit) * chunk_bytes;
	}
}

void fake_cas_fill(uint32_t chunk_idx, uint8_t *ret_bytes, uint32_t size_bytes)
{
	static const uint8_t elf[] = { 0x7f, 'E', 'L', 'F' };
	uint8_t sevens[512];

	/* Byte i is chunk_idx * 131 + i * 7 + (i >> 8): by blocks, as sanitizers look at each
	 * write. */
	for (uint32_t i = 0; i < sizeof(sevens); i++)
		sevens[i] = (uint8_t)(i * 7);
	for (uint32_t at = 0; at < size_bytes; at += 256) {
		const uint32_t n = size_bytes - at < 256 ? size_bytes - at : 256;
		const uint8_t from =
			(uint8_t)((chunk_idx * 131 + (at >> 8)) * 183); /* 7 * 183 = 5 * 256 + 1 */

		memcpy(ret_bytes + at, sevens + from, n);
	}
	if (chunk_idx == FAKE_CAS_PROGRAM && size_bytes >= sizeof(elf))
		memcpy(ret_bytes, elf, sizeof(elf));
}

void fake_cas_set_ready(struct cas_blob *blob, uint32_t chunk_idx)
{
	const struct chunk_rec *c = &blob->layout->chunks[chunk_idx];

	fake_cas_fill(chunk_idx, blob->data + c->plain_offset, c->plain_size_bytes);
	(void)bitmap_set(blob->ready, chunk_idx);
}

void fake_cas_put_says(struct cas_blob *blob, int r)
{
	blob->put_says = r;
}

uint32_t fake_cas_n_puts(const struct cas_blob *blob)
{
	return blob->n_puts;
}

uint32_t fake_cas_n_rows(const struct cas_blob *blob)
{
	return blob->n_rows;
}

/* ---- in place of cas ---- */

struct cas_blob *cas_blob_ref(struct cas_blob *blob)
{
	blob->refs++;
	return blob;
}

void cas_blob_release(struct cas_blob **blob)
{
	struct cas_blob *b = *blob;

	*blob = NULL;
	if (b == NULL || --b->refs > 0)
		return;
	layout_unref(&b->layout);
	bitmap_free(&b->ready);
	bitmap_free(&b->candidate);
	free(b->data);
	free(b);
}

const struct blob_layout *cas_blob_layout(const struct cas_blob *blob)
{
	return blob->layout;
}

const char *cas_blob_key(const struct cas_blob *blob)
{
	return blob->layout->blob_id;
}

bool cas_blob_is_present(const struct cas_blob *blob, uint32_t chunk_idx)
{
	return bitmap_get(blob->ready, chunk_idx);
}

bool cas_blob_is_candidate(const struct cas_blob *blob, uint32_t chunk_idx)
{
	return bitmap_get(blob->candidate, chunk_idx) && !bitmap_get(blob->ready, chunk_idx);
}

bool cas_blob_takes_chunks(const struct cas_blob *blob)
{
	return blob->put_says != CAS_FULL;
}

uint64_t cas_blob_room_bytes(const struct cas_blob *blob)
{
	return blob->room_bytes;
}

void fake_cas_set_room(struct cas_blob *blob, uint64_t room_bytes)
{
	blob->room_bytes = room_bytes;
}

void fake_cas_evict(struct cas_blob *blob, uint32_t chunk_idx)
{
	(void)bitmap_clear(blob->ready, chunk_idx);
}

bool cas_blob_is_joining(const struct cas_blob *blob)
{
	return blob->joining;
}

void fake_cas_set_joining(struct cas_blob *blob, bool joining)
{
	blob->joining = joining;
}

int cas_blob_share_into(struct cas_blob *blob, uint32_t chunk_idx, uint8_t *ret_plain,
                        struct err *e)
{
	(void)e;
	(void)bitmap_clear(blob->candidate, chunk_idx);
	if (blob->no_share)
		return CAS_MISS;
	fake_cas_set_ready(blob, chunk_idx);
	fake_cas_fill(chunk_idx, ret_plain, blob->layout->chunks[chunk_idx].plain_size_bytes);
	return 0;
}

int cas_blob_share(struct cas_blob *blob, uint32_t chunk_idx, struct err *e)
{
	uint8_t *plain;
	int r;

	if (bitmap_get(blob->ready, chunk_idx))
		return 0;
	if (!cas_blob_is_candidate(blob, chunk_idx))
		return CAS_MISS;
	plain = xcalloc(1, blob->layout->chunks[chunk_idx].plain_size_bytes);
	r = cas_blob_share_into(blob, chunk_idx, plain, e);
	free(plain);
	return r;
}

void fake_cas_set_candidate(struct cas_blob *blob, uint32_t chunk_idx, bool is_true)
{
	(void)bitmap_set(blob->candidate, chunk_idx);
	blob->no_share = !is_true;
}

/* NOLINTNEXTLINE(readability-function-size): cas.h has it so */
int cas_blob_read(struct cas_blob *blob, uint32_t first_chunk, uint32_t n_chunks,
                  uint64_t plain_offset, uint32_t size_bytes, uint8_t *ret_bytes, struct err *e)
{
	(void)e;
	for (uint32_t i = 0; i < n_chunks; i++) {
		if (!bitmap_get(blob->ready, first_chunk + i))
			return CAS_MISS;
	}
	memcpy(ret_bytes, blob->data + plain_offset, size_bytes);
	return 0;
}

static bool is_right(const struct cas_blob *blob, uint32_t chunk_idx, const uint8_t *plain)
{
	const uint32_t size_bytes = blob->layout->chunks[chunk_idx].plain_size_bytes;
	uint8_t *right = xcalloc(1, size_bytes);
	bool same;

	fake_cas_fill(chunk_idx, right, size_bytes);
	same = memcmp(right, plain, size_bytes) == 0;
	free(right);
	return same;
}

static void take(struct cas_blob *blob, uint32_t chunk_idx, const uint8_t *plain)
{
	const struct chunk_rec *c = &blob->layout->chunks[chunk_idx];

	memcpy(blob->data + c->plain_offset, plain, c->plain_size_bytes);
	(void)bitmap_set(blob->ready, chunk_idx);
	blob->n_puts++;
}

int cas_blob_put(struct cas_blob *blob, uint32_t chunk_idx, const uint8_t *plain, struct err *e)
{
	const int says = blob->put_says;

	if (!is_right(blob, chunk_idx, plain))
		return CAS_MISMATCH;
	if (says < 0)
		return err_set(e, -says, "the disk failed");
	if (says != 0)
		return says == CAS_MISS ? 0 : says;
	take(blob, chunk_idx, plain);
	return 0;
}

uint32_t cas_blob_row(const struct cas_blob *blob, uint32_t first_chunk, uint32_t n_chunks)
{
	uint32_t n = 1;

	while (n < n_chunks && n < CAS_ROW_MAX && !bitmap_get(blob->ready, first_chunk + n - 1) &&
	       !bitmap_get(blob->ready, first_chunk + n))
		n++;
	return n;
}

bool cas_blob_put_row(struct cas_blob *blob, uint32_t first_chunk, uint32_t n_chunks,
                      const uint8_t *const *plain)
{
	bool right = blob->put_says == 0;

	for (uint32_t i = 0; i < n_chunks; i++)
		right = right && is_right(blob, first_chunk + i, plain[i]);
	for (uint32_t i = 0; right && i < n_chunks; i++)
		take(blob, first_chunk + i, plain[i]);
	blob->n_rows += right;
	return right;
}
