/*
 * http_json: see http_json.h.
 */
#include "http_json.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <string.h>
#include <sys/queue.h>

json_t *http_query(struct evhttp_request *req, bool any_bytes)
{
	const char *text = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(req));
	struct evkeyvalq pairs = { 0 };
	const struct evkeyval *pair;
	json_t *query = json_object();

	/* A text that ends early is another text. */
	if (text == NULL || strstr(text, "%00") != NULL ||
	    evhttp_parse_query_str(text, &pairs) != 0)
		return query;
	TAILQ_FOREACH(pair, &pairs, next)
	(void)json_object_set_new(query, pair->key,
	                          any_bytes ? json_string_nocheck(pair->value)
	                                    : json_words(pair->value));
	evhttp_clear_headers(&pairs);
	return query;
}

int http_body(struct evhttp_request *req, json_t **ret_body, struct err *e)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(req);
	const size_t size_bytes = evbuffer_get_length(in);
	const unsigned char *bytes;

	*ret_body = NULL;
	if (size_bytes == 0)
		return 0;
	bytes = evbuffer_pullup(in, -1);
	if (bytes == NULL)
		return err_set(e, ENOMEM, "out of memory");
	return json_parse_object((const char *)bytes, size_bytes, ret_body, e);
}
