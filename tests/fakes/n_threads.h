/*
 * n_threads: how many threads this process has.
 */
#pragma once
#include <assert.h>
#include <dirent.h>
#include <stdint.h>

static inline uint32_t n_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	uint32_t n = 0;

	assert(dir != NULL);
	while (readdir(dir) != NULL) /* NOLINT(concurrency-mt-unsafe): nobody else's dir */
		n++;
	(void)closedir(dir);
	return n - 2; /* . and .. */
}
