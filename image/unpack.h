/*
 * unpack: the few packed bytes that are metadata: a chunk index, a part of a blob's tail.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "layout.h"
#include <stdint.h>

struct unpack_from {
	const uint8_t *packed;
	uint64_t packed_size_bytes;
	enum compressor compressor;
	const struct blob_cipher *cipher; /* NULL or not .on: not encrypted */
};

/** To exactly plain_size_bytes bytes at plain. @return 0; -EUCLEAN; -ENOMEM */
MUST_CHECK int unpack(const struct unpack_from *from, uint8_t *plain, uint64_t plain_size_bytes,
                      struct err *e);
