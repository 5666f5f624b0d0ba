/*
 * notify: a word to the service manager that started us.
 */
#pragma once
#include <stdint.h>

/** Send state ("READY=1") to $NOTIFY_SOCKET, if there is one. */
void notify_manager(const char *state);

/** How often it wants to hear WATCHDOG=1, with a margin: half of what it said. 0: not at all */
uint64_t notify_watchdog_ms(void);
