/*
 * heap: glibc's malloc. By itself it makes an arena for nearly each thread, and takes the size of
 * whatever was freed last as the size from which on memory is worth giving back: an agent that had
 * fetched an image among many neighbours kept 40 MB that nobody used.
 *
 * Blocks of MAP_BYTES and more are mapped, and go at once when they are freed; below that are
 * nearly all chunks, for which mapping each time would cost a tenth of a cold read in page faults.
 * KEEP_BYTES stay at the end of an arena: with less, chunks that come and go give their pages back,
 * and have them again as page faults, all the time.
 */
#include "heap.h"
#include <malloc.h>

#define MAP_BYTES      (2 << 20)
#define KEEP_BYTES     (4 << 20)
#define ARENAS_MIN     2
#define ARENAS_MAX     8
#define CPUS_PER_ARENA 2U

void heap_configure(uint32_t n_cpus)
{
#ifdef __GLIBC__
	int n_arenas = (int)(n_cpus / CPUS_PER_ARENA);

	if (n_arenas < ARENAS_MIN)
		n_arenas = ARENAS_MIN;
	if (n_arenas > ARENAS_MAX)
		n_arenas = ARENAS_MAX;
	/* NOLINTBEGIN(concurrency-mt-unsafe): there is one thread yet */
	(void)mallopt(M_ARENA_MAX, n_arenas);
	(void)mallopt(M_MMAP_THRESHOLD, MAP_BYTES);
	(void)mallopt(M_TRIM_THRESHOLD, KEEP_BYTES);
	/* NOLINTEND(concurrency-mt-unsafe) */
#else
	(void)n_cpus;
#endif
}

void heap_give_back(void)
{
#ifdef __GLIBC__
	(void)malloc_trim(0);
#endif
}
