/*
 * test_http_head: what registries say in headers, and what lies in them: pure.
 */
#include "challenge.h"
#include "http_head.h"
#include "mem.h"
#include "url.h"
#include "window.h"
#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NOW_S 784111770 /* seven seconds before the date of RFC 9110's example */

static bool feed(struct head_reader *h, const char *const *lines, size_t n)
{
	bool complete = false;

	for (size_t i = 0; i < n; i++)
		complete = head_reader_line(h, lines[i], strlen(lines[i]), NOW_S);
	return complete;
}
#define FEED(h, ...)                                                                               \
	feed(h, (const char *const[]){ __VA_ARGS__ },                                              \
	     ARRAY_LEN(((const char *const[]){ __VA_ARGS__ })))

static void headers_are_read_whatever_their_case(void **state)
{
	struct head_reader h = { 0 };

	(void)state;
	assert_true(FEED(&h, "HTTP/1.1 206 Partial Content\r\n", "content-LENGTH:  10\r\n",
	                 "Content-Range: bytes 5-14/100\r\n", "Location: /x \r\n",
	                 "WWW-Authenticate: Basic\r\n", "www-authenticate: Bearer realm=\"r\"\r\n",
	                 "Retry-After: 7\r\n", "\r\n"));
	assert_int_equal(h.head.status, 206);
	assert_int_equal(h.head.content_length, 10);
	assert_true(h.head.has_content_range);
	assert_int_equal(h.head.range_first, 5);
	assert_int_equal(h.head.range_last, 14);
	assert_int_equal(h.head.range_total, 100);
	assert_string_equal(h.head.location, "/x");
	assert_string_equal(h.head.www_authenticate, "Basic, Bearer realm=\"r\"");
	assert_int_equal(h.head.retry_after_s, 7);
	assert_false(FEED(&h, "Content-Length: 99\r\n", "\r\n")); /* a trailer changes nothing */
	assert_int_equal(h.head.content_length, 10);
	head_reader_reset(&h);
}

static void interim_answers_are_passed_over(void **state)
{
	struct head_reader h = { 0 };

	(void)state;
	assert_false(FEED(&h, "HTTP/1.1 100 Continue\r\n", "Location: /no\r\n", "\r\n"));
	assert_true(FEED(&h, "HTTP/2 200\r\n", "\r\n"));
	assert_int_equal(h.head.status, 200);
	assert_int_equal(h.head.content_length, -1);
	assert_null(h.head.location);
	head_reader_reset(&h);
}

static void content_ranges_that_make_no_sense_are_none(void **state)
{
	static const char *const bad[] = {
		"Content-Range: bytes 5-4/100",
		"Content-Range: bytes 5-14/14",
		"Content-Range: bytes */100",
		"Content-Range: bytes 5-14",
		"Content-Range: bytes 5-14/x",
		"Content-Range: bytes -5/100",
		"Content-Range: items 5-14/100",
		"Content-Range: bytes 5-14/100x",
		"Content-Range: bytes 5-99999999999999999999/*",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct head_reader h = { 0 };

		assert_true(FEED(&h, "HTTP/1.1 206 x", bad[i], ""));
		assert_false(h.head.has_content_range);
		head_reader_reset(&h);
	}
}

static void retry_after_may_be_a_date_and_is_bounded(void **state)
{
	struct head_reader h = { 0 };

	(void)state;
	assert_true(FEED(&h, "HTTP/1.1 503 x", "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT", ""));
	assert_int_equal(h.head.retry_after_s, 7);
	head_reader_reset(&h);
	assert_true(FEED(&h, "HTTP/1.1 503 x", "Retry-After: Sun, 06 Nov 1994 08:40:00 GMT", ""));
	assert_int_equal(h.head.retry_after_s, 0);
	head_reader_reset(&h);
	assert_true(FEED(&h, "HTTP/1.1 503 x", "Retry-After: 999999999999", ""));
	assert_int_equal(h.head.retry_after_s, 86400);
	head_reader_reset(&h);
	assert_true(FEED(&h, "HTTP/1.1 503 x", "Retry-After: soon", ""));
	assert_int_equal(h.head.retry_after_s, -1);
	head_reader_reset(&h);
}

/* ---- challenges ---- */

static void the_bearer_challenge_is_preferred_and_its_values_are_read(void **state)
{
	struct challenge c;

	(void)state;
	assert_true(challenge_parse("Negotiate abc==, Basic realm=\"x, y\", bearer "
	                            "realm = \"https://a/t?x=\\\"1\\\"\" ,service=s , "
	                            "scope=\"repository:a/b:pull,push\", Basic",
	                            &c));
	assert_int_equal(c.scheme, CHALLENGE_BEARER);
	assert_string_equal(c.realm, "https://a/t?x=\"1\"");
	assert_string_equal(c.service, "s");
	assert_string_equal(c.scope, "repository:a/b:pull,push");
	assert_true(challenge_parse("Basic", &c));
	assert_int_equal(c.scheme, CHALLENGE_BASIC);
}

static void what_cannot_be_answered_is_no_challenge(void **state)
{
	static const char *const bad[] = { "",
		                           ",,,",
		                           "Digest realm=\"x\"",
		                           "Bearer service=\"s\"",
		                           "Bearer realm=\"open",
		                           "\"",
		                           "=",
		                           "Bearer" };
	struct challenge c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(challenge_parse(bad[i], &c));
}

/* ---- URLs ---- */

static void redirects_are_resolved_and_never_lead_down_to_http(void **state)
{
	char *url = NULL;
	struct err e;

	(void)state;
	assert_int_equal(url_resolve("https://h:1/v2/a?x", "/b?c=d", &url, &e), 0);
	assert_string_equal(url, "https://h:1/b?c=d");
	free_str(&url);
	assert_int_equal(url_resolve("http://h/v2/a", "https://cdn/x", &url, &e), 0);
	free_str(&url);
	assert_int_equal(url_resolve("https://h/a", "http://h/b", &url, &e), -EPROTO);
	assert_int_equal(url_resolve("http://h/a", "ftp://h/b", &url, &e), -EPROTO);
	assert_int_equal(url_resolve("http://h/a", "file:///etc/passwd", &url, &e), -EPROTO);
	assert_int_equal(url_resolve("http://h/a", "http://u:p@h/b", &url, &e), -EPROTO);
	assert_int_equal(url_resolve("http://h/a", "http://", &url, &e), -EPROTO);
}

static void servers_are_the_same_by_scheme_host_and_port(void **state)
{
	char authority[AUTHORITY_MAX_BYTES];
	struct err e;
	char *escaped = url_escape("a b/%?#~");

	(void)state;
	assert_true(url_same_server("https://H/a", "https://h:443/b"));
	assert_false(url_same_server("https://h/a", "http://h:443/b"));
	assert_false(url_same_server("https://h/a", "https://h.evil/a"));
	assert_false(url_same_server("https://h:1/a", "https://h:2/a"));
	assert_int_equal(url_authority("http://h:80/x", authority, &e), 0);
	assert_string_equal(authority, "h");
	assert_int_equal(url_authority("http://h:5000/x", authority, &e), 0);
	assert_string_equal(authority, "h:5000");
	assert_string_equal(escaped, "a%20b%2f%25%3f%23~");
	free_str(&escaped);
}

/* ---- windows ---- */

static struct http_head head_206(uint64_t first, uint64_t last, uint64_t total)
{
	return (struct http_head){ .status = 206,
		                   .content_length = -1,
		                   .has_content_range = true,
		                   .range_first = first,
		                   .range_last = last,
		                   .range_total = total };
}

static void a_window_goes_on_where_the_last_exchange_stopped(void **state)
{
	struct http_request request = { 0 };
	struct http_head head = head_206(10, 19, 100);
	struct window w;
	size_t first = 9;
	struct err e;

	(void)state;
	window_init(&w, true, 10, 19);
	window_ask(&w, &request);
	assert_true(request.has_range);
	assert_int_equal(window_head(&w, &head, &e), 0);
	assert_int_equal(window_take(&w, 4, &first), 4);
	assert_int_equal(first, 0);
	assert_false(window_complete(&w));
	window_ask(&w, &request);
	assert_int_equal(request.range_first, 14);
	assert_int_equal(request.range_last, 19);
	head = (struct http_head){ .status = 200, .content_length = 100 };
	assert_int_equal(window_head(&w, &head, &e), WINDOW_RANGE_IGNORED);
	assert_int_equal(window_take(&w, 13, &first), 0);
	assert_int_equal(window_take(&w, 50, &first), 6);
	assert_int_equal(first, 1);
	assert_true(window_complete(&w));
	assert_int_equal(window_take(&w, 50, &first), 0);
}

static void a_part_that_was_not_asked_for_is_no_answer(void **state)
{
	static const uint64_t wrong[][3] = {
		{ 9, 19, 100 }, { 11, 19, 100 }, { 10, 20, 100 }, { 0, 9, 100 }, { 10, 19, 19 }
	};
	struct http_request request = { 0 };
	struct http_head head;
	struct window w;
	struct err e;

	(void)state;
	window_init(&w, true, 10, 19);
	window_ask(&w, &request);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		head = head_206(wrong[i][0], wrong[i][1], wrong[i][2]);
		assert_int_equal(window_head(&w, &head, &e), -EPROTO);
	}
	head = head_206(10, 19, 0);
	assert_int_equal(window_head(&w, &head, &e), 0);
	head.has_content_range = false;
	assert_int_equal(window_head(&w, &head, &e), -EPROTO);
}

static void a_whole_object_that_changes_its_length_is_no_answer(void **state)
{
	struct http_request request = { 0 };
	struct http_head head = { .status = 200, .content_length = 10 };
	struct window w;
	size_t first;
	struct err e;

	(void)state;
	window_init(&w, false, 0, 0);
	window_ask(&w, &request);
	assert_false(request.has_range);
	assert_int_equal(window_head(&w, &head, &e), 0);
	assert_int_equal(window_take(&w, 4, &first), 4);
	window_ask(&w, &request);
	assert_true(request.has_range);
	head.content_length = 11;
	assert_int_equal(window_head(&w, &head, &e), -EPROTO);
	head = head_206(4, 9, 11);
	assert_int_equal(window_head(&w, &head, &e), 0); /* the part is what was asked for */
	window_init(&w, false, 0, 0);
	window_ask(&w, &request);
	head = head_206(0, 9, 10);
	assert_int_equal(window_head(&w, &head, &e), -EPROTO); /* nobody asked for a part */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_read_whatever_their_case),
		cmocka_unit_test(interim_answers_are_passed_over),
		cmocka_unit_test(content_ranges_that_make_no_sense_are_none),
		cmocka_unit_test(retry_after_may_be_a_date_and_is_bounded),
		cmocka_unit_test(the_bearer_challenge_is_preferred_and_its_values_are_read),
		cmocka_unit_test(what_cannot_be_answered_is_no_challenge),
		cmocka_unit_test(redirects_are_resolved_and_never_lead_down_to_http),
		cmocka_unit_test(servers_are_the_same_by_scheme_host_and_port),
		cmocka_unit_test(a_window_goes_on_where_the_last_exchange_stopped),
		cmocka_unit_test(a_part_that_was_not_asked_for_is_no_answer),
		cmocka_unit_test(a_whole_object_that_changes_its_length_is_no_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
