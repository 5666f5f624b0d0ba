/*
 * lie: change a bootstrap. Knows no format.
 */
#include "lie.h"
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

void put(uint8_t *p, uint64_t v, int n_bytes)
{
	for (int i = 0; i < n_bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

void begin(struct lie *l, const char *boot)
{
	l->d = data_load(boot);
	l->im = data_open_image(&l->d);
}

int reopen(struct lie *l)
{
	const struct image_opts opts = { l->d.bytes, l->d.size_bytes, 0 };

	image_close(&l->im);
	return image_open(&opts, &l->im, &l->e);
}

void end(struct lie *l)
{
	image_close(&l->im);
	data_free(&l->d);
}

int lookup(const struct lie *l, uint64_t dir, const char *name, uint64_t *ret_node)
{
	struct err e;

	return image_lookup(l->im, dir, name, strlen(name), ret_node, &e);
}

uint64_t node_of(const struct lie *l, uint64_t dir, const char *name)
{
	uint64_t node = 0;

	assert_int_equal(lookup(l, dir, name, &node), 0);
	return node;
}
