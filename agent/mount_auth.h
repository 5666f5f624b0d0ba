/*
 * mount_auth: what a mount brings along for its registry: credentials, and how it is reached.
 *
 * All on the loop thread.
 */
#pragma once
#include "mount_record.h"
#include "registry.h"

/** Tell the registry, before the image is loaded; again, where the mount says something else.
 * @param given  credentials that came through the API; NULL: none, or not yet again (rec->given) */
void mount_auth_add(struct registry *registry, const struct mount_record *rec,
                    const struct credentials *given);

/** The mount gives no credentials any more; what it says stays. */
void mount_auth_take(struct registry *registry, const struct mount_record *rec);

/** The mount is over: drop what was given and said. */
void mount_auth_forget(struct registry *registry, const struct mount_record *rec);

/** Do both stand for one directory and one repository, so that they share what was said? */
bool mount_auth_same_scope(const struct mount_record *a, const struct mount_record *b);

/** Others, while the mount lives. @return false: its blobs are at no registry */
bool mount_auth_give(struct registry *registry, const struct mount_record *rec,
                     const struct credentials *given);
