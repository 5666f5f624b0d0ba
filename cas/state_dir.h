/*
 * state_dir: the directories under the state directory, and the lock on it.
 */
#pragma once
#include "auto.h"
#include "err.h"

struct state_dir {
	int lock_fd;
	int blobs_fd;
	int images_fd;
};

/** [worker] Make what is missing (0700) and lock. @return 0; -EBUSY *e names the holder; -errno */
MUST_CHECK int state_dir_open(const char *path, struct state_dir *ret_dir, struct err *e);
