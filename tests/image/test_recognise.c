/*
 * test_recognise: what is no RAFS v5 or v6 bootstrap is refused by its name.
 */
#include "data.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void assert_refused(const uint8_t *bytes, size_t size_bytes, int code, const char *word)
{
	const struct image_opts opts = { bytes, size_bytes, 0 };
	struct image *im = NULL;
	struct err e;

	assert_int_equal(image_open(&opts, &im, &e), -code);
	assert_int_equal(e.code, code);
	if (strstr(e.msg, word) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", e.msg, word);
}

static void put(uint8_t *p, const char *text)
{
	while (*text != '\0')
		*p++ = (uint8_t)*text++;
}

static void files_that_are_no_bootstrap_are_named(void **state)
{
	uint8_t b[8192] = { 0 };

	(void)state;
	assert_refused(b, 0, EUCLEAN, "cut off");
	assert_refused(b, 100, EUCLEAN, "cut off");
	assert_refused(b, sizeof(b), ENOTSUP, "no RAFS bootstrap");
	put(b, "\x1f\x8b\x08");
	assert_refused(b, sizeof(b), ENOTSUP, "gzip");
	put(b, "\x28\xb5\x2f\xfd");
	assert_refused(b, sizeof(b), ENOTSUP, "zstd");
	put(b, "{\"version\":1}");
	assert_refused(b, 13, ENOTSUP, "JSON");
	memset(b, 0, 16);
	put(b + 257, "ustar");
	assert_refused(b, sizeof(b), ENOTSUP, "tar archive");
}

static void other_versions_are_named(void **state)
{
	struct data d = data_load("layers-v5.boot");

	(void)state;
	put32(d.bytes + 4, 0x400);
	assert_refused(d.bytes, d.size_bytes, ENOTSUP, "RAFS v4");
	put32(d.bytes + 4, 0x600);
	assert_refused(d.bytes, d.size_bytes, ENOTSUP, "RAFS v6");
	data_free(&d);
}

static void plain_erofs_and_nydus_v3_are_named(void **state)
{
	struct data d = data_load("layers-v6.boot");

	(void)state;
	put32(d.bytes + 1024 + 4, 0x12345678);
	put32(d.bytes + 1024 + 8, 0x1);
	assert_refused(d.bytes, d.size_bytes, ENOTSUP, "nydus v3");
	data_free(&d);
}

static void tarfs_is_named(void **state)
{
	struct data d = data_load("layers-v6.boot");

	(void)state;
	d.bytes[1152 + 1] |= 2;
	assert_refused(d.bytes, d.size_bytes, ENOTSUP, "tarfs");
	d.bytes[1152 + 1] &= (uint8_t)~2U;
	d.bytes[1024 + 12] = 9;
	assert_refused(d.bytes, d.size_bytes, ENOTSUP, "tarfs");
	data_free(&d);
}

static void features_of_the_future_are_refused(void **state)
{
	struct data d = data_load("layers-v6.boot");
	const size_t blob = 4096; /* the blob table of this image */

	(void)state;
	d.bytes[1024 + 80] = 0x1c;
	assert_refused(d.bytes, d.size_bytes, ENOTSUP, "EROFS features 0x1c");
	d.bytes[1024 + 80] = 0xc;
	d.bytes[1152 + 1] |= 4;
	assert_refused(d.bytes, d.size_bytes, ENOTSUP, "unknown flags 0x400");
	d.bytes[1152 + 1] &= (uint8_t)~4U;
	d.bytes[blob + 84 + 1] |= 0x80;
	assert_refused(d.bytes, d.size_bytes, ENOTSUP, "unknown features");
	d.bytes[blob + 84 + 1] = 0x8;
	assert_refused(d.bytes, d.size_bytes, ENOTSUP, "external");
	d.bytes[blob + 84 + 1] = 0;
	d.bytes[blob + 76] = 2;
	assert_refused(d.bytes, d.size_bytes, ENOTSUP, "eStargz");
	d.bytes[blob + 76] = 3;
	d.bytes[blob + 216] = 2;
	assert_refused(d.bytes, d.size_bytes, ENOTSUP, "cipher 2");
	d.bytes[blob + 216] = 0;
	d.bytes[blob + 84] |= 2;
	memset(d.bytes + blob, 'x', 64);
	assert_refused(d.bytes, d.size_bytes, ENOTSUP, "nydus-image merge");
	data_free(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_that_are_no_bootstrap_are_named),
		cmocka_unit_test(other_versions_are_named),
		cmocka_unit_test(plain_erofs_and_nydus_v3_are_named),
		cmocka_unit_test(tarfs_is_named),
		cmocka_unit_test(features_of_the_future_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
