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
#include "source_impl.h"
#include <utlist.h>

#define ASKS_MAX     32U /* of one seek, until what is left is lost */
#define WATCHES_MAX  16U /* ... and until what is waited for is not asked for any more */
#define PAUSE_MIN_MS 10U
#define PAUSE_MAX_MS 500U /* for who is busy: readers look again, whatever it says */

struct wire_part seek_part(const struct seek *s, const struct wire_set *set)
{
	struct wire_part part = known_part(s->req->known, s->segment_idx);

	part.set = *set;
	return part;
}

/* Where it stands among those that are avoided; n_avoid: nowhere. */
static uint32_t avoid_idx(const struct seek *s, const struct wire_id *node)
{
	uint32_t i = 0;

	while (i < s->n_avoid && !id_equal(&s->avoid[i].node, node))
		i++;
	return i;
}

bool seek_avoids(const struct seek *s, const struct wire_id *node)
{
	return avoid_idx(s, node) < s->n_avoid;
}

void seek_avoid(struct seek *s, const struct wire_id *node, enum wire_avoid_why why)
{
	uint32_t i = avoid_idx(s, node);

	if (i < s->n_avoid && s->avoid[i].why == WIRE_AVOID_FAILED)
		return; /* that says most */
	if (i == WIRE_AVOID_MAX)
		i--; /* the last one goes */
	else if (i == s->n_avoid)
		s->n_avoid++;
	s->avoid[i] = (struct avoid){ .node = *node, .why = why };
}

bool seek_shuns(struct seek *s, const struct wire_id *node)
{
	const uint32_t i = avoid_idx(s, node);

	if (i < s->n_avoid && s->avoid[i].why == WIRE_AVOID_FAILED)
		return true;
	if (holders_trusted(s->req->p->holders, node))
		return false;
	seek_avoid(s, node, WIRE_AVOID_FAILED);
	return true;
}

void seek_avoid_missed(struct seek *s, const struct wire_id *node, const struct wire_set *set)
{
	seek_avoid(s, node, WIRE_AVOID_MISSED);
	s->missed = set_or(s->missed, set);
}

static void pause_for(struct seek *s, uint32_t ms)
{
	const uint64_t most_ms = s->req->run->reader ? PAUSE_MAX_MS : WIRE_TERM_MAX_MS;
	const uint64_t pause_ms = min_u64(max_u64(ms, PAUSE_MIN_MS), most_ms);
	const uint64_t until_ns = peer_calm_ns(s->req->p) + pause_ms * NS_PER_MS;

	s->pause_ns = s->pause_ns == 0 ? until_ns : min_u64(s->pause_ns, until_ns);
}

void seek_pause_home(struct seek *s, const struct wire_set *set, uint32_t ms)
{
	s->home_paused = set_or(s->home_paused, set);
	pause_for(s, ms);
}

void seek_pause(struct seek *s, const struct wire_set *set, uint32_t ms,
                const struct wire_id *holder, bool said)
{
	if (vain_is_busy(s, holder, said))
		return;
	s->paused = set_or(s->paused, set);
	pause_for(s, ms);
}

struct wire_set seek_paused(const struct seek *s)
{
	return set_or(s->paused, &s->home_paused);
}

/* ---- sets ---- */

struct wire_set seek_in_gets(const struct seek *s, bool hedged)
{
	struct wire_set set = set_none(s->want.n);
	const struct get *g;

	DL_FOREACH(s->gets, g)
	{
		if (hedged || !g->hedged)
			set = set_or(set, &g->set);
	}
	return set;
}

struct wire_set seek_asked_of(const struct seek *s, bool wait)
{
	struct wire_set set = set_none(s->want.n);
	const struct get *g;

	DL_FOREACH(s->gets, g)
	{
		if (g->wait == wait)
			set = set_or(set, &g->set);
	}
	return set;
}

struct wire_set seek_open(const struct seek *s)
{
	const struct wire_set gets = seek_in_gets(s, true);

	return set_minus(s->want, &gets);
}

struct wire_set seek_own(const struct seek *s)
{
	struct wire_set own = set_minus(s->want, &s->lost);

	own = set_minus(own, &s->put_off);
	return s->held_back ? set_minus(own, &s->chained) : own;
}

static struct wire_set todo_of(const struct seek *s)
{
	const struct wire_set busy = seek_in_gets(s, false);
	const struct wire_set paused = seek_paused(s);
	struct wire_set todo = seek_own(s);

	todo = set_minus(todo, &paused);
	return set_minus(todo, &busy);
}

void seek_settle(struct seek *s, const struct wire_set *set)
{
	struct get *g;
	struct get *next;

	s->want = set_minus(s->want, set);
	s->lost = set_minus(s->lost, set);
	s->put_off = set_minus(s->put_off, set);
	s->paused = set_minus(s->paused, set);
	s->home_paused = set_minus(s->home_paused, set);
	DL_FOREACH_SAFE(s->gets, g, next)
	g->set = set_minus(g->set, set);
	source_dirty(s->req);
}

/* What others were asked for is expected from node alone. */
void seek_take_from_others(struct seek *s, const struct wire_set *set, const struct wire_id *node)
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
	const struct wire_set open = seek_in_gets(s, true);
	const struct wire_set rest = set_minus(s->want, &s->lost);

	return set_empty(&rest) && set_empty(&open);
}

bool seek_has_only_put_off(const struct seek *s)
{
	const struct wire_set open = seek_in_gets(s, true);
	struct wire_set rest = set_minus(s->want, &s->lost);

	rest = set_minus(rest, &s->put_off);
	return set_empty(&rest) && set_empty(&open);
}

/* ---- holders ---- */

/* Whom not to ask, in ret_ids (WIRE_AVOID_MAX). What somebody said that it has not is known among
 * holders. beside_slow: nor those who are slow with what they were asked for already. @return how
 * many */
static uint32_t avoided(const struct seek *s, bool beside_slow, struct wire_id *ret_ids)
{
	const struct get *g;
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n_avoid; i++) {
		if (s->avoid[i].why != WIRE_AVOID_MISSED)
			ret_ids[n++] = s->avoid[i].node;
	}
	if (!beside_slow)
		return n;
	DL_FOREACH(s->gets, g)
	{
		if (g->hedged && n < WIRE_AVOID_MAX)
			ret_ids[n++] = g->node;
	}
	return n;
}

/* beside_slow: somebody brings it, if slowly: who cannot be asked now is not waited for. */
static void ask_holders(struct seek *s, struct wire_set *todo, bool beside_slow)
{
	struct peer *p = s->req->p;
	struct wire_id avoid[WIRE_AVOID_MAX];
	uint32_t n_avoid = avoided(s, beside_slow, avoid);

	while (!set_empty(todo)) {
		const struct wire_part part = seek_part(s, todo);
		struct holders_pick pick;
		enum get_outcome r;

		if (!holders_pick(p->holders, &part, avoid, n_avoid, &pick))
			return;
		r = get_start(s, &pick.node, &pick.set, false);
		if (r == GET_NEVER) {
			seek_avoid(s, &pick.node, WIRE_AVOID_FAILED);
		} else if (r == GET_ASKED || !beside_slow) {
			*todo = set_minus(*todo, &pick.set);
			if (r == GET_LATER)
				seek_pause(s, &pick.set, 0, &pick.node, false);
			continue;
		}
		if (n_avoid == WIRE_AVOID_MAX)
			return;
		avoid[n_avoid++] = pick.node;
	}
}

/* ---- the next step ---- */

static void check_silence(struct seek *s)
{
	const uint64_t now = peer_calm_ns(s->req->p);
	struct get *g;
	struct get *next;

	ask_watch(s);
	DL_FOREACH_SAFE(s->gets, g, next)
	get_watch(g);
	vain_look(s);
	if (s->req->run->reader) /* it may have come meanwhile */
		s->pause_ns = min_u64(s->pause_ns, now + PAUSE_MAX_MS * NS_PER_MS);
	if (s->pause_ns <= now) {
		s->paused = set_none(s->want.n);
		s->home_paused = s->paused;
		s->pause_ns = 0;
	}
}

/* Ask holders for what is to do; @return what is left for the home. What a slow holder is still to
 * bring goes by itself, without a right to a lease: in one question with chunks that nobody has,
 * the home would lease it as well. */
static struct wire_set ask_all_holders(struct seek *s)
{
	const struct wire_set all = todo_of(s);
	const struct wire_set gets = seek_in_gets(s, true);
	struct wire_set slow = set_and(all, &gets);
	struct wire_set rest = set_minus(all, &slow);

	ask_holders(s, &rest, false);
	ask_holders(s, &slow, true);
	return set_empty(&rest) ? slow : rest;
}

/* hurried: what the home was asked for as a prefetch it is asked for anew, as a reader's: for that
 * one it looks whether a lease makes progress. */
static void ask_step(struct seek *s, const struct wire_set *todo, bool hurried)
{
	struct wire_set unasked = s->ask_open ? set_minus(*todo, &s->asked) : *todo;

	if (hurried && s->ask_open && s->n_asks < ASKS_MAX)
		unasked = ask_wanted(s, todo);
	if (set_empty(&unasked))
		return;
	ask_close(s);
	if (s->n_asks >= ASKS_MAX)
		ask_was_vain(s);
	if (s->n_asks >= ASKS_MAX || !ask_home(s, todo))
		s->lost = set_or(s->lost, todo);
}

void seek_step(struct seek *s)
{
	const bool hurried = ask_is_hurried(s);
	struct wire_set todo;

	check_silence(s);
	if (!set_empty(&s->hurried))
		gets_hurry(s);
	todo = ask_all_holders(s);
	drop_idle_gets(s);
	if (!set_empty(&s->unwatched) && s->n_asks < WATCHES_MAX) {
		const struct wire_set unwatched = ask_unwatched(s);

		todo = set_or(todo, &unwatched);
	}
	ask_step(s, &todo, hurried);
	if (seek_is_settled(s))
		ask_close(s);
	vain_settle(s);
}

uint64_t seek_due_ns(const struct seek *s)
{
	const struct wire_set paused = seek_paused(s);
	uint64_t due = min_u64(ask_silent_ns(s), vain_due_ns(s));
	const struct get *g;

	if (!set_empty(&paused))
		due = min_u64(due, s->pause_ns);
	DL_FOREACH(s->gets, g)
	due = min_u64(due, g->probed_ns != 0 ? g->dead_ns : g->hedge_ns);
	return due;
}

void seek_expire(struct seek *s)
{
	ask_close(s);
	while (s->gets != NULL)
		get_expire(s->gets);
}

void seek_stop(struct seek *s)
{
	ask_close(s);
	while (s->gets != NULL)
		get_stop(s->gets);
}
