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

bool mount_auth_give(struct registry *registry, const struct mount_record *rec,
                     const struct credentials *given)
{
	struct reference ref;

	if (!scope_of(rec, &ref))
		return false;
	registry_give_credentials(registry,
	                          &(struct registry_scope){ .host = ref.host,
	                                                    .repository = ref.repository,
	                                                    .owner = rec->dir },
	                          given);
	return true;
}

static void add_hints(struct registry *registry, const struct mount_record *rec, const char *host)
{
	const struct registry_hints hints = { .scheme = rec->scheme,
		                              .ca_file = rec->ca_file,
		                              .proxy = rec->proxy,
		                              .skip_verify = rec->skip_verify };

	if (hints.scheme != NULL || hints.ca_file != NULL || hints.proxy != NULL ||
	    hints.skip_verify)
		registry_hint_host(registry, host, &hints);
}

void mount_auth_add(struct registry *registry, const struct mount_record *rec,
                    const struct credentials *given)
{
	struct reference ref;

	if (!scope_of(rec, &ref))
		return;
	add_hints(registry, rec, ref.host);
	if (rec->auth_file != NULL)
		registry_add_auth_file(registry, ref.host, ref.repository, rec->auth_file);
	if (rec->given)
		(void)mount_auth_give(registry, rec, given);
}

void mount_auth_remove(struct registry *registry, const struct mount_record *rec)
{
	struct reference ref;

	if (!scope_of(rec, &ref))
		return;
	if (rec->auth_file != NULL)
		registry_remove_auth_file(registry, ref.host, ref.repository, rec->auth_file);
}

void mount_auth_forget(struct registry *registry, const struct mount_record *rec)
{
	struct reference ref;

	if (rec->given && scope_of(rec, &ref))
		registry_take_credentials(registry,
		                          &(struct registry_scope){ .host = ref.host,
		                                                    .repository = ref.repository,
		                                                    .owner = rec->dir });
}
