/*
 * api_peers: the other agents, as this one sees them, and the end of its work for them.
 */
#include "api.h"
#include <errno.h>
#include <utlist.h>

static void add_peer(void *arg, const struct peer_info *info)
{
	json_t *peer = json_object();

	json_set_text(peer, "id", info->name);
	json_set_text(peer, "state", info->state);
	json_set_text(peer, "zone", info->zone);
	json_set_text(peer, "address", info->address);
	json_set_u64(peer, "rtt_us", info->rtt_us);
	json_set_u64(peer, "first_byte_us", info->first_byte_us);
	json_set_u64(peer, "rate_bytes_per_s", info->rate_bytes_per_s);
	json_set_u64(peer, "received_bytes", info->received_bytes);
	json_set_u64(peer, "sent_bytes", info->sent_bytes);
	json_set_u64(peer, "failed", info->n_failed);
	json_set_u64(peer, "missed", info->n_missed);
	json_set_u64(peer, "lied", info->n_lied);
	json_set_u64(peer, "wrong_bytes", info->n_wrong_bytes);
	json_set_u64(peer, "paused_ms", info->paused_ms);
	(void)json_array_append_new(arg, peer);
}

json_t *api_peers_list(const struct agent *agent)
{
	json_t *list = json_array();

	if (agent->peer != NULL)
		peer_list(agent->peer, add_peer, list);
	return list;
}

void api_peers(struct api_call *call)
{
	const struct peer *p = call->api->agent->peer;
	json_t *document = json_object();

	(void)json_object_set_new(document, "enabled", json_boolean(p != NULL));
	(void)json_object_set_new(document, "insecure",
	                          json_boolean(call->api->agent->config->peers_insecure));
	(void)json_object_set_new(document, "draining",
	                          json_boolean(p != NULL && peer_is_draining(p)));
	(void)json_object_set_new(document, "peers", api_peers_list(call->api->agent));
	api_reply(call, document);
}

json_t *api_peers_summary(struct agent *agent)
{
	json_t *summary = json_object();
	static const struct {
		const char *state, *member;
	} others[] = {
		{ "up", "up" },
		{ "draining", "others_draining" },
		{ "suspect", "suspect" },
		{ "down", "down" },
	};

	json_set_text(summary, "listen", agent->config->peers_listen);
	(void)json_object_set_new(
		summary, "insecure",
		json_boolean(agent->peer != NULL && agent->config->peers_insecure));
	(void)json_object_set_new(
		summary, "draining",
		json_boolean(agent->peer != NULL && peer_is_draining(agent->peer)));
	if (agent->peer != NULL)
		peer_count(agent->peer);
	for (size_t i = 0; agent->peer != NULL && i < ARRAY_LEN(others); i++)
		json_set_u64(summary, others[i].member,
		             (uint64_t)series_get(metrics_series(agent->metrics, METRIC_PEERS,
		                                                 &others[i].state)));
	json_set_u64(summary, "received_bytes",
	             (uint64_t)metrics_sum(agent->metrics, METRIC_PEER_RECEIVED_BYTES));
	json_set_u64(summary, "sent_bytes",
	             (uint64_t)metrics_sum(agent->metrics, METRIC_PEER_SENT_BYTES));
	return summary;
}

/* ---- drain ---- */

static void reply_drained(struct api_call *call)
{
	api_reply(call, json_pack("{s:b}", "drained", 1));
}

static bool somebody_waits(const struct api *api)
{
	const struct api_call *call;

	DL_FOREACH(api->calls, call)
	{
		if (call->drains)
			return true;
	}
	return false;
}

static void on_drained(void *arg)
{
	struct api *api = arg;
	struct api_call *call, *next;

	DL_FOREACH_SAFE(api->calls, call, next)
	{
		if (call->drains)
			reply_drained(call);
	}
}

/* The caller goes, or the agent does: others may wait still. */
static void on_gone(struct api_call *call, void *arg)
{
	struct api *api = arg;
	struct err e = { 0 };
	const int r = err_set(&e, ESHUTDOWN,
	                      "not drained: the agent is stopping, and who was being served asks "
	                      "others");

	call->drains = false;
	if (!somebody_waits(api))
		peer_drain_forget(api->agent->peer);
	api_fail(call, r, &e);
}

void api_drain(struct api_call *call)
{
	struct peer *p = call->api->agent->peer;

	if (p == NULL) {
		reply_drained(call); /* alone: there is nobody to serve */
		return;
	}
	call->drains = true;
	call->on_gone = on_gone;
	call->on_gone_arg = call->api;
	peer_drain(p, on_drained, call->api); /* all that wait have this done in common */
}
