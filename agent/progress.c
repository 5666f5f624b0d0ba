/*
 * progress: one line on stderr, drawn over itself.
 *
 * Knows bytes, the clock, and how the agent says how far it is. Knows nothing of what is being
 * done.
 */
#include "progress.h"
#include "clock.h"
#include "mem.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_CELLS_MAX 30
#define BAR_CELLS_MIN 5 /* fewer say nothing */
#define COLUMNS_ELSE  80
#define MIB           (1024.0 * 1024.0)
#define MINUTE_S      60.0
#define HOUR_S        3600.0

void progress_begin(struct progress *p, const char *label, bool on)
{
	*p = (struct progress){ .on = on && isatty(STDERR_FILENO), .label = label };
}

void progress_follow(struct progress *p, const char *label, bool on, struct client_request *req)
{
	progress_begin(p, label, on);
	req->stream = true;
	req->line = progress_line;
	req->arg = p;
}

static int columns(void)
{
	struct winsize size = { 0 };

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
	                                                                       : COLUMNS_ELSE;
}

/* ", 40 s left"; "" where it cannot be known. malloc'd */
static char *rest_text(double seconds)
{
	if (seconds < 0)
		return xstrdup("");
	if (seconds < 2 * MINUTE_S)
		return xasprintf(", %.0f s left", ceil(seconds));
	if (seconds < 2 * HOUR_S)
		return xasprintf(", %.0f min left", seconds / MINUTE_S);
	return xasprintf(", %.1f h left", seconds / HOUR_S);
}

double progress_rate(struct progress *p, uint64_t done_bytes, uint64_t now_ns)
{
	if (p->began_ns == 0) {
		p->began_ns = now_ns;
		p->began_bytes = done_bytes;
	}
	if (now_ns <= p->began_ns || done_bytes < p->began_bytes)
		return 0;
	return (double)(done_bytes - p->began_bytes) /
	       ((double)(now_ns - p->began_ns) / (double)NS_PER_S);
}

/* "prefetch [####   ]  40% 1.0 of 2.5 MiB, 1.2 MiB/s, 2 s left", and never wider than the terminal:
 * a line that wraps could not be drawn over. */
static void draw(struct progress *p, uint64_t done_bytes, uint64_t total_bytes)
{
	const double share = total_bytes > 0 ? (double)done_bytes / (double)total_bytes : 1;
	const double rate = progress_rate(p, done_bytes, clock_now_ns(clock_real()));
	const bool goes_on = rate > 0 && done_bytes < total_bytes;
	AUTO(free_str)
	char *rest = rest_text(goes_on ? (double)(total_bytes - done_bytes) / rate : -1);
	AUTO(free_str) char *text = NULL;
	int width;
	int n_cells;

	if (!p->on)
		return;
	text = xasprintf("%3d%% %.1f of %.1f MiB, %.1f MiB/s%s", (int)(share * 100),
	                 (double)done_bytes / MIB, (double)total_bytes / MIB, rate / MIB, rest);
	width = columns() - 1; /* the last column would move the cursor on */
	n_cells = width - (int)strlen(p->label) - (int)strlen(text) - (int)strlen(" [] ");
	n_cells = n_cells > BAR_CELLS_MAX ? BAR_CELLS_MAX : n_cells;
	p->drawn = true;
	(void)fputc('\r', stderr);
	if (n_cells >= BAR_CELLS_MIN) {
		(void)fprintf(stderr, "%s [", p->label);
		for (int i = 0; i < n_cells; i++)
			(void)fputc(i < (int)(share * n_cells) ? '#' : ' ', stderr);
		(void)fputs("] ", stderr);
	}
	(void)fprintf(stderr, "%.*s\x1b[K", width, text);
	(void)fflush(stderr);
}

void progress_line(void *arg, const json_t *line)
{
	if (json_object_get(line, "total_bytes") != NULL)
		draw(arg, json_u64(line, "done_bytes"), json_u64(line, "total_bytes"));
}

void progress_end(struct progress *p)
{
	if (p->drawn)
		(void)fputs("\r\x1b[K", stderr);
	p->drawn = false;
}
