/*
 * past: a ring of sums.
 */
#include "past.h"
#include "mem.h"
#include <stdlib.h>

#define PAST_MS (PAST_STEP_MS * PAST_STEPS)
/* Two more than steps: both ends of the first one are needed, and a sample may be a little late. */
#define N_SAMPLES (PAST_STEPS + 2)

struct past {
	struct sums ring[N_SAMPLES];
	uint32_t n;    /* that are filled */
	uint32_t next; /* to be overwritten */
};

struct past *past_new(void)
{
	struct past *past = xcalloc(1, sizeof(*past));

	past->n = past->next = 1;
	return past;
}

void past_free(struct past **past)
{
	free(*past);
	*past = NULL;
}

void past_add(struct past *past, const struct sums *sums)
{
	past->ring[past->next] = *sums;
	past->next = (past->next + 1) % N_SAMPLES;
	past->n += past->n < N_SAMPLES;
}

/* i: from the oldest, 0, on */
static const struct sums *sample(const struct past *past, uint32_t i)
{
	return &past->ring[(past->next + N_SAMPLES - past->n + i) % N_SAMPLES];
}

/* A sample that is a little late does not push out the one before the five minutes' begin. */
static uint32_t begin(const struct past *past, uint64_t now_ms)
{
	uint32_t i = 0;

	while (i + 1 < past->n && now_ms - sample(past, i)->uptime_ms > PAST_MS + PAST_STEP_MS / 2)
		i++;
	return i;
}

const struct sums *past_begin(const struct past *past, uint64_t now_ms)
{
	return sample(past, begin(past, now_ms));
}

json_t *past_tell(const struct past *past, uint64_t now_ms)
{
	json_t *list = json_array();

	for (uint32_t i = begin(past, now_ms); i < past->n; i++) {
		json_t *object = json_object();

		sums_tell(sample(past, i), object);
		(void)json_array_append_new(list, object);
	}
	return list;
}
