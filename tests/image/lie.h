/*
 * lie: a good bootstrap in memory, to be changed byte by byte, and what is said of it then.
 */
#pragma once
#include "data.h"

struct lie {
	struct data d;
	struct image *im;
	struct err e; /* of the last reopen() */
};

/** Little-endian. */
void put(uint8_t *p, uint64_t v, int n_bytes);
void begin(struct lie *l, const char *boot);
/** Open again after a lie in superblock or tables. @return what image_open() returned */
int reopen(struct lie *l);
void end(struct lie *l);
int lookup(const struct lie *l, uint64_t dir, const char *name, uint64_t *ret_node);
/** A name that must be there. */
uint64_t node_of(const struct lie *l, uint64_t dir, const char *name);

/* One field of a table, and a value that must be refused. */
struct field_lie {
	unsigned at;
	int n_bytes;
	uint64_t value;
};
