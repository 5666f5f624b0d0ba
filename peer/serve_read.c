/*
 * serve_read: chunks out of the cache for a GET: found by name, checked as they are read,
 * compressed where that is faster than the link.
 */
#include "mem.h"
#include "serve_impl.h"
#include "share.h"
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include <zstd.h>

#define PACK_MIN_BYTES      512U
#define PACK_LEVEL          1
#define PACK_BELOW_BYTES_US 150U /* slower links than 150 MB/s */

static bool takes_packed(const struct serve *s)
{
	return (s->flags & WIRE_GET_PLAIN) == 0;
}

/* @return bytes written to out (room for plain_size_bytes); 0: it is not here */
static uint32_t read_one(struct serve *s, const struct target *t, uint8_t *out, uint8_t *ret_form)
{
	struct cas_blob *blob = NULL;
	enum compressor form;
	uint8_t *packed;
	uint32_t chunk_idx;
	struct err why;
	size_t n = 0;
	int r;

	if (takes_packed(s))
		n = packed_get(s->p->packed, &t->name, out, t->plain_size_bytes, &form);
	if (n > 0) {
		*ret_form = (uint8_t)form;
		return (uint32_t)n;
	}
	r = cas_find_ready(s->p->opts.cas, t->name.b, &blob, &chunk_idx, &why);

	if (r == 0)
		r = cas_blob_read_checked(blob, chunk_idx, out, &why);
	cas_blob_release(&blob);
	if (r != 0)
		return 0;
	*ret_form = COMPRESSOR_NONE;
	if (!s->packs || t->plain_size_bytes < PACK_MIN_BYTES)
		return t->plain_size_bytes;
	packed = malloc(t->plain_size_bytes);
	if (packed != NULL)
		n = ZSTD_compress(packed, t->plain_size_bytes - t->plain_size_bytes / 8, out,
		                  t->plain_size_bytes, PACK_LEVEL);
	if (packed == NULL || ZSTD_isError(n) || n == 0) {
		free(packed);
		return t->plain_size_bytes;
	}
	memcpy(out, packed, n);
	free(packed);
	*ret_form = COMPRESSOR_ZSTD;
	return (uint32_t)n;
}

/* Packed, they need less than there was room for, and may wait for the line for long. */
static void give_room_back(struct piece *piece, size_t room)
{
	uint8_t *smaller;

	if (piece->n_bytes == 0 || piece->n_bytes == room)
		return;
	smaller = realloc(piece->bytes, piece->n_bytes);
	if (smaller != NULL)
		piece->bytes = smaller;
}

void serve_read_work(struct job *job)
{
	struct serve *s = container_of(job, struct serve, job);
	struct piece *piece = &s->piece;
	size_t room = 0;

	for (uint32_t i = 0; i < piece->n_chosen; i++)
		room += s->targets[piece->chosen[i]].plain_size_bytes;
	piece->bytes = malloc(room + 1);
	for (uint32_t i = 0; i < piece->n_chosen; i++) {
		const uint16_t pos = piece->chosen[i];
		uint8_t form = COMPRESSOR_NONE;
		uint32_t n = 0;

		if (piece->bytes != NULL)
			n = read_one(s, &s->targets[pos], piece->bytes + piece->n_bytes, &form);
		if (n == 0) {
			wire_set_add(&piece->missed, pos);
			continue;
		}
		piece->items[piece->n_items++] =
			(struct wire_chunk_item){ .pos = pos, .form = form, .size_bytes = n };
		piece->n_bytes += n;
	}
	give_room_back(piece, room);
}

void serve_find_work(struct job *job)
{
	struct serve *s = container_of(job, struct serve, job);

	for (uint16_t i = 0; i < s->ready.n; i++) {
		struct target *t = &s->targets[i];
		const struct blob_layout *l;
		struct cas_blob *blob = NULL;
		uint32_t chunk_idx;
		struct err why;

		if (cas_find_ready(s->p->opts.cas, t->name.b, &blob, &chunk_idx, &why) != 0) {
			wire_set_add(&s->piece.missed, i);
			continue;
		}
		l = cas_blob_layout(blob);
		t->alg = l->digest_alg;
		memcpy(t->digest, l->chunks[chunk_idx].digest, DIGEST_BYTES);
		t->plain_size_bytes = l->chunks[chunk_idx].plain_size_bytes;
		cas_blob_release(&blob);
	}
}

void serve_sort(struct serve *s)
{
	struct wire_set over, coming;

	if (s->known == NULL || !(s->flags & WIRE_GET_WAIT))
		return;
	over = source_not_coming(s->p, &s->list, &s->ready, NULL);
	coming = set_minus(s->ready, &over);
	for (uint32_t pos = set_next(&coming, 0); pos < coming.n;
	     pos = set_next(&coming, pos + 1)) {
		struct cas_blob *blob = NULL;
		uint32_t chunk_idx;

		if (cas_find_open(s->p->opts.cas, s->targets[pos].name.b, &blob, &chunk_idx) == 0) {
			cas_blob_release(&blob);
			continue;
		}
		wire_set_remove(&s->ready, pos);
		wire_set_add(&s->waiting, pos);
	}
}

static bool is_slow(const struct send_rate *rate)
{
	return send_rate_is_below(rate, PACK_BELOW_BYTES_US);
}

bool serve_wants_packed(const struct peer *p)
{
	bool any_known = false;
	const struct link *l;

	DL_FOREACH(p->links, l)
	{
		if (is_slow(&l->rate))
			return true;
		any_known = any_known || send_rate_is_known(&l->rate);
	}
	return !any_known;
}

static void look_at_rate(struct link *l)
{
	const uint64_t payload_bytes = conn_counts(l->conn)->payload_out_bytes;
	uint64_t acked_bytes;
	uint64_t busy_us;

	if (!conn_sent(l->conn, &acked_bytes, &busy_us))
		return;
	if (payload_bytes == l->rate_payload_bytes)
		send_rate_skip(&l->rate, acked_bytes, busy_us);
	else
		send_rate_look(&l->rate, acked_bytes, busy_us);
	l->rate_payload_bytes = payload_bytes;
}

/* In what form do chunks go out now? What came packed is passed on like that, as long as it is
 * there: nothing is read or hashed, and fewer bytes go. To pack takes time, and a link that is
 * known to be slow, or is new where the last one was, or where none was measured: the first chunks
 * of a slow one would take as long as all the rest. */
void serve_choose_form(struct serve *s)
{
	struct peer *p = s->p;
	const struct send_rate *rate = &s->link->rate;

	look_at_rate(s->link);
	if (send_rate_is_known(rate)) {
		conn_pace(s->link->conn, send_rate_bytes_per_ms(rate));
		p->packs = is_slow(rate);
		atomic_store(&p->wants_packed, serve_wants_packed(p));
	}
	s->packs = takes_packed(s) && p->packs;
}
