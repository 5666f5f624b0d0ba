/*
 * wire_samples: see the header.
 */
#include "wire_samples.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

#define MEMBERS_SMALL 2

static struct wire_set set_of(bool big)
{
	struct wire_set s = { .n = big ? WIRE_LIST_MAX : SAMPLE_LIST_CHUNKS };

	for (uint32_t i = 0; i < s.n; i += big ? 1 : 2)
		wire_set_add(&s, i);
	return s;
}

static struct wire_id id_of(uint8_t byte)
{
	struct wire_id id;

	memset(id.b, byte, sizeof(id.b));
	return id;
}

static struct wire_part part_of(bool big)
{
	return (struct wire_part){ .segment = id_of(0x51),
		                   .list = id_of(0x11),
		                   .set = set_of(big) };
}

static void fill_text(char *text, size_t room_bytes, bool big, const char *small)
{
	if (big)
		memset(text, 'x', room_bytes - 1);
	else
		(void)snprintf(text, room_bytes, "%s", small);
}

static struct wire_member member_of(uint8_t byte, bool big)
{
	struct wire_member m = { .id = id_of(byte), .generation = big ? UINT64_MAX : 12 };

	fill_text(m.address, sizeof(m.address), big, "10.0.0.7:9465");
	if (big)
		m.address[7] = ':';
	fill_text(m.zone, sizeof(m.zone), big, "a");
	return m;
}

static void fill_hello(bool big, struct wire_hello *h, const struct wire_member *members)
{
	h->min_version = 1;
	h->max_version = big ? UINT16_MAX : 1;
	h->self = member_of(0x21, big);
	memset(h->nonce, 0x77, sizeof(h->nonce));
	h->draining = big;
	fill_text(h->agent, sizeof(h->agent), big, "shoal 0.1.0");
	h->members = members;
	h->n_members = big ? WIRE_MEMBERS_MAX : MEMBERS_SMALL;
}

static void fill_ask(bool big, struct wire_ask *a)
{
	a->req = big ? UINT32_MAX : 3;
	a->flags = WIRE_ASK_READER;
	a->part = part_of(big);
	a->have = set_of(big);
	a->units = set_of(big);
	a->runs = set_of(big);
	a->deadline_ms = 30000;
	a->patience_ms = 50;
	a->n_avoid = big ? WIRE_AVOID_MAX : 1;
	for (uint8_t i = 0; i < a->n_avoid; i++)
		a->avoid[i] = id_of(i);
	for (uint8_t i = 0; i < a->n_avoid; i++)
		a->avoid_why[i] = (uint8_t)((i + 1) % N_WIRE_AVOID_WHYS);
	a->missed = set_of(big);
	a->usual_ms = big ? UINT32_MAX : 1000;
}

static void fill_answer(bool big, struct wire_answer *a, struct wire_answer_item *items)
{
	a->req = 3;
	a->n_items = big ? WIRE_ITEMS_MAX : 2;
	for (uint16_t i = 0; i < a->n_items; i++) {
		items[i] = (struct wire_answer_item){
			.kind = i % 2 ? WIRE_HOLDERS : WIRE_LEASE,
			.n_nodes = (uint8_t)(big ? WIRE_NODES_MAX : i % 2),
			.token = big ? UINT64_MAX : 99,
			.term_ms = 2000,
			.progress_bytes = 4096,
			.set = set_of(big),
		};
		for (uint8_t k = 0; k < items[i].n_nodes; k++)
			items[i].nodes[k] = id_of(k);
	}
	a->items = items;
}

static void fill_chunk(bool big, struct wire_msg *m, struct wire_chunk_item *items)
{
	struct wire_chunk *c = &m->u.chunk;

	c->req = 4;
	c->n_items = big ? WIRE_LIST_MAX : 1;
	for (uint16_t i = 0; i < c->n_items; i++) {
		items[i] = (struct wire_chunk_item){ .pos = i,
			                             .form = COMPRESSOR_ZSTD,
			                             .size_bytes = big ? 256 : 70000 };
	}
	c->offset = big ? 0 : 65536;
	m->payload_size_bytes = big ? 65536 : 70000 - 65536;
	c->items = items;
}

static void fill_names(struct wire_msg *m, bool big, const struct wire_id *names)
{
	struct wire_names *n = &m->u.names;

	n->segment = id_of(0x51);
	n->list = id_of(0x11);
	if (m->type == WIRE_WANT_NAMES)
		return;
	n->n_names = big ? WIRE_LIST_MAX : SAMPLE_LIST_CHUNKS;
	n->names = names;
	n->list = wire_list_id(names, n->n_names);
}

static void fill_get(bool big, struct wire_get *g, const struct wire_id *names)
{
	g->req = 4;
	g->flags = WIRE_GET_READER | WIRE_GET_WAIT;
	g->deadline_ms = 1000;
	memset(g->proof, 0x99, sizeof(g->proof));
	if (!big) {
		g->part = part_of(false);
		return;
	}
	g->by_names = true;
	g->names = names;
	g->part.set.n = WIRE_LIST_MAX;
	memset(g->part.set.words, 0xff, sizeof(g->part.set.words));
}

static void fill_lease(bool big, struct wire_msg *m)
{
	m->u.lease.token = 99;
	m->u.lease.progress_bytes = big ? UINT64_MAX : 4096;
	if (m->type == WIRE_LEASE_PROGRESS)
		return;
	m->u.lease.failed = big;
	m->u.lease.part = part_of(big);
}

static void fill_small(bool big, struct wire_msg *m)
{
	switch ((int)m->type) {
	case WIRE_PING:
	case WIRE_PONG:
		m->u.ping.stamp = big ? UINT64_MAX : 1;
		m->u.ping.members_hash = 2;
		break;
	case WIRE_GRANT:
		m->u.grant.req = 4;
		memset(m->u.grant.mac, 0x88, WIRE_MAC_BYTES);
		break;
	case WIRE_MISS:
		m->u.miss.req = 4;
		m->u.miss.set = set_of(big);
		break;
	case WIRE_REDIRECT:
		m->u.redirect.req = 4;
		m->u.redirect.set = set_of(big);
		m->u.redirect.n_nodes = big ? WIRE_NODES_MAX : 1;
		break;
	case WIRE_END:
		m->u.end.req = 4;
		m->u.end.status = WIRE_IS_BUSY;
		m->u.end.retry_ms = big ? WIRE_RETRY_MAX_MS : 20;
		break;
	case WIRE_CANCEL:
		m->u.cancel.req = 4;
		break;
	case WIRE_META_GET:
		m->u.meta_get.req = 5;
		m->u.meta_get.kind = WIRE_META_BOOTSTRAP;
		fill_text(m->u.meta_get.key, sizeof(m->u.meta_get.key), big,
		          "r.example/a@sha256:00");
		break;
	case WIRE_META:
		m->u.meta.req = 5;
		m->u.meta.total_bytes = big ? WIRE_META_MAX_BYTES : 1000;
		m->u.meta.offset = big ? WIRE_META_MAX_BYTES - 65536 : 0;
		m->u.meta.is_public = big;
		m->payload_size_bytes = big ? 65536 : 1000;
		break;
	case WIRE_BYE:
		m->u.bye.reason = WIRE_BYE_LEAVING;
		fill_text(m->u.bye.text, sizeof(m->u.bye.text), big, "going down");
		break;
	default:
		assert(m->type == WIRE_DRAIN);
	}
}

void wire_sample(enum wire_type type, bool big, struct wire_msg *ret_msg)
{
	static struct wire_member members[WIRE_MEMBERS_MAX];
	static struct wire_answer_item items[WIRE_ITEMS_MAX];
	static struct wire_part parts[WIRE_ADVERTS_MAX];
	static struct wire_chunk_item chunk_items[WIRE_LIST_MAX];
	static struct wire_id names[WIRE_LIST_MAX];

	for (uint32_t i = 0; i < WIRE_MEMBERS_MAX; i++)
		members[i] = member_of((uint8_t)(i + 1), big);
	for (uint32_t i = 0; i < WIRE_ADVERTS_MAX; i++)
		parts[i] = part_of(big);
	for (uint32_t i = 0; i < WIRE_LIST_MAX; i++)
		names[i] = id_of((uint8_t)i);
	memset(ret_msg, 0, sizeof(*ret_msg));
	ret_msg->type = type;
	switch ((int)type) {
	case WIRE_HELLO:
	case WIRE_HELLO_ACK:
		fill_hello(big, &ret_msg->u.hello, members);
		break;
	case WIRE_MEMBERS:
		ret_msg->u.members.members = members;
		ret_msg->u.members.n_members = big ? WIRE_MEMBERS_MAX : MEMBERS_SMALL;
		break;
	case WIRE_ASK:
		fill_ask(big, &ret_msg->u.ask);
		break;
	case WIRE_ANSWER:
		fill_answer(big, &ret_msg->u.answer, items);
		break;
	case WIRE_WANT_NAMES:
	case WIRE_NAMES:
		fill_names(ret_msg, big, names);
		break;
	case WIRE_HAVE:
	case WIRE_GONE:
	case WIRE_COMING:
		ret_msg->u.adverts.n_parts = big ? WIRE_ADVERTS_MAX : 1;
		ret_msg->u.adverts.parts = parts;
		break;
	case WIRE_GET:
		fill_get(big, &ret_msg->u.get, names);
		break;
	case WIRE_CHUNK:
		fill_chunk(big, ret_msg, chunk_items);
		break;
	case WIRE_LEASE_PROGRESS:
	case WIRE_LEASE_END:
		fill_lease(big, ret_msg);
		break;
	default:
		fill_small(big, ret_msg);
	}
}
