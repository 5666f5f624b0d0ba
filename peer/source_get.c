/*
 * source_get: a GET to one holder, with the proof that this node knows the digests, and what comes.
 */
#include "bytes.h"
#include "mem.h"
#include "source_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define STUCK_AGAIN 4                 /* so much sooner, where it failed before */
#define WATCH_NS    (500 * NS_PER_MS) /* of who waits itself */
#define LATE_TIMES  2                 /* as long as is usual there; half a second at least */

static struct peer *peer_of(const struct get *g)
{
	return g->s->req->p;
}

static void get_free(struct get *g)
{
	turn_end(g);
	DL_DELETE(g->s->gets, g);
	free(g);
}

void get_stop(struct get *g)
{
	conn_cancel(g->link->conn, g->req);
	holders_cancelled(peer_of(g)->holders, &g->node, g->size_bytes);
	get_free(g);
}

static const struct chunk_rec *chunk_at(const struct get *g, uint16_t pos)
{
	return &g->s->req->run->layout->chunks[seek_chunk(g->s, pos)];
}

/* ---- what did not come ---- */

static void note_end(const struct get *g, enum wire_status status)
{
	char node[PEER_NAME_BYTES];
	const uint32_t n_left = set_count(&g->set);

	wire_id_text(&g->node, node);
	source_note(g->s->req, "peer %.8s: %u of %u chunks, %s, %.1f ms%s", node,
	            g->n_asked - n_left, g->n_asked, wire_status_name(status),
	            (double)(peer_calm_ns(peer_of(g)) - g->began_ns) / (double)NS_PER_MS,
	            g->wait ? SOURCE_NOTE_WAITED : "");
}

/* What did not come is wanted again: the home does not know that it did not. */
static void want_again(struct seek *s, const struct wire_set *set)
{
	s->asked = set_minus(s->asked, set);
	s->lost = set_minus(s->lost, set);
}

/* By this question or another one it is known that it lies. */
static void leave_liar(struct get *g)
{
	struct seek *s = g->s;

	note_end(g, WIRE_CANCELLED);
	seek_avoid(s, &g->node, WIRE_AVOID_FAILED);
	want_again(s, &g->set);
	get_stop(g);
	source_dirty(s->req);
}

/* ---- what comes ---- */

static bool grant_is_right(const struct get *g, const struct wire_grant *grant)
{
	uint8_t mac[WIRE_MAC_BYTES];

	proof_of_grant(conn_binding(g->link->conn), true, g->key, g->proof, mac);
	return proof_equal(mac, grant->mac);
}

static struct wire_set in_seek(const struct get *g, const struct wire_set *set)
{
	struct wire_set out = set_none(g->set.n);

	if (!g->by_names)
		return set->n == out.n ? *set : out;
	for (uint32_t i = set_next(set, 0); i < set->n && i < g->n_asked; i = set_next(set, i + 1))
		wire_set_add(&out, g->pos_of[i]);
	return out;
}

static void on_redirect(struct get *g, const struct wire_redirect *r)
{
	const struct wire_set moved = in_seek(g, &r->set);
	const struct wire_set set = set_and(moved, &g->set);
	const struct wire_part part = seek_part(g->s, &set);

	if (set_empty(&set))
		return;
	holders_learn(peer_of(g)->holders, &part, r->nodes, r->n_nodes);
	holders_forget(peer_of(g)->holders, &g->node, &part);
	g->set = set_minus(g->set, &set);
	want_again(g->s, &set); /* of the home, where none of these can be asked */
}

static void on_answer(void *arg, const struct wire_msg *msg)
{
	struct get *g = arg;
	struct seek *s = g->s;

	if (msg->type == WIRE_GRANT) {
		g->granted = grant_is_right(g, &msg->u.grant);
		if (g->granted) {
			turn_granted(g);
		} else {
			peer_blame(peer_of(g), &g->node, 0, HOLDERS_LIED);
			leave_liar(g);
		}
	} else if (msg->type == WIRE_MISS) {
		const struct wire_set missed = in_seek(g, &msg->u.miss.set);

		g->missed = set_or(g->missed, &missed);
	} else if (msg->type == WIRE_REDIRECT) {
		on_redirect(g, &msg->u.redirect);
	}
	source_dirty(s->req);
}

/* ---- silence ---- */

static uint64_t stuck_after_ns(const struct get *g)
{
	const uint64_t ns = source_stuck_ns(g->s->req->run->reader);

	if (g->wait)
		return source_stuck_ns(false);
	return holders_failing(peer_of(g)->holders, &g->node) ? ns / STUCK_AGAIN : ns;
}

/* Something was heard of it, or it was asked just now. */
static void restart_watch(struct get *g)
{
	const uint64_t now = peer_calm_ns(peer_of(g));
	const uint64_t late_ns =
		g->began_ns + max_u64(LATE_TIMES * g->patience_ns, source_silent_ns(true));

	g->line_bytes = conn_counts(g->link->conn)->payload_in_bytes;
	g->watched_ns = now;
	g->hedge_ns = now + (g->wait ? WATCH_NS : g->patience_ns);
	if (!g->wait && !g->hedged && g->s->req->run->reader && !line_brings(g))
		g->hedge_ns = min_u64(g->hedge_ns, max_u64(now, late_ns));
	g->stuck_ns = now + stuck_after_ns(g);
	g->probed_ns = 0;
}

static void on_progress(void *arg, uint32_t n_bytes)
{
	struct get *g = arg;

	if (g->first_ns == 0)
		g->first_ns = peer_calm_ns(peer_of(g));
	if (!line_moves(g))
		return;
	zone_progress(g->s, n_bytes);
	vain_bytes(g->s, g->wait);
	restart_watch(g);
}

static void on_chunk(void *arg, uint16_t wire_pos, enum compressor form, uint8_t *bytes,
                     uint32_t size_bytes)
{
	struct get *g = arg;
	struct seek *s = g->s;
	const uint16_t pos = g->by_names ? g->pos_of[wire_pos] : wire_pos;
	const uint32_t giver = source_giver(peer_of(g), &g->node);
	struct wire_set one = set_none(s->want.n);

	s->req->received_bytes += size_bytes;
	wire_set_add(&one, pos);
	g->set = set_minus(g->set, &one);
	turn_came(g, chunk_at(g, pos)->plain_size_bytes);
	restart_watch(g); /* a whole one is progress, however long it took */
	source_deliver(
		s, pos,
		(struct chunk_bytes){ .data = bytes, .size_bytes = size_bytes, .form = form },
		giver);
}

/* It is slow: ask for a sign of life. */
static void probe(struct get *g)
{
	g->hedged = g->hedged || !g->wait;
	if (g->wait && g->s->req->run->reader) /* the home sees sooner that nothing comes of it */
		g->s->unwatched = set_or(g->s->unwatched, &g->set);
	conn_probe(g->link->conn);
	g->probed_ns = peer_now_ns(peer_of(g));
	g->dead_ns = peer_calm_ns(peer_of(g)) + line_patience_ns(g->s->req, g->link->conn);
	if (!g->wait)
		g->dead_ns = min_u64(g->dead_ns, max_u64(g->stuck_ns, g->hedge_ns));
}

static void give_up(struct get *g, bool dead);

/* It lives, and has not what it is waited for: once in a while the home is asked who has. */
static void wait_elsewhere(struct get *g)
{
	struct seek *s = g->s;

	note_end(g, WIRE_IS_BUSY);
	want_again(s, &g->set);
	get_stop(g);
	source_dirty(s->req);
}

/* It brings what others of this node asked it for: on a slow line this question is behind those,
 * and any other source would be, too. */
static bool is_in_line(const struct get *g)
{
	return line_moves(g) && !g->turn_over &&
	       peer_calm_ns(peer_of(g)) < g->began_ns + g->line_ns;
}

/* Whoever else may have it, and the origin, are to have some of its time. If its turn is over it
 * has as long, once, as who brings nothing, and is asked for a sign of life before that is over. */
static void stay_in_line(struct get *g)
{
	uint64_t answer_ns;

	restart_watch(g);
	turn_look(g);
	g->stuck_ns = min_u64(g->stuck_ns, g->began_ns + max_u64(g->line_ns, stuck_after_ns(g)));
	if (!g->turn_over)
		return;
	answer_ns = min_u64(line_patience_ns(g->s->req, g->link->conn), g->stuck_ns);
	g->hedge_ns = min_u64(g->hedge_ns, g->stuck_ns - answer_ns);
}

static void watch_on(struct get *g)
{
	zone_progress(g->s, 1); /* it lives, and is at it */
	g->hedge_ns = peer_calm_ns(peer_of(g)) + WATCH_NS;
	g->probed_ns = 0;
}

/* Who has a lease, and the digests, can show at once that it knows them. It lives, and does not:
 * the home is told, whatever progress that one hears of. What it says is behind what it sends. */
static bool is_stalled(const struct get *g)
{
	const uint32_t share = holders_failing(peer_of(g)->holders, &g->node) ? STUCK_AGAIN : 1;

	return g->wait && !g->granted && g->s->req->run->reader &&
	       peer_calm_ns(peer_of(g)) >= g->began_ns + source_stuck_ns(true) / share &&
	       !line_is_behind(g->s->req, g->link->conn, g->sent_ns, g->began_bytes, g->began_ns);
}

static void give_up_stalled(struct get *g)
{
	g->s->stalled = set_or(g->s->stalled, &g->set);
	give_up(g, false);
}

void get_watch(struct get *g)
{
	const uint64_t now = peer_calm_ns(peer_of(g));

	if (!holders_trusted(peer_of(g)->holders, &g->node)) {
		leave_liar(g);
		return;
	}
	if (now < (g->probed_ns != 0 ? g->dead_ns : g->hedge_ns))
		return;
	if (!g->wait && g->probed_ns != 0 && is_in_line(g))
		stay_in_line(g);
	else if (g->probed_ns != 0 && !conn_lives_since(g->link->conn, g->probed_ns))
		give_up(g, true);
	else if (g->probed_ns != 0 && !g->wait && now >= g->stuck_ns)
		give_up(g, false); /* it lives, and brings nothing */
	else if (is_stalled(g))
		give_up_stalled(g);
	else if (g->probed_ns == 0 || !g->wait)
		probe(g);
	else if (now >= g->stuck_ns)
		wait_elsewhere(g);
	else
		watch_on(g);
}

/* ---- the end ---- */

static void judge(struct get *g, enum wire_status status)
{
	struct holders *holders = peer_of(g)->holders;
	const uint64_t now = peer_calm_ns(peer_of(g));
	const struct wire_part left = seek_part(g->s, &g->set);
	const bool whole = set_empty(&g->set);

	if (whole && !g->wait && g->first_ns != 0)
		holders_ended(holders, &g->node, g->size_bytes, g->first_ns - g->began_ns,
		              now - g->began_ns);
	else if (status == WIRE_FAILED)
		holders_fault(holders, &g->node, g->size_bytes, HOLDERS_FAILED);
	else if (!whole && !g->wait && (status == WIRE_NOT_HERE || status == WIRE_DONE))
		holders_fault(holders, &g->node, g->size_bytes, HOLDERS_MISSED);
	else
		holders_cancelled(holders, &g->node, g->size_bytes);
	if (!whole && (status == WIRE_NOT_HERE || status == WIRE_DONE || status == WIRE_FAILED))
		holders_forget(holders, &g->node, &left);
}

static enum get_outcome get_by_names(struct seek *s, const struct wire_id *node,
                                     const struct wire_set *set, bool wait);

static void look_elsewhere(struct seek *s, const struct wire_id *node, const struct wire_set *rest,
                           enum wire_status status, uint32_t retry_ms)
{
	switch ((int)status) {
	case WIRE_DONE:
	case WIRE_NOT_HERE:
	case WIRE_UNKNOWN_LIST:
		seek_avoid_missed(s, node, rest);
		break;
	case WIRE_IS_BUSY:
		seek_pause(s, rest, retry_ms, node, true);
		break;
	case WIRE_LOST:
		if (source_unreached(s->req->p, node) == GET_LATER) {
			seek_pause(s, rest, 0, node, false);
			break;
		}
		/* fall through */
	default:
		seek_avoid(s, node, WIRE_AVOID_FAILED);
	}
	want_again(s, rest);
}

static void on_end(void *arg, enum wire_status status, uint32_t retry_ms)
{
	struct get *g = arg;
	struct seek *s = g->s;
	const struct wire_set here = set_minus(g->set, &g->missed);
	const struct wire_id node = g->node;
	const bool wait = g->wait;
	/* It has some, but could not check a proof over names that it does not know. */
	const bool once_more =
		(status == WIRE_UNKNOWN_LIST && !g->by_names) ||
		(status == WIRE_NOT_HERE && g->by_names && !g->granted && !set_empty(&g->missed));
	const struct wire_set rest = g->set;

	note_end(g, status);
	judge(g, status);
	get_free(g);
	if (once_more && !set_empty(&here) && get_by_names(s, &node, &here, wait) == GET_ASKED) {
		const struct wire_part part = seek_part(s, &here);

		holders_learn(s->req->p->holders, &part, &node, 1);
	} else if (!set_empty(&rest)) {
		look_elsewhere(s, &node, &rest, status, retry_ms);
	}
	source_dirty(s->req);
}

static const struct request_ops get_ops = {
	.answer = on_answer, .chunk = on_chunk, .progress = on_progress, .end = on_end
};

/* Cancelled, and a fault of its node. */
static void get_fail(struct get *g)
{
	note_end(g, WIRE_FAILED);
	conn_cancel(g->link->conn, g->req);
	holders_fault(peer_of(g)->holders, &g->node, g->size_bytes, HOLDERS_FAILED);
	get_free(g);
}

static void give_up(struct get *g, bool dead)
{
	struct seek *s = g->s;

	if (dead)
		holders_dead(peer_of(g)->holders, &g->node);
	seek_avoid(s, &g->node, WIRE_AVOID_FAILED);
	want_again(s, &g->set);
	get_fail(g);
	source_dirty(s->req);
}

void get_expire(struct get *g)
{
	const uint64_t took_ns = peer_calm_ns(peer_of(g)) - g->began_ns;

	if (g->wait || took_ns < source_stuck_ns(true) || line_brings(g))
		get_stop(g);
	else
		get_fail(g);
}

/* ---- asking ---- */

static void make_key(struct get *g)
{
	const enum digest_alg alg = g->s->req->run->layout->digest_alg;
	struct proof_key *k = proof_key_new();

	for (uint32_t pos = set_next(&g->set, 0); pos < g->set.n;
	     pos = set_next(&g->set, pos + 1)) {
		const struct chunk_rec *c = chunk_at(g, (uint16_t)pos);

		proof_key_add(k, alg, c->digest, c->plain_size_bytes);
	}
	proof_key_end(&k, g->key);
}

/* At least, of the two forms that it may come in. */
static uint32_t wire_bytes_of(const struct blob_layout *l, const struct chunk_rec *c)
{
	return l->units != NULL || c->packed_size_bytes > c->plain_size_bytes
	               ? c->plain_size_bytes
	               : c->packed_size_bytes;
}

static struct get *get_new(struct seek *s, const struct wire_id *node, const struct wire_set *set,
                           bool wait)
{
	struct peer *p = s->req->p;
	struct get *g = xcalloc(1, sizeof(*g));

	g->s = s;
	g->node = *node;
	g->set = *set;
	g->missed = set_none(set->n);
	g->n_asked = set_count(set);
	g->reader = s->req->run->reader;
	g->wait = wait;
	for (uint32_t pos = set_next(set, 0); pos < set->n; pos = set_next(set, pos + 1)) {
		g->size_bytes += chunk_at(g, (uint16_t)pos)->plain_size_bytes;
		g->wire_bytes += wire_bytes_of(s->req->run->layout, chunk_at(g, (uint16_t)pos));
	}
	g->left_bytes = g->size_bytes;
	g->began_ns = peer_calm_ns(p);
	g->hedge_ns = holders_hedge_ns(p->holders, node, g->size_bytes);
	g->line_ns = line_longest_ns(s->req);
	g->patience_ns = g->hedge_ns > g->began_ns ? g->hedge_ns - g->began_ns : 0;
	make_key(g);
	return g;
}

static struct wire_get message_of(const struct get *g)
{
	struct wire_get msg = { .deadline_ms = source_ms_left(g->s->req),
		                .part = seek_part(g->s, &g->set) };

	if (g->reader)
		msg.flags |= WIRE_GET_READER;
	if (g->wait)
		msg.flags |= WIRE_GET_WAIT;
	return msg;
}

enum get_outcome source_unreached(struct peer *p, const struct wire_id *node)
{
	struct member m;

	if (!p->members->ops->find(p->members, node, &m))
		return GET_NEVER;
	return m.state == MEMBER_UP || m.state == MEMBER_SUSPECT ? GET_LATER : GET_NEVER;
}

/* g is freed where it cannot be asked. */
static enum get_outcome ask(struct get *g, struct wire_get *get, const uint32_t *plain_sizes)
{
	struct peer *p = peer_of(g);
	const struct request_opts opts = { .ops = &get_ops, .arg = g, .plain_sizes = plain_sizes };
	struct link *l = link_to(p, &g->node);
	struct wire_msg msg = { .type = WIRE_GET };
	enum get_outcome outcome;
	int r = -ENOTCONN;

	if (!holders_trusted(p->holders, &g->node)) {
		free(g);
		return GET_NEVER;
	}
	if (l != NULL) {
		proof_of_get(conn_binding(l->conn), true, g->key, get, get->proof);
		memcpy(g->proof, get->proof, sizeof(g->proof));
		msg.u.get = *get;
		r = conn_request(l->conn, &msg, &opts, &g->req);
	}
	if (r == 0) {
		g->link = l;
		g->began_bytes = conn_counts(l->conn)->payload_in_bytes;
		g->sent_ns = peer_now_ns(p);
		restart_watch(g);
		DL_APPEND(g->s->gets, g);
		holders_began(p->holders, &g->node, g->size_bytes);
		return GET_ASKED;
	}
	outcome = r == -EBUSY ? GET_LATER : source_unreached(p, &g->node);
	free(g);
	return outcome;
}

enum get_outcome get_start(struct seek *s, const struct wire_id *node, const struct wire_set *set,
                           bool wait)
{
	uint32_t plain_sizes[WIRE_LIST_MAX] = { 0 };
	struct get *g = get_new(s, node, set, wait);
	struct wire_get msg = message_of(g);

	for (uint32_t pos = set_next(set, 0); pos < set->n; pos = set_next(set, pos + 1))
		plain_sizes[pos] = chunk_at(g, (uint16_t)pos)->plain_size_bytes;
	return ask(g, &msg, plain_sizes);
}

void gets_hurry(struct seek *s)
{
	struct get *g;
	struct get *next;

	DL_FOREACH_SAFE(s->gets, g, next)
	{
		const struct wire_set set = set_and(g->set, &s->hurried);

		if (!g->reader && !set_empty(&set) &&
		    get_start(s, &g->node, &set, g->wait) == GET_ASKED)
			g->set = set_minus(g->set, &set);
	}
	s->hurried = set_none(s->want.n);
}

void get_or_pause(struct seek *s, const struct wire_id *node, const struct wire_set *set, bool wait)
{
	const enum get_outcome r = get_start(s, node, set, wait);

	if (r == GET_LATER)
		seek_pause(s, set, 0, node, false);
	else if (r == GET_NEVER)
		seek_avoid(s, node, WIRE_AVOID_FAILED);
	if (r != GET_ASKED)
		want_again(s, set);
}

static enum get_outcome get_by_names(struct seek *s, const struct wire_id *node,
                                     const struct wire_set *set, bool wait)
{
	uint32_t plain_sizes[WIRE_LIST_MAX] = { 0 };
	struct wire_id all[WIRE_LIST_MAX];
	struct wire_id names[WIRE_LIST_MAX];
	struct get *g = get_new(s, node, set, wait);
	struct wire_get msg = message_of(g);
	uint32_t n = 0;

	segments_names(s->req->known->segments, s->segment_idx, all);
	for (uint32_t pos = set_next(set, 0); pos < set->n; pos = set_next(set, pos + 1)) {
		g->pos_of[n] = (uint16_t)pos;
		names[n] = all[pos];
		plain_sizes[n++] = chunk_at(g, (uint16_t)pos)->plain_size_bytes;
	}
	g->by_names = true;
	msg.by_names = true;
	msg.part.set = set_all(n);
	msg.names = names;
	return ask(g, &msg, plain_sizes);
}
