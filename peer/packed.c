/*
 * packed: see the header. A table by name and a queue, the oldest first.
 */
#include "packed.h"
#include "clock.h"
#include "mem.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

struct entry {
	struct entry *prev, *next; /* the oldest first */
	struct wire_id name;
	enum compressor form;
	uint8_t *bytes;
	uint32_t size_bytes;
	uint64_t since_ns;
	UT_hash_handle hh;
};

struct packed {
	pthread_mutex_t lock; /* guards all below; held for a copy at most */
	struct entry *by_name;
	struct entry *oldest;
	uint64_t held_bytes;
};

struct packed *packed_new(void)
{
	struct packed *p = xcalloc(1, sizeof(*p));

	(void)pthread_mutex_init(&p->lock, NULL);
	return p;
}

static void drop(struct packed *p, struct entry *e)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): not seen through uthash */
	HASH_DEL(p->by_name, e);
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): nor utlist */
	DL_DELETE(p->oldest, e);
	p->held_bytes -= e->size_bytes;
	free(e->bytes);
	free(e);
}

void packed_free(struct packed **packed)
{
	struct packed *p = *packed;

	if (p == NULL)
		return;
	while (p->oldest != NULL)
		drop(p, p->oldest);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
	*packed = NULL;
}

static struct entry *find(struct packed *p, const struct wire_id *name)
{
	struct entry *e;

	HASH_FIND(hh, p->by_name, name->b, WIRE_ID_BYTES, e);
	return e;
}

void packed_put(struct packed *p, const struct wire_id *name, enum compressor form, uint8_t *bytes,
                uint32_t size_bytes, uint64_t now_ns)
{
	struct entry *e = NULL;

	(void)pthread_mutex_lock(&p->lock);
	if (size_bytes <= PACKED_MAX_BYTES && find(p, name) == NULL) {
		while (p->held_bytes + size_bytes > PACKED_MAX_BYTES ||
		       HASH_COUNT(p->by_name) >= PACKED_MAX)
			drop(p, p->oldest);
		e = xcalloc(1, sizeof(*e));
		*e = (struct entry){ .name = *name,
			             .form = form,
			             .bytes = bytes,
			             .size_bytes = size_bytes,
			             .since_ns = now_ns };
		HASH_ADD(hh, p->by_name, name, WIRE_ID_BYTES, e);
		DL_APPEND(p->oldest, e);
		p->held_bytes += size_bytes;
	}
	(void)pthread_mutex_unlock(&p->lock);
	if (e == NULL)
		free(bytes);
}

uint32_t packed_get(struct packed *p, const struct wire_id *name, uint8_t *out, uint32_t room_bytes,
                    enum compressor *ret_form)
{
	const struct entry *e;
	uint32_t n = 0;

	(void)pthread_mutex_lock(&p->lock);
	e = find(p, name);
	if (e != NULL && e->size_bytes <= room_bytes) {
		memcpy(out, e->bytes, e->size_bytes);
		n = e->size_bytes;
		*ret_form = e->form;
	}
	(void)pthread_mutex_unlock(&p->lock);
	return n;
}

uint64_t packed_expire(struct packed *p, uint64_t now_ns)
{
	uint64_t due_ns;

	(void)pthread_mutex_lock(&p->lock);
	while (p->oldest != NULL && now_ns >= p->oldest->since_ns + PACKED_KEEP_MS * NS_PER_MS)
		drop(p, p->oldest);
	due_ns = p->oldest == NULL ? UINT64_MAX : p->oldest->since_ns + PACKED_KEEP_MS * NS_PER_MS;
	(void)pthread_mutex_unlock(&p->lock);
	return due_ns;
}
