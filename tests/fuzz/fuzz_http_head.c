/*
 * fuzz_http_head: an answer's head, line by line, and what a window and a redirect make of it.
 */
#include "fuzz.h"
#include "http_head.h"
#include "mem.h"
#include "url.h"
#include "window.h"
#include <assert.h>
#include <string.h>

static void use(const struct http_head *head)
{
	struct http_request request = { 0 };
	struct window window;
	char *url = NULL;
	struct err e;
	size_t first = 0;

	assert(head->retry_after_s >= -1);
	window_init(&window, true, 10, 99);
	window_ask(&window, &request);
	if ((head->status == 200 || head->status == 206) && window_head(&window, head, &e) >= 0) {
		const size_t n = window_take(&window, 64, &first);

		assert(first + n <= 64 && window.next <= window.end);
	}
	if (head->location != NULL &&
	    url_resolve("https://registry.example/v2/a/blobs/x", head->location, &url, &e) == 0) {
		assert(url_is_tls(url));
		free_str(&url);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	const char *at = (const char *)data;
	struct head_reader h = { 0 };
	bool complete = false;

	while (size_bytes > 0 && !complete) {
		const char *end = memchr(at, '\n', size_bytes);
		const size_t n = end != NULL ? (size_t)(end - at) + 1 : size_bytes;

		complete = head_reader_line(&h, at, n, 1700000000);
		at += n;
		size_bytes -= n;
	}
	if (complete)
		use(&h.head);
	head_reader_reset(&h);
	return 0;
}
