/*
 * source_turn: whose turn it is at a holder. It grants questions in the order in which they come,
 * and serves readers by turns, in the order of the GRANTs, a piece of each. What it sends behind a
 * GRANT, or behind a chunk, is of questions that were granted before, or had theirs later, until
 * the one of that GRANT or chunk has its turn again. So when readers' questions have brought more
 * than these still had to bring, it could have sent a piece of this one, and did not.
 *
 * Counted are whole chunks of questions that are open: what was cancelled may still come, and a
 * prefetch has what readers leave. What is owed is no less than what comes: some of it may have
 * been cancelled since, or be missing there.
 */
#include "source_impl.h"

/* All that the others still bring goes before its next piece. */
static void next_turn(struct get *g)
{
	const struct link *l = g->link;

	g->turn_bytes = l->came_bytes + l->owed_bytes - g->left_bytes;
}

void turn_granted(struct get *g)
{
	g->turn_over = false;
	if (!g->reader)
		return;
	g->link->owed_bytes += g->left_bytes;
	next_turn(g);
}

void turn_came(struct get *g, uint32_t plain_size_bytes)
{
	g->turn_over = false;
	if (!g->reader)
		return;
	g->left_bytes -= plain_size_bytes;
	g->link->owed_bytes -= plain_size_bytes;
	g->link->came_bytes += plain_size_bytes;
	next_turn(g);
}

void turn_end(struct get *g)
{
	if (g->reader && g->granted)
		g->link->owed_bytes -= g->left_bytes;
}

/* A GRANT goes before the answer to a ping behind the question; but names are looked up first, by
 * workers that may have other work. */
static bool has_passed(const struct get *g)
{
	if (!g->granted)
		return !g->by_names && conn_pong_ns(g->link->conn) > g->sent_ns;
	return g->reader && g->link->came_bytes > g->turn_bytes;
}

void turn_look(struct get *g)
{
	g->turn_over = has_passed(g);
}
