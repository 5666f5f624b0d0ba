/*
 * http_head: status line and headers of an answer, line by line, into a struct http_head.
 *
 * Pure; hostile input. Interim answers (1xx) are passed over. Source: RFC 9110, RFC 9112.
 */
#pragma once
#include "auto.h"
#include "http.h"

#define HTTP_HEADER_MAX_BYTES 8192 /* of one kept value; longer ones are not kept */

struct head_reader {
	struct http_head head; /* its strings are those below */
	bool complete;         /* the blank line was there; lines after it (trailers) are ignored */
	char *location;
	char *www_authenticate;
	char *content_type;
	char *docker_content_digest;
};

void head_reader_reset(struct head_reader *h); /* zeroed is fine; frees */

/**
 * One line as it came, with or without its line end.
 *
 * @param wall_now_s  turns dates of Retry-After into seconds from now
 * @return true once: with this line the head became complete
 */
bool head_reader_line(struct head_reader *h, const char *line, size_t size_bytes,
                      uint64_t wall_now_s);
