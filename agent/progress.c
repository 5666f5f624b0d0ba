/*
 * progress: one line on stderr, drawn over itself.
 *
 * Knows bytes and the clock. Knows nothing of what is being done.
 */
#include "progress.h"
#include "clock.h"
#include <stdio.h>
#include <unistd.h>

#define BAR_CELLS 30
#define MIB       (1024.0 * 1024.0)

void progress_begin(struct progress *p, const char *label, bool on)
{
	*p = (struct progress){ .on = on && isatty(STDERR_FILENO),
		                .label = label,
		                .started_ns = clock_now_ns(clock_real()) };
}

void progress_draw(struct progress *p, uint64_t done_bytes, uint64_t total_bytes)
{
	const double seconds =
		(double)(clock_now_ns(clock_real()) - p->started_ns) / (double)NS_PER_S;
	const double share = total_bytes > 0 ? (double)done_bytes / (double)total_bytes : 1;
	const double rate = seconds > 0 ? (double)done_bytes / seconds : 0;
	const int cells = (int)(share * BAR_CELLS);

	if (!p->on)
		return;
	p->drawn = true;
	(void)fprintf(stderr, "\r%s [", p->label);
	for (int i = 0; i < BAR_CELLS; i++)
		(void)fputc(i < cells ? '#' : ' ', stderr);
	(void)fprintf(stderr, "] %3d%% %.1f of %.1f MiB, %.1f MiB/s\x1b[K", (int)(share * 100),
	              (double)done_bytes / MIB, (double)total_bytes / MIB, rate / MIB);
	if (rate > 0 && done_bytes < total_bytes)
		(void)fprintf(stderr, ", %.0f s left", (double)(total_bytes - done_bytes) / rate);
	(void)fflush(stderr);
}

void progress_end(struct progress *p)
{
	if (p->drawn)
		(void)fputs("\r\x1b[K", stderr);
	p->drawn = false;
}
