/*
 * unconst: takes const away, for calls that do not change the thing although their types allow it,
 * and for the lock of a thing that is const for its reader.
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
