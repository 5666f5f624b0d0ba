/*
 * source_ask: the part of a question that goes to the home of its segment, and what the home says.
 *
 * One ASK at a time a seek; it stays open while somebody else is bringing what was asked for. A
 * home that is busy, or whose connection is being made, is asked again; only one that shows no sign
 * of life, or will not answer, is passed by for the next in rank.
 */
#include "mem.h"
#include "share.h"
#include "source_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

/* ---- the home ---- */

static void tell_avoid(struct wire_ask *ask, const struct wire_id *node, enum wire_avoid_why why)
{
	if (ask->n_avoid == WIRE_AVOID_MAX)
		return;
	ask->avoid[ask->n_avoid] = *node;
	ask->avoid_why[ask->n_avoid++] = (uint8_t)why;
}

static void tell_avoided(const struct seek *s, struct wire_ask *ask)
{
	const struct get *g;

	for (uint32_t i = 0; i < s->n_avoid; i++)
		tell_avoid(ask, &s->avoid[i].node, s->avoid[i].why);
	DL_FOREACH(s->gets, g)
	{
		if (g->hedged && !g->wait)
			tell_avoid(ask, &g->node, WIRE_AVOID_SLOW);
	}
	ask->missed = s->missed;
}

/* What somebody else is to bring, at whom it is waited for. */
static struct wire_set waited_for(const struct seek *s)
{
	return seek_asked_of(s, true);
}

/* Whoever is slow has it: another holder is welcome, the origin is not. */
static bool is_slow_alone(const struct seek *s, const struct wire_set *todo)
{
	const struct wire_set held = seek_in_gets(s, true);
	const struct wire_set waited = waited_for(s);
	const struct wire_set unheld = set_minus(*todo, &held);
	const struct wire_set slow = set_minus(*todo, &waited);

	return set_empty(&unheld) && !set_empty(&slow);
}

static bool is_stalled(const struct seek *s, const struct wire_set *wanted)
{
	const struct wire_set stalled = set_and(s->stalled, wanted);

	return !set_empty(&stalled);
}

/* wanted: of it, todo is new. */
static struct wire_ask make_ask(const struct seek *s, const struct wire_set *wanted,
                                const struct wire_set *todo)
{
	const struct peer *p = s->req->p;
	const struct wire_part here =
		known_present(s->req->known, s->segment_idx, s->req->run->blob);
	struct wire_ask ask = { .part = seek_part(s, wanted),
		                .have = here.set,
		                .deadline_ms = source_ms_left(s->req) };
	struct cas_origin *origin = xcalloc(1, sizeof(*origin));

	ask.patience_ms = lease_patience_ms(p);
	ask.usual_ms = lease_usual_ms(p, unit_largest_bytes(s, wanted));
	if (s->req->run->reader)
		ask.flags |= WIRE_ASK_READER;
	if (s->settle)
		ask.flags |= WIRE_ASK_SETTLE;
	if (is_stalled(s, wanted))
		ask.flags |= WIRE_ASK_STALLED;
	if (s->beyond)
		ask.flags |= WIRE_ASK_CLUSTER;
	if (is_slow_alone(s, todo) || cas_blob_origins(s->req->run->blob, origin, 1) == 0)
		ask.flags |= WIRE_ASK_NO_LEASE;
	free(origin);
	tell_avoided(s, &ask);
	order_cut(s->req->known->segments, s->segment_idx, &ask.units, &ask.runs);
	unit_adopt(s, wanted, &ask.units);
	return ask;
}

static void on_answer(void *arg, const struct wire_msg *msg)
{
	if (msg->type == WIRE_ANSWER)
		seek_on_items(arg, msg->u.answer.items, msg->u.answer.n_items);
}

static void on_end(void *arg, enum wire_status status, uint32_t retry_ms)
{
	seek_on_ask_end(arg, status, retry_ms);
}

static const struct request_ops ask_ops = { .answer = on_answer, .end = on_end };

static int ask_self(struct seek *s, struct wire_ask *ask)
{
	struct peer *p = s->req->p;
	const struct wire_id *self = &p->self.self.id;
	int r;

	ask->req = p->next_self_req++;
	r = home_ask(p->home, self, ask);
	if (r == HOME_WANT_NAMES) {
		home_send_names(p, self, &ask->part.list);
		r = home_ask(p->home, self, ask);
	}
	if (r != HOME_OK)
		return r == HOME_BUSY ? -EAGAIN : -EIO;
	s->ask_conn = NULL;
	s->ask_req = ask->req;
	return 0;
}

static int ask_other(struct seek *s, const struct wire_id *home, const struct wire_ask *ask)
{
	const struct request_opts opts = { .ops = &ask_ops, .arg = s };
	const struct wire_msg msg = { .type = WIRE_ASK, .u.ask = *ask };
	struct link *l = link_to(s->req->p, home);
	int r = -ENOTCONN;

	if (l != NULL)
		r = conn_request(l->conn, &msg, &opts, &s->ask_req);
	if (r == 0)
		s->ask_conn = l->conn;
	if (r == -EBUSY || (r != 0 && source_unreached(s->req->p, home) == GET_LATER))
		return -EAGAIN;
	return r;
}

void ask_close(struct seek *s)
{
	if (!s->ask_open)
		return;
	s->ask_open = false;
	if (s->ask_conn != NULL)
		conn_cancel(s->ask_conn, s->ask_req);
	else
		home_cancel(s->req->p->home, &s->req->p->self.self.id, 0, s->ask_req);
}

static bool has_failed(const struct seek *s, const struct wire_id *home)
{
	for (uint32_t i = 0; i < s->n_failed_homes; i++) {
		if (id_equal(&s->failed_homes[i], home))
			return true;
	}
	return false;
}

/* Who it is may change meanwhile: one that failed may be nobody's home any more. */
static bool pick_home(const struct seek *s, struct wire_id *ret_home)
{
	const struct peer *p = s->req->p;
	struct wire_id homes[SEEK_HOMES_MAX + 1] = { s->elsewhere };
	uint32_t n = s->is_elsewhere;

	n += placement_rank(p->placement, source_level(p, s->beyond), &p->self.self.id,
	                    &seek_segment(s)->name, SEEK_HOMES_MAX, homes + n);
	for (uint32_t i = 0; s->n_failed_homes < SEEK_HOMES_MAX && i < n; i++) {
		if (has_failed(s, &homes[i]))
			continue;
		*ret_home = homes[i];
		return true;
	}
	return false;
}

void ask_home_failed(struct seek *s, const struct wire_id *home)
{
	if (s->n_failed_homes < SEEK_HOMES_MAX)
		s->failed_homes[s->n_failed_homes++] = *home;
	s->settle = true;
	s->named = set_none(s->want.n);
}

/* @return 0; -EAGAIN it is to be asked again in a while; else it cannot be asked */
static int ask_one(struct seek *s, const struct wire_id *home, struct wire_ask *ask)
{
	const struct peer *p = s->req->p;

	if (id_equal(home, &p->self.self.id))
		return ask_self(s, ask);
	if (!holders_home_usable(p->holders, home))
		return -EHOSTDOWN; /* others found it silent just now */
	return ask_other(s, home, ask);
}

struct wire_set ask_wanted(const struct seek *s, const struct wire_set *todo)
{
	const struct wire_set waited = waited_for(s);

	return set_or(*todo, &waited);
}

struct wire_set ask_unwatched(const struct seek *s)
{
	const struct wire_set waited = waited_for(s);
	const struct wire_set paused = seek_paused(s);
	struct wire_set set = set_and(s->unwatched, &s->want);

	set = set_and(set, &waited);
	set = set_minus(set, &s->lost);
	set = set_minus(set, &paused);
	if (s->ask_open)
		set = set_minus(set, &s->asked);
	return set_empty(&set) ? set : unit_begun_here(s, &set);
}

bool ask_is_hurried(const struct seek *s)
{
	const struct wire_set hurried = set_and(s->hurried, &s->asked);
	const struct wire_set set = set_and(hurried, &s->want);

	return s->ask_open && !s->ask_reader && s->req->run->reader && !set_empty(&set);
}

/* Ask the home, or who stands in for it. One that is busy, or connects, is asked later.
 * @return false: nobody is left to be asked */
bool ask_home(struct seek *s, const struct wire_set *todo)
{
	const struct peer *p = s->req->p;
	const struct wire_set wanted = ask_wanted(s, todo);
	struct wire_ask ask = make_ask(s, &wanted, todo);
	struct wire_id home;

	while (pick_home(s, &home)) {
		int r;

		if (s->settle)
			ask.flags |= WIRE_ASK_SETTLE;
		r = ask_one(s, &home, &ask);
		if (r == -EAGAIN) {
			s->ask_home = home;
			seek_pause_home(s, todo, 0);
			return true;
		}
		if (r != 0) {
			ask_home_failed(s, &home);
			continue;
		}
		s->ask_open = true;
		s->ask_settles = s->settle;
		s->ask_answered = false;
		s->ask_ping_ns = 0;
		s->ask_reader = s->req->run->reader;
		s->ask_sent_ns = peer_now_ns(p);
		s->ask_home = home;
		s->asked = wanted;
		s->unwatched = set_minus(s->unwatched, &wanted);
		s->asked_ns = peer_calm_ns(p);
		s->ask_line_ns = line_longest_ns(s->req);
		if (s->ask_conn != NULL)
			s->ask_began_bytes = conn_counts(s->ask_conn)->payload_in_bytes;
		s->n_asks++;
		return true;
	}
	return false;
}

/* ---- what the home says ---- */

static void note_item(struct seek *s, const struct wire_answer_item *item, const char *what)
{
	char home[PEER_NAME_BYTES];
	char node[PEER_NAME_BYTES] = "";

	wire_id_text(&s->ask_home, home);
	if (item->n_nodes > 0)
		wire_id_text(&item->nodes[0], node);
	source_note(s->req, "%shome %.8s: segment %u, %u chunks: %s%s%.8s, %.1f ms",
	            s->beyond ? "the cluster's " : "", home, s->segment_idx, set_count(&item->set),
	            what, node[0] != '\0' ? " " : "", node,
	            (double)(peer_calm_ns(s->req->p) - s->asked_ns) / (double)NS_PER_MS);
}

/* The home knows whom it named to others: who comes first in its answer is asked, the rest are for
 * need. By what is known here all would go to who has most, and each byte would leave by that one's
 * line as often as there are nodes. */
static void ask_named(struct seek *s, const struct wire_answer_item *item)
{
	const struct wire_set held = seek_in_gets(s, true);
	const struct wire_set rest = set_minus(item->set, &held);
	const struct wire_set set = set_and(rest, &s->want);

	/* One that is avoided failed while the answer was on its way. */
	if (!set_empty(&set) && !seek_avoids(s, &item->nodes[0]) &&
	    holders_usable(s->req->p->holders, &item->nodes[0]))
		get_or_pause(s, &item->nodes[0], &set, false);
}

static void on_holders(struct seek *s, const struct wire_answer_item *item)
{
	const struct wire_part part = seek_part(s, &item->set);
	struct get *g;

	holders_learn(s->req->p->holders, &part, item->nodes, item->n_nodes);
	for (uint32_t i = 0; i < item->n_nodes; i++) {
		if (!holders_usable(s->req->p->holders, &item->nodes[i]))
			seek_avoid(s, &item->nodes[i], WIRE_AVOID_FAILED);
	}
	s->asked = set_minus(s->asked, &item->set); /* where they fail, ask again */
	/* Who was waited for is not asked any more, unless it is one of them. */
	DL_FOREACH(s->gets, g)
	{
		bool told = false;

		for (uint32_t i = 0; i < item->n_nodes; i++)
			told = told || id_equal(&g->node, &item->nodes[i]);
		if (g->wait && !told)
			g->set = set_minus(g->set, &item->set);
	}
	note_item(s, item, "held by");
	if (item->n_nodes == 0)
		return;
	s->named = set_or(s->named, &item->set);
	ask_named(s, item);
	unit_follow(s, &item->set, &item->nodes[0]);
}

/* It was to come to somebody else, who let the home down: it has leased again. */
static void note_passed_on(struct seek *s, const struct wire_set *set)
{
	const struct wire_set waited = waited_for(s);
	const struct wire_set moved = set_and(waited, set);

	if (!set_empty(&moved))
		vain_passed_on(s);
}

static void on_wait(struct seek *s, const struct wire_answer_item *item)
{
	const struct wire_set held = seek_asked_of(s, false); /* who is slow brings it sooner */
	const struct wire_set rest = set_minus(item->set, &held);
	struct wire_set set = set_and(rest, &s->want);
	const struct get *g;

	vain_told(s, item->progress_bytes);
	if (item->n_nodes == 0) {
		note_item(s, item, "in the queue");
		return;
	}
	if (seek_shuns(s, &item->nodes[0])) { /* the home is told, and asked for another way */
		note_item(s, item, "not waited for: on the way to");
		s->asked = set_minus(s->asked, &item->set);
		return;
	}
	note_item(s, item, "on the way to");
	DL_FOREACH(s->gets, g)
	{
		if (id_equal(&g->node, &item->nodes[0]))
			set = set_minus(set, &g->set); /* asked already */
	}
	if (set_empty(&set))
		return;
	s->named = set_or(s->named, &set);
	note_passed_on(s, &set);
	seek_take_from_others(s, &set, &item->nodes[0]);
	unit_follow(s, &set, &item->nodes[0]);
	get_or_pause(s, &item->nodes[0], &set, true);
	unit_chain_follow(s, &set, &item->nodes[0]);
}

/* Views differ: whom it names decides, so that all who are told so meet there. Who is to decide and
 * sends on all the same is passed by: nobody is sent about. */
static void on_elsewhere(struct seek *s, const struct wire_answer_item *item)
{
	note_item(s, item, "elsewhere");
	if (s->ask_settles) {
		if (!has_failed(s, &s->ask_home))
			ask_home_failed(s, &s->ask_home);
		return;
	}
	s->is_elsewhere = true;
	s->elsewhere = item->nodes[0];
	s->settle = true;
}

static void on_nobody(struct seek *s, const struct wire_answer_item *item)
{
	const struct wire_set later = unit_put_off(s, &item->set);
	const struct wire_set gets = seek_in_gets(s, true);
	struct wire_set lost = set_minus(item->set, &later);

	lost = set_minus(lost, &gets); /* they followed their unit meanwhile */
	note_item(s, item, "nobody");
	s->put_off = set_or(s->put_off, &later);
	s->lost = set_or(s->lost, &lost);
}

static void note_answered(struct seek *s)
{
	const uint64_t now = peer_calm_ns(s->req->p);

	if (s->ask_conn != NULL && !s->ask_answered) {
		conn_answered(s->ask_conn, now - s->asked_ns);
		holders_home_answered(s->req->p->holders, &s->ask_home);
	}
	if (!s->ask_answered) {
		s->ask_look_ns = now + source_silent_ns(s->req->run->reader);
		s->ask_ping_ns = 0;
	}
	s->ask_answered = true;
}

/* Of an answer that says nothing of what was asked nothing follows. */
static bool concerns(const struct seek *s, const struct wire_answer_item *item)
{
	const struct wire_set set = set_and(item->set, &s->want);

	return item->set.n == s->want.n && (!set_empty(&set) || item->kind == WIRE_LEASE);
}

void seek_on_items(struct seek *s, const struct wire_answer_item *items, uint32_t n_items)
{
	zone_progress(s, 1);
	for (uint32_t i = 0; i < n_items; i++) {
		struct wire_answer_item item = items[i];

		if (!concerns(s, &item))
			continue;
		note_answered(s);
		s->stalled = set_minus(s->stalled, &item.set);
		item.set = set_and(item.set, &s->want);
		switch (item.kind) {
		case WIRE_HOLDERS:
			on_holders(s, &item);
			break;
		case WIRE_WAIT:
			on_wait(s, &item);
			break;
		case WIRE_LEASE:
			note_item(s, &item, "leased");
			lease_take(s, &item);
			break;
		case WIRE_ELSEWHERE:
			on_elsewhere(s, &item);
			break;
		default:
			on_nobody(s, &item);
		}
	}
	source_dirty(s->req);
}

void seek_on_ask_end(struct seek *s, enum wire_status status, uint32_t retry_ms)
{
	s->ask_open = false;
	switch ((int)status) {
	case WIRE_DONE:
	case WIRE_CANCELLED:
	case WIRE_NOT_HERE: /* its time was over */
		break;
	case WIRE_UNKNOWN_LIST:
		home_send_names(s->req->p, &s->ask_home, &seek_segment(s)->list);
		break;
	case WIRE_IS_BUSY:
		seek_pause_home(s, &s->asked, retry_ms);
		break;
	case WIRE_LOST: /* a home that lives is asked again, by the next connection */
		if (source_unreached(s->req->p, &s->ask_home) == GET_LATER)
			seek_pause_home(s, &s->asked, 0);
		else
			ask_home_failed(s, &s->ask_home);
		break;
	default:
		ask_home_failed(s, &s->ask_home);
	}
	source_dirty(s->req);
}

void ask_was_vain(const struct seek *s)
{
	const struct peer *p = s->req->p;

	if (s->req->run->reader && !id_equal(&s->ask_home, &p->self.self.id))
		holders_home_vain(p->holders, &s->ask_home);
}

void ask_was_useful(const struct seek *s)
{
	holders_home_useful(s->req->p->holders, &s->ask_home);
}

/* It lives, and says nothing of use. */
void ask_pass_by(struct seek *s, uint64_t vain_ns)
{
	const bool asked = s->ask_open ? s->ask_conn != NULL : !set_empty(&s->home_paused);
	const struct wire_set waited = waited_for(s);
	char home[PEER_NAME_BYTES];

	if (!asked || id_equal(&s->ask_home, &s->req->p->self.self.id))
		return;
	wire_id_text(&s->ask_home, home);
	source_note(s->req, "home %.8s: segment %u: nothing came for %.1f s, it is passed by", home,
	            s->segment_idx, (double)vain_ns / (double)NS_PER_S);
	holders_home_vain(s->req->p->holders, &s->ask_home);
	seek_avoid(s, &s->ask_home, WIRE_AVOID_FAILED);
	ask_close(s);
	ask_home_failed(s, &s->ask_home);
	s->unwatched = set_or(s->unwatched, &waited);
	s->pause_ns = 0;
}
