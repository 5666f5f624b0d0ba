/*
 * mount_chores: what a mount needs from the disk, as jobs of struct mount_chore. [worker]
 */
#pragma once
#include "mount_record.h"
#include "pool.h"

/** Is dir a directory that can be mounted on, and the auth file there? */
void mount_chore_check(struct job *job);
/** The same at a start: first detach what a dead agent left on dir; an auth file may be gone. */
void mount_chore_check_again(struct job *job);
/** Can the agent read the auth file of this record, where it has one? @return 0; -ENOENT */
int mount_auth_file_check(const struct mount_record *rec, struct err *e);
void mount_chore_save(struct job *job);
void mount_chore_unlist(struct job *job);
