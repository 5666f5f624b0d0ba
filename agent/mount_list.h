/*
 * mount_list: the listed mounts on disk: STATE_DIR/mounts/<id>/mount.json, one a directory.
 *
 * All of it [worker]: it blocks. A record is complete or not there (temporary name, fsync, rename).
 * Knows files. Knows nothing of whether anything is mounted.
 */
#pragma once
#include "log.h"
#include "mount_record.h"

#define MOUNTS_MAX     4096
#define MOUNT_ID_BYTES 17

/** The name of the record of the mount at dir. */
void mount_list_id(const char *dir, char ret_id[MOUNT_ID_BYTES]);
/** The file that holds it, if it is listed. malloc'd */
char *mount_list_record(const char *state_dir, const char *dir);

/** @return 0; -errno */
MUST_CHECK int mount_list_save(const char *state_dir, const struct mount_record *rec,
                               struct err *e);

/** @return 0, also when there was none; -errno */
MUST_CHECK int mount_list_remove(const char *state_dir, const char *dir, struct err *e);

/**
 * Every record. One that cannot be read is logged and left where it is. A list that cannot be read
 * to its end is an error, and no record of it is told: what it does not name would be let go.
 * @param fn  called with each; the record is borrowed
 * @return 0; -errno
 */
MUST_CHECK int mount_list_load(const char *state_dir, struct log *log,
                               void (*fn)(void *arg, const struct mount_record *rec), void *arg,
                               struct err *e);
