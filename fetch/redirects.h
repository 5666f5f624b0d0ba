/*
 * redirects: where a registry has sent us for a blob, so that the next request goes there at once.
 *
 * A fixed number of slots: a newer entry takes the place of an older one. The URLs may hold
 * signatures: never logged. Loop thread.
 */
#pragma once
#include "auto.h"

struct redirects;
struct redirects *redirects_new(void);     /* never NULL */
void redirects_free(struct redirects **r); /* NULL is fine */

/** key: way, host, repository and blob in one text. @return borrowed until the next call; NULL:
 * none */
const char *redirects_find(const struct redirects *r, const char *key);
void redirects_put(struct redirects *r, const char *key, const char *url);
void redirects_drop(struct redirects *r, const char *key);
