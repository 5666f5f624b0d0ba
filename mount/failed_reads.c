/*
 * failed_reads: a ring of a few entries. Knows no FUSE.
 */
#include "failed_reads.h"

void failed_reads_add(struct failed_reads *list, const struct failed_read *failed)
{
	if (failed->thread == 0)
		return;
	list->entries[list->next] = *failed;
	list->next = (list->next + 1) % FAILED_READS_MAX;
}

static bool is_second_try(const struct failed_read *failed, const struct failed_read *asked)
{
	return failed->thread != 0 && failed->thread == asked->thread &&
	       failed->node == asked->node && asked->offset >= failed->offset &&
	       asked->offset < failed->end && asked->at_ns < failed->at_ns + FAILED_READ_NS;
}

bool failed_reads_take(struct failed_reads *list, const struct failed_read *asked)
{
	for (uint32_t i = 0; i < FAILED_READS_MAX; i++) {
		if (!is_second_try(&list->entries[i], asked))
			continue;
		list->entries[i] = (struct failed_read){ .thread = 0 };
		return true;
	}
	return false;
}
