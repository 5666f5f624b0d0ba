/*
 * http_head: reads the header lines that shoal acts upon, and drops the others.
 *
 * Knows the grammar of those headers. Does not know connections, nor what the values are for.
 */
#include "http_head.h"
#include "bytes.h"
#include "mem.h"
#include <ctype.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RETRY_AFTER_MAX_S INT64_C(86400)
#define OFFSET_MAX        ((uint64_t)INT64_MAX)

void head_reader_reset(struct head_reader *h)
{
	free_str(&h->location);
	free_str(&h->www_authenticate);
	free_str(&h->content_type);
	free_str(&h->docker_content_digest);
	*h = (struct head_reader){ .head = { .content_length = -1, .retry_after_s = -1 } };
}

/* Digits at *p, which moves behind them. @return false: none, or beyond OFFSET_MAX */
static bool read_number(const char **p, uint64_t *ret_n)
{
	uint64_t n = 0;

	if (!isdigit((unsigned char)**p))
		return false;
	for (; isdigit((unsigned char)**p); (*p)++) {
		const uint64_t digit = (uint64_t)(**p - '0');

		if (n > (OFFSET_MAX - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*ret_n = n;
	return true;
}

static bool read_char(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

/* "HTTP/1.1 206 Partial Content". @return 0: it is not a status line */
static long read_status(const char *line)
{
	uint64_t status = 0;

	if (strncmp(line, "HTTP/", 5) != 0)
		return 0;
	line += strcspn(line, " ");
	line += strspn(line, " ");
	if (!read_number(&line, &status) || status < 100 || status > 999)
		return 0;
	return (long)status;
}

static void keep(char **field, const char *value)
{
	if (strlen(value) > HTTP_HEADER_MAX_BYTES)
		return;
	free_str(field);
	*field = xstrdup(value);
}

/* A registry may send one challenge a header. */
static void keep_joined(char **field, const char *value)
{
	char *joined;

	if (*field == NULL) {
		keep(field, value);
		return;
	}
	if (strlen(*field) + strlen(value) > HTTP_HEADER_MAX_BYTES)
		return;
	joined = xasprintf("%s, %s", *field, value);
	free_str(field);
	*field = joined;
}

static void on_content_length(struct head_reader *h, const char *value)
{
	uint64_t n;

	if (read_number(&value, &n))
		h->head.content_length = (int64_t)n;
}

/* "bytes 0-9/100" or "bytes 0-9/<star>"; anything else is as good as no header at all. */
static void on_content_range(struct head_reader *h, const char *value)
{
	uint64_t first;
	uint64_t last;
	uint64_t total = 0;

	h->head.has_content_range = false;
	if (strncasecmp(value, "bytes", 5) != 0)
		return;
	value += 5;
	value += strspn(value, " ");
	if (!read_number(&value, &first) || !read_char(&value, '-') ||
	    !read_number(&value, &last) || !read_char(&value, '/'))
		return;
	if (!read_char(&value, '*') && (!read_number(&value, &total) || total <= last))
		return;
	if (last < first || *value != '\0')
		return;
	h->head.has_content_range = true;
	h->head.range_first = first;
	h->head.range_last = last;
	h->head.range_total = total;
}

static void on_retry_after(struct head_reader *h, const char *value, uint64_t wall_now_s)
{
	uint64_t seconds;
	int64_t date_s;

	if (read_number(&value, &seconds)) {
		h->head.retry_after_s = (int64_t)min_u64(seconds, RETRY_AFTER_MAX_S);
		return;
	}
	date_s = (int64_t)curl_getdate(value, NULL);
	if (date_s < 0)
		return;
	date_s -= (int64_t)wall_now_s;
	if (date_s < 0)
		date_s = 0;
	h->head.retry_after_s = date_s < RETRY_AFTER_MAX_S ? date_s : RETRY_AFTER_MAX_S;
}

static void on_header(struct head_reader *h, const char *name, const char *value,
                      uint64_t wall_now_s)
{
	if (strcasecmp(name, "content-length") == 0)
		on_content_length(h, value);
	else if (strcasecmp(name, "content-range") == 0)
		on_content_range(h, value);
	else if (strcasecmp(name, "retry-after") == 0)
		on_retry_after(h, value, wall_now_s);
	else if (strcasecmp(name, "location") == 0)
		keep(&h->location, value);
	else if (strcasecmp(name, "www-authenticate") == 0)
		keep_joined(&h->www_authenticate, value);
	else if (strcasecmp(name, "content-type") == 0)
		keep(&h->content_type, value);
	else if (strcasecmp(name, "docker-content-digest") == 0)
		keep(&h->docker_content_digest, value);
}

static bool on_blank_line(struct head_reader *h)
{
	if (h->head.status < 200)
		return false; /* interim: the real one follows */
	h->complete = true;
	h->head.location = h->location;
	h->head.www_authenticate = h->www_authenticate;
	h->head.content_type = h->content_type;
	h->head.docker_content_digest = h->docker_content_digest;
	return true;
}

bool head_reader_line(struct head_reader *h, const char *line, size_t size_bytes,
                      uint64_t wall_now_s)
{
	char text[HTTP_HEADER_MAX_BYTES + 128];
	char *value;
	long status;

	if (h->complete || size_bytes >= sizeof(text) || memchr(line, '\0', size_bytes) != NULL)
		return false;
	memcpy(text, line, size_bytes);
	while (size_bytes > 0 && isspace((unsigned char)text[size_bytes - 1]))
		size_bytes--;
	text[size_bytes] = '\0';
	if (size_bytes == 0)
		return on_blank_line(h);
	status = read_status(text);
	if (status != 0) {
		head_reader_reset(h);
		h->head.status = status;
		return false;
	}
	value = strchr(text, ':');
	if (value == NULL)
		return false;
	*value++ = '\0';
	on_header(h, text, value + strspn(value, " \t"), wall_now_s);
	return false;
}
