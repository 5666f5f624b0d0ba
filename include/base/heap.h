/*
 * heap: how much of what was freed the C library keeps for later. Knows glibc; with another library
 * nothing happens.
 */
#pragma once
#include <stdint.h>

/** Before there are threads: keep little. @param n_cpus  that threads will run on */
void heap_configure(uint32_t n_cpus);

/** [any] Give back what is free. Takes up to some ms, in which others may wait for memory. */
void heap_give_back(void);
