/*
 * client: HTTP over the agent's socket by libcurl, JSON lines out of it.
 *
 * Knows the form of answers and errors. Knows nothing of commands.
 */
#include "client.h"
#include "mem.h"
#include "unix_socket.h"
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_LINE_MAX_BYTES (256U << 20)
#define CONNECT_TIMEOUT_MS    5000L

const char *client_default_socket(void)
{
	const char *socket = secure_getenv("SHOAL_SOCKET");

	return socket != NULL && *socket != '\0' ? socket : SHOAL_DEFAULT_SOCKET;
}

struct answer {
	const struct client_request *req;
	char *bytes; /* of the line that is coming */
	size_t n_bytes;
	size_t room_bytes;
	json_t *last;
	struct err err;
};

static int take_line(struct answer *a, size_t line_bytes)
{
	json_drop(&a->last);
	if (json_parse_object(a->bytes, line_bytes, &a->last, &a->err) < 0)
		return -1;
	if (a->req->line != NULL)
		a->req->line(a->req->arg, a->last);
	return 0;
}

static int make_room(struct answer *a, size_t more_bytes)
{
	size_t room_bytes = a->room_bytes != 0 ? a->room_bytes : 4096;

	if (more_bytes > ANSWER_LINE_MAX_BYTES - a->n_bytes)
		return err_set(&a->err, EMSGSIZE, "the agent's answer is too long (see its log)");
	while (room_bytes < a->n_bytes + more_bytes)
		room_bytes *= 2;
	if (room_bytes != a->room_bytes)
		a->bytes = xrealloc(a->bytes, room_bytes, 1);
	a->room_bytes = room_bytes;
	return 0;
}

static size_t on_bytes(char *bytes, size_t one, size_t n_bytes, void *arg)
{
	struct answer *a = arg;
	size_t searched_bytes = a->n_bytes; /* no line ends there */
	const char *newline;

	(void)one; /* 1, says libcurl */
	if (make_room(a, n_bytes) < 0)
		return 0;
	memcpy(a->bytes + a->n_bytes, bytes, n_bytes);
	a->n_bytes += n_bytes;
	while ((newline = memchr(a->bytes + searched_bytes, '\n', a->n_bytes - searched_bytes)) !=
	       NULL) {
		const size_t line_bytes = (size_t)(newline - a->bytes);

		if (take_line(a, line_bytes) < 0)
			return 0;
		a->n_bytes -= line_bytes + 1;
		memmove(a->bytes, newline + 1, a->n_bytes);
		searched_bytes = 0;
	}
	return n_bytes;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
	const struct answer *a = arg;

	(void)down_total;
	(void)down;
	(void)up_total;
	(void)up;
	return a->req->unwanted(a->req->unwanted_arg);
}

static void easy_drop(CURL **easy)
{
	curl_easy_cleanup(*easy);
	*easy = NULL;
}

static void headers_drop(struct curl_slist **headers)
{
	curl_slist_free_all(*headers);
	*headers = NULL;
}

static int explain_failure(const struct answer *a, CURLcode code, struct err *e)
{
	struct sockaddr_un address;

	/* libcurl calls this a host whose name it cannot find. */
	if (unix_address(a->req->socket, &address) < 0) {
		(void)err_set(e, ENAMETOOLONG,
		              "no agent at %.60s...: the path of a unix socket has at most %zu "
		              "bytes (name its socket with --socket)",
		              a->req->socket, sizeof(address.sun_path) - 1);
		return SHOAL_NO_AGENT;
	}
	if (code == CURLE_COULDNT_CONNECT && access(a->req->socket, W_OK) < 0 && errno == EACCES) {
		(void)err_set(e, EACCES, "%s is not for this user (run shoal as root)",
		              a->req->socket);
		return SHOAL_NO_AGENT;
	}
	if (code == CURLE_COULDNT_CONNECT) {
		(void)err_set(e, ECONNREFUSED,
		              "no agent at %s (start shoald, or name its socket with --socket)",
		              a->req->socket);
		return SHOAL_NO_AGENT;
	}
	if (code == CURLE_ABORTED_BY_CALLBACK)
		(void)err_set(e, ECANCELED, "nobody wants it any more");
	else if (a->err.code != 0)
		*e = a->err;
	else
		(void)err_set(e, code == CURLE_OPERATION_TIMEDOUT ? ETIMEDOUT : EIO,
		              "the agent did not answer: %s (see its log)",
		              curl_easy_strerror(code));
	return SHOAL_FAILED;
}

static int code_of(const json_t *error)
{
	if (json_is_true(json_object_get(error, "on_its_way")))
		return EALREADY;
	return json_is_true(json_object_get(error, "again")) ? EAGAIN : EIO;
}

int client_result(const json_t *document, struct err *e)
{
	/* What to do, where the message does not say it. */
	static const char *const hints[] = { [SHOAL_FAILED] = "shoald's log may say more",
		                             [SHOAL_USAGE] = "see docs/commands.md",
		                             [SHOAL_NO_AGENT] = "is shoald running?",
		                             [SHOAL_NOT_FOUND] = "check the name",
		                             [SHOAL_REFUSED] = "check the credentials" };
	const json_t *error = json_object_get(document, "error");
	const uint64_t said = json_u64(error, "exit");
	const int status = said >= 1 && said <= SHOAL_REFUSED ? (int)said : SHOAL_FAILED;

	if (error == NULL)
		return SHOAL_DONE;
	(void)err_set(e, code_of(error), "%s", json_str(error, "message"));
	(void)err_hint(e, hints[status]);
	return status;
}

static int read_result(struct answer *a, json_t **ret_document, struct err *e)
{
	const int status = client_result(a->last, e);

	if (status != SHOAL_DONE)
		return status;
	if (a->last == NULL || (a->req->stream && json_object_get(a->last, "done") == NULL)) {
		(void)err_set(e, EIO, "the agent ended in the middle of its answer (see its log)");
		return SHOAL_FAILED;
	}
	*ret_document = a->last;
	a->last = NULL;
	return SHOAL_DONE;
}

static CURLcode perform(struct answer *a, const char *url, const char *body)
{
	AUTO(easy_drop) CURL *easy = curl_easy_init();
	AUTO(headers_drop) struct curl_slist *headers = NULL;

	if (easy == NULL)
		return CURLE_OUT_OF_MEMORY;
	headers = curl_slist_append(NULL, "Content-Type: application/json");
	(void)curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, a->req->socket);
	(void)curl_easy_setopt(easy, CURLOPT_URL, url);
	(void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	(void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	(void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, a);
	(void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)a->req->timeout_ms);
	if (a->req->unwanted != NULL) {
		(void)curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
		(void)curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
		(void)curl_easy_setopt(easy, CURLOPT_XFERINFODATA, a);
	}
	if (body != NULL)
		(void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
	(void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, a->req->method);
	return curl_easy_perform(easy);
}

int client_call(const struct client_request *req, json_t **ret_document, struct err *e)
{
	AUTO(free_str) char *url = xasprintf("http://shoal%s", req->path);
	AUTO(free_str) char *body = req->body != NULL ? json_dumps(req->body, JSON_COMPACT) : NULL;
	struct answer a = { .req = req };
	CURLcode code;
	int status;

	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
	code = perform(&a, url, body);
	status = code != CURLE_OK ? explain_failure(&a, code, e) : read_result(&a, ret_document, e);
	json_drop(&a.last);
	free(a.bytes);
	curl_global_cleanup();
	return status;
}

char *client_query(const char *path, const char *key, const char *value)
{
	char *escaped = curl_easy_escape(NULL, value, 0);
	char *query = xasprintf("%s?%s=%s", path, key, escaped != NULL ? escaped : "");

	curl_free(escaped);
	return query;
}
