/*
 * http_answer: see http_answer.h.
 */
#include "http_answer.h"
#include "http_watch.h"
#include "mem.h"
#include <event2/buffer.h>
#include <string.h>

/* body: moved; NULL: there is none, or no memory */
static void answer(struct evhttp_request *req, int status, const char *type, struct evbuffer *body)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
	const bool is_head = evhttp_request_get_command(req) == EVHTTP_REQ_HEAD;
	AUTO(free_str) char *length = NULL;

	(void)evhttp_add_header(headers, "Content-Type", type);
	if (is_head && body != NULL) {
		length = xasprintf("%zu", evbuffer_get_length(body));
		(void)evhttp_add_header(headers, "Content-Length", length);
	}
	http_unwatch(req);
	evhttp_send_reply(req, status, NULL, is_head ? NULL : body);
	if (body != NULL)
		evbuffer_free(body);
}

void http_answer(struct evhttp_request *req, int status, const char *type, const void *bytes,
                 size_t size_bytes)
{
	struct evbuffer *body = evbuffer_new();

	if (body != NULL)
		(void)evbuffer_add(body, bytes, size_bytes);
	answer(req, status, type, body);
}

void http_answer_json(struct evhttp_request *req, int status, json_t *document, const char *end)
{
	struct evbuffer *body = document != NULL ? evbuffer_new() : NULL;
	AUTO(free_str) char *text = document != NULL ? json_dumps(document, JSON_COMPACT) : NULL;

	if (body != NULL && text != NULL)
		(void)evbuffer_add_printf(body, "%s%s", text, end);
	json_drop(&document);
	answer(req, status, "application/json", body);
}
