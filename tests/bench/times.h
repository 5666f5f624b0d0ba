/*
 * times: what a percentile of many measured times is.
 */
#pragma once
#include <stdint.h>

/** Sorts took_ns (n > 0) and prints "p50_ms X p99_ms Y". */
void times_print(uint64_t *took_ns, uint32_t n);
