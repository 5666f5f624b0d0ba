/*
 * mount_auth: see mount_auth.h. Of credentials it keeps nothing.
 */
#include "mount_auth.h"
#include "mem.h"
#include "reference.h"
#include <string.h>

/* HOST and REPOSITORY that the credentials of this mount are for. */
static bool scope_of(const struct mount_record *rec, struct reference *ret_ref)
{
	static const char prefix[] = "registry:";
	AUTO(free_str) char *text = NULL;
	struct err ignored = { 0 };

	if (rec->reference != NULL)
		return reference_parse(rec->reference, ret_ref, &ignored) == 0;
	if (strncmp(rec->blobs, prefix, strlen(prefix)) != 0)
		return false;
	text = xasprintf("%s:any", rec->blobs + strlen(prefix));
	return reference_parse(text, ret_ref, &ignored) == 0;
}

/* @return borrows both */
static struct registry_scope scope_for(const struct mount_record *rec, const struct reference *ref)
{
	return (struct registry_scope){ .host = ref->host,
		                        .repository = ref->repository,
		                        .owner = rec->dir };
}

bool mount_auth_give(struct registry *registry, const struct mount_record *rec,
                     const struct credentials *given)
{
	struct registry_scope scope;
	struct reference ref;

	if (!scope_of(rec, &ref))
		return false;
	scope = scope_for(rec, &ref);
	registry_give_credentials(registry, &scope, given);
	return true;
}

static void add_hints(struct registry *registry, const struct mount_record *rec,
                      const struct reference *ref)
{
	const struct registry_hints hints = { .scheme = rec->scheme,
		                              .ca_file = rec->ca_file,
		                              .proxy = rec->proxy,
		                              .skip_verify = rec->skip_verify,
		                              .auth_file = rec->auth_file };
	const struct registry_scope scope = scope_for(rec, ref);

	registry_hint(registry, &scope, &hints);
}

void mount_auth_add(struct registry *registry, const struct mount_record *rec,
                    const struct credentials *given)
{
	struct reference ref;

	if (!scope_of(rec, &ref))
		return;
	add_hints(registry, rec, &ref);
	if (rec->given)
		(void)mount_auth_give(registry, rec, given);
}

void mount_auth_forget(struct registry *registry, const struct mount_record *rec)
{
	struct registry_scope scope;
	struct reference ref;

	if (!scope_of(rec, &ref))
		return;
	scope = scope_for(rec, &ref);
	registry_forget(registry, &scope);
}

bool mount_auth_same_scope(const struct mount_record *a, const struct mount_record *b)
{
	struct reference ref_a;
	struct reference ref_b;

	return strcmp(a->dir, b->dir) == 0 && scope_of(a, &ref_a) && scope_of(b, &ref_b) &&
	       strcmp(ref_a.host, ref_b.host) == 0 &&
	       strcmp(ref_a.repository, ref_b.repository) == 0;
}
