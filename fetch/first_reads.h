/*
 * first_reads: a list of stretches of an image's chunks, in the order in which readers came to
 * them, as bytes: on disk and between nodes.
 *
 * 0  "shoalfr1"; 8  number of stretches (4 bytes); 12  0 (4 bytes); then for each, 4 bytes each:
 * blob index, first chunk, number of chunks. Little-endian. Pure; what the numbers mean is not
 * checked.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "fetch.h"
#include "read_log.h"

#define FIRST_READS_MAX          READ_LOG_STRETCHES
#define FIRST_READS_HEADER_BYTES 16U
#define FIRST_READS_ENTRY_BYTES  12U
#define FIRST_READS_MAX_BYTES                                                                      \
	(FIRST_READS_HEADER_BYTES + (uint64_t)FIRST_READS_MAX * FIRST_READS_ENTRY_BYTES)

/** @param n_stretches  <= FIRST_READS_MAX. @return malloc'd, never NULL */
uint8_t *first_reads_make(const struct fetch_stretch *stretches, uint32_t n_stretches,
                          uint64_t *ret_size_bytes);

/**
 * @param bytes  from outside
 * @param ret_stretches  malloc'd: at least one; none is empty or ends above UINT32_MAX
 * @return 0; -EUCLEAN
 */
MUST_CHECK int first_reads_parse(const uint8_t *bytes, uint64_t size_bytes,
                                 struct fetch_stretch **ret_stretches, uint32_t *ret_n,
                                 struct err *e);
