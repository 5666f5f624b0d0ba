/*
 * hints: see hints.h. A short list: as many as there are mounts with hints.
 */
#include "hints.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>

struct hint_entry {
	char *host;
	char *repository;
	char *owner;
	char *scheme; /* these three or NULL */
	char *ca_file;
	char *proxy;
	bool skip_verify;
	uint64_t id;
	uint64_t failed_at; /* of hints.n_failures; 0: never */
	struct hint_entry *next;
};

static void entry_free(struct hint_entry *entry)
{
	free_str(&entry->host);
	free_str(&entry->repository);
	free_str(&entry->owner);
	free_str(&entry->scheme);
	free_str(&entry->ca_file);
	free_str(&entry->proxy);
	free(entry);
}

void hints_free(struct hints *hints)
{
	while (hints->first != NULL) {
		struct hint_entry *entry = hints->first;

		hints->first = entry->next;
		entry_free(entry);
	}
}

static bool is_for(const struct hint_entry *entry, const char *host, const char *repository)
{
	return strcmp(entry->repository, repository) == 0 && strcmp(entry->host, host) == 0;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool says(const struct hint_entry *entry, const struct registry_hints *said)
{
	return same_text(entry->scheme, said->scheme) && same_text(entry->ca_file, said->ca_file) &&
	       same_text(entry->proxy, said->proxy) && entry->skip_verify == said->skip_verify;
}

/* @return where the pointer to it stands; where NULL stands, if there is none */
static struct hint_entry **find(struct hints *hints, const struct registry_scope *scope)
{
	struct hint_entry **at = &hints->first;

	while (*at != NULL && (!is_for(*at, scope->host, scope->repository) ||
	                       strcmp((*at)->owner, scope->owner) != 0))
		at = &(*at)->next;
	return at;
}

void hints_remove(struct hints *hints, const struct registry_scope *scope)
{
	struct hint_entry **at = find(hints, scope);
	struct hint_entry *entry = *at;

	if (entry == NULL)
		return;
	*at = entry->next;
	entry_free(entry);
}

void hints_put(struct hints *hints, const struct registry_scope *scope,
               const struct registry_hints *said)
{
	static const struct registry_hints nothing = { 0 };
	struct hint_entry *entry = *find(hints, scope);

	if (entry != NULL && says(entry, said))
		return;
	entry = xcalloc(1, sizeof(*entry));
	entry->host = xstrdup(scope->host);
	entry->repository = xstrdup(scope->repository);
	entry->owner = xstrdup(scope->owner);
	entry->scheme = xstrdup_or_null(said->scheme);
	entry->ca_file = xstrdup_or_null(said->ca_file);
	entry->proxy = xstrdup_or_null(said->proxy);
	entry->skip_verify = said->skip_verify;
	entry->id = ++hints->n_told;
	hints_remove(hints, scope);
	if (says(entry, &nothing)) {
		entry_free(entry);
		return;
	}
	entry->next = hints->first;
	hints->first = entry;
}

static struct hint_entry *best(const struct hints *hints, const char *host, const char *repository)
{
	struct hint_entry *found = NULL;

	for (struct hint_entry *entry = hints->first; entry != NULL; entry = entry->next)
		if (is_for(entry, host, repository) &&
		    (found == NULL || entry->failed_at < found->failed_at))
			found = entry;
	return found;
}

struct reach hints_reach(const struct hints *hints, const struct registry_host *host,
                         const char *repository)
{
	struct reach reach = { .config = host->config };
	const struct hint_entry *entry = NULL;

	if (!host->own_entry)
		entry = best(hints, host->name, repository);
	if (entry == NULL)
		return reach;
	if (entry->scheme != NULL)
		reach.config.scheme = entry->scheme;
	if (entry->ca_file != NULL)
		reach.config.ca_file = entry->ca_file;
	if (entry->proxy != NULL)
		reach.config.proxy = entry->proxy;
	reach.config.skip_verify = entry->skip_verify;
	reach.hint_id = entry->id;
	return reach;
}

/* All that say the same fail together: it is tried once. */
static void mark_failed(struct hints *hints, const struct hint_entry *tried)
{
	const struct registry_hints said = { .scheme = tried->scheme,
		                             .ca_file = tried->ca_file,
		                             .proxy = tried->proxy,
		                             .skip_verify = tried->skip_verify };

	hints->n_failures++;
	for (struct hint_entry *entry = hints->first; entry != NULL; entry = entry->next)
		if (is_for(entry, tried->host, tried->repository) && says(entry, &said))
			entry->failed_at = hints->n_failures;
}

bool hints_failed(struct hints *hints, const struct registry_host *host, const char *repository,
                  uint64_t hint_id)
{
	const struct hint_entry *tried = hints->first;
	const struct hint_entry *next;

	while (tried != NULL && tried->id != hint_id)
		tried = tried->next;
	if (tried == NULL)
		return false;
	mark_failed(hints, tried);
	next = best(hints, host->name, repository);
	return next != NULL && next->failed_at != tried->failed_at;
}
