/*
 * unconst: for calls whose types do not say that they leave the thing alone, and for the lock of
 * a thing that is const for its reader.
 */
#pragma once

static inline void *unconst(const void *p)
{
	union {
		const void *in;
		void *out;
	} u = { .in = p };

	return u.out;
}
