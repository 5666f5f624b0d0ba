/*
 * cmd_peers: the other agents, and leaving them in order.
 */
#include "commands.h"
#include "render.h"
#include "text.h"
#include <errno.h>

#define TIMEOUT_S_MAX 999999U

int cmd_peers(struct shoal *sh)
{
	static const struct column columns[] = {
		{ "PEER", "id", CELL_SHORT, NULL },
		{ "STATE", "state", CELL_TEXT, NULL },
		{ "ZONE", "zone", CELL_TEXT, NULL },
		{ "ADDRESS", "address", CELL_TEXT, NULL },
		{ "RTT", "rtt_us", CELL_MICROS, NULL },
		{ "FIRST BYTE", "first_byte_us", CELL_MICROS, NULL },
		{ "PER SECOND", "rate_bytes_per_s", CELL_BYTES, NULL },
		{ "RECEIVED", "received_bytes", CELL_BYTES, NULL },
		{ "SENT", "sent_bytes", CELL_BYTES, NULL },
		{ "FAILED", "failed", CELL_COUNT, NULL },
		{ "MISSED", "missed", CELL_COUNT, NULL },
		{ "LIED", "lied", CELL_COUNT, NULL },
		{ "WRONG BYTES", "wrong_bytes", CELL_COUNT, NULL },
	};
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .method = "GET", .path = "/v1/peers" };
	const int status = shoal_ask(sh, &req, &document);

	if (status != SHOAL_DONE || sh->json)
		return status;
	if (!json_is_true(json_object_get(document, "enabled"))) {
		(void)puts("This node is alone (peers.listen is off: docs/operating.md says how to "
		           "set it).");
		return status;
	}
	if (json_is_true(json_object_get(document, "insecure")))
		(void)puts("INSECURE: peers talk in plain text, without certificates.\n");
	render_table(stdout, json_object_get(document, "peers"), columns, ARRAY_LEN(columns));
	return status;
}

int cmd_drain(struct shoal *sh)
{
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .socket = sh->socket, .method = "POST", .path = "/v1/drain" };
	uint64_t seconds = 0;
	struct err e = { 0 };
	int status;

	/* 0 would be no limit to the client. */
	if (sh->timeout_s != NULL &&
	    (!text_number(sh->timeout_s, TIMEOUT_S_MAX, &seconds) || seconds == 0))
		return shoal_fail(
			sh, SHOAL_USAGE,
			"--timeout takes a whole number of seconds from 1 (such as --timeout 60)");
	req.timeout_ms = (uint32_t)(seconds * 1000);
	status = client_call(&req, &document, &e);
	if (status == SHOAL_FAILED && e.code == ETIMEDOUT)
		return shoal_fail(sh, status,
		                  "peers are still being served (it takes no new ones: stop the "
		                  "agent, and they ask others)");
	if (status != SHOAL_DONE)
		return shoal_fail(sh, status, e.msg);
	if (sh->json)
		render_json(stdout, document);
	else
		(void)puts("drained: peers ask this node for nothing any more");
	return status;
}
