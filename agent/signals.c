/*
 * signals: see signals.h.
 */
#include "signals.h"
#include <pthread.h>
#include <signal.h>

/* Nobody takes them meanwhile: the pools' threads never do. */
static void block(struct event *const *events, size_t n_events)
{
	sigset_t set;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < n_events; i++) {
		if (events[i] != NULL)
			(void)sigaddset(&set, event_get_signal(events[i]));
	}
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void signals_end(struct event **events, size_t n_events)
{
	block(events, n_events);
	for (size_t i = 0; i < n_events; i++) {
		int number;

		if (events[i] == NULL)
			continue;
		number = event_get_signal(events[i]);
		event_free(events[i]);
		events[i] = NULL;
		(void)signal(number, SIG_IGN);
	}
}
