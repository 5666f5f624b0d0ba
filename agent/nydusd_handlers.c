/*
 * nydusd_handlers: the daemon, its mounts, its configuration. Source: facts of nydusd 2.4's API, in
 * docs/nydusd.md.
 */
#include "mem.h"
#include "nydusd_api.h"
#include "nydusd_log.h"
#include <event2/http.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

/* ---- the daemon ---- */

static json_t *backend_json(const struct instance *i)
{
	char when[32] = "";
	const time_t mounted = (time_t)i->mounted_s;
	struct tm tm;

	if (gmtime_r(&mounted, &tm) != NULL)
		(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_pack("{s:o, s:o, s:s, s:O}", "backend_type", json_words("rafs"), "mountpoint",
	                 json_words(i->at), "mounted_time", when, "config", i->shown);
}

static json_t *daemon_json(const struct front *front)
{
	return json_pack("{s:{s:s, s:s, s:s, s:s, s:s}, s:o, s:o, s:s}", "version", "package_ver",
	                 "shoal " SHOAL_VERSION, "git_commit", "shoal-" SHOAL_VERSION, "build_time",
	                 "", "profile", "release", "rustc", "none", "id",
	                 json_words(front->args->id), "supervisor",
	                 json_words(front->args->supervisor), "state",
	                 front_state_name(front->state));
}

void nydusd_get_daemon_v2(struct nydusd_call *call)
{
	nydusd_reply(call, daemon_json(call->front));
}

void nydusd_get_daemon(struct nydusd_call *call)
{
	json_t *document = daemon_json(call->front);
	json_t *backends = json_object();
	const struct instance *i;

	DL_FOREACH(call->front->instances, i)
	{
		if (i->up)
			(void)json_object_set_new(backends, i->at, backend_json(i));
	}
	(void)json_object_set_new(document, "backend_collection", backends);
	nydusd_reply(call, document);
}

bool nydusd_log_level(const char *name, enum log_level *ret_level)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = { { "trace", LOG_DEBUG },
		       { "debug", LOG_DEBUG },
		       { "info", LOG_INFO },
		       { "warn", LOG_WARN },
		       { "error", LOG_ERROR } };

	for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
		if (strcmp(levels[i].name, name) == 0) {
			*ret_level = levels[i].level;
			return true;
		}
	}
	return false;
}

void nydusd_put_daemon(struct nydusd_call *call)
{
	enum log_level level;

	if (!nydusd_log_level(json_str(call->body, "log_level"), &level)) {
		nydusd_fail(call, HTTP_BADREQUEST,
		            "\"log_level\" is one of trace, debug, info, warn, error");
		return;
	}
	log_set_level(call->front->log, level);
	nydusd_reply_nothing(call);
}

/* What goes wrong stands in the agent's log and metrics. */
void nydusd_get_events(struct nydusd_call *call)
{
	nydusd_reply(call, json_array());
}

static const char *mountpoint_of(struct nydusd_call *call)
{
	const char *at = json_string_value(json_object_get(call->query, "mountpoint"));

	if (at == NULL)
		nydusd_fail(call, HTTP_BADREQUEST, "the parameter \"mountpoint\" is missing");
	return at;
}

void nydusd_get_backend(struct nydusd_call *call)
{
	const char *at = mountpoint_of(call);
	const struct instance *i;

	if (at == NULL)
		return;
	i = front_find(call->front, at);
	if (i == NULL || !i->up)
		nydusd_fail(call, HTTP_INTERNAL, "nothing is mounted there");
	else
		nydusd_reply(call, backend_json(i));
}

/* ---- its life ---- */

void nydusd_put_start(struct nydusd_call *call)
{
	if (call->front->state != FRONT_READY) {
		nydusd_fail(call, HTTP_BADREQUEST, "only what is READY can be started");
		return;
	}
	call->front->state = FRONT_RUNNING;
	nydusd_reply_nothing(call);
}

void nydusd_put_exit(struct nydusd_call *call)
{
	struct front *front = call->front;

	nydusd_reply_nothing(call);
	front->exit(front);
}

void nydusd_put_sendfd(struct nydusd_call *call)
{
	front_send(call->front, nydusd_done, call);
}

void nydusd_put_takeover(struct nydusd_call *call)
{
	if (call->front->state == FRONT_INIT)
		front_take_over(call->front, nydusd_done, call);
	else
		nydusd_fail(call, HTTP_BADREQUEST, "only in the state INIT can it take over");
}

/* ---- mounts ---- */

struct mount_wish {
	const char *at;
	const char *source;
	const char *config;
};

/* @return false: it is answered */
static bool take_wish(struct nydusd_call *call, struct mount_wish *ret_wish)
{
	const char *type = json_str(call->body, "fs_type");

	if (call->front->root == NULL) {
		nydusd_fail(call, HTTP_NOTIMPLEMENTED, "a singleton has no mountpoint");
		return false;
	}
	ret_wish->at = mountpoint_of(call);
	if (ret_wish->at == NULL)
		return false;
	ret_wish->source = json_string_value(json_object_get(call->body, "source"));
	ret_wish->config = json_string_value(json_object_get(call->body, "config"));
	if (ret_wish->source == NULL || ret_wish->config == NULL) {
		nydusd_fail(call, HTTP_BADREQUEST, "\"source\" and \"config\" must be texts");
		return false;
	}
	if (strcmp(type, "rafs") != 0) {
		nydusd_fail(call,
		            strncmp(type, "passthrough", 11) == 0 ? HTTP_NOTIMPLEMENTED
		                                                  : HTTP_BADREQUEST,
		            "\"fs_type\": shoal serves rafs alone");
		return false;
	}
	if (call->front->state != FRONT_RUNNING) {
		nydusd_fail(call, HTTP_SERVUNAVAIL, "it is not RUNNING");
		return false;
	}
	return true;
}

void nydusd_post_mount(struct nydusd_call *call)
{
	struct mount_wish wish;

	if (!take_wish(call, &wish))
		return;
	nydusd_give_up_when_gone(call);
	front_mount(call->front, wish.at, wish.source, wish.config, nydusd_done, call);
}

void nydusd_put_mount(struct nydusd_call *call)
{
	struct mount_wish wish;

	if (!take_wish(call, &wish))
		return;
	nydusd_give_up_when_gone(call);
	front_remount(call->front, wish.at, wish.source, wish.config, nydusd_done, call);
}

void nydusd_delete_mount(struct nydusd_call *call)
{
	const char *at = mountpoint_of(call);

	if (at != NULL)
		front_umount(call->front, at, nydusd_done, call);
}

/* ---- configuration ---- */

/* There may be a proxy's alone. */
static bool opens_registry(const json_t *credentials)
{
	return json_object_get(credentials, "username") != NULL ||
	       json_object_get(credentials, "token") != NULL;
}

void nydusd_get_config(struct nydusd_call *call)
{
	const struct instance *i = front_find(call->front, json_str(call->query, "id"));

	if (i == NULL)
		nydusd_fail(call, HTTP_NOTFOUND, "nothing is mounted under this id");
	else /* nydusd shows secrets here */
		nydusd_reply(call, json_pack("{s:s}", "registry_auth",
		                             opens_registry(i->credentials) ? "(set)" : ""));
}

/* {"registry_auth": base64 of USER:PASSWORD} */
void nydusd_put_config(struct nydusd_call *call)
{
	const char *id = json_string_value(json_object_get(call->query, "id"));
	const char *auth = json_string_value(json_object_get(call->body, "registry_auth"));

	if (id == NULL)
		nydusd_fail(call, HTTP_BADREQUEST, "the parameter \"id\" is missing");
	else if (auth == NULL || json_object_size(call->body) != 1)
		nydusd_fail(call, HTTP_INTERNAL,
		            "\"registry_auth\", a text, is all that can be changed here (PUT "
		            "/api/v1/mount changes a mount's proxy)");
	else
		front_give(call->front, id, auth, nydusd_done, call);
}

void nydusd_no_blobs(struct nydusd_call *call)
{
	nydusd_fail(call, HTTP_NOTIMPLEMENTED, "there is no blob service for fscache here");
}
