/*
 * peer_link: the connections of a peer object: listening, dialling, who is there, and to whom each
 * message goes.
 */
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "own_address.h"
#include "peer_impl.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define TRAFFIC_MAX      MEMBERS_MAX
#define MEMBERS_MIN_NS   (4 * NS_PER_S) /* below the time between two pings */
#define MEMBERS_AGAIN_NS (60 * NS_PER_S)
#define RETIRE_MIN_MS    500U /* until the other side has seen both connections */
#define RETIRE_MAX_MS    5000U
#define RETIRE_LOOK_MS   100U

static const struct conn_ops link_ops;

/* ---- counting ---- */

static struct peer_traffic *traffic_of(struct peer *p, const struct wire_id *id)
{
	for (uint32_t i = 0; i < p->n_traffic; i++) {
		if (id_equal(&p->traffic[i].id, id))
			return &p->traffic[i];
	}
	if (p->n_traffic == TRAFFIC_MAX)
		return &p->traffic[0]; /* nobody has that many neighbours */
	p->traffic = xrealloc(p->traffic, p->n_traffic + (size_t)1, sizeof(p->traffic[0]));
	p->traffic[p->n_traffic] = (struct peer_traffic){ .id = *id };
	return &p->traffic[p->n_traffic++];
}

void link_count(struct link *l)
{
	const struct conn_counts *now = conn_counts(l->conn);
	struct conn_counts *told = &l->counted;
	struct peer *p = l->p;

	series_add(p->control[0], (int64_t)(now->control_in_bytes - told->control_in_bytes));
	series_add(p->control[1], (int64_t)(now->control_out_bytes - told->control_out_bytes));
	if (l->open) {
		const int zone = strcmp(conn_peer(l->conn)->self.zone, p->self.self.zone) != 0;
		const uint64_t in = now->payload_in_bytes - told->payload_in_bytes;
		const uint64_t out = now->payload_out_bytes - told->payload_out_bytes;
		struct peer_traffic *t = traffic_of(p, &l->id);

		series_add(p->received[zone], (int64_t)in);
		series_add(p->sent[zone], (int64_t)out);
		t->received_bytes += in;
		t->sent_bytes += out;
	}
	*told = *now;
}

/* ---- begin and end ---- */

static struct link *link_new(struct peer *p)
{
	struct link *l = xcalloc(1, sizeof(*l));

	l->p = p;
	if (++p->next_via == 0)
		p->next_via = 1;
	l->via = p->next_via;
	DL_APPEND(p->links, l);
	return l;
}

static void *on_accepted(void *arg, struct conn *c)
{
	struct link *l = link_new(arg);

	l->conn = c;
	return l;
}

static uint16_t tell_members(void *arg, struct wire_member *ret_members)
{
	const struct link *l = arg;

	return l->p->members->ops->tell(l->p->members, ret_members, WIRE_MEMBERS_MAX);
}

static struct conn_opts conn_opts_of(struct peer *p)
{
	return (struct conn_opts){ .loop = p->opts.loop,
		                   .log = p->opts.log,
		                   .clock = p->opts.clock,
		                   .tls = p->tls,
		                   .self = &p->self,
		                   .members = tell_members,
		                   .held_bytes = &p->held_bytes,
		                   .ops = &link_ops,
		                   .arg = p };
}

int links_listen(struct peer *p, struct err *e)
{
	const struct listener_opts opts = { .conn = conn_opts_of(p),
		                            .address = p->opts.listen,
		                            .accepted = on_accepted };
	const int r = listener_new(&opts, &p->listener, e);

	if (r < 0)
		return err_wrap(e, "peers.listen");
	return own_address(p->opts.advertise, p->opts.listen, listener_port(p->listener),
	                   p->self.self.address, e);
}

static void dial(struct peer *p, const struct members_todo *todo)
{
	struct conn_opts opts = conn_opts_of(p);
	struct link *l = link_new(p);
	struct err why;

	(void)snprintf(l->dialled, sizeof(l->dialled), "%s", todo->address);
	opts.arg = l;
	if (conn_connect(&opts, todo->address, &l->conn, &why) == 0)
		return;
	log_debug(p->opts.log, "cannot dial", "address=%s why=%s", todo->address, LOG_Q(why.msg));
	DL_DELETE(p->links, l);
	p->members->ops->dial_failed(p->members, l->dialled);
	free(l);
	peer_work_soon(p);
}

static void on_open(void *arg, struct conn *c, const struct wire_hello *peer)
{
	struct link *l = arg;
	struct peer *p = l->p;
	const char *address = l->dialled[0] != '\0' ? l->dialled : NULL;

	if (p->stopping || p->self.draining) {
		const struct wire_msg drain = { .type = WIRE_DRAIN };

		conn_send(c, &drain);
	}
	l->open = true;
	l->id = peer->self.id;
	conn_set_members_hash(c, p->members_hash);
	p->members->ops->opened(p->members, &peer->self, peer->draining, address, l);
	if (peer->n_members > 0)
		p->members->ops->heard(p->members, &l->id, peer->members, peer->n_members);
	home_link_opened(p, &l->id);
	source_on_members(p);
	peer_work_soon(p);
}

static void on_closed(void *arg, struct conn *c, const struct err *why)
{
	struct link *l = arg;
	struct peer *p = l->p;

	link_count(l);
	log_debug(p->opts.log, "connection closed", "address=%s why=%s", conn_address(l->conn),
	          LOG_Q(why->code != 0 ? why->msg : "bye"));
	DL_DELETE(p->links, l);
	serve_link_closed(p, l);
	meta_link_closed(p, l);
	if (l->open) { /* also while stopping: leases are told to whoever has a connection */
		p->members->ops->closed(p->members, l, why->code == 0 && conn_peer_left(c));
		if (why->code == EPROTO)
			peer_blame(p, &l->id, 0, HOLDERS_LIED);
		home_disconnected(p->home, &l->id, l->via);
		if (why->code != 0)
			home_link_lost(p, &l->id);
	} else if (!p->stopping && l->dialled[0] != '\0') {
		if (why->code == ELOOP)
			p->members->ops->dialled_self(p->members, l->dialled);
		else
			p->members->ops->dial_failed(p->members, l->dialled);
	}
	free(l);
	peer_work_soon(p);
}

void links_stop(struct peer *p)
{
	struct link *l;

	listener_free(&p->listener);
	DL_FOREACH(p->links, l)
	conn_close(l->conn, WIRE_BYE_LEAVING, "the agent stops");
}

void links_abort(struct peer *p)
{
	struct link *l;
	struct link *next;

	listener_free(&p->listener);
	DL_FOREACH_SAFE(p->links, l, next)
	{
		conn_abort(&l->conn);
		free(l);
	}
	p->links = NULL;
}

struct link *link_to(struct peer *p, const struct wire_id *id)
{
	struct link *l = p->members->ops->conn(p->members, id);

	return l != NULL && l->open ? l : NULL;
}

struct link *link_via(struct peer *p, uint32_t via)
{
	struct link *l;

	DL_FOREACH(p->links, l)
	{
		if (l->via == via)
			return l->open ? l : NULL;
	}
	return NULL;
}

uint64_t link_probe(struct peer *p, const struct wire_id *id)
{
	struct link *l = link_to(p, id);

	if (l == NULL)
		return 0;
	conn_probe(l->conn);
	return conn_patience_ns(l->conn);
}

void link_send(struct peer *p, const struct wire_id *to, const struct wire_msg *msg)
{
	struct link *l = link_to(p, to);

	if (l != NULL)
		conn_send(l->conn, msg);
}

/* ---- messages ---- */

static void send_members(struct peer *p, struct link *l)
{
	struct wire_member *list = xcalloc(WIRE_MEMBERS_MAX, sizeof(*list));
	struct wire_msg msg = { .type = WIRE_MEMBERS };

	msg.u.members.members = list;
	msg.u.members.n_members = p->members->ops->tell(p->members, list, WIRE_MEMBERS_MAX);
	if (msg.u.members.n_members > 0)
		conn_send(l->conn, &msg);
	free(list);
}

/* The lists differ: is there anything new to tell, and is it time? A list that does not fit into
 * one message is told part by part. */
static bool is_members_due(struct link *l, uint64_t their_hash)
{
	struct members *m = l->p->members;
	const uint64_t own_hash = m->ops->hash(m);
	const uint64_t now = peer_now_ns(l->p);
	const bool is_new = own_hash != l->told_hash || their_hash != l->heard_hash ||
	                    m->ops->list(m, NULL, 0) > WIRE_MEMBERS_MAX;

	if (their_hash == own_hash)
		return false;
	if (l->told_ns != 0 && now < l->told_ns + (is_new ? MEMBERS_MIN_NS : MEMBERS_AGAIN_NS))
		return false;
	l->told_ns = now;
	l->told_hash = own_hash;
	l->heard_hash = their_hash;
	return true;
}

static void on_bytes(void *arg, struct conn *c)
{
	const struct link *l = arg;

	(void)c;
	home_receives(l->p->home, &l->id);
}

static void on_message(void *arg, struct conn *c, const struct wire_msg *msg)
{
	struct link *l = arg;
	struct peer *p = l->p;

	(void)c;
	home_heard(p->home, &l->id);
	switch ((int)msg->type) {
	case WIRE_GET:
		serve_get(p, l, &msg->u.get);
		break;
	case WIRE_META_GET:
		meta_get(p, l, &msg->u.meta_get);
		break;
	case WIRE_MEMBERS:
		p->members->ops->heard(p->members, &l->id, msg->u.members.members,
		                       msg->u.members.n_members);
		break;
	case WIRE_PING:
		if (is_members_due(l, msg->u.ping.members_hash))
			send_members(p, l);
		break;
	case WIRE_PONG:
		break;
	case WIRE_DRAIN:
		p->members->ops->draining(p->members, &l->id);
		home_node_drains(p->home, &l->id);
		break;
	default:
		home_message(p, l, msg);
	}
	peer_work_soon(p);
}

static void on_cancelled(void *arg, struct conn *c, uint32_t req)
{
	struct link *l = arg;

	(void)c;
	home_cancel(l->p->home, &l->id, l->via, req);
	serve_cancelled(l->p, l, req);
	meta_cancelled(l->p, l, req);
	peer_work_soon(l->p);
}

static void on_late(void *arg, const struct wire_part *asked, const struct wire_msg *msg)
{
	home_give_back(arg, asked, &msg->u.answer);
}

static const struct conn_ops link_ops = {
	.open = on_open,
	.bytes = on_bytes,
	.message = on_message,
	.cancelled = on_cancelled,
	.late = on_late,
	.closed = on_closed,
};

/* ---- members ---- */

/* Who drains is nobody's home any more; nor its own, while there are others. */
static bool is_leaving(const struct peer *p, const struct member *m, size_t n_members)
{
	return p->draining && n_members > 1 && m->state == MEMBER_SELF;
}

static void place(struct peer *p)
{
	struct member *list = xcalloc(MEMBERS_MAX, sizeof(*list));
	struct place_node *nodes = xcalloc(MEMBERS_MAX, sizeof(*nodes));
	size_t n = p->members->ops->list(p->members, list, MEMBERS_MAX);
	const uint64_t version = placement_version(p->placement);
	uint32_t n_before;
	uint32_t n_nodes = 0;
	struct err why;

	if (n > MEMBERS_MAX)
		n = MEMBERS_MAX;
	for (size_t i = 0; i < n; i++) {
		if (!member_is_placed(&list[i]) || is_leaving(p, &list[i], n))
			continue;
		nodes[n_nodes].id = list[i].id;
		nodes[n_nodes].zone = list[i].zone;
		n_nodes++;
	}
	if (placement_set(p->placement, nodes, n_nodes, &why) < 0)
		log_warn(p->opts.log, "too many members", "why=%s", LOG_Q(why.msg));
	n_before = p->n_others;
	p->n_others =
		n_nodes - (n_nodes > 0 && placement_has(p->placement, &p->self.self.id) ? 1 : 0);
	if ((n_before == 0) != (p->n_others == 0))
		atomic_store(&p->wants_packed, p->n_others > 0);
	if (placement_version(p->placement) != version) {
		home_moved(p->home);
		adverts_moved(p->adverts);
		leases_moved(p);
	}
	source_on_members(p);
	free(nodes);
	free(list);
}

static void on_lost(struct peer *p, const struct wire_id *id)
{
	holders_forget_node(p->holders, id);
	home_node_lost(p->home, id);
}

static void on_restarted(struct peer *p, const struct wire_id *id)
{
	on_lost(p, id);
	adverts_again(p->adverts, id);
}

static bool is_there(const struct peer *p, const struct link *link)
{
	const struct link *l;

	DL_FOREACH(p->links, l)
	{
		if (l == link)
			return true;
	}
	return false;
}

/* What is open on it may end there: both sides turn to the other connection for what is new. */
static void close_link(struct link *l, enum wire_bye_reason reason)
{
	if (reason != WIRE_BYE_TWICE) {
		conn_close(l->conn, reason, "");
		return;
	}
	l->retiring = true;
	l->retiring_ns = peer_now_ns(l->p);
}

static void retire_links(struct peer *p)
{
	const uint64_t now = peer_now_ns(p);
	struct link *l;

	DL_FOREACH(p->links, l)
	{
		if (!l->retiring || now < l->retiring_ns + RETIRE_MIN_MS * NS_PER_MS)
			continue;
		if (conn_is_idle(l->conn) || now >= l->retiring_ns + RETIRE_MAX_MS * NS_PER_MS)
			conn_close(l->conn, WIRE_BYE_TWICE, "");
	}
}

uint64_t links_due_ns(const struct peer *p)
{
	const struct link *l;

	DL_FOREACH(p->links, l)
	{
		if (l->retiring)
			return peer_now_ns(p) + RETIRE_LOOK_MS * NS_PER_MS;
	}
	return UINT64_MAX;
}

void links_members_work(struct peer *p)
{
	const uint64_t hash = p->members->ops->hash(p->members);
	struct members_todo todo;

	if (p->stopping)
		return;
	while (p->members->ops->next(p->members, &todo)) {
		struct link *l = todo.conn;

		switch (todo.kind) {
		case MEMBERS_DIAL:
			dial(p, &todo);
			break;
		case MEMBERS_CLOSE:
			if (is_there(p, l)) /* it may have ended meanwhile */
				close_link(l, todo.reason);
			break;
		case MEMBERS_CHANGED:
			place(p);
			break;
		case MEMBERS_LOST:
			on_lost(p, &todo.id);
			break;
		case MEMBERS_RESTARTED:
			on_restarted(p, &todo.id);
			break;
		}
	}
	if (p->draining && !p->left) {
		p->left = true;
		place(p);
		home_leave(p->home);
	}
	retire_links(p);
	for (struct link *l = p->links; l != NULL && hash != p->members_hash; l = l->next) {
		if (l->open)
			conn_set_members_hash(l->conn, hash);
	}
	p->members_hash = hash;
}
