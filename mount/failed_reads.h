/*
 * failed_reads: the last reads that ended with EIO, so that the kernel's second try of one is
 * known.
 *
 * When a read ahead of a reader fails, the kernel asks once more for the page that the reader
 * needs, in the same thread and at once. Without this list that reader would wait for its bytes
 * twice as long as read.timeout_ms says. Others who ask for the same bytes are not meant: they get
 * their own time.
 *
 * Pure but for the clock values; the caller has a lock.
 */
#pragma once
#include "clock.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FAILED_READS_MAX 16
#define FAILED_READ_NS   NS_PER_S /* the second try comes within microseconds, on an idle machine */

struct failed_read {
	pid_t thread; /* 0: no entry */
	uint64_t node;
	uint64_t offset, end;
	uint64_t at_ns;
};

struct failed_reads {
	struct failed_read entries[FAILED_READS_MAX];
	uint32_t next;
};

/** @param thread  who asked, as the kernel says; 0 (it cannot say): nothing is kept */
void failed_reads_add(struct failed_reads *list, const struct failed_read *failed);

/** Is this the second try of one that failed? Once: the entry goes. */
bool failed_reads_take(struct failed_reads *list, const struct failed_read *asked);
