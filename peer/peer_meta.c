/*
 * peer_meta: manifests and bootstraps for other agents.
 */
#include "peer_impl.h"

void meta_get(struct peer *p, struct link *l, const struct wire_meta_get *get)
{
	const struct wire_msg end = {
		.type = WIRE_END,
		.u.end = { .req = get->req, .status = WIRE_NOT_HERE },
	};

	(void)p;
	conn_send(l->conn, &end);
}
