/*
 * source_watch: is the home that was asked silent? Then it is passed by for the next in rank.
 */
#include "bytes.h"
#include "source_impl.h"
#include <utlist.h>

/* When the home that is asked has been silent too long. */
uint64_t ask_silent_ns(const struct seek *s)
{
	if (!s->ask_open || s->ask_conn == NULL)
		return UINT64_MAX;
	if (s->ask_answered || s->ask_ping_ns != 0)
		return s->ask_look_ns;
	return s->asked_ns + line_patience_ns(s->req, s->ask_conn);
}

static bool is_asked_for_bytes(const struct seek *s, const struct wire_id *node)
{
	const struct get *g;

	DL_FOREACH(s->gets, g)
	{
		if (id_equal(&g->node, node))
			return true;
	}
	return false;
}

static void leave_silent(struct seek *s, bool dead)
{
	char home[PEER_NAME_BYTES];

	wire_id_text(&s->ask_home, home);
	source_note(s->req, "home %.8s: segment %u: %s, it is passed by", home, s->segment_idx,
	            dead ? "no sign of life" : "no answer");
	if (is_asked_for_bytes(s, &s->ask_home)) /* then that is seen to fail as well: one fault */
		holders_dead(s->req->p->holders, &s->ask_home);
	else
		holders_home_silent(s->req->p->holders, &s->ask_home);
	if (dead) /* nor is it waited for as a holder */
		seek_avoid(s, &s->ask_home, WIRE_AVOID_FAILED);
	ask_close(s);
	ask_home_failed(s, &s->ask_home);
}

/* Look again after so long, by then with a sign of life. */
static void probe(struct seek *s, uint64_t look_ns)
{
	conn_probe(s->ask_conn);
	s->ask_ping_ns = peer_now_ns(s->req->p);
	s->ask_look_ns = look_ns;
}

/* It answered, and is to say more. While it is silent it is asked for signs of life. */
static void watch_answered(struct seek *s)
{
	const struct peer *p = s->req->p;
	const uint64_t silent_ns = source_silent_ns(s->req->run->reader);
	const uint64_t now = peer_calm_ns(p);
	const uint64_t quiet_ns = peer_now_ns(p) - conn_heard_ns(s->ask_conn);

	if (s->ask_ping_ns == 0 && quiet_ns >= silent_ns) {
		probe(s, now + line_patience_ns(s->req, s->ask_conn));
	} else if (s->ask_ping_ns == 0 || conn_lives_since(s->ask_conn, s->ask_ping_ns)) {
		s->ask_ping_ns = 0;
		s->ask_look_ns = now + silent_ns - min_u64(quiet_ns, silent_ns / 2);
	} else {
		leave_silent(s, true);
	}
}

/* It brings what it was asked for as a holder: its answer is behind that. */
static bool is_in_line(const struct seek *s)
{
	return peer_calm_ns(s->req->p) < s->asked_ns + s->ask_line_ns &&
	       line_is_behind(s->req, s->ask_conn, s->ask_sent_ns, s->ask_began_bytes, s->asked_ns);
}

/* It has not answered yet. Who lives is given more time; who does not, or not any more, not. */
static void watch_unanswered(struct seek *s)
{
	const bool probed = s->ask_ping_ns != 0;
	const bool lives = conn_lives_since(s->ask_conn, probed ? s->ask_ping_ns : s->ask_sent_ns);

	if (lives && !probed)
		probe(s, s->asked_ns + source_stuck_ns(s->req->run->reader));
	else if (lives && is_in_line(s))
		probe(s, peer_calm_ns(s->req->p) + line_patience_ns(s->req, s->ask_conn));
	else
		leave_silent(s, !lives);
}

void ask_watch(struct seek *s)
{
	if (s->ask_open && s->ask_conn != NULL &&
	    !holders_trusted(s->req->p->holders, &s->ask_home)) {
		ask_close(s);
		ask_home_failed(s, &s->ask_home);
		s->asked = set_none(s->want.n);
		return;
	}
	if (ask_silent_ns(s) > peer_calm_ns(s->req->p))
		return;
	if (s->ask_answered)
		watch_answered(s);
	else
		watch_unanswered(s);
}
