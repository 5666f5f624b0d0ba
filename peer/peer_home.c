/*
 * peer_home: this node as a home, and what it tells other homes: messages in and out of the state
 * machines home and adverts. What this node asks itself takes the same way without a connection.
 */
#include "mem.h"
#include "peer_impl.h"
#include <stdlib.h>
#include <string.h>

#define BUSY_RETRY_MS 100
#define QUEUES_NS     (10 * NS_PER_MS) /* between two counts of them: each takes some time */

static const struct wire_id *self_id(const struct peer *p)
{
	return &p->self.self.id;
}

/* ---- the names of a list ---- */

/* Those of a list that is known here. names: room for WIRE_LIST_MAX. */
static bool fill_names(struct peer *p, const struct wire_id *list, struct wire_id *names,
                       struct wire_names *ret_names)
{
	const struct segment *s;
	uint32_t segment_idx;
	struct known *k;

	if (!known_list(p->known, list, &k, &segment_idx))
		return false;
	s = segments_at(k->segments, segment_idx);
	segments_names(k->segments, segment_idx, names);
	*ret_names = (struct wire_names){
		.segment = s->name, .list = s->list, .n_names = s->n_chunks, .names = names
	};
	return true;
}

void home_send_names(struct peer *p, const struct wire_id *to, const struct wire_id *list)
{
	struct wire_id names[WIRE_LIST_MAX];
	struct wire_msg msg = { .type = WIRE_NAMES };

	if (!fill_names(p, list, names, &msg.u.names))
		return;
	if (id_equal(to, self_id(p)))
		(void)!home_names(p->home, to, &msg.u.names); /* there is nobody to be told */
	else
		link_send(p, to, &msg);
}

/* A home that did not know the list did not take the advert of it either: once more, behind the
 * names. */
static void tell_again(struct peer *p, const struct wire_id *to, const struct wire_id *list)
{
	struct wire_part part;
	const struct wire_msg msg = { .type = WIRE_HAVE,
		                      .u.adverts = { .n_parts = 1, .parts = &part } };
	uint32_t segment_idx;
	struct known *k;

	if (!known_list(p->known, list, &k, &segment_idx))
		return;
	home_send_names(p, to, list);
	part = known_part(k, segment_idx);
	adverts_mine(p->adverts, list, &part.set);
	if (part.set.n == 0 || set_empty(&part.set))
		return;
	if (!id_equal(to, self_id(p)))
		link_send(p, to, &msg);
	else
		(void)!home_have(p->home, to, &part);
}

/* ---- as a home ---- */

static void end_ask(struct link *l, uint32_t req, int outcome)
{
	struct wire_msg end = { .type = WIRE_END, .u.end = { .req = req } };

	end.u.end.status = WIRE_FAILED;
	if (outcome == HOME_WANT_NAMES)
		end.u.end.status = WIRE_UNKNOWN_LIST;
	if (outcome == HOME_LEAVES)
		end.u.end.status = WIRE_DRAINING;
	if (outcome == HOME_BUSY) {
		end.u.end.status = WIRE_IS_BUSY;
		end.u.end.retry_ms = BUSY_RETRY_MS;
	}
	conn_send(l->conn, &end);
}

static void on_ask(struct peer *p, struct link *l, const struct wire_ask *msg)
{
	struct wire_ask ask = *msg;
	int r;

	ask.via = l->via;
	r = home_ask(p->home, &l->id, &ask);
	if (r != HOME_OK)
		end_ask(l, ask.req, r);
}

static void want_names(struct link *l, const struct wire_part *part)
{
	const struct wire_msg msg = {
		.type = WIRE_WANT_NAMES,
		.u.names = { .segment = part->segment, .list = part->list },
	};

	conn_send(l->conn, &msg);
}

static void on_adverts(struct peer *p, struct link *l, const struct wire_msg *msg)
{
	const struct wire_adverts *a = &msg->u.adverts;

	for (uint16_t i = 0; i < a->n_parts; i++) {
		int r = HOME_OK;

		if (msg->type == WIRE_GONE) {
			home_gone(p->home, &l->id, &a->parts[i]);
			holders_forget(p->holders, &l->id, &a->parts[i]);
		} else if (msg->type == WIRE_HAVE) {
			r = home_have(p->home, &l->id, &a->parts[i]);
		} else {
			r = home_coming(p->home, &l->id, &a->parts[i]);
		}
		if (r == HOME_WANT_NAMES)
			want_names(l, &a->parts[i]);
	}
}

/* Only a home has a use for names: one that was told of the list, or is to be. */
static bool may_want_names(const struct peer *p, const struct wire_id *from,
                           const struct wire_names *want)
{
	struct wire_id home;

	for (enum place_level level = PLACE_ZONE; level <= PLACE_CLUSTER; level++) {
		if (placement_home(p->placement, level, self_id(p), &want->segment, &home) &&
		    id_equal(&home, from))
			return true;
	}
	return adverts_is_told(p->adverts, &want->list, from);
}

void home_message(struct peer *p, struct link *l, const struct wire_msg *msg)
{
	switch ((int)msg->type) {
	case WIRE_ASK:
		on_ask(p, l, &msg->u.ask);
		break;
	case WIRE_NAMES:
		if (home_names(p->home, &l->id, &msg->u.names) == HOME_REFUSED)
			peer_blame(p, &l->id, 0, HOLDERS_LIED);
		break;
	case WIRE_HAVE:
	case WIRE_GONE:
	case WIRE_COMING:
		on_adverts(p, l, msg);
		break;
	case WIRE_WANT_NAMES:
		if (may_want_names(p, &l->id, &msg->u.names))
			tell_again(p, &l->id, &msg->u.names.list);
		break;
	case WIRE_LEASE_PROGRESS:
		home_lease_progress(p->home, &l->id, &msg->u.lease);
		break;
	case WIRE_LEASE_END:
		home_lease_end(p->home, &l->id, &msg->u.lease);
		break;
	default:
		break;
	}
}

static void send_out(struct peer *p, const struct home_out *out)
{
	struct link *l = link_via(p, out->via);
	struct wire_msg msg = { .type = WIRE_ANSWER };

	if (l == NULL)
		return;
	if (out->n_items > 0) {
		msg.u.answer = (struct wire_answer){ .req = out->req,
			                             .n_items = out->n_items,
			                             .items = out->items };
		conn_send(l->conn, &msg);
	}
	if (!out->end)
		return;
	msg = (struct wire_msg){ .type = WIRE_END };
	msg.u.end = (struct wire_end){ .req = out->req, .status = (uint8_t)out->status };
	conn_send(l->conn, &msg);
}

/* ---- to other homes ---- */

static void remember_unheard(struct peer *p, const struct wire_id *id)
{
	for (uint32_t i = 0; i < p->n_unheard && i < ARRAY_LEN(p->unheard); i++) {
		if (id_equal(&p->unheard[i], id))
			return;
	}
	if (p->n_unheard < ARRAY_LEN(p->unheard))
		p->unheard[p->n_unheard] = *id;
	if (p->n_unheard <= ARRAY_LEN(p->unheard))
		p->n_unheard++;
}

void home_link_lost(struct peer *p, const struct wire_id *id)
{
	if (link_to(p, id) != NULL)
		adverts_again(p->adverts, id);
	else
		remember_unheard(p, id);
}

void home_link_opened(struct peer *p, const struct wire_id *id)
{
	bool unheard = p->n_unheard > ARRAY_LEN(p->unheard);

	for (uint32_t i = 0; i < p->n_unheard && i < ARRAY_LEN(p->unheard); i++) {
		if (!id_equal(&p->unheard[i], id))
			continue;
		unheard = true;
		if (p->n_unheard <= ARRAY_LEN(p->unheard))
			p->unheard[i] = p->unheard[--p->n_unheard];
		break;
	}
	if (unheard)
		adverts_again(p->adverts, id);
}

static void advert_self(struct peer *p, const struct adverts_out *out)
{
	for (uint16_t i = 0; i < out->n_parts; i++) {
		const struct wire_part *part = &out->parts[i];

		if (out->type == WIRE_GONE)
			home_gone(p->home, self_id(p), part);
		else if (home_have(p->home, self_id(p), part) == HOME_WANT_NAMES)
			tell_again(p, self_id(p), &part->list);
	}
}

static void advert(struct peer *p, const struct adverts_out *out)
{
	const struct wire_msg msg = {
		.type = out->type,
		.u.adverts = { .n_parts = out->n_parts, .parts = out->parts },
	};

	if (id_equal(&out->to, self_id(p)))
		advert_self(p, out);
	else if (link_to(p, &out->to) != NULL)
		link_send(p, &out->to, &msg);
	else
		remember_unheard(p, &out->to);
}

void home_tell_lease(struct peer *p, const struct wire_id *home, enum wire_type type,
                     const struct wire_lease *lease)
{
	const struct wire_msg msg = { .type = type, .u.lease = *lease };

	if (!id_equal(home, self_id(p)))
		link_send(p, home, &msg);
	else if (type == WIRE_LEASE_END)
		home_lease_end(p->home, home, lease);
	else
		home_lease_progress(p->home, home, lease);
	peer_work_soon(p);
}

void home_give_back(struct link *l, const struct wire_part *asked, const struct wire_answer *answer)
{
	struct wire_msg msg = { .type = WIRE_LEASE_END, .u.lease.part = *asked };

	msg.u.lease.part.set = set_none(asked->set.n);
	for (uint32_t i = 0; i < answer->n_items; i++) {
		if (answer->items[i].kind != WIRE_LEASE)
			continue;
		msg.u.lease.token = answer->items[i].token;
		conn_send(l->conn, &msg);
	}
}

static void count_queues(struct peer *p)
{
	const uint64_t now = peer_now_ns(p);

	if (now < p->queues_ns)
		return;
	p->queues_ns = now + QUEUES_NS;
	home_share_with(p->home, source_queues(p, self_id(p)));
}

void home_work(struct peer *p)
{
	struct home_out *out = xcalloc(1, sizeof(*out));
	struct adverts_out *news = xcalloc(1, sizeof(*news));
	struct wire_id probed;

	while (adverts_next(p->adverts, news))
		advert(p, news);
	count_queues(p);
	(void)home_tick(p->home);
	while (home_next_probe(p->home, &probed)) {
		if (id_equal(&probed, self_id(p)))
			home_heard(p->home, &probed);
		else
			home_probed(p->home, &probed, link_probe(p, &probed));
	}
	while (home_next(p->home, out)) {
		if (id_equal(&out->to, self_id(p)))
			source_self_answer(p, out);
		else
			send_out(p, out);
	}
	free(out);
	free(news);
}

uint64_t home_due_ns(struct peer *p)
{
	return peer_calm_due_ns(p, home_tick(p->home));
}
