/*
 * http_easy: turns a request into libcurl options, and libcurl's verdict into ours.
 *
 * Knows one handle at a time. Does not know the loop, nor when a handle runs.
 */
#include "http_easy.h"
#include "ca_bundle.h"
#include "mem.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BUFFER_BYTES                                                                               \
	262144L /* a recv(2) as large as curl takes; smaller ones cost system calls                \
	         */
#define KEEPALIVE_S 30L

static size_t on_header_line(char *line, size_t size, size_t n, void *arg)
{
	struct http_req *req = arg;
	const struct http_opts *opts = http_opts_of(req->http);
	const size_t size_bytes = size * n;

	if (req->cancelled)
		return 0;
	if (!head_reader_line(&req->head_reader, line, size_bytes, clock_wall_seconds(opts->clock)))
		return size_bytes;
	req->result = req->head != NULL ? req->head(req->arg, &req->head_reader.head) : 0;
	return req->result == 0 && !req->cancelled ? size_bytes : 0;
}

static size_t on_body_bytes(char *bytes, size_t size, size_t n, void *arg)
{
	struct http_req *req = arg;
	const size_t size_bytes = size * n;

	if (req->cancelled)
		return 0;
	if (req->body == NULL || size_bytes == 0)
		return size_bytes;
	req->came_ns = clock_now_ns(http_opts_of(req->http)->clock);
	if (!http_pay(req, size_bytes))
		return CURL_WRITEFUNC_PAUSE; /* the same bytes come again */
	req->result = req->body(req->arg, (const uint8_t *)bytes, size_bytes);
	return req->result == 0 && !req->cancelled ? size_bytes : 0;
}

/* The setters, with the first failure remembered. */
struct setter {
	CURL *easy;
	CURLcode code;
};

static void set_long(struct setter *s, CURLoption option, long value)
{
	if (s->code == CURLE_OK)
		s->code = curl_easy_setopt(s->easy, option, value);
}

static void set_text(struct setter *s, CURLoption option, const char *value)
{
	if (s->code == CURLE_OK)
		s->code = curl_easy_setopt(s->easy, option, value);
}

static void set_pointer(struct setter *s, CURLoption option, void *value)
{
	if (s->code == CURLE_OK)
		s->code = curl_easy_setopt(s->easy, option, value);
}

static void set_callbacks(struct setter *s, struct http_req *req)
{
	if (s->code == CURLE_OK)
		s->code = curl_easy_setopt(s->easy, CURLOPT_HEADERFUNCTION, on_header_line);
	if (s->code == CURLE_OK)
		s->code = curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_body_bytes);
	set_pointer(s, CURLOPT_HEADERDATA, req);
	set_pointer(s, CURLOPT_WRITEDATA, req);
	set_pointer(s, CURLOPT_PRIVATE, req);
	set_pointer(s, CURLOPT_ERRORBUFFER, req->curl_says);
}

/* What holds for every request. */
static void set_house_rules(struct setter *s, const struct http_opts *opts)
{
	const long stall_s = (long)(opts->stall_timeout_ms + 999) / 1000;

	set_long(s, CURLOPT_NOSIGNAL, 1);
	set_long(s, CURLOPT_FOLLOWLOCATION, 0);
	set_text(s, CURLOPT_PROTOCOLS_STR, "http,https");
	set_long(s, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1);
	set_long(s, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
	set_long(s, CURLOPT_TCP_KEEPALIVE, 1);
	set_long(s, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S);
	set_long(s, CURLOPT_CONNECTTIMEOUT_MS, (long)opts->connect_timeout_ms);
	set_long(s, CURLOPT_LOW_SPEED_LIMIT, 1);
	set_long(s, CURLOPT_LOW_SPEED_TIME, stall_s);
	/* A cancelled look-up must not make the loop wait for the resolver's thread. */
	set_long(s, CURLOPT_QUICK_EXIT, 1);
	set_text(s, CURLOPT_USERAGENT, "shoal/" SHOAL_VERSION);
}

/* libcurl takes one file, or bytes. A file that cannot be had it is given by itself: it says so,
 * and that is an end as any other. */
static void set_ca_files(struct setter *s, const char *paths)
{
	AUTO(free_str) char *bad = NULL;
	AUTO(free_str) char *pem = NULL;
	struct curl_blob blob = { .flags = CURL_BLOB_COPY };

	if (strchr(paths, '\n') == NULL) {
		set_text(s, CURLOPT_CAINFO, paths);
		return;
	}
	pem = ca_bundle_read(paths, &blob.len, &bad);
	blob.data = pem;
	if (pem == NULL)
		set_text(s, CURLOPT_CAINFO, bad);
	else
		set_pointer(s, CURLOPT_CAINFO_BLOB, &blob);
}

/* One HTTP/2 connection rather than eight: the others wait until the first has spoken. But not
 * where answers are to rest for a budget: each rests alone where it has a connection to itself,
 * while of a shared one libcurl (7.88) reads on for the others, keeps in memory what comes for
 * those that rest, copies all of that for each piece it hands out, and loses it where such a
 * request is cancelled.
 *
 * A budget comes and goes, and libcurl would put a request that may share on a connection of the
 * other kind, though an answer comes or rests there: it gets that one's bytes. It does not where
 * they differ in what they ask of TLS. So who may share says that the highest version is libcurl's
 * default, which is what it is for the others, who say nothing. The lowest one is OpenSSL's own
 * configuration's for all. */
static void set_http_version(struct setter *s, const struct http_opts *opts, bool tls)
{
	const bool shares = tls && opts->bytes_per_s == 0;

	set_long(s, CURLOPT_HTTP_VERSION,
	         shares ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
	set_long(s, CURLOPT_PIPEWAIT, shares);
	set_long(s, CURLOPT_SSLVERSION,
	         (long)CURL_SSLVERSION_DEFAULT | (shares ? (long)CURL_SSLVERSION_MAX_DEFAULT
	                                                 : (long)CURL_SSLVERSION_MAX_NONE));
}

bool http_easy_shares(const struct http_req *req)
{
	long version = 0;

	(void)curl_easy_getinfo(req->easy, CURLINFO_HTTP_VERSION, &version);
	return version == CURL_HTTP_VERSION_2_0;
}

static void set_where(struct setter *s, const struct http_opts *opts,
                      const struct http_request *request)
{
	const bool tls = strncmp(request->url, "https:", 6) == 0;
	char range[64];

	set_text(s, CURLOPT_URL, request->url);
	set_http_version(s, opts, tls);
	/* "" keeps the environment's proxies out: the configuration alone decides. */
	set_text(s, CURLOPT_PROXY, request->proxy != NULL ? request->proxy : "");
	set_text(s, CURLOPT_NOPROXY, "");
	if (request->proxy_username != NULL) {
		set_text(s, CURLOPT_PROXYUSERNAME, request->proxy_username);
		set_text(s, CURLOPT_PROXYPASSWORD, request->proxy_password);
	}
	if (request->ca_file != NULL && tls)
		set_ca_files(s, request->ca_file);
	if (request->skip_verify) {
		set_long(s, CURLOPT_SSL_VERIFYPEER, 0);
		set_long(s, CURLOPT_SSL_VERIFYHOST, 0);
	}
	if (!request->has_range)
		return;
	(void)snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)request->range_first,
	               (unsigned long long)request->range_last);
	set_text(s, CURLOPT_RANGE, range);
}

static void set_method(struct setter *s, const struct http_request *request)
{
	if (strcmp(request->method, "HEAD") == 0) {
		set_long(s, CURLOPT_NOBODY, 1);
	} else if (strcmp(request->method, "POST") == 0) {
		set_long(s, CURLOPT_POST, 1);
		set_text(s, CURLOPT_COPYPOSTFIELDS,
		         request->post_body != NULL ? request->post_body : "");
	} else {
		set_long(s, CURLOPT_HTTPGET, 1);
	}
}

static int set_headers(struct setter *s, struct http_req *req, const struct http_request *request)
{
	for (uint32_t i = 0; i < request->n_headers; i++) {
		struct curl_slist *longer = curl_slist_append(req->headers, request->headers[i]);

		if (longer == NULL)
			return -ENOMEM;
		req->headers = longer;
	}
	set_pointer(s, CURLOPT_HTTPHEADER, req->headers);
	return 0;
}

static void set_deadline(struct setter *s, const struct http_opts *opts, uint64_t deadline_ns)
{
	const uint64_t now_ns = clock_now_ns(opts->clock);
	uint64_t left_ms = 1; /* 0 would mean none at all */

	if (deadline_ns == 0)
		return;
	if (deadline_ns > now_ns + NS_PER_MS)
		left_ms = (deadline_ns - now_ns) / NS_PER_MS;
	set_long(s, CURLOPT_TIMEOUT_MS, left_ms < INT32_MAX ? (long)left_ms : (long)INT32_MAX);
}

static void keep_url_host(struct http_req *req, const char *url)
{
	const char *host = strstr(url, "://");
	size_t n;

	host = host != NULL ? host + 3 : url;
	n = strcspn(host, "/?#");
	if (n >= sizeof(req->url_host))
		n = sizeof(req->url_host) - 1;
	memcpy(req->url_host, host, n);
	req->url_host[n] = '\0';
}

/* libcurl (7.88) lets go of a handle's buffer when the connection is let go. It does not where that
 * never was (a name that was not found), nor where others still use it (HTTP/2), and then refuses
 * whatever size the next request says. */
bool http_easy_renew(CURL *easy)
{
	curl_easy_reset(easy);
	return curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_BYTES) == CURLE_OK;
}

int http_easy_setup(struct http_req *req, const struct http_opts *opts,
                    const struct http_request *request, struct err *e)
{
	struct setter s = { .easy = req->easy };

	keep_url_host(req, request->url);
	set_house_rules(&s, opts);
	set_callbacks(&s, req);
	set_where(&s, opts, request);
	set_method(&s, request);
	/* libcurl would count the time for which a transfer rests for a budget: see http_pay(). */
	if (request->urgent == NULL)
		set_deadline(&s, opts, request->deadline_ns);
	if (set_headers(&s, req, request) < 0)
		return err_set(e, ENOMEM, "%s: no memory for the headers", req->url_host);
	if (s.code != CURLE_OK)
		return err_set(e, s.code == CURLE_OUT_OF_MEMORY ? ENOMEM : EINVAL,
		               "%s: libcurl takes no such request: %s", req->url_host,
		               curl_easy_strerror(s.code));
	return 0;
}

/* Trouble that asking again does not cure: somebody has to change something. */
static bool is_lasting(CURLcode code)
{
	static const CURLcode lasting[] = {
		CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT,
		CURLE_WEIRD_SERVER_REPLY,   CURLE_PEER_FAILED_VERIFICATION,
		CURLE_SSL_CACERT_BADFILE,   CURLE_SSL_CERTPROBLEM,
		CURLE_SSL_CIPHER,           CURLE_BAD_CONTENT_ENCODING,
		CURLE_TOO_MANY_REDIRECTS,
	};

	for (size_t i = 0; i < ARRAY_LEN(lasting); i++)
		if (code == lasting[i])
			return true;
	return false;
}

/* What OpenSSL says of a handshake that failed is told by words alone. words: n of them */
static bool tls_says_any(const struct http_req *req, CURLcode code, const char *const *words,
                         size_t n)
{
	if (code != CURLE_SSL_CONNECT_ERROR)
		return false;
	for (size_t i = 0; i < n; i++)
		if (strstr(req->curl_says, words[i]) != NULL)
			return true;
	return false;
}

/* The server does not speak TLS at all. */
static bool speaks_plainly(const struct http_req *req, CURLcode code)
{
	static const char *const words[] = { "wrong version number", "packet length too long" };

	return tls_says_any(req, code, words, ARRAY_LEN(words));
}

/* It does, and no version of it that this machine allows, by its word or OpenSSL's here. (Where it
 * just says that a handshake failed, that may be one of many servers, and a matter of minutes.) */
static bool has_no_version_in_common(const struct http_req *req, CURLcode code)
{
	static const char *const words[] = { "alert protocol version", "unsupported protocol",
		                             "no protocols available" };

	return tls_says_any(req, code, words, ARRAY_LEN(words));
}

static const char *what_to_do(CURLcode code)
{
	switch ((int)code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		return "is the name right, and known here?";
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_OPERATION_TIMEDOUT:
		return "is it up, and are port, proxy and scheme right? See registries";
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		return "is its CA known? See ca_file under registries";
	default:
		return "see the host's entry under registries, and its own log";
	}
}

int http_easy_result(const struct http_req *req, CURLcode code, struct err *e)
{
	const char *detail = req->curl_says[0] != '\0' ? req->curl_says : curl_easy_strerror(code);
	const bool apart = has_no_version_in_common(req, code);

	if (req->result != 0) {
		(void)err_set(e, req->result < 0 ? -req->result : EIO,
		              "%s: the answer was not wanted", req->url_host);
		return req->result;
	}
	if (code == CURLE_OK && req->head_reader.complete)
		return 0;
	if (code == CURLE_OK)
		return err_set(e, EPROTO, "%s: the answer has no head", req->url_host);
	if (speaks_plainly(req, code))
		return err_set(e, EPROTO,
		               "%s answers https in plain text: it speaks http (if that is as it "
		               "should be, set scheme: http for this host under registries)",
		               req->url_host);
	(void)err_set(e, apart || is_lasting(code) ? EPROTO : EAGAIN, "%s: %s", req->url_host,
	              detail);
	return err_hint(e, apart ? "which versions of TLS does it speak, and which does "
	                           "this machine's OpenSSL allow?"
	                         : what_to_do(code));
}
