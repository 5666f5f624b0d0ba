/*
 * digest_count: how often digest_matches() was called, by the linker's --wrap=digest_matches.
 * Any thread.
 */
#pragma once

unsigned digest_count(void);
