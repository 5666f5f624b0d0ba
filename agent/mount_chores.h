/*
 * mount_chores: what a mount needs from the disk, as jobs of struct mount_chore. [worker]
 */
#pragma once
#include "pool.h"

/** Is dir a directory that can be mounted on, and the auth file there? */
void mount_chore_check(struct job *job);
/** The same at a start: first detach what a dead agent left on dir; an auth file may be gone. */
void mount_chore_check_again(struct job *job);
void mount_chore_save(struct job *job);
void mount_chore_unlist(struct job *job);
