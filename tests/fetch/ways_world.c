/*
 * ways_world: see ways_world.h.
 */
#include "ways_world.h"
#include "mem.h"
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

int ways_setup(void **state)
{
	const int r = net_setup(state);
	struct net *n = *state;

	net_write(n, WAYS_BLOB, "0123456789", 10);
	n->n_configs = 1; /* not the alias */
	net_new_registry(n);
	return r;
}

struct registry_scope scope_of(struct net *n, const char *owner)
{
	return (struct registry_scope){ n->alias, "team/app", owner };
}

void hint(struct net *n, const char *owner, const char *scheme, const char *proxy)
{
	const struct registry_hints hints = { .scheme = scheme, .proxy = proxy };
	const struct registry_scope scope = scope_of(n, owner);

	registry_hint(n->registry, &scope, &hints);
}

void forget(struct net *n, const char *owner)
{
	const struct registry_scope scope = scope_of(n, owner);

	registry_forget(n->registry, &scope);
}

void give(struct net *n, const char *owner, const char *password)
{
	const struct registry_scope scope = scope_of(n, owner);
	struct credentials c = { .username = xstrdup("user"), .password = xstrdup(password) };

	registry_give_credentials(n->registry, &scope, &c);
	credentials_wipe(&c);
}

struct registry_request blob_request(struct net *n)
{
	return (struct registry_request){ .host = n->alias,
		                          .repository = "team/app",
		                          .kind = REGISTRY_BLOB,
		                          .reference = "sha256:" WAYS_BLOB,
		                          .has_range = true,
		                          .range_last = 9 };
}

int ask_within(struct net *n, const char *repository, bool retry, uint64_t timeout_ms)
{
	struct registry_request want = blob_request(n);

	want.repository = repository;
	want.retry = retry;
	want.deadline_ns = clock_now_ns(clock_real()) + timeout_ms * NS_PER_MS;
	return net_ask_digits(n, &want);
}

int ask(struct net *n)
{
	return ask_within(n, "team/app", false, NET_DEADLINE_MS);
}
