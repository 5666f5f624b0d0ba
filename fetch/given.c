/*
 * given: see given.h. A short list: as many as there are mounts with credentials of their own.
 */
#include "given.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>

struct given_entry {
	char *host;
	char *repository;
	char *owner;
	bool here;
	uint64_t id;
	uint64_t refused_at; /* of givens.n_refusals; 0: never */
	struct credentials credentials;
	struct given_entry *next;
};

static void copy(struct credentials *ret_copy, const struct credentials *c)
{
	ret_copy->username = xstrdup_or_null(c->username);
	ret_copy->password = xstrdup_or_null(c->password);
	ret_copy->identity_token = xstrdup_or_null(c->identity_token);
	ret_copy->bearer = xstrdup_or_null(c->bearer);
}

static void entry_free(struct given_entry *entry)
{
	credentials_wipe(&entry->credentials);
	free_str(&entry->host);
	free_str(&entry->repository);
	free_str(&entry->owner);
	free(entry);
}

void givens_free(struct givens *givens)
{
	while (givens->first != NULL) {
		struct given_entry *entry = givens->first;

		givens->first = entry->next;
		entry_free(entry);
	}
}

static bool is_for(const struct given_entry *entry, const char *host, const char *repository)
{
	return strcmp(entry->host, host) == 0 && strcmp(entry->repository, repository) == 0;
}

/* @return where the pointer to it stands; where NULL stands, if there is none */
static struct given_entry **find(struct givens *givens, const struct registry_scope *scope)
{
	struct given_entry **at = &givens->first;

	while (*at != NULL && (!is_for(*at, scope->host, scope->repository) ||
	                       strcmp((*at)->owner, scope->owner) != 0))
		at = &(*at)->next;
	return at;
}

void givens_remove(struct givens *givens, const struct registry_scope *scope)
{
	struct given_entry **at = find(givens, scope);
	struct given_entry *entry = *at;

	if (entry == NULL)
		return;
	*at = entry->next;
	entry_free(entry);
}

void givens_put(struct givens *givens, const struct registry_scope *scope,
                const struct credentials *credentials)
{
	struct given_entry *entry;

	if (credentials == NULL && *find(givens, scope) != NULL)
		return;
	entry = xcalloc(1, sizeof(*entry));
	entry->host = xstrdup(scope->host);
	entry->repository = xstrdup(scope->repository);
	entry->owner = xstrdup(scope->owner);
	entry->here = credentials != NULL;
	entry->id = ++givens->n_put;
	if (credentials != NULL)
		copy(&entry->credentials, credentials);
	givens_remove(givens, scope); /* behind the copies: they may be of the old one */
	entry->next = givens->first;
	givens->first = entry;
}

bool givens_find(const struct givens *givens, const char *host, const char *repository,
                 struct given *ret_given)
{
	const struct given_entry *best = NULL;
	bool found = false;

	for (const struct given_entry *entry = givens->first; entry != NULL; entry = entry->next) {
		if (!is_for(entry, host, repository))
			continue;
		found = true;
		if (entry->here && (best == NULL || entry->refused_at < best->refused_at))
			best = entry;
	}
	if (best != NULL) {
		ret_given->here = true;
		ret_given->id = best->id;
		copy(&ret_given->credentials, &best->credentials);
	}
	return found;
}

uint32_t givens_refused(struct givens *givens, const char *host, const char *repository,
                        uint64_t id)
{
	uint32_t n_others = 0;

	givens->n_refusals++;
	for (struct given_entry *entry = givens->first; entry != NULL; entry = entry->next) {
		if (!is_for(entry, host, repository) || !entry->here)
			continue;
		if (entry->id == id)
			entry->refused_at = givens->n_refusals;
		else
			n_others++;
	}
	return n_others;
}

bool given_copy(const struct given *given, struct credentials *ret_credentials)
{
	if (given->here)
		copy(ret_credentials, &given->credentials);
	return given->here;
}
