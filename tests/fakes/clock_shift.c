/*
 * clock_shift: a library to be loaded before others: the wall clock, SHOAL_CLOCK_SHIFT_S seconds
 * off. The clocks that only run are left alone.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *ts);
time_t time(time_t *ret);
int gettimeofday(struct timeval *restrict tv, void *restrict zone);

static time_t shift(void)
{
	const char *text = secure_getenv("SHOAL_CLOCK_SHIFT_S");

	return text == NULL ? 0 : (time_t)strtol(text, NULL, 10);
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	const int r = (int)syscall(SYS_clock_gettime, id, ts);

	if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ts->tv_sec += shift();
	return r;
}

time_t time(time_t *ret)
{
	struct timespec ts = { .tv_sec = 0 };

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	if (ret != NULL)
		*ret = ts.tv_sec;
	return ts.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts = { .tv_sec = 0 };
	const int r = clock_gettime(CLOCK_REALTIME, &ts);

	(void)zone;
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return r;
}
