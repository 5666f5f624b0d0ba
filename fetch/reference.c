/*
 * reference: HOST[:PORT]/REPOSITORY[:TAG][@sha256:HEX], taken apart by a grammar of its own.
 *
 * Knows the grammar; not whether such a registry or image exists. The host is never guessed:
 * shoal has no default registry, and "app/web:1" could mean several.
 */
#include "reference.h"
#include "hex.h"
#include "mem.h"
#include <errno.h>
#include <string.h>

#define PORT_MAX 65535U
#define EXAMPLE  "write HOST[:PORT]/REPOSITORY:TAG or HOST[:PORT]/REPOSITORY@sha256:DIGEST"

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

static bool is_port(const char *text)
{
	unsigned port = 0;

	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		port = port * 10 + (unsigned)(*text - '0');
		if (port > PORT_MAX)
			return false;
	}
	return port > 0;
}

/* "[::1]": where its bracket closes; NULL: it does not, or holds something else. */
static const char *ipv6_end(const char *host)
{
	const size_t n = strspn(host + 1, "0123456789abcdefABCDEF:.");

	return n > 0 && host[n + 1] == ']' ? host + n + 2 : NULL;
}

static const char *name_end(const char *host)
{
	const char *p = host;

	while (is_alnum(*p) || (p > host && (*p == '.' || *p == '-')))
		p++;
	return p > host && is_alnum(p[-1]) ? p : NULL;
}

static bool is_host(const char *host)
{
	const char *end = host[0] == '[' ? ipv6_end(host) : name_end(host);

	return end != NULL && (*end == '\0' || (*end == ':' && is_port(end + 1)));
}

/* A name without dot and port could as well be the first part of a repository. */
static bool is_surely_a_host(const char *host)
{
	return strpbrk(host, ".:") != NULL || strcmp(host, "localhost") == 0;
}

/* One separator: "." or "_" or "__" or dashes. @return its length; 0: none */
static size_t separator(const char *p)
{
	if (*p == '-')
		return strspn(p, "-");
	if (p[0] == '_' && p[1] == '_')
		return 2;
	return *p == '.' || *p == '_' ? 1 : 0;
}

static bool is_repository(const char *p)
{
	for (;;) {
		size_t n = 0;

		if (!is_lower_alnum(*p))
			return false;
		while (is_lower_alnum(*p))
			p++;
		if (*p == '\0')
			return true;
		n = *p == '/' ? 1 : separator(p);
		if (n == 0)
			return false;
		p += n;
	}
}

static bool is_tag(const char *tag)
{
	const char *p = tag;

	if (!is_alnum(*p) && *p != '_')
		return false;
	while (is_alnum(*p) || *p == '_' || *p == '.' || *p == '-')
		p++;
	return *p == '\0';
}

/* Copy [from, to) if it fits. */
static bool take(const char *from, const char *to, char *ret_text, size_t max_bytes)
{
	const size_t n = (size_t)(to - from);

	if (n >= max_bytes)
		return false;
	memcpy(ret_text, from, n);
	ret_text[n] = '\0';
	return true;
}

/* For a message, which is logged: what is before an @ that a host follows may be a password. */
static const char *shown(const char *text)
{
	const char *at = strchr(text, '@');
	const char *slash = strrchr(text, '/');

	return at == NULL || (slash != NULL && at > slash) ? text : "(not shown)";
}

static int take_digest(const char *text, const char *at, struct reference *ret_ref, struct err *e)
{
	if (strncmp(at, "@sha256:", 8) != 0)
		return err_set(e, EINVAL, "image \"%.200s\": the digest is no sha256 (%s)",
		               shown(text), EXAMPLE);
	if (!hex_is_sha256(at + 8))
		return err_set(e, EINVAL,
		               "image \"%.200s\": the digest is not 64 lower-case hexadecimal "
		               "digits (copy it whole)",
		               shown(text));
	memcpy(ret_ref->digest, at + 8, DIGEST_TEXT_BYTES);
	return 0;
}

static int take_tag(const char *text, const char *colon, const char *end, struct reference *ret_ref,
                    struct err *e)
{
	if (!take(colon + 1, end, ret_ref->tag, sizeof(ret_ref->tag)) || !is_tag(ret_ref->tag))
		return err_set(e, EINVAL,
		               "image \"%.200s\": the tag is no tag (1 to 128 of A-Z a-z 0-9 _ . "
		               "-, not . or - first)",
		               shown(text));
	return 0;
}

static int take_name(const char *text, const char *slash, const char *end,
                     struct reference *ret_ref, struct err *e)
{
	if (!take(text, slash, ret_ref->host, sizeof(ret_ref->host)) || !is_host(ret_ref->host))
		return err_set(e, EINVAL, "image \"%.200s\": no valid host before the first / (%s)",
		               shown(text), EXAMPLE);
	if (!is_surely_a_host(ret_ref->host))
		return err_set(e, EINVAL,
		               "image \"%.200s\": it does not say which registry (put its host in "
		               "front, with a dot or a port: docker.io/..., %s:443/...)",
		               shown(text), ret_ref->host);
	if (!take(slash + 1, end, ret_ref->repository, sizeof(ret_ref->repository)) ||
	    !is_repository(ret_ref->repository))
		return err_set(e, EINVAL,
		               "image \"%.200s\": the repository is no valid name (a-z 0-9, with "
		               "single . _ - between, parts separated by /)",
		               shown(text));
	return 0;
}

int reference_parse(const char *text, struct reference *ret_ref, struct err *e)
{
	struct reference ref = { .tag = "" };
	const char *slash = strchr(text, '/');
	const char *at = NULL;
	const char *colon = NULL;
	const char *end = NULL;
	int r;

	if (slash == NULL)
		return err_set(e, EINVAL, "image \"%.200s\": there is no / in it (%s)", shown(text),
		               EXAMPLE);
	at = strchr(slash, '@');
	end = at != NULL ? at : text + strlen(text);
	colon = memchr(slash, ':', (size_t)(end - slash));
	if (at == NULL && colon == NULL)
		return err_set(e, EINVAL, "image \"%.200s\": neither tag nor digest (%s)",
		               shown(text), EXAMPLE);
	r = take_name(text, slash, colon != NULL ? colon : end, &ref, e);
	if (r == 0 && colon != NULL)
		r = take_tag(text, colon, end, &ref, e);
	if (r == 0 && at != NULL)
		r = take_digest(text, at, &ref, e);
	if (r == 0)
		*ret_ref = ref;
	return r;
}

char *reference_text(const struct reference *ref)
{
	if (ref->digest[0] != '\0')
		return xasprintf("%s/%s@sha256:%s", ref->host, ref->repository, ref->digest);
	return xasprintf("%s/%s:%s", ref->host, ref->repository, ref->tag);
}

char *reference_origin(const struct reference *ref)
{
	return xasprintf(REGISTRY_ORIGIN "%s/%s", ref->host, ref->repository);
}

const char *registry_of_origin(const char *origin)
{
	const size_t n = strlen(REGISTRY_ORIGIN);

	return strncmp(origin, REGISTRY_ORIGIN, n) == 0 ? origin + n : NULL;
}

bool reference_of_origin(const char *origin, const char *digest, struct reference *ret_ref)
{
	const char *at = registry_of_origin(origin);
	AUTO(free_str) char *text = NULL;
	struct err e;

	if (at == NULL)
		return false;
	text = xasprintf("%s@sha256:%s", at, digest);
	return reference_parse(text, ret_ref, &e) == 0;
}
