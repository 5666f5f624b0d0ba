/*
 * packed: the last chunks that came, as they were packed at their origin: passed on like that, they
 * cost neither a read nor packing, and every node gets the origin's bytes, not some that are
 * larger.
 *
 * Knows names and bytes alone; whoever puts vouches that they unpack to the chunk of that name.
 * Bounded: PACKED_MAX_BYTES, the oldest go; what lies here longer than PACKED_KEEP_MS goes, too.
 * Any thread.
 */
#pragma once
#include "layout.h"
#include "wire.h"
#include <stdbool.h>
#include <stdint.h>

#define PACKED_MAX_BYTES (8U << 20)
#define PACKED_MAX       8192U /* entries */
#define PACKED_KEEP_MS   5000U /* it is not asked for that late, and memory has other uses */

struct packed;
struct packed *packed_new(void); /* never NULL */
void packed_free(struct packed **p);

/** bytes: malloc'd, size_bytes, now its own. What is here already stays. */
void packed_put(struct packed *p, const struct wire_id *name, enum compressor form, uint8_t *bytes,
                uint32_t size_bytes, uint64_t now_ns);

/** Copy what is kept of a chunk to out, at most room_bytes.
 * @return how many bytes; 0: it is not here, or larger */
uint32_t packed_get(struct packed *p, const struct wire_id *name, uint8_t *out, uint32_t room_bytes,
                    enum compressor *ret_form);

/** Let go what is too old. @return when to call again (ns); UINT64_MAX: nothing is here */
uint64_t packed_expire(struct packed *p, uint64_t now_ns);
