/*
 * data: read gzip'd test data. Aborts on any fault: without its data a test proves nothing.
 */
#include "data.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define DATA_MAX_BYTES (4U << 20)

struct data data_load(const char *name)
{
	struct data d = { malloc(DATA_MAX_BYTES), 0 };
	char path[512];
	gzFile f;
	int n;

	assert(d.bytes != NULL);
	(void)snprintf(path, sizeof(path), "%s/bootstraps/%s.gz", TESTS_DATA, name);
	f = gzopen(path, "rb");
	if (f == NULL) {
		perror(path);
		abort();
	}
	n = gzread(f, d.bytes, DATA_MAX_BYTES);
	assert(n > 0 && (unsigned)n < DATA_MAX_BYTES);
	(void)gzclose(f);
	d.size_bytes = (size_t)n;
	/* To its very end, so that a sanitizer sees a read behind it. */
	d.bytes = realloc(d.bytes, d.size_bytes);
	assert(d.bytes != NULL);
	return d;
}

void data_free(struct data *d)
{
	free(d->bytes);
	*d = (struct data){ 0 };
}

struct image *data_open_image(const struct data *d)
{
	const struct image_opts opts = { d->bytes, d->size_bytes, MOUNT_TIME_S };
	struct image *im = NULL;
	struct err e;

	if (image_open(&opts, &im, &e) < 0) {
		(void)fprintf(stderr, "%s\n", e.msg);
		abort();
	}
	return im;
}
