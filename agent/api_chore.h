/*
 * api_chore: what takes minutes: one of the threads for chores does it, with lines of progress for
 * whoever asked. When they hang up, it is to stop.
 */
#pragma once
#include "api.h"
#include <stdatomic.h>

struct api_chore;

/** [chores] Do it. ret_last: the last line, set where it returns 0; moved. @return 0; -errno */
typedef int api_chore_fn(struct api_chore *chore, json_t **ret_last, struct err *e);

/* The first member of what a kind of chore knows. */
struct api_chore {
	struct job job;
	struct api_call *call;
	struct agent *agent;
	api_chore_fn *work;
	bool *running; /* one of each kind at a time */
	atomic_bool unwanted;
	uint64_t told_ns; /* of the thread that tells */
	json_t *last;
	int result;
	struct err err;
};

/** Begin, and answer the call when it is over. chore: zeroed, moved. running: whether one of this
 * kind runs, the api's; it is false now. */
void api_chore_start(struct api_chore *chore, struct api_call *call, api_chore_fn *work,
                     bool *running);

/** [any thread, one at a time] May progress be told again? Then it is. */
bool api_chore_may_tell(struct api_chore *chore);

/** [any thread] line: moved. */
void api_chore_tell(struct api_chore *chore, json_t *line);

/** [any thread] */
bool api_chore_is_unwanted(struct api_chore *chore);
