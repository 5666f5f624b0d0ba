/*
 * test_untar: tar streams, made here byte by byte, whole and in slices, plain and packed.
 */
#include "boot_layer.h"
#include "buffer.h"
#include "untar.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#define HEX           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TAR_MAX_BYTES (8U << 20)

/* ---- making tars ---- */

static void add(struct buffer *b, const void *data, size_t size_bytes)
{
	struct err e;

	b->max_bytes = TAR_MAX_BYTES;
	assert_int_equal(buffer_add(b, data, size_bytes, &e), 0);
}

static void seal(uint8_t *h)
{
	unsigned sum = 0;

	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += h[i];
	(void)snprintf((char *)h + 148, 8, "%06o", sum);
}

static void add_header(struct buffer *b, const char *name, char type, uint64_t size_bytes)
{
	uint8_t h[512] = { 0 };

	(void)snprintf((char *)h, 101, "%s", name);
	(void)snprintf((char *)h + 124, 12, "%011o", (unsigned)size_bytes);
	h[156] = (uint8_t)type;
	memcpy(h + 257, "ustar", sizeof("ustar"));
	memset(h + 263, '0', 2);
	seal(h);
	add(b, h, sizeof(h));
}

static void add_entry(struct buffer *b, const char *name, char type, const char *content)
{
	static const uint8_t zeros[512] = { 0 };
	const size_t size_bytes = strlen(content);

	add_header(b, name, type, size_bytes);
	add(b, content, size_bytes);
	add(b, zeros, (512 - size_bytes % 512) % 512);
}

static void add_end(struct buffer *b)
{
	static const uint8_t zeros[1024] = { 0 };

	add(b, zeros, sizeof(zeros));
}

/* ---- reading them ---- */

struct seen {
	char text[8192]; /* "name=content;" of each file */
};

static int on_file(void *arg, const char *name, uint64_t size_bytes, bool *ret_keep, struct err *e)
{
	struct seen *seen = arg;
	const size_t n = strlen(seen->text);

	(void)e;
	(void)snprintf(seen->text + n, sizeof(seen->text) - n, ";%s(%u)=", name,
	               (unsigned)size_bytes);
	*ret_keep = strstr(name, "skip") == NULL;
	return 0;
}

static int on_bytes(void *arg, const uint8_t *bytes, uint64_t size_bytes, struct err *e)
{
	struct seen *seen = arg;

	(void)e;
	strncat(seen->text, (const char *)bytes, size_bytes);
	return 0;
}

static const struct untar_ops ops = { on_file, on_bytes };

static int untar_slices(const struct buffer *tar, uint64_t slice_bytes, struct seen *seen,
                        struct err *e)
{
	struct untar *u = untar_new(&ops, seen);
	int r = 0;

	seen->text[0] = '\0';
	for (uint64_t at = 0; at < tar->size_bytes && r == 0; at += slice_bytes) {
		const uint64_t left = tar->size_bytes - at;

		r = untar_add(u, tar->data + at, left < slice_bytes ? left : slice_bytes, e);
	}
	if (r == 0)
		r = untar_end(u, e);
	untar_free(&u);
	return r;
}

static void reads_as(const struct buffer *tar, const char *want)
{
	static const uint64_t slices[] = { 1, 7, 511, 512, 513, 1 << 20 };
	struct seen seen;
	struct err e = { .code = 0 };

	for (size_t i = 0; i < ARRAY_LEN(slices); i++) {
		if (untar_slices(tar, slices[i], &seen, &e) != 0)
			fail_msg("%s", e.msg);
		assert_string_equal(seen.text, want);
	}
}

static void fails_with(const struct buffer *tar, int code)
{
	struct seen seen;
	struct err e = { .code = 0 };

	assert_int_equal(untar_slices(tar, 1 << 20, &seen, &e), -code);
	assert_int_equal(e.code, code);
}

static void files_come_whole_however_the_bytes_are_cut(void **state)
{
	struct buffer tar = { .data = NULL };

	(void)state;
	add_entry(&tar, "dir/", '5', "");
	add_entry(&tar, "dir/a", '0', "alpha");
	add_entry(&tar, "empty", '0', "");
	add_entry(&tar, "skip", '0', "not wanted");
	add_entry(&tar, "link", '2', "");
	add_entry(&tar, "old", '\0', "beta");
	add_end(&tar);
	add_entry(&tar, "behind the end", '0', "nothing");
	reads_as(&tar, ";dir/a(5)=alpha;empty(0)=;skip(10)=;old(4)=beta");
	buffer_clear(&tar);
}

static void long_names_and_pax_headers_hold_for_the_next_file_alone(void **state)
{
	struct buffer tar = { .data = NULL };

	(void)state;
	add_entry(&tar, "././@LongLink", 'L', "a/long/name");
	add_entry(&tar, "cut", '0', "1");
	add_entry(&tar, "b", '0', "2");
	add_entry(&tar, "pax", 'x', "17 path=from/pax\n30 mtime=1350244992.023960108\n");
	add_entry(&tar, "global", 'g', "11 path=no\n");
	add_entry(&tar, "c", '0', "3");
	add_entry(&tar, "d", '0', "4");
	add_end(&tar);
	reads_as(&tar, ";a/long/name(1)=1;b(1)=2;from/pax(1)=3;d(1)=4");
	buffer_clear(&tar);
}

static void a_size_from_pax_outranks_the_header(void **state)
{
	struct buffer tar = { .data = NULL };

	(void)state;
	add_entry(&tar, "pax", 'x', "9 size=3\n");
	add_header(&tar, "a", '0', 0);
	add(&tar, "abc", 3);
	reads_as(&tar, ";a(3)=abc");
	buffer_clear(&tar);
}

static void a_size_in_base_256_is_read_and_a_negative_one_refused(void **state)
{
	struct buffer tar = { .data = NULL };
	uint8_t *h = NULL;

	(void)state;
	add_header(&tar, "a", '0', 0);
	add(&tar, "abc", 3);
	h = tar.data;
	memset(h + 124, 0, 12);
	h[124] = 0x80;
	h[135] = 3;
	seal(h);
	reads_as(&tar, ";a(3)=abc");
	h[124] = 0xff;
	seal(h);
	fails_with(&tar, EUCLEAN);
	h[124] = 0x80;
	memset(h + 125, 0xff, 11);
	seal(h);
	fails_with(&tar, EUCLEAN);
	buffer_clear(&tar);
}

static void what_is_no_tar_is_refused(void **state)
{
	struct buffer tar = { .data = NULL };

	(void)state;
	add_entry(&tar, "a", '0', "alpha");
	tar.data[0] = 'b';
	fails_with(&tar, EUCLEAN); /* checksum */
	tar.data[0] = 'a';
	tar.size_bytes = 514;
	fails_with(&tar, EUCLEAN); /* cut in a file */
	tar.size_bytes = 100;
	fails_with(&tar, EUCLEAN); /* cut in a header */
	buffer_clear(&tar);
	for (size_t i = 0; i < 4; i++) {
		static const char *const bad[] = { "5 path=x\n", "99 path=x\n", "x", "9 size=x\n" };

		add_entry(&tar, "pax", 'x', bad[i]);
		fails_with(&tar, EUCLEAN);
		buffer_clear(&tar);
	}
	add_header(&tar, "pax", 'x', UNTAR_PAX_MAX_BYTES + 1);
	fails_with(&tar, EMSGSIZE);
	buffer_clear(&tar);
}

/* ---- packed ---- */

static struct buffer gzipped(const struct buffer *plain)
{
	z_stream z = { .next_in = plain->data, .avail_in = (uInt)plain->size_bytes };
	struct buffer out = { .max_bytes = TAR_MAX_BYTES };
	uint8_t *bytes = malloc(TAR_MAX_BYTES);

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_out = bytes;
	z.avail_out = TAR_MAX_BYTES;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	add(&out, bytes, z.total_out);
	(void)deflateEnd(&z);
	free(bytes);
	return out;
}

static struct buffer zstded(const struct buffer *plain)
{
	struct buffer out = { .max_bytes = TAR_MAX_BYTES };
	uint8_t *bytes = malloc(TAR_MAX_BYTES);

	add(&out, bytes, ZSTD_compress(bytes, TAR_MAX_BYTES, plain->data, plain->size_bytes, 3));
	free(bytes);
	return out;
}

static int to_buffer(void *arg, const uint8_t *bytes, uint64_t size_bytes, struct err *e)
{
	return buffer_add(arg, bytes, size_bytes, e);
}

static void unpacks_to(const struct buffer *packed, const struct buffer *want)
{
	struct buffer got = { .max_bytes = TAR_MAX_BYTES };
	struct err e = { .code = 0 };

	if (untar_unpack(packed->data, packed->size_bytes, want->size_bytes, to_buffer, &got, &e) !=
	    0)
		fail_msg("%s", e.msg);
	assert_int_equal(got.size_bytes, want->size_bytes);
	assert_memory_equal(got.data, want->data, want->size_bytes);
	got.size_bytes = 0;
	assert_int_equal(untar_unpack(packed->data, packed->size_bytes, want->size_bytes - 1,
	                              to_buffer, &got, &e),
	                 -EMSGSIZE);
	buffer_clear(&got);
}

static void cut_short_is_told(const struct buffer *packed)
{
	for (uint64_t n = 5; n < packed->size_bytes; n += packed->size_bytes / 17) {
		struct buffer got = { .max_bytes = TAR_MAX_BYTES };
		struct err e = { .code = 0 };

		assert_int_equal(untar_unpack(packed->data, n, TAR_MAX_BYTES, to_buffer, &got, &e),
		                 -EUCLEAN);
		buffer_clear(&got);
	}
}

static void fill(struct buffer *b)
{
	for (uint32_t i = 0; i < 200000; i++)
		add(b, &i, sizeof(i));
}

static void gzip_and_zstd_unpack_within_the_cap_and_cut_ones_are_told(void **state)
{
	struct buffer plain = { .data = NULL };
	struct buffer gz, zst;

	(void)state;
	fill(&plain);
	gz = gzipped(&plain);
	zst = zstded(&plain);
	unpacks_to(&plain, &plain);
	unpacks_to(&gz, &plain);
	unpacks_to(&zst, &plain);
	cut_short_is_told(&gz);
	cut_short_is_told(&zst);
	buffer_clear(&gz);
	buffer_clear(&zst);
	buffer_clear(&plain);
}

static void members_and_frames_one_after_the_other_are_one_stream(void **state)
{
	struct buffer plain = { .data = NULL }, twice = { .data = NULL };
	struct buffer gz, zst;

	(void)state;
	fill(&plain);
	add(&twice, plain.data, plain.size_bytes);
	add(&twice, plain.data, plain.size_bytes);
	gz = gzipped(&plain);
	zst = zstded(&plain);
	for (int i = 0; i < 2; i++) {
		struct buffer *one = i == 0 ? &gz : &zst;
		struct buffer both = { .data = NULL };

		add(&both, one->data, one->size_bytes);
		add(&both, one->data, one->size_bytes);
		unpacks_to(&both, &twice);
		buffer_clear(&both);
	}
	buffer_clear(&gz);
	buffer_clear(&zst);
	buffer_clear(&plain);
	buffer_clear(&twice);
}

/* ---- the bootstrap layer ---- */

static void bootstrap_and_metas_are_picked_and_nothing_else(void **state)
{
	struct buffer tar = { .data = NULL };
	struct boot_layer layer;
	struct err e = { .code = 0 };

	(void)state;
	add_entry(&tar, "image/", '5', "");
	add_entry(&tar, "./image/image.boot", '0', "the bootstrap");
	add_entry(&tar, "image/" HEX ".blob.meta", '0', "its index");
	add_entry(&tar, "image/../" HEX ".blob.meta", '0', "no");
	add_entry(&tar, "image/../../etc/passwd", '0', "no");
	add_entry(&tar, "/image/image.boot", '0', "no");
	add_entry(&tar, "image/short.blob.meta", '0', "no");
	add_entry(&tar, "image/backend.json", '0', "no");
	add_end(&tar);
	assert_int_equal(boot_layer_read(tar.data, tar.size_bytes, &layer, &e), 0);
	assert_int_equal(layer.bootstrap.size_bytes, 13);
	assert_memory_equal(layer.bootstrap.data, "the bootstrap", 13);
	assert_int_equal(layer.n_metas, 1);
	assert_string_equal(layer.metas[0].blob_id, HEX);
	assert_memory_equal(layer.metas[0].bytes.data, "its index", 9);
	boot_layer_clear(&layer);
	buffer_clear(&tar);
}

static void a_layer_without_or_with_two_bootstraps_is_refused(void **state)
{
	struct buffer tar = { .data = NULL };
	struct boot_layer layer;
	struct err e = { .code = 0 };

	(void)state;
	add_entry(&tar, "etc/passwd", '0', "no");
	assert_int_equal(boot_layer_read(tar.data, tar.size_bytes, &layer, &e), -ENOTSUP);
	boot_layer_clear(&layer);
	add_entry(&tar, "image.boot", '0', "one");
	add_entry(&tar, "image/image.boot", '0', "two");
	assert_int_equal(boot_layer_read(tar.data, tar.size_bytes, &layer, &e), -EUCLEAN);
	boot_layer_clear(&layer);
	buffer_clear(&tar);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_come_whole_however_the_bytes_are_cut),
		cmocka_unit_test(long_names_and_pax_headers_hold_for_the_next_file_alone),
		cmocka_unit_test(a_size_from_pax_outranks_the_header),
		cmocka_unit_test(a_size_in_base_256_is_read_and_a_negative_one_refused),
		cmocka_unit_test(what_is_no_tar_is_refused),
		cmocka_unit_test(gzip_and_zstd_unpack_within_the_cap_and_cut_ones_are_told),
		cmocka_unit_test(members_and_frames_one_after_the_other_are_one_stream),
		cmocka_unit_test(bootstrap_and_metas_are_picked_and_nothing_else),
		cmocka_unit_test(a_layer_without_or_with_two_bootstraps_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
