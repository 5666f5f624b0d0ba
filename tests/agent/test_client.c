/*
 * The command's side of the API: lines out of an answer, whatever pieces it comes in.
 */
#include "client.h"
#include "mem.h"
#include "unix_socket.h"
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LONG_LINE_BYTES (UINT64_C(8) << 20)

/* ---- how many bytes are searched ---- */

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c): the linker wants these names */
static _Atomic uint64_t n_searched_bytes;

void *__real_memchr(const void *bytes, int c, size_t n_bytes);
void *__wrap_memchr(const void *bytes, int c, size_t n_bytes);

void *__wrap_memchr(const void *bytes, int c, size_t n_bytes)
{
	n_searched_bytes += n_bytes;
	return __real_memchr(bytes, c, n_bytes);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c) */

/* ---- an agent that gives one answer ---- */

struct world {
	char dir[32];
	char *path;
	int listener;
	pthread_t thread;
	const char *body;
	size_t n_lines;
};

static void *answer(void *arg)
{
	static const char head[] = "HTTP/1.0 200 OK\r\n\r\n";
	const struct world *w = arg;
	struct pollfd called = { .fd = w->listener, .events = POLLIN };
	AUTO(close_fd) int fd = poll(&called, 1, -1) == 1 ? accept(w->listener, NULL, NULL) : -1;
	char asked[1024] = "";
	size_t n_asked = 0;
	ssize_t n = 1;

	while (n > 0 && strstr(asked, "\r\n\r\n") == NULL && n_asked < sizeof(asked) - 1) {
		n = read(fd, asked + n_asked, sizeof(asked) - 1 - n_asked);
		n_asked += n > 0 ? (size_t)n : 0;
	}
	n = send(fd, head, strlen(head), MSG_NOSIGNAL);
	for (const char *at = w->body; n > 0 && *at != '\0'; at += n)
		n = send(fd, at, strlen(at), MSG_NOSIGNAL);
	return NULL;
}

static void count_line(void *arg, const json_t *line)
{
	struct world *w = arg;

	(void)line;
	w->n_lines++;
}

static int ask(struct world *w, bool stream, const char *body, json_t **ret_document, struct err *e)
{
	const struct client_request req = { .socket = w->path,
		                            .method = "GET",
		                            .path = "/v1/status",
		                            .stream = stream,
		                            .line = count_line,
		                            .arg = w };
	int status;

	w->body = body;
	w->n_lines = 0;
	assert_int_equal(pthread_create(&w->thread, NULL, answer, w), 0);
	status = client_call(&req, ret_document, e);
	assert_int_equal(pthread_join(w->thread, NULL), 0);
	return status;
}

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct err e = { 0 };

	(void)strncpy(w->dir, "/tmp/shoal-test-XXXXXX", sizeof(w->dir) - 1);
	if (mkdtemp(w->dir) == NULL)
		return -1;
	w->path = xasprintf("%s/s.sock", w->dir);
	*state = w;
	return unix_listen("test", w->path, 1, &w->listener, &e);
}

static int teardown(void **state)
{
	struct world *w = *state;

	close_fd(&w->listener);
	(void)unlink(w->path);
	(void)rmdir(w->dir);
	free(w->path);
	free(w);
	return 0;
}

static void each_line_is_told_and_the_last_one_counts(void **state)
{
	struct world *w = *state;
	AUTO(json_drop) json_t *document = NULL;
	struct err e = { 0 };

	assert_int_equal(ask(w, true,
	                     "{\"done_bytes\": 1}\n{\"done_bytes\": 2}\n{\"done\": true}\n",
	                     &document, &e),
	                 SHOAL_DONE);
	assert_int_equal(w->n_lines, 3);
	assert_true(json_is_true(json_object_get(document, "done")));
}

static void a_stream_that_breaks_off_is_no_success(void **state)
{
	struct world *w = *state;
	json_t *document = NULL;
	struct err e = { 0 };

	assert_int_equal(ask(w, true, "{\"done_bytes\": 1}\n{\"done\": tr", &document, &e),
	                 SHOAL_FAILED);
	assert_non_null(strstr(e.msg, "ended in the middle"));
	assert_null(document);
}

static void a_long_line_is_searched_for_its_end_once(void **state)
{
	static const char begin[] = "{\"a\": \"";
	static const char end[] = "\"}\n";
	struct world *w = *state;
	AUTO(json_drop) json_t *document = NULL;
	AUTO(free_str) char *body = xcalloc(1, LONG_LINE_BYTES + sizeof(begin) + sizeof(end));
	struct err e = { 0 };

	memcpy(body, begin, strlen(begin));
	memset(body + strlen(begin), 'x', LONG_LINE_BYTES);
	memcpy(body + strlen(begin) + LONG_LINE_BYTES, end, sizeof(end));
	n_searched_bytes = 0;
	assert_int_equal(ask(w, false, body, &document, &e), SHOAL_DONE);
	assert_int_equal(json_string_length(json_object_get(document, "a")), LONG_LINE_BYTES);
	assert_in_range(n_searched_bytes, LONG_LINE_BYTES, 2 * LONG_LINE_BYTES);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(each_line_is_told_and_the_last_one_counts),
		T(a_stream_that_breaks_off_is_no_success),
		T(a_long_line_is_searched_for_its_end_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
