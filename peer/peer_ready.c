/*
 * peer_ready: what became present in the cache, or went: told by any thread, in batches to adverts
 * and to those who wait for it.
 */
#include "mem.h"
#include "peer_impl.h"
#include "public_name.h"
#include "share.h"
#include <stdlib.h>

#define SCAN_SEGMENTS 32U /* looked at in a round */

struct ready_note {
	struct cas_blob *blob; /* a reference */
	uint32_t chunk_idx;
	bool gone;
};

static void note(struct peer *p, struct cas_blob *blob, uint32_t chunk_idx, bool gone)
{
	bool post;

	(void)pthread_mutex_lock(&p->ready_lock);
	if (p->n_ready == p->room_ready) {
		p->room_ready = p->room_ready > 0 ? 2 * p->room_ready : 64;
		p->ready = xrealloc(p->ready, p->room_ready, sizeof(p->ready[0]));
	}
	p->ready[p->n_ready++] = (struct ready_note){ .blob = cas_blob_ref(blob),
		                                      .chunk_idx = chunk_idx,
		                                      .gone = gone };
	post = !p->ready_posted;
	p->ready_posted = true;
	(void)pthread_mutex_unlock(&p->ready_lock);
	if (post)
		loop_post(p->opts.loop, &p->ready_call);
}

void peer_on_ready(struct peer *p, struct cas_blob *blob, uint32_t chunk_idx)
{
	note(p, blob, chunk_idx, false);
}

void peer_on_gone(struct peer *p, struct cas_blob *blob, uint32_t chunk_idx)
{
	note(p, blob, chunk_idx, true);
}

/* ---- as it is packed ---- */

void peer_on_packed(struct peer *p, struct cas_blob *blob, uint32_t chunk_idx,
                    struct chunk_bytes bytes)
{
	const struct blob_layout *layout = cas_blob_layout(blob);
	const struct chunk_rec *c = &layout->chunks[chunk_idx];
	struct public_namer *namer;
	struct wire_id name;

	if (!atomic_load(&p->wants_packed) || (c->flags & CHUNK_HAS_DIGEST) == 0 ||
	    bytes.form != COMPRESSOR_ZSTD || bytes.size_bytes > c->plain_size_bytes) {
		free(bytes.data);
		return;
	}
	namer = public_namer_new();
	public_name(namer, layout->digest_alg, c->digest, c->plain_size_bytes, name.b);
	public_namer_free(&namer);
	packed_put(p->packed, &name, bytes.form, bytes.data, bytes.size_bytes, peer_now_ns(p));
}

/* Neighbouring news of one segment. */
struct batch {
	struct known *known;
	uint32_t segment_idx;
	bool gone;
	bool urgent;
	struct wire_part part;
};

static void flush(struct peer *p, struct batch *b)
{
	if (b->known == NULL || set_empty(&b->part.set))
		return;
	if (b->gone)
		adverts_gone(p->adverts, &b->part);
	else
		adverts_ready(p->adverts, &b->part, b->urgent);
	b->part.set = set_none(b->part.set.n);
}

static void take(struct peer *p, struct batch *b, struct known *k, const struct ready_note *n)
{
	uint32_t segment_idx;
	uint16_t pos;

	if (k->segments == NULL || !segments_find(k->segments, n->chunk_idx, &segment_idx, &pos))
		return;
	if (b->known != k || b->segment_idx != segment_idx || b->gone != n->gone) {
		flush(p, b);
		*b = (struct batch){ .known = k,
			             .segment_idx = segment_idx,
			             .gone = n->gone,
			             .part = known_part(k, segment_idx) };
	}
	wire_set_add(&b->part.set, pos);
	if (n->gone)
		return;
	landing_end(p, &b->part.list, pos);
	leases_kept(p, &b->part.list, pos);
	adverts_credit(p->adverts, k->layout->chunks[n->chunk_idx].plain_size_bytes);
	b->urgent = b->urgent || source_is_leased(p, k, segment_idx, pos);
	serve_on_ready(p, k, segment_idx, pos);
}

static void on_notes(struct loop_call *call)
{
	struct peer *p = container_of(call, struct peer, ready_call);
	struct ready_note *notes;
	struct batch b = { .known = NULL };
	uint32_t n;

	(void)pthread_mutex_lock(&p->ready_lock);
	notes = p->ready;
	n = p->n_ready;
	p->ready = NULL;
	p->n_ready = 0;
	p->room_ready = 0;
	p->ready_posted = false;
	(void)pthread_mutex_unlock(&p->ready_lock);
	for (uint32_t i = 0; i < n; i++) {
		struct known *k = known_find(p->known, cas_blob_layout(notes[i].blob));

		if (k != NULL) {
			take(p, &b, k, &notes[i]);
			known_put(k);
		} else {
			peer_blob_opened(p, notes[i].blob); /* tells all of it once it is known */
		}
		cas_blob_release(&notes[i].blob);
	}
	flush(p, &b);
	free(notes);
	peer_work_soon(p);
}

/* ---- what was here before ---- */

static void scan_segment(struct peer *p, struct known *k, uint32_t segment_idx)
{
	const struct wire_part part = known_present(k, segment_idx, k->scan);

	if (!set_empty(&part.set))
		adverts_ready(p->adverts, &part, false);
}

/* A slice of it: a blob has hundreds of segments, and the loop has others to serve. */
static void scan(void *arg, struct known *k)
{
	struct peer *p = arg;
	const uint32_t n = k->segments != NULL ? segments_count(k->segments) : 0;
	const uint32_t end = k->scanned + SCAN_SEGMENTS;

	if (k->scan == NULL || (k->segments == NULL && !k->failed))
		return;
	for (; k->scanned < n && k->scanned < end; k->scanned++)
		scan_segment(p, k, k->scanned);
	if (k->scanned < n) {
		p->scans_left = true;
		peer_work_soon(p);
		return;
	}
	k->scanned = 0;
	cas_blob_release(&k->scan);
}

void ready_work(struct peer *p)
{
	if (!p->scans_left)
		return;
	p->scans_left = false;
	known_each(p->known, scan, p);
}

void ready_on_known(struct peer *p, struct known *k)
{
	scan(p, k);
}

void peer_blob_opened(struct peer *p, struct cas_blob *blob)
{
	struct known *k = known_get(p->known, cas_blob_layout(blob));

	if (k->scan == NULL)
		k->scan = cas_blob_ref(blob);
	scan(p, k);
	known_put(k);
	peer_work_soon(p);
}

void ready_init(struct peer *p)
{
	p->ready_call.fn = on_notes;
}

static void drop_scan(void *arg, struct known *k)
{
	(void)arg;
	cas_blob_release(&k->scan);
}

void ready_fini(struct peer *p)
{
	for (uint32_t i = 0; i < p->n_ready; i++)
		cas_blob_release(&p->ready[i].blob);
	free(p->ready);
	p->ready = NULL;
	p->n_ready = 0;
	if (p->known != NULL)
		known_each(p->known, drop_scan, p);
}
