/*
 * mount_table: what the kernel's lists of mounts say of a directory (private to mount).
 *
 * Reading it blocks: [worker].
 */
#pragma once
#include <stdbool.h>

/** @return malloc'd: the first directory with a mount for which is_it() says so; NULL: there is
 * none
 */
char *mount_table_find(bool (*is_it)(const char *dir, void *arg), void *arg);

/** Is the topmost mount on dir an EROFS from a file below images_dir? */
bool mount_table_has_erofs(const char *dir, const char *images_dir);

/**
 * Is dir, or something below it, a lower directory of an overlay, mounted here or, where the first
 * process is the node's, on the node? Such an overlay holds the file system but not the mount, so
 * that umount(2) does not call it busy.
 */
bool mount_table_is_lower(const char *dir);

/** Do the options of an overlay name dir as a lower directory? For the function above. */
bool overlay_names_lower(const char *options, const char *dir);
