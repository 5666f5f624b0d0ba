/*
 * wire: names, sets and list ids; wire_encode.c and wire_decode.c turn messages into bytes and
 * back.
 */
#include "wire.h"
#include "mem.h"
#include "set.h"
#include <blake3.h>
#include <stdlib.h>
#include <string.h>

const char *wire_type_name(enum wire_type t)
{
	static const char *const names[N_WIRE_TYPES] = {
		[WIRE_HELLO] = "HELLO",
		[WIRE_HELLO_ACK] = "HELLO_ACK",
		[WIRE_PING] = "PING",
		[WIRE_PONG] = "PONG",
		[WIRE_MEMBERS] = "MEMBERS",
		[WIRE_ASK] = "ASK",
		[WIRE_ANSWER] = "ANSWER",
		[WIRE_WANT_NAMES] = "WANT_NAMES",
		[WIRE_NAMES] = "NAMES",
		[WIRE_HAVE] = "HAVE",
		[WIRE_GONE] = "GONE",
		[WIRE_COMING] = "COMING",
		[WIRE_GET] = "GET",
		[WIRE_GRANT] = "GRANT",
		[WIRE_CHUNK] = "CHUNK",
		[WIRE_MISS] = "MISS",
		[WIRE_REDIRECT] = "REDIRECT",
		[WIRE_END] = "END",
		[WIRE_CANCEL] = "CANCEL",
		[WIRE_LEASE_PROGRESS] = "LEASE_PROGRESS",
		[WIRE_LEASE_END] = "LEASE_END",
		[WIRE_META_GET] = "META_GET",
		[WIRE_META] = "META",
		[WIRE_DRAIN] = "DRAIN",
		[WIRE_BYE] = "BYE",
	};

	return (unsigned)t < N_WIRE_TYPES && names[t] != NULL ? names[t] : "?";
}

const char *wire_status_name(enum wire_status s)
{
	static const char *const names[N_WIRE_STATUSES] = {
		[WIRE_DONE] = "done",
		[WIRE_NOT_HERE] = "not here",
		[WIRE_UNKNOWN_LIST] = "unknown list",
		[WIRE_IS_BUSY] = "busy",
		[WIRE_DENIED] = "denied",
		[WIRE_CANCELLED] = "cancelled",
		[WIRE_DRAINING] = "draining",
		[WIRE_FAILED] = "failed",
		[WIRE_LOST] = "connection lost",
	};

	return (unsigned)s < N_WIRE_STATUSES ? names[s] : "?";
}

bool wire_set_holds(const struct wire_set *s, const struct wire_set *part)
{
	if (s->n != part->n)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(s->words); i++)
		if (part->words[i] & ~s->words[i])
			return false;
	return true;
}

static uint32_t n_named(const struct wire_msg *msg)
{
	uint32_t n = 0;

	switch ((int)msg->type) {
	case WIRE_ASK:
		return set_count(&msg->u.ask.part.set);
	case WIRE_GET:
		return set_count(&msg->u.get.part.set);
	case WIRE_LEASE_END:
		return set_count(&msg->u.lease.part.set);
	case WIRE_NAMES:
		return msg->u.names.n_names;
	case WIRE_WANT_NAMES: /* it is answered with all of them */
	case WIRE_MEMBERS:    /* all addresses that are known are looked at */
		return WIRE_LIST_MAX;
	case WIRE_HAVE:
	case WIRE_GONE:
	case WIRE_COMING:
		for (uint32_t i = 0; i < msg->u.adverts.n_parts; i++)
			n += set_count(&msg->u.adverts.parts[i].set);
		return n;
	default:
		return 0;
	}
}

uint32_t wire_weight(const struct wire_msg *msg)
{
	return 1 + n_named(msg) / WIRE_WEIGHT_CHUNKS;
}

struct wire_id wire_list_id(const struct wire_id *names, uint32_t n_names)
{
	struct wire_id id;
	blake3_hasher hasher;

	blake3_hasher_init_derive_key(&hasher, "shoal list v1");
	blake3_hasher_update(&hasher, names, (size_t)n_names * sizeof(*names));
	blake3_hasher_finalize(&hasher, id.b, sizeof(id.b));
	return id;
}

void wire_buf_append(struct wire_buf *b, const void *bytes, size_t n_bytes)
{
	size_t room = b->room_bytes > 0 ? b->room_bytes : 256;

	if (n_bytes == 0)
		return; /* bytes may be NULL then */
	while (room - b->size_bytes < n_bytes)
		room *= 2;
	if (room != b->room_bytes) {
		b->data = xrealloc(b->data, room, 1);
		b->room_bytes = room;
	}
	memcpy(b->data + b->size_bytes, bytes, n_bytes);
	b->size_bytes += n_bytes;
}

void wire_buf_free(struct wire_buf *b)
{
	free(b->data);
	*b = (struct wire_buf){ 0 };
}
