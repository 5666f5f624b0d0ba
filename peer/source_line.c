/*
 * source_line: what connections bring of which an answer is expected. Where others share a line,
 * answers are behind what comes by it for other questions: who is behind that is neither dead nor
 * stuck.
 */
#include "bytes.h"
#include "source_impl.h"

/* What a connection brings at least, of which something is expected: a hundredth of 1 Mbit/s */
#define LEAST_BYTES_PER_S 1024U
#define LINE_MAX_NS       (10 * NS_PER_S) /* behind others on its connection ... */
#define LINE_SHARE        3               /* ... and this share of the time that is left for it */

uint64_t line_longest_ns(const struct source_req *req)
{
	const uint64_t now = peer_now_ns(req->p);
	const uint64_t left_ns = req->run->deadline_ns > now ? req->run->deadline_ns - now : 0;

	return min_u64(left_ns / LINE_SHARE, LINE_MAX_NS);
}

/* Since from_ns, by the patient clock, when from_bytes had come by it: of whatever was asked. */
static bool comes_at(const struct source_req *req, const struct conn *c, uint64_t bytes_per_s,
                     uint64_t from_bytes, uint64_t from_ns)
{
	const uint64_t bytes = conn_counts(c)->payload_in_bytes - from_bytes;
	const uint64_t ns = peer_calm_ns(req->p) - from_ns;

	return bytes * NS_PER_S >= bytes_per_s * ns;
}

uint64_t line_patience_ns(const struct source_req *req, const struct conn *c)
{
	return max_u64(source_silent_ns(req->run->reader), conn_patience_ns(c));
}

/* So that all of it is here while its reader waits for peers; he may have come late, though. */
static uint64_t needed_bytes_per_s(const struct get *g)
{
	const uint64_t time_ns = max_u64(vain_most_ns(g->s->req), NS_PER_S);

	return g->reader ? max_u64(SLOW_BYTES_PER_S, g->wire_bytes * NS_PER_S / time_ns)
	                 : SLOW_BYTES_PER_S;
}

bool line_brings(const struct get *g)
{
	return comes_at(g->s->req, g->link->conn, needed_bytes_per_s(g), g->began_bytes,
	                g->began_ns);
}

bool line_moves(const struct get *g)
{
	const bool strict = !g->wait && holders_failing(g->s->req->p->holders, &g->node);

	return comes_at(g->s->req, g->link->conn,
	                strict ? needed_bytes_per_s(g) : LEAST_BYTES_PER_S, g->line_bytes,
	                g->watched_ns);
}

bool line_is_behind(const struct source_req *req, const struct conn *c, uint64_t sent_ns,
                    uint64_t from_bytes, uint64_t from_ns)
{
	return conn_pong_ns(c) <= sent_ns &&
	       comes_at(req, c, SLOW_BYTES_PER_S, from_bytes, from_ns);
}
