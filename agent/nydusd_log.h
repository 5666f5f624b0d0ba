/*
 * nydusd_log: nydusd's names of log levels.
 */
#pragma once
#include "log.h"
#include <stdbool.h>

/** @return false: no level has this name */
bool nydusd_log_level(const char *name, enum log_level *ret_level);
