/*
 * fuzz_decode: spoilt units of every codec. The first bytes choose the layout, the rest is the
 * unit.
 *
 *   byte 0      codec (low 2 bits), 4 compressed, 8 encrypted, 16 a slice of a gzip stream
 *   byte 1      bits and byte that a slice begins with
 *   bytes 2, 3  plain size
 */
#include "bytes.h"
#include "decode.h"
#include "err.h"
#include "fuzz.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>

#define HEAD_BYTES 4
#define DICT_BYTES 32

static void become_slice(struct blob_layout *l, const uint8_t *head, uint32_t packed_size_bytes)
{
	l->units = xcalloc(1, sizeof(l->units[0]));
	l->members = xcalloc(1, sizeof(l->members[0]));
	l->zran_dicts = xcalloc(1, DICT_BYTES);
	l->zran_dicts_size_bytes = DICT_BYTES;
	l->units[0] = (struct unit_rec){
		.packed_size_bytes = packed_size_bytes,
		.plain_size_bytes = l->chunks[0].plain_size_bytes,
		.n_members = 1,
		.kind = UNIT_ZRAN,
		.compressed = true,
		.zran = { .dict_offset = head[1] >> 6,
		          .dict_size_bytes = head[1] & 0x20 ? DICT_BYTES : 0,
		          .prev_byte = head[1],
		          .n_bits = head[1] & 7 },
	};
	l->chunks[0].place = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	struct blob_layout *l;
	uint8_t *packed;
	uint8_t *plain;
	uint32_t packed_size_bytes;
	struct err e;

	if (size_bytes < HEAD_BYTES || size_bytes > (1U << 20))
		return 0;
	packed_size_bytes = (uint32_t)(size_bytes - HEAD_BYTES);
	l = layout_new(1);
	if (l == NULL)
		return 0;
	l->compressor = (enum compressor)(data[0] & 3);
	l->cipher.on = true;
	l->chunks[0] = (struct chunk_rec){ .plain_size_bytes = le16(data + 2) + 1U,
		                           .packed_size_bytes = packed_size_bytes };
	l->chunks[0].flags = (data[0] & 4 ? (uint32_t)CHUNK_COMPRESSED : 0) |
	                     (data[0] & 8 ? (uint32_t)CHUNK_ENCRYPTED : 0);
	if (data[0] & 16)
		become_slice(l, data, packed_size_bytes);
	/* Exactly so large: the sanitizer sees every byte beyond. */
	packed = xcalloc(1, packed_size_bytes);
	plain = xcalloc(1, l->chunks[0].plain_size_bytes);
	memcpy(packed, data + HEAD_BYTES, packed_size_bytes);
	if (decode_unit(l, 0, packed, plain, &e) > 0)
		abort();
	free(packed);
	free(plain);
	layout_unref(&l);
	return 0;
}
