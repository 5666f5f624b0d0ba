/*
 * ways_world: mounts of one repository, "team/app" of a host by its alias, which the configuration
 * does not know: what they say and give, and whether its blob can be had. On net_fixture.
 */
#pragma once
#include "net_fixture.h"

#define WAYS_BLOB "3333333333333333333333333333333333333333333333333333333333333333"

int ways_setup(void **state); /* cmocka; net_teardown() ends it */

/* owner: a mount's directory */
struct registry_scope scope_of(struct net *n, const char *owner);
void hint(struct net *n, const char *owner, const char *scheme, const char *proxy);
void forget(struct net *n, const char *owner);
/** The user is "user". */
void give(struct net *n, const char *owner, const char *password);

struct registry_request blob_request(struct net *n);
/** @return 0: the right bytes; as registry_request.end */
int ask_within(struct net *n, const char *repository, bool retry, uint64_t timeout_ms);
int ask(struct net *n); /* "team/app", once */
