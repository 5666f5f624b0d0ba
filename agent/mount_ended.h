/*
 * mount_ended: notes beside the agent's socket, one a directory: whoever mounted there has ended
 * while the agent was away, and nobody wants the mount back.
 *
 * [worker] all: it blocks. The socket's directory is what nydusd and the agent have in common,
 * wherever each of them runs. Knows files. Knows nothing of mounting.
 */
#pragma once
#include "err.h"
#include <stdbool.h>

/** @return 0; -errno */
MUST_CHECK int mount_ended_note(const char *socket, const char *dir, struct err *e);

/** Is there a note about the mount at dir that is younger than its record in state_dir? */
bool mount_ended_is_noted(const char *socket, const char *state_dir, const char *dir);

/** All of them are read. */
void mount_ended_clear(const char *socket);
