/*
 * data: the real bootstraps of tests/data/bootstraps, unpacked.
 */
#pragma once
#include "image.h"
#include <stddef.h>
#include <stdint.h>

struct data {
	uint8_t *bytes;
	size_t size_bytes;
};

/** Unpack tests/data/bootstraps/NAME.gz; the test program ends when it is not there. */
struct data data_load(const char *name);
void data_free(struct data *d); /* zeroed is fine */

/** Open a bootstrap that must be good. Ended by image_close(). */
struct image *data_open_image(const struct data *d);

#define MOUNT_TIME_S 1234567890
