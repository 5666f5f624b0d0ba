/*
 * fake_fetch: see fake_fetch.h.
 */
#include "fake_fetch.h"
#include "fake_tree_image.h"
#include "gc.h"
#include "share.h"
#include <assert.h>
#include <errno.h>
#include <string.h>

const char *const fetch_found_names[N_FOUND] = { "cache", "dedup", "peer", "origin" };

void fake_fetch_init(struct fetch *f)
{
	*f = (struct fetch){ .hold = false };
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
}

void fake_fetch_fini(struct fetch *f)
{
	assert(f->n_held == 0);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
}

void fake_fetch_set_hold(struct fetch *f, bool hold)
{
	pthread_mutex_lock(&f->lock);
	f->hold = hold;
	pthread_mutex_unlock(&f->lock);
}

void fake_fetch_set_fail(struct fetch *f, bool fail)
{
	pthread_mutex_lock(&f->lock);
	f->fail = fail;
	pthread_mutex_unlock(&f->lock);
}

void fake_fetch_set_early(struct fetch *f, bool early)
{
	pthread_mutex_lock(&f->lock);
	f->early = early;
	pthread_mutex_unlock(&f->lock);
}

void fake_fetch_wait_held(struct fetch *f, uint32_t n)
{
	pthread_mutex_lock(&f->lock);
	while (f->n_held < n)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

uint32_t fake_fetch_n_reads(struct fetch *f)
{
	uint32_t n;

	pthread_mutex_lock(&f->lock);
	n = f->n_reads;
	pthread_mutex_unlock(&f->lock);
	return n;
}

uint32_t fake_fetch_n_cancelled(struct fetch *f)
{
	uint32_t n;

	pthread_mutex_lock(&f->lock);
	n = f->n_cancelled;
	pthread_mutex_unlock(&f->lock);
	return n;
}

uint32_t fake_fetch_n_strays(struct fetch *f)
{
	uint32_t n;

	pthread_mutex_lock(&f->lock);
	n = f->n_strays;
	pthread_mutex_unlock(&f->lock);
	return n;
}

static void fill(struct fetch_read *r, enum fetch_found found)
{
	for (uint32_t i = 0; i < r->n_pieces; i++) {
		const struct fetch_piece *p = &r->pieces[i];
		const uint64_t offset = (uint64_t)p->chunk_idx * FAKE_CHUNK_BYTES + p->chunk_offset;

		if (p->blob == NULL)
			memset(p->dst, 0, p->size_bytes);
		else if (p->chunk_idx == FAKE_HELLO_CHUNK)
			memcpy(p->dst, &FAKE_HELLO[p->chunk_offset], p->size_bytes);
		else
			for (uint32_t k = 0; k < p->size_bytes; k++)
				p->dst[k] = fake_byte(offset + k);
		r->found_bytes[found] += p->size_bytes;
	}
	r->found = found;
}

int fetch_read(struct fetch *f, struct fetch_read *r, struct err *e)
{
	const struct err none = { 0 };
	bool hold;
	bool fail;
	bool early;

	pthread_mutex_lock(&f->lock);
	f->n_reads++;
	hold = f->hold;
	fail = f->fail;
	early = f->early;
	if (hold) {
		assert(f->n_held < FAKE_HELD_MAX);
		f->held[f->n_held++] = r;
		pthread_cond_broadcast(&f->changed);
	}
	pthread_mutex_unlock(&f->lock);
	if (hold)
		return FETCH_PENDING;
	if (fail)
		return err_set(e, EIO, "told to fail");
	fill(r, FOUND_CACHE);
	if (!early)
		return 0;
	r->done(r, 0, &none);
	return FETCH_PENDING;
}

void fake_fetch_answer(struct fetch *f, int result)
{
	struct err why = { 0 };

	if (result < 0)
		(void)err_set(&why, -result, "told to fail");
	for (;;) {
		struct fetch_read *r = NULL;

		pthread_mutex_lock(&f->lock);
		if (f->n_held > 0)
			r = f->held[--f->n_held];
		pthread_mutex_unlock(&f->lock);
		if (r == NULL)
			return;
		if (result == 0)
			fill(r, FOUND_ORIGIN);
		r->done(r, result, &why);
	}
}

void fetch_cancel(struct fetch *f, struct fetch_read *r)
{
	const struct err why = { .code = ECANCELED };
	bool found = false;

	pthread_mutex_lock(&f->lock);
	for (uint32_t i = 0; i < f->n_held && !found; i++) {
		if (f->held[i] == r) {
			f->held[i] = f->held[--f->n_held];
			f->n_cancelled++;
			found = true;
		}
	}
	f->n_strays += !found;
	pthread_mutex_unlock(&f->lock);
	if (found)
		r->done(r, -ECANCELED, &why);
}

struct cas_blob *fetch_blob_cas(struct fetch_blob *blob)
{
	(void)blob;
	return NULL;
}

const struct blob_layout *cas_blob_layout(const struct cas_blob *blob)
{
	(void)blob;
	return NULL;
}

bool cas_blob_is_present(const struct cas_blob *blob, uint32_t chunk_idx)
{
	(void)blob;
	(void)chunk_idx;
	return true;
}

bool cas_blob_is_candidate(const struct cas_blob *blob, uint32_t chunk_idx)
{
	(void)blob;
	(void)chunk_idx;
	return false;
}

/* ---- what the kernel reads by itself: nothing here ---- */

int cas_blob_hand_out(struct cas_blob *blob, const struct bitmap *named, int *ret_fd, struct err *e)
{
	(void)blob;
	(void)named;
	(void)ret_fd;
	(void)e;
	return CAS_MISS;
}

bool cas_blob_pin_held(struct cas_blob *blob)
{
	(void)blob;
	return false;
}

void cas_blob_unpin(struct cas_blob *blob)
{
	(void)blob;
}
