/*
 * times: percentiles. Knows numbers alone.
 */
#include "times.h"
#include "clock.h"
#include <stdio.h>
#include <stdlib.h>

static int by_size(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a;
	const uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double ms(uint64_t ns)
{
	return (double)ns / (double)NS_PER_MS;
}

void times_print(uint64_t *took_ns, uint32_t n)
{
	const uint32_t p50 = n / 2;
	const uint32_t p99 = (uint32_t)((uint64_t)n * 99 / 100);

	qsort(took_ns, n, sizeof(*took_ns), by_size);
	(void)printf("p50_ms %.3f p99_ms %.3f\n", ms(took_ns[p50]), ms(took_ns[p99]));
}
