/*
 * ways: see ways.h. Short lists: as many as there are mounts.
 */
#include "ways.h"
#include "credentials.h"
#include "mem.h"
#include "registry_auth.h"
#include "text.h"
#include "unconst.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* One mount, and the way it goes. */
struct way_owner {
	char *host;
	char *repository;
	char *owner;
	struct way *way;
	uint64_t failed_at; /* of ways.n_events; 0: never. The same for all of one way and
	                       repository */
	uint64_t worked_at;
	struct way_owner *next;
};

/* ---- what a way is ---- */

static bool same_transport(const struct way *a, const struct way *b)
{
	return same_text(a->scheme, b->scheme) && same_text(a->ca_file, b->ca_file) &&
	       same_text(a->proxy, b->proxy) && a->skip_verify == b->skip_verify;
}

static bool same_credentials(const struct way *a, const struct way *b)
{
	return a->to_come == b->to_come && a->given == b->given &&
	       same_text(a->auth_file, b->auth_file) &&
	       same_text(a->credentials.username, b->credentials.username) &&
	       same_text(a->credentials.password, b->credentials.password) &&
	       same_text(a->credentials.identity_token, b->credentials.identity_token) &&
	       same_text(a->credentials.bearer, b->credentials.bearer) &&
	       same_text(a->credentials.proxy_username, b->credentials.proxy_username) &&
	       same_text(a->credentials.proxy_password, b->credentials.proxy_password);
}

static void free_content(struct way *way)
{
	registry_auths_free(&way->auths);
	credentials_wipe(&way->credentials);
	free_str(&way->scheme);
	free_str(&way->ca_file);
	free_str(&way->proxy);
	free_str(&way->auth_file);
}

static struct way *way_copy(const struct way *w)
{
	struct way *copy = xcalloc(1, sizeof(*copy));

	copy->scheme = xstrdup_or_null(w->scheme);
	copy->ca_file = xstrdup_or_null(w->ca_file);
	copy->proxy = xstrdup_or_null(w->proxy);
	copy->auth_file = xstrdup_or_null(w->auth_file);
	copy->skip_verify = w->skip_verify;
	copy->to_come = w->to_come;
	copy->given = w->given;
	credentials_copy(&copy->credentials, &w->credentials);
	return copy;
}

void way_ref(struct way *way)
{
	way->n_refs++;
}

void way_unref(struct ways *ways, struct way **way)
{
	struct way *w = *way;
	struct way **at = &ways->first;

	*way = NULL;
	if (w == NULL || --w->n_refs > 0 || w == &ways->plain)
		return;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	free_content(w);
	free(w);
}

/* One that is like this. @return a reference */
static struct way *way_like(struct ways *ways, const struct way *like)
{
	struct way *way = &ways->plain;

	if (!same_transport(way, like) || !same_credentials(way, like))
		for (way = ways->first; way != NULL; way = way->next)
			if (same_transport(way, like) && same_credentials(way, like))
				break;
	if (way == NULL) {
		way = way_copy(like);
		way->id = ++ways->n_made;
		way->next = ways->first;
		ways->first = way;
	}
	way_ref(way);
	return way;
}

struct registry_config way_reach(const struct way *way, const struct registry_host *host)
{
	struct registry_config config = host->config;

	if (host->own_entry)
		return config;
	if (way->scheme != NULL)
		config.scheme = way->scheme;
	if (way->ca_file != NULL)
		config.ca_file = way->ca_file;
	if (way->proxy != NULL) { /* no other one hears what opens it */
		config.proxy = way->proxy;
		config.proxy_username = way->credentials.proxy_username;
		config.proxy_password = way->credentials.proxy_password;
	}
	config.skip_verify = way->skip_verify;
	return config;
}

/* ---- whose it is ---- */

static bool is_for(const struct way_owner *o, const char *host, const char *repository)
{
	return strcmp(o->repository, repository) == 0 && strcmp(o->host, host) == 0;
}

static void owner_free(struct ways *ways, struct way_owner *o)
{
	way_unref(ways, &o->way);
	free_str(&o->host);
	free_str(&o->repository);
	free_str(&o->owner);
	free(o);
}

void ways_free(struct ways *ways)
{
	while (ways->owners != NULL) {
		struct way_owner *o = ways->owners;

		ways->owners = o->next;
		owner_free(ways, o);
	}
	assert(ways->first == NULL);
	free_content(&ways->plain);
}

/* @return where the pointer to it stands; where NULL stands, if there is none */
static struct way_owner **find(struct ways *ways, const struct registry_scope *scope)
{
	struct way_owner **at = &ways->owners;

	while (*at != NULL && (!is_for(*at, scope->host, scope->repository) ||
	                       strcmp((*at)->owner, scope->owner) != 0))
		at = &(*at)->next;
	return at;
}

/* One who goes this way to that repository, or NULL. */
static const struct way_owner *who_goes(const struct ways *ways, const char *host,
                                        const char *repository, const struct way *way)
{
	const struct way_owner *o = ways->owners;

	while (o != NULL && (o->way != way || !is_for(o, host, repository)))
		o = o->next;
	return o;
}

/* This owner goes that way, and is the latest, unless it did so before. */
static void go(struct ways *ways, const struct registry_scope *scope, const struct way *like)
{
	struct way_owner **at = find(ways, scope);
	struct way *way = way_like(ways, like); /* before the old one is gone: like may be of it */
	struct way_owner *o = *at;
	const struct way_owner *other;

	if (o != NULL && o->way == way) {
		way_unref(ways, &way);
		return;
	}
	if (o != NULL) {
		*at = o->next;
		way_unref(ways, &o->way);
	} else {
		o = xcalloc(1, sizeof(*o));
		o->host = xstrdup(scope->host);
		o->repository = xstrdup(scope->repository);
		o->owner = xstrdup(scope->owner);
	}
	o->way = way;
	other = who_goes(ways, scope->host, scope->repository, way);
	o->failed_at = other != NULL ? other->failed_at : 0;
	o->worked_at = other != NULL ? other->worked_at : 0;
	o->next = ways->owners;
	ways->owners = o;
}

void ways_say(struct ways *ways, const struct registry_scope *scope,
              const struct registry_hints *said)
{
	const struct way_owner *o = *find(ways, scope);
	struct way like = o != NULL ? *o->way : (struct way){ .given = false };

	/* A way like this is looked for, or made of copies. */
	like.scheme = unconst(said->scheme);
	like.ca_file = unconst(said->ca_file);
	like.proxy = unconst(said->proxy);
	like.auth_file = unconst(said->auth_file);
	like.skip_verify = said->skip_verify;
	go(ways, scope, &like);
}

void ways_give(struct ways *ways, const struct registry_scope *scope,
               const struct credentials *credentials)
{
	const struct way_owner *o = *find(ways, scope);
	struct way like = o != NULL ? *o->way : (struct way){ .given = false };

	if (credentials == NULL && (like.given || like.credentials.for_proxy_alone))
		return;
	like.to_come = credentials == NULL;
	like.given = credentials != NULL && !credentials->for_proxy_alone;
	like.credentials = credentials != NULL ? *credentials : (struct credentials){ 0 };
	go(ways, scope, &like);
}

void ways_take(struct ways *ways, const struct registry_scope *scope)
{
	const struct way_owner *o = *find(ways, scope);
	struct way like;

	if (o == NULL)
		return;
	like = *o->way;
	like.to_come = false;
	like.given = false;
	like.credentials = (struct credentials){ 0 };
	go(ways, scope, &like);
}

void ways_forget(struct ways *ways, const struct registry_scope *scope)
{
	struct way_owner **at = find(ways, scope);
	struct way_owner *o = *at;

	if (o == NULL)
		return;
	*at = o->next;
	owner_free(ways, o);
}

/* ---- which one ---- */

static bool is_tried(const struct way *way, const struct registry_host *host,
                     struct way *const *tried, uint32_t n_tried)
{
	for (uint32_t i = 0; i < n_tried; i++)
		if (tried[i] == way || (host->own_entry && same_credentials(tried[i], way)))
			return true;
	return false;
}

struct way *ways_next(struct ways *ways, const struct registry_host *host, const char *repository,
                      struct way *const *tried, uint32_t n_tried)
{
	const struct way_owner *best = NULL;

	for (const struct way_owner *o = ways->owners; o != NULL; o = o->next)
		if (is_for(o, host->name, repository) && !is_tried(o->way, host, tried, n_tried) &&
		    (best == NULL || o->failed_at < best->failed_at))
			best = o;
	if (best != NULL)
		return best->way;
	return n_tried == 0 ? &ways->plain : NULL;
}

void ways_failed(struct ways *ways, const struct registry_host *host, const char *repository,
                 const struct way *way)
{
	ways->n_events++;
	for (struct way_owner *o = ways->owners; o != NULL; o = o->next)
		if (o->way == way && is_for(o, host->name, repository))
			o->failed_at = ways->n_events;
}

void ways_worked(struct ways *ways, const struct registry_host *host, const char *repository,
                 const struct way *way)
{
	ways->n_events++;
	for (struct way_owner *o = ways->owners; o != NULL; o = o->next)
		if (o->way == way && is_for(o, host->name, repository))
			o->worked_at = ways->n_events;
}

uint64_t ways_worked_at(const struct ways *ways, const struct registry_host *host,
                        const char *repository, const struct way *way)
{
	const struct way_owner *o = who_goes(ways, host->name, repository, way);

	return o != NULL ? o->worked_at : 0;
}

/* Given may be none at all. */
static bool has_credentials(const struct way *way)
{
	const struct credentials *c = &way->credentials;

	return way->to_come || way->auth_file != NULL || c->username != NULL ||
	       c->identity_token != NULL || c->bearer != NULL;
}

bool ways_any_credentials(const struct ways *ways, const struct registry_host *host,
                          const char *repository)
{
	for (const struct way_owner *o = ways->owners; o != NULL; o = o->next)
		if (is_for(o, host->name, repository) && has_credentials(o->way))
			return true;
	return false;
}

bool ways_any_said(const struct ways *ways, const struct registry_host *host)
{
	if (host->own_entry)
		return false;
	for (const struct way_owner *o = ways->owners; o != NULL; o = o->next)
		if (strcmp(o->host, host->name) == 0 && !same_transport(o->way, &ways->plain))
			return true;
	return false;
}
