/*
 * home_life: which of the nodes live, as far as a home must know it of who holds leases.
 *
 * Messages are signs of life. Where none came for too long a ping is asked for; bytes that come
 * meanwhile say that its answer may be late, behind them.
 */
#include "bytes.h"
#include "home_inside.h"

bool home_next_probe(struct home *h, struct wire_id *ret_id)
{
	for (uint32_t i = 0; h->n_probes > 0 && i < h->n_nodes_ever; i++) {
		struct h_node *n = &h->nodes[i];

		if (!n->wants_probe)
			continue;
		n->wants_probe = false;
		h->n_probes--;
		*ret_id = n->id;
		return true;
	}
	return false;
}

void home_probed(struct home *h, const struct wire_id *id, uint64_t limit_ns)
{
	const uint16_t node = home_node_known(h, id);

	if (node != NO_NODE)
		h->nodes[node].probe_limit_ns = limit_ns;
}

void home_heard(struct home *h, const struct wire_id *id)
{
	const uint16_t node = home_node_known(h, id);

	if (node != NO_NODE)
		h->nodes[node].heard_ns = clock_now_ns(h->opts.clock);
}

void home_receives(struct home *h, const struct wire_id *id)
{
	const uint16_t node = home_node_known(h, id);

	if (node != NO_NODE)
		h->nodes[node].bytes_ns = clock_now_ns(h->opts.clock);
}

enum life home_life_of(struct home *h, uint16_t node, uint64_t since_ns, uint64_t *ret_look_ns)
{
	struct h_node *n = &h->nodes[node];
	const uint64_t now_ns = clock_now_ns(h->opts.clock);
	const uint64_t limit_ns =
		max_u64(n->probe_limit_ns, (uint64_t)HOME_PROBE_MIN_MS * NS_PER_MS);

	if (n->heard_ns > since_ns || (n->bytes_ns != 0 && now_ns < n->bytes_ns + limit_ns))
		return LIVES;
	if (n->probe_ns <= since_ns) {
		n->probe_ns = now_ns;
		h->n_probes += !n->wants_probe;
		n->wants_probe = true;
	}
	*ret_look_ns = n->probe_ns + limit_ns;
	return now_ns < *ret_look_ns ? IS_ASKED : IS_SILENT;
}
