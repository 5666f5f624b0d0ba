/*
 * notify: a word to the service manager that started us.
 */
#pragma once

/** Send state ("READY=1") to $NOTIFY_SOCKET, if there is one. */
void notify_manager(const char *state);
