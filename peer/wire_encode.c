/*
 * wire_encode: messages into frames. Fields stand in the order of docs/protocol.md.
 */
#include "bytes.h"
#include "wire.h"
#include <assert.h>
#include <msgpack.h>
#include <string.h>

static int append(void *arg, const char *data, size_t size_bytes)
{
	wire_buf_append(arg, data, size_bytes);
	return 0;
}

/* What packs into memory that grows cannot fail. */
static void put_array(msgpack_packer *p, size_t n)
{
	(void)msgpack_pack_array(p, n);
}

static void put_uint(msgpack_packer *p, uint64_t v)
{
	(void)msgpack_pack_uint64(p, v); /* in as few bytes as it takes */
}

/* n: fields, the type among them. */
static void put_begin(msgpack_packer *p, const struct wire_msg *msg, size_t n)
{
	put_array(p, n);
	put_uint(p, msg->type);
}

static void put_bool(msgpack_packer *p, bool v)
{
	(void)(v ? msgpack_pack_true(p) : msgpack_pack_false(p));
}

static void put_bin(msgpack_packer *p, const void *data, size_t size_bytes)
{
	(void)msgpack_pack_bin(p, size_bytes);
	(void)msgpack_pack_bin_body(p, data, size_bytes);
}

static void put_id(msgpack_packer *p, const struct wire_id *id)
{
	put_bin(p, id->b, sizeof(id->b));
}

static void put_text(msgpack_packer *p, const char *text)
{
	const size_t n = strlen(text);

	(void)msgpack_pack_str(p, n);
	(void)msgpack_pack_str_body(p, text, n);
}

/* The bits of a set, without the zero bytes at the end. */
static void put_bits(msgpack_packer *p, const struct wire_set *s)
{
	uint8_t bytes[WIRE_LIST_MAX / 8];
	size_t n_bytes = 0;

	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (uint8_t)(s->words[i / 8] >> (8 * (i % 8)));
		n_bytes = bytes[i] != 0 ? i + 1 : n_bytes;
	}
	put_bin(p, bytes, n_bytes);
}

static void put_set(msgpack_packer *p, const struct wire_set *s) /* 2 fields */
{
	assert(s->n > 0 && s->n <= WIRE_LIST_MAX);
	put_uint(p, s->n);
	put_bits(p, s);
}

static void put_part(msgpack_packer *p, const struct wire_part *part) /* 4 fields */
{
	put_id(p, &part->segment);
	put_id(p, &part->list);
	put_set(p, &part->set);
}

static void put_nodes(msgpack_packer *p, const struct wire_id *nodes, uint32_t n_nodes)
{
	assert(n_nodes <= WIRE_NODES_MAX);
	put_bin(p, nodes, (size_t)n_nodes * WIRE_ID_BYTES);
}

static void put_member(msgpack_packer *p, const struct wire_member *m) /* 4 fields */
{
	put_id(p, &m->id);
	put_uint(p, m->generation);
	put_text(p, m->address);
	put_text(p, m->zone);
}

static void put_members(msgpack_packer *p, const struct wire_member *members, uint32_t n_members)
{
	assert(n_members <= WIRE_MEMBERS_MAX);
	put_array(p, n_members);
	for (uint32_t i = 0; i < n_members; i++) {
		put_array(p, 4);
		put_member(p, &members[i]);
	}
}

static void put_hello(msgpack_packer *p, const struct wire_msg *msg)
{
	const struct wire_hello *h = &msg->u.hello;

	put_begin(p, msg, msg->type == WIRE_HELLO ? 10 : 11);
	put_uint(p, h->min_version);
	put_uint(p, h->max_version);
	put_member(p, &h->self);
	put_bin(p, h->nonce, sizeof(h->nonce));
	put_bool(p, h->draining);
	put_text(p, h->agent);
	if (msg->type == WIRE_HELLO_ACK)
		put_members(p, h->members, h->n_members);
}

static void put_ask(msgpack_packer *p, const struct wire_msg *msg)
{
	const struct wire_ask *a = &msg->u.ask;

	put_begin(p, msg, 16);
	put_uint(p, a->req);
	put_uint(p, a->flags);
	put_part(p, &a->part);
	put_bits(p, &a->have);
	put_bits(p, &a->units);
	put_bits(p, &a->runs);
	put_uint(p, a->deadline_ms);
	put_uint(p, a->patience_ms);
	put_nodes(p, a->avoid, a->n_avoid);
	put_bin(p, a->avoid_why, a->n_avoid);
	put_bits(p, &a->missed);
	put_uint(p, a->usual_ms);
}

static void put_answer_item(msgpack_packer *p, const struct wire_answer_item *item)
{
	put_array(p, 7);
	put_uint(p, item->kind);
	put_set(p, &item->set);
	put_nodes(p, item->nodes, item->n_nodes);
	put_uint(p, item->token);
	put_uint(p, item->term_ms);
	put_uint(p, item->progress_bytes);
}

static void put_answer(msgpack_packer *p, const struct wire_msg *msg)
{
	const struct wire_answer *a = &msg->u.answer;

	assert(a->n_items <= WIRE_ITEMS_MAX);
	put_begin(p, msg, 3);
	put_uint(p, a->req);
	put_array(p, a->n_items);
	for (uint32_t i = 0; i < a->n_items; i++)
		put_answer_item(p, &a->items[i]);
}

static void put_names(msgpack_packer *p, const struct wire_msg *msg)
{
	const struct wire_names *n = &msg->u.names;

	assert(n->n_names <= WIRE_LIST_MAX);
	put_begin(p, msg, msg->type == WIRE_NAMES ? 4 : 3);
	put_id(p, &n->segment);
	put_id(p, &n->list);
	if (msg->type == WIRE_NAMES)
		put_bin(p, n->names, (size_t)n->n_names * PUBLIC_NAME_BYTES);
}

static void put_adverts(msgpack_packer *p, const struct wire_msg *msg)
{
	const struct wire_adverts *a = &msg->u.adverts;

	assert(a->n_parts <= WIRE_ADVERTS_MAX);
	put_begin(p, msg, 2);
	put_array(p, a->n_parts);
	for (uint32_t i = 0; i < a->n_parts; i++) {
		put_array(p, 4);
		put_part(p, &a->parts[i]);
	}
}

static void put_get(msgpack_packer *p, const struct wire_msg *msg)
{
	const struct wire_get *g = &msg->u.get;

	put_begin(p, msg, g->by_names ? 6 : 10);
	put_uint(p, g->req);
	put_uint(p, g->flags);
	put_uint(p, g->deadline_ms);
	put_bin(p, g->proof, sizeof(g->proof));
	put_bin(p, g->names, g->by_names ? (size_t)g->part.set.n * PUBLIC_NAME_BYTES : 0);
	if (!g->by_names)
		put_part(p, &g->part);
}

static void put_chunk(msgpack_packer *p, const struct wire_msg *msg)
{
	const struct wire_chunk *c = &msg->u.chunk;

	assert(c->n_items > 0 && c->n_items <= WIRE_LIST_MAX);
	put_begin(p, msg, 4);
	put_uint(p, c->req);
	put_uint(p, c->offset);
	put_array(p, 3 * (size_t)c->n_items);
	for (uint32_t i = 0; i < c->n_items; i++) {
		put_uint(p, c->items[i].pos);
		put_uint(p, c->items[i].form);
		put_uint(p, c->items[i].size_bytes);
	}
}

static void put_lease(msgpack_packer *p, const struct wire_msg *msg)
{
	const struct wire_lease *l = &msg->u.lease;

	put_begin(p, msg, msg->type == WIRE_LEASE_END ? 8 : 3);
	put_uint(p, l->token);
	put_uint(p, l->progress_bytes);
	if (msg->type == WIRE_LEASE_END) {
		put_bool(p, l->failed);
		put_part(p, &l->part);
	}
}

static void put_ping(msgpack_packer *p, const struct wire_msg *msg)
{
	put_begin(p, msg, 3);
	put_uint(p, msg->u.ping.stamp);
	put_uint(p, msg->u.ping.members_hash);
}

static void put_member_list(msgpack_packer *p, const struct wire_msg *msg)
{
	put_begin(p, msg, 2);
	put_members(p, msg->u.members.members, msg->u.members.n_members);
}

static void put_grant(msgpack_packer *p, const struct wire_msg *msg)
{
	put_begin(p, msg, 3);
	put_uint(p, msg->u.grant.req);
	put_bin(p, msg->u.grant.mac, WIRE_MAC_BYTES);
}

static void put_miss(msgpack_packer *p, const struct wire_msg *msg)
{
	put_begin(p, msg, 4);
	put_uint(p, msg->u.miss.req);
	put_set(p, &msg->u.miss.set);
}

static void put_redirect(msgpack_packer *p, const struct wire_msg *msg)
{
	put_begin(p, msg, 5);
	put_uint(p, msg->u.redirect.req);
	put_set(p, &msg->u.redirect.set);
	put_nodes(p, msg->u.redirect.nodes, msg->u.redirect.n_nodes);
}

static void put_end(msgpack_packer *p, const struct wire_msg *msg)
{
	put_begin(p, msg, 4);
	put_uint(p, msg->u.end.req);
	put_uint(p, msg->u.end.status);
	put_uint(p, msg->u.end.retry_ms);
}

static void put_cancel(msgpack_packer *p, const struct wire_msg *msg)
{
	put_begin(p, msg, 2);
	put_uint(p, msg->u.cancel.req);
}

static void put_meta_get(msgpack_packer *p, const struct wire_msg *msg)
{
	put_begin(p, msg, 4);
	put_uint(p, msg->u.meta_get.req);
	put_uint(p, msg->u.meta_get.kind);
	put_text(p, msg->u.meta_get.key);
}

static void put_meta(msgpack_packer *p, const struct wire_msg *msg)
{
	put_begin(p, msg, 5);
	put_uint(p, msg->u.meta.req);
	put_uint(p, msg->u.meta.offset);
	put_uint(p, msg->u.meta.total_bytes);
	put_bool(p, msg->u.meta.is_public);
}

static void put_drain(msgpack_packer *p, const struct wire_msg *msg)
{
	put_begin(p, msg, 1);
}

static void put_bye(msgpack_packer *p, const struct wire_msg *msg)
{
	put_begin(p, msg, 3);
	put_uint(p, msg->u.bye.reason);
	put_text(p, msg->u.bye.text);
}

static void put_msg(msgpack_packer *p, const struct wire_msg *msg)
{
	static void (*const put_fields[N_WIRE_TYPES])(msgpack_packer *, const struct wire_msg *) = {
		[WIRE_HELLO] = put_hello,
		[WIRE_HELLO_ACK] = put_hello,
		[WIRE_PING] = put_ping,
		[WIRE_PONG] = put_ping,
		[WIRE_MEMBERS] = put_member_list,
		[WIRE_ASK] = put_ask,
		[WIRE_ANSWER] = put_answer,
		[WIRE_WANT_NAMES] = put_names,
		[WIRE_NAMES] = put_names,
		[WIRE_HAVE] = put_adverts,
		[WIRE_GONE] = put_adverts,
		[WIRE_COMING] = put_adverts,
		[WIRE_GET] = put_get,
		[WIRE_GRANT] = put_grant,
		[WIRE_CHUNK] = put_chunk,
		[WIRE_MISS] = put_miss,
		[WIRE_REDIRECT] = put_redirect,
		[WIRE_END] = put_end,
		[WIRE_CANCEL] = put_cancel,
		[WIRE_LEASE_PROGRESS] = put_lease,
		[WIRE_LEASE_END] = put_lease,
		[WIRE_META_GET] = put_meta_get,
		[WIRE_META] = put_meta,
		[WIRE_DRAIN] = put_drain,
		[WIRE_BYE] = put_bye,
	};

	assert(msg->type < N_WIRE_TYPES && put_fields[msg->type] != NULL);
	put_fields[msg->type](p, msg);
}

static void put_be32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

void wire_encode(const struct wire_msg *msg, struct wire_buf *buf)
{
	static const char prefix[WIRE_PREFIX_BYTES];
	const size_t start = buf->size_bytes;
	msgpack_packer packer;
	size_t header_size_bytes;

	assert(msg->payload_size_bytes <= WIRE_PAYLOAD_MAX_BYTES);
	wire_buf_append(buf, prefix, sizeof(prefix));
	msgpack_packer_init(&packer, buf, append);
	put_msg(&packer, msg);
	header_size_bytes = buf->size_bytes - start - sizeof(prefix);
	assert(header_size_bytes <= WIRE_HEADER_MAX_BYTES);
	put_be32(buf->data + start, (uint32_t)header_size_bytes);
	put_be32(buf->data + start + 4, msg->payload_size_bytes);
}
