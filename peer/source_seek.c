/*
 * source_seek: the part of a question in one segment: known holders first, else the home.
 *
 *   todo --known holder--> GET --chunk--> delivered
 *     |                     `--miss, failure, silence--> todo, without that holder
 *     `--> ASK the home --holders, wait--> GET
 *                       `--lease--> the engine's    `--nobody, no home answers--> lost
 *
 * The ASK stays open while somebody else is bringing what is asked for: the home says what to do
 * when that fails.
 */
#include "bytes.h"
#include "mem.h"
#include "share.h"
#include "source_impl.h"
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define ASKS_MAX           32U /* of one seek, until what is left is lost */
#define HOMES_MAX          3U
#define SILENT_READER_NS   (250 * NS_PER_MS)
#define SILENT_PREFETCH_NS (1500 * NS_PER_MS)
#define PATIENCE_MIN_NS    (50 * NS_PER_MS)

struct wire_part seek_part(const struct seek *s, const struct wire_set *set)
{
	struct wire_part part = known_part(s->req->known, s->segment_idx);

	part.set = *set;
	return part;
}

void seek_avoid(struct seek *s, const struct wire_id *node)
{
	for (uint32_t i = 0; i < s->n_avoid; i++) {
		if (id_equal(&s->avoid[i], node))
			return;
	}
	if (s->n_avoid < WIRE_AVOID_MAX)
		s->avoid[s->n_avoid++] = *node;
	else
		s->avoid[WIRE_AVOID_MAX - 1] = *node;
}

/* ---- sets ---- */

/* Asked of some holder that has not been given up. */
static struct wire_set in_gets(const struct seek *s, bool hedged, const struct wire_id *except)
{
	struct wire_set set = set_none(s->want.n);
	const struct get *g;

	DL_FOREACH(s->gets, g)
	{
		if ((hedged || !g->hedged) && (except == NULL || !id_equal(&g->node, except)))
			set = set_or(set, &g->set);
	}
	return set;
}

static struct wire_set todo_of(const struct seek *s)
{
	const struct wire_set busy = in_gets(s, false, NULL);
	struct wire_set todo = set_minus(s->want, &s->lost);

	todo = set_minus(todo, &s->unpacking);
	todo = set_minus(todo, &s->put_off);
	return set_minus(todo, &busy);
}

void seek_settle(struct seek *s, const struct wire_set *set)
{
	struct get *g;
	struct get *next;

	s->want = set_minus(s->want, set);
	s->lost = set_minus(s->lost, set);
	s->unpacking = set_minus(s->unpacking, set);
	s->put_off = set_minus(s->put_off, set);
	DL_FOREACH_SAFE(s->gets, g, next)
	g->set = set_minus(g->set, set);
	source_dirty(s->req);
}

/* What others were asked for is expected from node alone. */
static void take_from_others(struct seek *s, const struct wire_set *set, const struct wire_id *node)
{
	struct get *g;

	DL_FOREACH(s->gets, g)
	{
		if (!id_equal(&g->node, node))
			g->set = set_minus(g->set, set);
	}
}

static void drop_idle_gets(struct seek *s)
{
	struct get *g;
	struct get *next;

	DL_FOREACH_SAFE(s->gets, g, next)
	{
		/* One that had all of its answers gets its END by itself. */
		if (set_empty(&g->set) && (g->wait || g->hedged || g->first_ns == 0))
			get_stop(g);
	}
}

bool seek_is_settled(const struct seek *s)
{
	const struct wire_set open = in_gets(s, true, NULL);
	const struct wire_set rest = set_minus(s->want, &s->lost);

	return set_empty(&rest) && set_empty(&open) && set_empty(&s->unpacking);
}

bool seek_has_only_put_off(const struct seek *s)
{
	const struct wire_set open = in_gets(s, true, NULL);
	struct wire_set rest = set_minus(s->want, &s->lost);

	rest = set_minus(rest, &s->put_off);
	return set_empty(&rest) && set_empty(&open) && set_empty(&s->unpacking);
}

/* ---- holders ---- */

/* Whom not to ask, in ret_ids (WIRE_AVOID_MAX). beside_slow: nor those who are slow with what they
 * were asked for already. @return how many */
static uint32_t avoided(const struct seek *s, bool beside_slow, struct wire_id *ret_ids)
{
	uint32_t n = s->n_avoid;
	const struct get *g;

	memcpy(ret_ids, s->avoid, sizeof(s->avoid[0]) * n);
	if (!beside_slow)
		return n;
	DL_FOREACH(s->gets, g)
	{
		if (g->hedged && n < WIRE_AVOID_MAX)
			ret_ids[n++] = g->node;
	}
	return n;
}

static void ask_holders(struct seek *s, struct wire_set *todo, bool beside_slow)
{
	struct peer *p = s->req->p;

	while (!set_empty(todo)) {
		const struct wire_part part = seek_part(s, todo);
		struct wire_id avoid[WIRE_AVOID_MAX];
		const uint32_t n_avoid = avoided(s, beside_slow, avoid);
		struct holders_pick pick;

		if (!holders_pick(p->holders, &part, avoid, n_avoid, &pick))
			return;
		if (!get_start(s, &pick.node, &pick.set, false)) {
			if (s->n_avoid == WIRE_AVOID_MAX)
				return;
			seek_avoid(s, &pick.node);
			continue;
		}
		*todo = set_minus(*todo, &pick.set);
	}
}

/* ---- the home ---- */

static struct wire_set present_here(const struct seek *s)
{
	struct wire_set have = set_none(s->want.n);

	for (uint16_t pos = 0; pos < have.n; pos++) {
		if (cas_blob_is_present(s->req->run->blob, seek_chunk(s, pos)))
			wire_set_add(&have, pos);
	}
	return have;
}

static uint32_t ms_left(const struct source_req *req)
{
	const uint64_t now = peer_now_ns(req->p);
	uint64_t left_ms = 1;

	if (req->run->deadline_ns > now)
		left_ms = (req->run->deadline_ns - now) / NS_PER_MS + 1;
	return (uint32_t)min_u64(left_ms, HOME_ASK_MAX_MS);
}

static struct wire_ask make_ask(const struct seek *s, const struct wire_set *todo)
{
	const struct peer *p = s->req->p;
	struct wire_ask ask = { .part = seek_part(s, todo),
		                .have = present_here(s),
		                .deadline_ms = ms_left(s->req) };
	struct cas_origin *origin = xcalloc(1, sizeof(*origin));
	const struct wire_set held = in_gets(s, true, NULL);
	const struct wire_set unheld = set_minus(*todo, &held);

	ask.patience_ms = (uint32_t)(max_u64(2 * p->origin_first_ns, PATIENCE_MIN_NS) / NS_PER_MS);
	if (s->req->run->reader)
		ask.flags |= WIRE_ASK_READER;
	if (s->settle)
		ask.flags |= WIRE_ASK_SETTLE;
	/* Whoever is slow has it: another holder is welcome, the origin is not. */
	if (set_empty(&unheld) || cas_blob_origins(s->req->run->blob, origin, 1) == 0)
		ask.flags |= WIRE_ASK_NO_LEASE;
	free(origin);
	ask.n_avoid = (uint8_t)avoided(s, set_empty(&unheld), ask.avoid);
	order_cut(s->req->known->segments, s->segment_idx, &ask.units, &ask.runs);
	return ask;
}

static void on_answer(void *arg, const struct wire_msg *msg)
{
	if (msg->type == WIRE_ANSWER)
		seek_on_items(arg, msg->u.answer.items, msg->u.answer.n_items);
}

static void on_end(void *arg, enum wire_status status, uint32_t retry_ms)
{
	(void)retry_ms;
	seek_on_ask_end(arg, status);
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
		return -1;
	s->ask_conn = NULL;
	s->ask_req = ask->req;
	return 0;
}

static int ask_other(struct seek *s, const struct wire_id *home, const struct wire_ask *ask)
{
	const struct request_opts opts = { .ops = &ask_ops, .arg = s };
	const struct wire_msg msg = { .type = WIRE_ASK, .u.ask = *ask };
	struct link *l = link_to(s->req->p, home);
	int r;

	if (l == NULL)
		return -1;
	r = conn_request(l->conn, &msg, &opts, &s->ask_req);
	if (r == 0)
		s->ask_conn = l->conn;
	return r;
}

static void close_ask(struct seek *s)
{
	if (!s->ask_open)
		return;
	s->ask_open = false;
	if (s->ask_conn != NULL)
		conn_cancel(s->ask_conn, s->ask_req);
	else
		home_cancel(s->req->p->home, &s->req->p->self.self.id, s->ask_req);
}

static bool pick_home(const struct seek *s, struct wire_id *ret_home)
{
	const struct peer *p = s->req->p;
	const enum place_level level =
		placement_has_zones(p->placement) ? PLACE_ZONE : PLACE_CLUSTER;
	struct wire_id homes[HOMES_MAX];
	const uint32_t n = placement_rank(p->placement, level, &p->self.self.id,
	                                  &seek_segment(s)->name, HOMES_MAX, homes);

	if (s->home_rank >= n)
		return false;
	*ret_home = homes[s->home_rank];
	return true;
}

/* What is waited for elsewhere, too: only who is asked tells when that comes to nothing. */
static struct wire_set with_waits(const struct seek *s, const struct wire_set *todo)
{
	struct wire_set set = *todo;
	const struct get *g;

	DL_FOREACH(s->gets, g)
	{
		if (g->wait)
			set = set_or(set, &g->set);
	}
	return set;
}

/* Ask the home, or who stands in for it. @return false: nobody is left to be asked */
static bool ask_home(struct seek *s, const struct wire_set *todo)
{
	const struct peer *p = s->req->p;
	const struct wire_set wanted = with_waits(s, todo);
	struct wire_ask ask = make_ask(s, &wanted);

	for (; s->home_rank < HOMES_MAX; s->home_rank++, s->settle = true) {
		struct wire_id home;
		int r;

		if (!pick_home(s, &home))
			return false;
		if (s->settle)
			ask.flags |= WIRE_ASK_SETTLE;
		r = id_equal(&home, &p->self.self.id) ? ask_self(s, &ask)
		                                      : ask_other(s, &home, &ask);
		if (r != 0)
			continue;
		s->ask_open = true;
		s->ask_answered = false;
		s->ask_home = home;
		s->asked = wanted;
		s->asked_ns = peer_now_ns(p);
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
	source_note(s->req, "home %.8s: segment %u, %u chunks: %s%s%.8s, %.1f ms", home,
	            s->segment_idx, set_count(&item->set), what, node[0] != '\0' ? " " : "", node,
	            (double)(peer_now_ns(s->req->p) - s->asked_ns) / (double)NS_PER_MS);
}

static void on_holders(struct seek *s, const struct wire_answer_item *item)
{
	const struct wire_part part = seek_part(s, &item->set);
	struct get *g;

	holders_learn(s->req->p->holders, &part, item->nodes, item->n_nodes);
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
	if (item->n_nodes > 0)
		unit_follow(s, &item->set, &item->nodes[0]);
}

static void on_wait(struct seek *s, const struct wire_answer_item *item)
{
	const struct wire_set rest = set_minus(s->want, &s->unpacking);
	struct wire_set set = set_and(item->set, &rest);
	const struct get *g;

	if (item->n_nodes == 0) {
		note_item(s, item, "in the queue");
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
	take_from_others(s, &set, &item->nodes[0]);
	unit_follow(s, &set, &item->nodes[0]);
	if (!get_start(s, &item->nodes[0], &set, true))
		seek_avoid(s, &item->nodes[0]);
}

static void on_elsewhere(struct seek *s, const struct wire_answer_item *item)
{
	note_item(s, item, "elsewhere");
	s->settle = true; /* views differ: this one decides */
}

static void on_nobody(struct seek *s, const struct wire_answer_item *item)
{
	const struct wire_set later = unit_put_off(s, &item->set);
	const struct wire_set lost = set_minus(item->set, &later);

	note_item(s, item, "nobody");
	s->put_off = set_or(s->put_off, &later);
	s->lost = set_or(s->lost, &lost);
}

void seek_on_items(struct seek *s, const struct wire_answer_item *items, uint32_t n_items)
{
	s->ask_answered = true;
	for (uint32_t i = 0; i < n_items; i++) {
		struct wire_answer_item item = items[i];

		if (item.set.n != s->want.n)
			continue;
		item.set = set_and(item.set, &s->want);
		if (set_empty(&item.set) && item.kind != WIRE_LEASE)
			continue;
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

void seek_on_ask_end(struct seek *s, enum wire_status status)
{
	s->ask_open = false;
	switch ((int)status) {
	case WIRE_DONE:
	case WIRE_CANCELLED:
		break;
	case WIRE_UNKNOWN_LIST:
		home_send_names(s->req->p, &s->ask_home, &seek_segment(s)->list);
		break;
	default:
		s->home_rank++;
		s->settle = true;
	}
	source_dirty(s->req);
}

/* ---- the next step ---- */

static uint64_t silent_ns(const struct seek *s)
{
	if (!s->ask_open || s->ask_answered)
		return UINT64_MAX;
	return s->asked_ns + (s->req->run->reader ? SILENT_READER_NS : SILENT_PREFETCH_NS);
}

static void check_silence(struct seek *s, uint64_t now)
{
	struct peer *p = s->req->p;
	struct get *g;
	struct get *next;

	if (silent_ns(s) <= now) {
		holders_fault(p->holders, &s->ask_home, 0, HOLDERS_FAILED);
		close_ask(s);
		s->home_rank++;
		s->settle = true;
	}
	DL_FOREACH_SAFE(s->gets, g, next)
	{
		if (g->wait)
			continue;
		if (g->dead_ns <= now) {
			get_give_up(g);
		} else if (!g->hedged && g->hedge_ns <= now) {
			g->hedged = true;
		}
	}
}

/* Ask holders for what is to do; @return what is left for the home. What a slow holder is still to
 * bring goes by itself, without a right to a lease: in one question with chunks that nobody has,
 * the home would lease it as well. */
static struct wire_set ask_all_holders(struct seek *s)
{
	const struct wire_set all = todo_of(s);
	const struct wire_set gets = in_gets(s, true, NULL);
	struct wire_set slow = set_and(all, &gets);
	struct wire_set rest = set_minus(all, &slow);

	ask_holders(s, &rest, false);
	ask_holders(s, &slow, true);
	return set_empty(&rest) ? slow : rest;
}

void seek_step(struct seek *s)
{
	struct wire_set todo;
	struct wire_set unasked;

	check_silence(s, peer_now_ns(s->req->p));
	todo = ask_all_holders(s);
	drop_idle_gets(s);
	unasked = s->ask_open ? set_minus(todo, &s->asked) : todo;
	if (!set_empty(&unasked)) {
		close_ask(s);
		if (s->n_asks >= ASKS_MAX || !ask_home(s, &todo))
			s->lost = set_or(s->lost, &todo);
	}
	if (seek_is_settled(s))
		close_ask(s);
}

uint64_t seek_due_ns(const struct seek *s)
{
	uint64_t due = silent_ns(s);
	const struct get *g;

	DL_FOREACH(s->gets, g)
	{
		if (!g->wait)
			due = min_u64(due, g->hedged ? g->dead_ns : g->hedge_ns);
	}
	return due;
}

void seek_stop(struct seek *s)
{
	close_ask(s);
	while (s->gets != NULL)
		get_stop(s->gets);
}
