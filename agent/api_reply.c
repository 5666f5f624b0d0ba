/*
 * api_reply: the forms of answers: one document, one error, or lines of JSON as they come.
 *
 * Knows evhttp's replies. A call whose caller is gone is answered all the same: evhttp then only
 * frees the request.
 */
#include "api.h"
#include "http_answer.h"
#include "http_watch.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <stdlib.h>

/* The exit status of `shoal` for r. What the system says of its own never comes as EINVAL or
 * EACCES: see err_errno(). */
static int exit_status(int r)
{
	switch (-r) {
	case EINVAL:
		return 2;
	case ENOENT:
		return 4;
	case EACCES:
		return 5;
	default:
		return 1;
	}
}

static int http_status(int r)
{
	switch (-r) {
	case EINVAL:
		return 400;
	case EACCES:
		return 403;
	case ENOENT:
		return 404;
	case EBUSY:
		return 409;
	case EAGAIN:
	case EALREADY:
	case ESHUTDOWN:
		return 503;
	default:
		return 500;
	}
}

json_t *api_error_json(int r, const char *message)
{
	json_t *error =
		json_pack("{s:o,s:i}", "message", json_words(message), "exit", exit_status(r));

	const bool on_its_way = r == -EALREADY || r == -ESHUTDOWN;

	if (r == -EAGAIN || on_its_way)
		(void)json_object_set_new(error, "again", json_true());
	if (on_its_way)
		(void)json_object_set_new(error, "on_its_way", json_true());
	return json_pack("{s:o}", "error", error);
}

static void send_document(struct api_call *call, int status, json_t *document)
{
	http_answer_json(call->req, status, document, "\n");
	api_call_end(call);
}

void api_reply(struct api_call *call, json_t *document)
{
	send_document(call, HTTP_OK, document);
}

void api_fail(struct api_call *call, int r, const struct err *why)
{
	log_info(call->api->agent->log, "request failed", "what=%s error=%s", call->what,
	         LOG_Q(why->msg));
	send_document(call, http_status(r), api_error_json(r, why->msg));
}

void api_stream_begin(struct api_call *call)
{
	(void)evhttp_add_header(evhttp_request_get_output_headers(call->req), "Content-Type",
	                        "application/x-ndjson");
	evhttp_send_reply_start(call->req, HTTP_OK, NULL);
}

static struct evbuffer *json_line(json_t *document)
{
	struct evbuffer *line = evbuffer_new();
	char *text = json_dumps(document, JSON_COMPACT);

	if (line != NULL && text != NULL)
		(void)evbuffer_add_printf(line, "%s\n", text);
	free(text);
	json_decref(document);
	return line;
}

void api_stream_line(struct api_call *call, json_t *line)
{
	struct evbuffer *text = json_line(line);

	if (text == NULL)
		return;
	evhttp_send_reply_chunk(call->req, text);
	evbuffer_free(text);
}

void api_stream_end(struct api_call *call, json_t *last)
{
	api_stream_line(call, last);
	http_unwatch(call->req);
	evhttp_send_reply_end(call->req);
	api_call_end(call);
}
