/*
 * untar: the files of a tar stream, from bytes that come in slices of any size; and, in front of
 * it, the unpacking of gzip and zstd.
 *
 * Bytes in, checked entries out: knows no disk and writes no file, so names in the tar can do no
 * harm. All input is hostile. Pure functions; any thread.
 * Source: POSIX.1-2017 pax (ustar and pax headers); GNU tar manual, "Basic Tar Format" (long
 * names, base-256 numbers).
 */
#pragma once
#include "auto.h"
#include "buffer.h"
#include "err.h"
#include <stdbool.h>
#include <stdint.h>

#define UNTAR_BLOCK_BYTES    512U
#define UNTAR_NAME_MAX_BYTES 4096U
#define UNTAR_PAX_MAX_BYTES  65536U

struct untar_ops {
	/* A regular file begins. *ret_keep: its bytes are wanted. @return 0; negative: stop with it
	 */
	int (*file)(void *arg, const char *name, uint64_t size_bytes, bool *ret_keep,
	            struct err *e);
	/* More bytes of a file that is wanted. @return as file() */
	int (*bytes)(void *arg, const uint8_t *bytes, uint64_t size_bytes, struct err *e);
};

struct untar;
struct untar *untar_new(const struct untar_ops *ops, void *arg); /* ops borrowed; never NULL */
void untar_free(struct untar **tar);                             /* NULL is fine */

/** The next bytes of the stream. What follows the end mark is ignored.
 * @return 0; -EUCLEAN no tar, or a broken one; -EMSGSIZE; what an op returned */
MUST_CHECK int untar_add(struct untar *tar, const uint8_t *bytes, uint64_t size_bytes,
                         struct err *e);

/** The stream is over. @return 0; -EUCLEAN in the middle of an entry */
MUST_CHECK int untar_end(const struct untar *tar, struct err *e);

/**
 * Unpack gzip (all members), zstd (all frames), or hand on plain bytes: told by the first bytes.
 *
 * @param plain_max_bytes  more come out: -EMSGSIZE
 * @param out  gets the plain bytes in order. @return 0; negative: stop with it
 * @return 0; -EUCLEAN broken or cut short; -EMSGSIZE; what out returned
 */
MUST_CHECK int untar_unpack(const uint8_t *packed, uint64_t size_bytes, uint64_t plain_max_bytes,
                            int (*out)(void *arg, const uint8_t *bytes, uint64_t size_bytes,
                                       struct err *e),
                            void *arg, struct err *e);
