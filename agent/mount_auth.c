/*
 * mount_auth: see mount_auth.h. Of credentials it keeps nothing.
 *
 * A mount that leaves something open has several ways: with TLS and without ("any" scheme),
 * through its proxy and past it (proxy_fallback). The registry goes on from one that does not work
 * to the next, and stays with what does. Each has an owner of its own there.
 */
#include "mount_auth.h"
#include "auto.h"
#include "mem.h"
#include "reference.h"
#include "text.h"
#include <arpa/inet.h>
#include <string.h>

/* HOST and REPOSITORY that the credentials of this mount are for. */
static bool scope_of(const struct mount_record *rec, struct reference *ret_ref)
{
	AUTO(free_str) char *text = NULL;
	struct err ignored = { 0 };
	const char *at;

	if (rec->reference != NULL)
		return reference_parse(rec->reference, ret_ref, &ignored) == 0;
	at = registry_of_origin(rec->blobs);
	if (at == NULL)
		return false;
	text = xasprintf("%s:any", at);
	return reference_parse(text, ret_ref, &ignored) == 0;
}

/* ---- the ways of a mount ---- */

static const struct mount_way {
	const char *owner; /* with the directory behind it, which begins with a slash */
	bool plain;        /* http where the scheme is open */
	bool direct;       /* past the proxy */
} ways[] = {
	{ "http,direct:", true, true },
	{ "http:", true, false },
	{ "direct:", false, true },
	{ "", false, false }, /* what it says itself; the last one that is told is tried first */
};

static bool leaves_scheme_open(const struct mount_record *rec)
{
	return same_text(rec->scheme, "any");
}

static bool has_way(const struct mount_record *rec, const struct mount_way *way)
{
	return (!way->plain || leaves_scheme_open(rec)) &&
	       (!way->direct || (rec->proxy_fallback && rec->proxy != NULL));
}

static bool is_loopback(const char *host)
{
	const size_t n = strcspn(host, ":");
	char name[INET_ADDRSTRLEN];
	struct in_addr ip;

	if (strncmp(host, "[::1]", 5) == 0)
		return true;
	if (n >= sizeof(name))
		return false;
	memcpy(name, host, n);
	name[n] = '\0';
	return strcmp(name, "localhost") == 0 ||
	       (inet_pton(AF_INET, name, &ip) == 1 && ntohl(ip.s_addr) >> 24 == 127);
}

/* Whoever answers https in plain text need not be the registry: credentials are told to it within
 * this machine, or if they would have been told to whoever has any certificate. */
static bool may_have_credentials(const struct mount_record *rec, const struct mount_way *way,
                                 const struct reference *ref)
{
	return !way->plain || rec->skip_verify || is_loopback(ref->host);
}

/* What the registry is told of a mount, way by way. Borrows all but the reference. */
struct telling {
	struct registry *registry;
	const struct mount_record *rec;
	const struct credentials *given; /* or NULL */
	struct reference ref;
};

typedef void tell_fn(const struct telling *t, const struct mount_way *way,
                     const struct registry_scope *scope);

/* Also of the ways that this mount does not have. @return false: it is at no registry */
static bool each_way(struct registry *registry, const struct mount_record *rec,
                     const struct credentials *given, tell_fn *tell)
{
	struct telling t = { .registry = registry, .rec = rec, .given = given };

	if (!scope_of(rec, &t.ref))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		AUTO(free_str) char *owner = xasprintf("%s%s", ways[i].owner, rec->dir);
		const struct registry_scope scope = { .host = t.ref.host,
			                              .repository = t.ref.repository,
			                              .owner = owner };

		tell(&t, &ways[i], &scope);
	}
	return true;
}

static void say(struct registry *registry, const struct mount_record *rec,
                const struct mount_way *way, const struct registry_scope *scope)
{
	const char *scheme = leaves_scheme_open(rec) ? "https" : rec->scheme;
	const struct registry_hints hints = { .scheme = way->plain ? "http" : scheme,
		                              .ca_file = rec->ca_file,
		                              .proxy = way->direct ? NULL : rec->proxy,
		                              .skip_verify = rec->skip_verify,
		                              .auth_file = rec->auth_file };

	registry_hint(registry, scope, &hints);
}

/* The proxy is another one to talk to than the registry: it is told what opens it by each way that
 * leads through it. @return borrows all */
static struct credentials of_proxy(const struct credentials *given)
{
	return (struct credentials){ .proxy_username = given != NULL ? given->proxy_username : NULL,
		                     .proxy_password =
		                             given != NULL ? given->proxy_password : NULL };
}

static void tell_given(const struct telling *t, const struct mount_way *way,
                       const struct registry_scope *scope)
{
	const struct credentials proxys = of_proxy(t->given);

	if (has_way(t->rec, way))
		registry_give_credentials(t->registry, scope,
		                          may_have_credentials(t->rec, way, &t->ref) ? t->given
		                                                                     : &proxys);
}

bool mount_auth_give(struct registry *registry, const struct mount_record *rec,
                     const struct credentials *given)
{
	return each_way(registry, rec, given, tell_given);
}

static void tell_all(const struct telling *t, const struct mount_way *way,
                     const struct registry_scope *scope)
{
	const struct credentials none = of_proxy(t->given);

	if (!has_way(t->rec, way)) { /* one that it replaces may have had it */
		registry_forget(t->registry, scope);
		return;
	}
	say(t->registry, t->rec, way, scope);
	if (!may_have_credentials(t->rec, way, &t->ref)) /* nor those of the configuration */
		registry_give_credentials(t->registry, scope, &none);
	else if (t->rec->given)
		registry_give_credentials(t->registry, scope, t->given);
}

void mount_auth_add(struct registry *registry, const struct mount_record *rec,
                    const struct credentials *given)
{
	(void)each_way(registry, rec, given, tell_all);
}

static void take(const struct telling *t, const struct mount_way *way,
                 const struct registry_scope *scope)
{
	if (may_have_credentials(t->rec, way, &t->ref))
		registry_take_credentials(t->registry, scope);
}

void mount_auth_take(struct registry *registry, const struct mount_record *rec)
{
	(void)each_way(registry, rec, NULL, take);
}

static void forget(const struct telling *t, const struct mount_way *way,
                   const struct registry_scope *scope)
{
	(void)way;
	registry_forget(t->registry, scope);
}

void mount_auth_forget(struct registry *registry, const struct mount_record *rec)
{
	(void)each_way(registry, rec, NULL, forget);
}

bool mount_auth_same_scope(const struct mount_record *a, const struct mount_record *b)
{
	struct reference ref_a;
	struct reference ref_b;

	return strcmp(a->dir, b->dir) == 0 && scope_of(a, &ref_a) && scope_of(b, &ref_b) &&
	       strcmp(ref_a.host, ref_b.host) == 0 &&
	       strcmp(ref_a.repository, ref_b.repository) == 0;
}
