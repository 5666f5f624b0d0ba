/*
 * wire_decode: a header into a checked message.
 *
 * A cursor goes over the fields of an array. The first field that is not what it must be makes the
 * cursor bad, and everything read after that is zero; the message is looked at only when the cursor
 * is good at its end.
 */
#include "bytes.h"
#include "frame.h"
#include "mem.h"
#include "set.h"
#include <errno.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#define ZONE_CHUNK_BYTES 4096

struct wire_decoder {
	msgpack_zone zone;
};

struct cursor {
	const msgpack_object *fields;
	uint32_t n_fields;
	uint32_t next;
	bool bad;
};

struct wire_decoder *wire_decoder_new(void)
{
	struct wire_decoder *d = xcalloc(1, sizeof(*d));

	if (!msgpack_zone_init(&d->zone, ZONE_CHUNK_BYTES))
		abort(); /* memory is out: the size is our own */
	return d;
}

void wire_decoder_free(struct wire_decoder **d)
{
	if (*d == NULL)
		return;
	msgpack_zone_destroy(&(*d)->zone);
	free(*d);
	*d = NULL;
}

/* The next field, or NULL when there is none or it is of another type. */
static const msgpack_object *take(struct cursor *c, msgpack_object_type type)
{
	const msgpack_object *o = c->next < c->n_fields ? &c->fields[c->next] : NULL;

	if (c->bad || o == NULL || o->type != type) {
		c->bad = true;
		return NULL;
	}
	c->next++;
	return o;
}

static void check(struct cursor *c, bool good)
{
	c->bad = c->bad || !good;
}

static uint64_t take_uint(struct cursor *c, uint64_t max)
{
	const msgpack_object *o = take(c, MSGPACK_OBJECT_POSITIVE_INTEGER);

	check(c, o != NULL && o->via.u64 <= max);
	return c->bad ? 0 : o->via.u64;
}

static uint32_t take_u32(struct cursor *c)
{
	return (uint32_t)take_uint(c, UINT32_MAX);
}

static bool take_bool(struct cursor *c)
{
	const msgpack_object *o = take(c, MSGPACK_OBJECT_BOOLEAN);

	return o != NULL && o->via.boolean;
}

/* A binary of at most max bytes, a multiple of step. @return where; NULL only with *ret_size 0 */
static const uint8_t *take_bin(struct cursor *c, size_t step, size_t max, size_t *ret_size)
{
	const msgpack_object *o = take(c, MSGPACK_OBJECT_BIN);

	*ret_size = 0;
	check(c, o != NULL && o->via.bin.size <= max && o->via.bin.size % step == 0);
	if (c->bad)
		return NULL;
	*ret_size = o->via.bin.size;
	return (const uint8_t *)o->via.bin.ptr;
}

static void take_exact(struct cursor *c, uint8_t *ret_bytes, size_t size_bytes)
{
	size_t n;
	const uint8_t *p = take_bin(c, size_bytes, size_bytes, &n);

	check(c, n == size_bytes);
	if (!c->bad)
		memcpy(ret_bytes, p, n);
}

static void take_id(struct cursor *c, struct wire_id *ret_id)
{
	take_exact(c, ret_id->b, sizeof(ret_id->b));
}

/* Printable ASCII; a blank only where it may be. ret_text has room for max + 1. */
static void take_text(struct cursor *c, size_t max, bool blanks, char *ret_text)
{
	const msgpack_object *o = take(c, MSGPACK_OBJECT_STR);

	check(c, o != NULL && o->via.str.size <= max);
	for (uint32_t i = 0; !c->bad && i < o->via.str.size; i++) {
		const char ch = o->via.str.ptr[i];

		check(c, (ch > ' ' || (blanks && ch == ' ')) && ch < 0x7f);
	}
	if (c->bad)
		return;
	if (o->via.str.size > 0) /* else its pointer may be NULL */
		memcpy(ret_text, o->via.str.ptr, o->via.str.size);
	ret_text[o->via.str.size] = '\0';
}

/* Bits of n positions; none beyond them. */
static void take_bits(struct cursor *c, uint32_t n, struct wire_set *ret_set)
{
	size_t n_bytes;
	const uint8_t *bytes = take_bin(c, 1, WIRE_LIST_MAX / 8, &n_bytes);

	*ret_set = (struct wire_set){ .n = (uint16_t)n };
	for (size_t i = 0; i < n_bytes; i++)
		ret_set->words[i / 8] |= (uint64_t)bytes[i] << (8 * (i % 8));
	for (size_t i = n; i < 8 * n_bytes; i++)
		check(c, (ret_set->words[i / 64] >> (i % 64) & 1) == 0);
}

static void take_set(struct cursor *c, bool may_be_empty, struct wire_set *ret_set)
{
	const uint32_t n = (uint32_t)take_uint(c, WIRE_LIST_MAX);

	take_bits(c, n, ret_set);
	check(c, n > 0 && (may_be_empty || !set_empty(ret_set)));
}

static void take_part(struct cursor *c, bool may_be_empty, struct wire_part *ret_part)
{
	take_id(c, &ret_part->segment);
	take_id(c, &ret_part->list);
	take_set(c, may_be_empty, &ret_part->set);
}

static uint8_t take_nodes(struct cursor *c, uint32_t max, struct wire_id *ret_nodes)
{
	size_t n;
	const uint8_t *p = take_bin(c, WIRE_ID_BYTES, (size_t)max * WIRE_ID_BYTES, &n);

	if (n > 0)
		memcpy(ret_nodes, p, n);
	return (uint8_t)(n / WIRE_ID_BYTES);
}

/* An array of at most max. */
static struct cursor take_array(struct cursor *c, uint32_t max)
{
	const msgpack_object *o = take(c, MSGPACK_OBJECT_ARRAY);

	check(c, o != NULL && o->via.array.size <= max);
	if (c->bad)
		return (struct cursor){ .bad = true };
	return (struct cursor){ .fields = o->via.array.ptr, .n_fields = o->via.array.size };
}

/* Memory for n items that the message borrows; n was held against a limit. */
static void *zone_items(struct wire_decoder *d, size_t n, size_t item_bytes)
{
	void *p = n > 0 ? msgpack_zone_malloc(&d->zone, n * item_bytes) : NULL;

	if (n > 0 && p == NULL)
		abort(); /* at most WIRE_MEMBERS_MAX members */
	if (n > 0)
		memset(p, 0, n * item_bytes);
	return p;
}

/* ---- messages ---- */

static void take_member(struct cursor *c, struct wire_member *ret_member)
{
	static const struct wire_id none;

	take_id(c, &ret_member->id);
	ret_member->generation = take_uint(c, UINT64_MAX);
	take_text(c, WIRE_ADDRESS_MAX, false, ret_member->address);
	take_text(c, WIRE_ZONE_MAX, false, ret_member->zone);
	check(c, memcmp(&ret_member->id, &none, sizeof(none)) != 0);
	check(c, c->bad || strrchr(ret_member->address, ':') != NULL);
}

static const struct wire_member *take_members(struct wire_decoder *d, struct cursor *c,
                                              uint16_t *ret_n)
{
	struct cursor list = take_array(c, WIRE_MEMBERS_MAX);
	struct wire_member *members = zone_items(d, list.n_fields, sizeof(*members));

	for (uint32_t i = 0; i < list.n_fields; i++) {
		struct cursor one = take_array(&list, UINT32_MAX);

		take_member(&one, &members[i]);
		check(c, !one.bad);
	}
	*ret_n = (uint16_t)list.n_fields;
	return members;
}

static void take_hello(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	struct wire_hello *h = &m->u.hello;

	h->min_version = (uint16_t)take_uint(c, UINT16_MAX);
	h->max_version = (uint16_t)take_uint(c, UINT16_MAX);
	take_member(c, &h->self);
	take_exact(c, h->nonce, sizeof(h->nonce));
	h->draining = take_bool(c);
	take_text(c, WIRE_TEXT_MAX, true, h->agent);
	if (m->type == WIRE_HELLO_ACK)
		h->members = take_members(d, c, &h->n_members);
	check(c, h->min_version > 0 && h->min_version <= h->max_version);
}

static void take_ping(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	(void)d;
	m->u.ping.stamp = take_uint(c, UINT64_MAX);
	m->u.ping.members_hash = take_uint(c, UINT64_MAX);
}

static void take_member_list(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	m->u.members.members = take_members(d, c, &m->u.members.n_members);
}

/* Why they are avoided: fields that the first agents did not send. */
static void take_whys(struct cursor *c, struct wire_ask *a)
{
	const uint8_t *whys;
	size_t n;

	a->missed = (struct wire_set){ .n = a->part.set.n };
	if (c->bad || c->next == c->n_fields)
		return;
	whys = take_bin(c, 1, WIRE_AVOID_MAX, &n);
	check(c, n == a->n_avoid);
	for (size_t i = 0; !c->bad && i < n; i++) {
		check(c, whys[i] < N_WIRE_AVOID_WHYS);
		a->avoid_why[i] = whys[i];
	}
	take_bits(c, a->part.set.n, &a->missed);
}

static void take_ask(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	struct wire_ask *a = &m->u.ask;

	(void)d;
	a->req = take_u32(c);
	a->flags = take_u32(c);
	take_part(c, false, &a->part);
	take_bits(c, a->part.set.n, &a->have);
	take_bits(c, a->part.set.n, &a->units);
	take_bits(c, a->part.set.n, &a->runs);
	a->deadline_ms = take_u32(c);
	a->patience_ms = take_u32(c);
	a->n_avoid = take_nodes(c, WIRE_AVOID_MAX, a->avoid);
	check(c, wire_set_holds(&a->units, &a->runs));
	take_whys(c, a);
	if (c->next < c->n_fields) /* younger than these */
		a->usual_ms = take_u32(c);
}

static void take_answer_item(struct cursor *c, struct wire_answer_item *ret_item)
{
	ret_item->kind = (uint8_t)take_uint(c, N_WIRE_ANSWER_KINDS - 1);
	take_set(c, false, &ret_item->set);
	ret_item->n_nodes = take_nodes(c, WIRE_NODES_MAX, ret_item->nodes);
	ret_item->token = take_uint(c, UINT64_MAX);
	ret_item->term_ms = (uint32_t)take_uint(c, WIRE_TERM_MAX_MS);
	ret_item->progress_bytes = take_uint(c, UINT64_MAX);
	check(c, ret_item->kind != 0);
	check(c, ret_item->n_nodes > 0 ||
	                 (ret_item->kind != WIRE_HOLDERS && ret_item->kind != WIRE_ELSEWHERE));
}

static void take_answer(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	struct wire_answer_item *items;
	struct cursor list;

	m->u.answer.req = take_u32(c);
	list = take_array(c, WIRE_ITEMS_MAX);
	items = zone_items(d, list.n_fields, sizeof(*items));
	for (uint32_t i = 0; i < list.n_fields; i++) {
		struct cursor one = take_array(&list, UINT32_MAX);

		take_answer_item(&one, &items[i]);
		check(c, !one.bad);
	}
	m->u.answer.n_items = (uint16_t)list.n_fields;
	m->u.answer.items = items;
}

static void take_names(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	struct wire_names *names = &m->u.names;
	struct wire_id id;
	const uint8_t *p;
	size_t n;

	(void)d;
	take_id(c, &names->segment);
	take_id(c, &names->list);
	if (m->type == WIRE_WANT_NAMES)
		return;
	p = take_bin(c, PUBLIC_NAME_BYTES, (size_t)WIRE_LIST_MAX * PUBLIC_NAME_BYTES, &n);
	names->n_names = (uint16_t)(n / PUBLIC_NAME_BYTES);
	names->names = (const struct wire_id *)(const void *)p;
	check(c, n > 0);
	if (c->bad)
		return;
	id = wire_list_id(names->names, names->n_names);
	check(c, memcmp(&id, &names->list, sizeof(id)) == 0);
}

static void take_adverts(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	struct cursor list = take_array(c, WIRE_ADVERTS_MAX);
	struct wire_part *parts = zone_items(d, list.n_fields, sizeof(*parts));

	for (uint32_t i = 0; i < list.n_fields; i++) {
		struct cursor one = take_array(&list, UINT32_MAX);

		take_part(&one, false, &parts[i]);
		check(c, !one.bad);
	}
	m->u.adverts.n_parts = (uint16_t)list.n_fields;
	m->u.adverts.parts = parts;
}

static void take_get(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	struct wire_get *g = &m->u.get;
	const uint8_t *p;
	size_t n;

	(void)d;
	g->req = take_u32(c);
	g->flags = take_u32(c);
	g->deadline_ms = take_u32(c);
	take_exact(c, g->proof, sizeof(g->proof));
	p = take_bin(c, PUBLIC_NAME_BYTES, (size_t)WIRE_LIST_MAX * PUBLIC_NAME_BYTES, &n);
	g->by_names = n > 0;
	if (!g->by_names) {
		take_part(c, false, &g->part);
		return;
	}
	g->names = (const struct wire_id *)(const void *)p;
	g->part.set.n = (uint16_t)(n / PUBLIC_NAME_BYTES);
	for (uint32_t i = 0; i < g->part.set.n; i++)
		wire_set_add(&g->part.set, i);
}

static void take_grant(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	(void)d;
	m->u.grant.req = take_u32(c);
	take_exact(c, m->u.grant.mac, WIRE_MAC_BYTES);
}

static void take_chunk(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	struct wire_chunk *ch = &m->u.chunk;
	struct wire_chunk_item *items;
	struct cursor list;
	uint64_t total = 0;

	ch->req = take_u32(c);
	ch->offset = (uint32_t)take_uint(c, CHUNK_PLAIN_MAX_BYTES);
	list = take_array(c, 3 * WIRE_LIST_MAX);
	ch->n_items = (uint16_t)(list.n_fields / 3);
	items = zone_items(d, ch->n_items, sizeof(*items));
	for (uint32_t i = 0; i < ch->n_items; i++) {
		items[i].pos = (uint16_t)take_uint(&list, WIRE_LIST_MAX - 1);
		items[i].form = (uint8_t)take_uint(&list, N_COMPRESSORS - 1);
		items[i].size_bytes = (uint32_t)take_uint(&list, CHUNK_PLAIN_MAX_BYTES);
		check(&list, items[i].size_bytes > 0);
		total += items[i].size_bytes;
	}
	check(c, !list.bad && list.n_fields % 3 == 0 && ch->n_items > 0);
	check(c, m->payload_size_bytes > 0 && range_fits(ch->offset, m->payload_size_bytes, total));
	check(c, ch->n_items == 1 || (ch->offset == 0 && m->payload_size_bytes == total));
	ch->items = items;
}

static void take_miss(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	(void)d;
	m->u.miss.req = take_u32(c);
	take_set(c, false, &m->u.miss.set);
}

static void take_redirect(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	(void)d;
	m->u.redirect.req = take_u32(c);
	take_set(c, false, &m->u.redirect.set);
	m->u.redirect.n_nodes = take_nodes(c, WIRE_NODES_MAX, m->u.redirect.nodes);
	check(c, m->u.redirect.n_nodes > 0);
}

static void take_end(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	(void)d;
	m->u.end.req = take_u32(c);
	m->u.end.status = (uint8_t)take_uint(c, WIRE_LOST - 1);
	m->u.end.retry_ms = (uint32_t)take_uint(c, WIRE_RETRY_MAX_MS);
}

static void take_cancel(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	(void)d;
	m->u.cancel.req = take_u32(c);
}

static void take_lease(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	(void)d;
	m->u.lease.token = take_uint(c, UINT64_MAX);
	m->u.lease.progress_bytes = take_uint(c, UINT64_MAX);
	if (m->type == WIRE_LEASE_PROGRESS)
		return;
	m->u.lease.failed = take_bool(c);
	take_part(c, true, &m->u.lease.part);
}

static void take_meta_get(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	(void)d;
	m->u.meta_get.req = take_u32(c);
	m->u.meta_get.kind = take_u32(c); /* later kinds: not here */
	take_text(c, WIRE_META_KEY_MAX, false, m->u.meta_get.key);
	check(c, m->u.meta_get.kind >= WIRE_META_MANIFEST && m->u.meta_get.key[0] != '\0');
}

static void take_meta(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	(void)d;
	m->u.meta.req = take_u32(c);
	m->u.meta.offset = take_uint(c, WIRE_META_MAX_BYTES);
	m->u.meta.total_bytes = take_uint(c, WIRE_META_MAX_BYTES);
	m->u.meta.is_public = take_bool(c);
	check(c, m->payload_size_bytes > 0);
	check(c, range_fits(m->u.meta.offset, m->payload_size_bytes, m->u.meta.total_bytes));
}

static void take_nothing(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	(void)d;
	(void)c;
	(void)m;
}

static void take_bye(struct wire_decoder *d, struct cursor *c, struct wire_msg *m)
{
	(void)d;
	m->u.bye.reason = (uint8_t)take_uint(c, UINT8_MAX);
	take_text(c, WIRE_TEXT_MAX, true, m->u.bye.text);
}

static int unpack(struct wire_decoder *d, const uint8_t *header, size_t size_bytes,
                  msgpack_object *ret_object, struct err *e)
{
	size_t used = 0;
	int r = frame_walk(header, size_bytes, e);

	if (r < 0)
		return r;
	msgpack_zone_clear(&d->zone);
	/* It refers to header for strings and binaries, and takes the arrays from the zone. */
	r = (int)msgpack_unpack((const char *)header, size_bytes, &used, &d->zone, ret_object);
	if (r != MSGPACK_UNPACK_SUCCESS || used != size_bytes)
		return err_set(e, EPROTO, "header: it does not unpack");
	return 0;
}

int wire_decode(struct wire_decoder *d, const uint8_t *header, size_t header_size_bytes,
                uint32_t payload_size_bytes, struct wire_msg *ret_msg, struct err *e)
{
	static void (*const take_fields[N_WIRE_TYPES])(struct wire_decoder *, struct cursor *,
	                                               struct wire_msg *) = {
		[WIRE_HELLO] = take_hello,
		[WIRE_HELLO_ACK] = take_hello,
		[WIRE_PING] = take_ping,
		[WIRE_PONG] = take_ping,
		[WIRE_MEMBERS] = take_member_list,
		[WIRE_ASK] = take_ask,
		[WIRE_ANSWER] = take_answer,
		[WIRE_WANT_NAMES] = take_names,
		[WIRE_NAMES] = take_names,
		[WIRE_HAVE] = take_adverts,
		[WIRE_GONE] = take_adverts,
		[WIRE_GET] = take_get,
		[WIRE_GRANT] = take_grant,
		[WIRE_CHUNK] = take_chunk,
		[WIRE_MISS] = take_miss,
		[WIRE_REDIRECT] = take_redirect,
		[WIRE_END] = take_end,
		[WIRE_CANCEL] = take_cancel,
		[WIRE_LEASE_PROGRESS] = take_lease,
		[WIRE_LEASE_END] = take_lease,
		[WIRE_META_GET] = take_meta_get,
		[WIRE_META] = take_meta,
		[WIRE_COMING] = take_adverts,
		[WIRE_DRAIN] = take_nothing,
		[WIRE_BYE] = take_bye,
	};
	msgpack_object object = { 0 };
	struct cursor c;
	int r = unpack(d, header, header_size_bytes, &object, e);

	if (r < 0)
		return r;
	if (object.type != MSGPACK_OBJECT_ARRAY)
		return err_set(e, EPROTO, "header: not an array");
	c = (struct cursor){ .fields = object.via.array.ptr, .n_fields = object.via.array.size };
	memset(ret_msg, 0, sizeof(*ret_msg));
	ret_msg->type = (enum wire_type)take_uint(&c, N_WIRE_TYPES - 1);
	ret_msg->payload_size_bytes = payload_size_bytes;
	if (c.bad || take_fields[ret_msg->type] == NULL)
		return err_set(e, EPROTO, "header: an unknown type of message");
	if (payload_size_bytes > 0 && ret_msg->type != WIRE_CHUNK && ret_msg->type != WIRE_META)
		return err_set(e, EPROTO, "%s: with payload", wire_type_name(ret_msg->type));
	take_fields[ret_msg->type](d, &c, ret_msg);
	if (c.bad)
		return err_set(e, EPROTO, "%s: field %u", wire_type_name(ret_msg->type), c.next);
	return 0;
}
