/*
 * fuzz_untar: any bytes are refused with a reason, or are a layer; and how they are cut into slices
 * makes no difference.
 */
#include "boot_layer.h"
#include "fuzz.h"
#include "untar.h"
#include <assert.h>
#include <string.h>

/* A bomb is held by the cap, but would take the fuzzer too long. */
#define PLAIN_MAX_BYTES (UINT64_C(16) << 20)

struct sum {
	uint64_t n_files, n_bytes, hash;
};

static int on_file(void *arg, const char *name, uint64_t size_bytes, bool *ret_keep, struct err *e)
{
	struct sum *sum = arg;

	(void)e;
	sum->n_files++;
	for (; *name != '\0'; name++)
		sum->hash = sum->hash * 31 + (uint8_t)*name;
	*ret_keep = size_bytes % 3 != 0;
	return 0;
}

static int on_bytes(void *arg, const uint8_t *bytes, uint64_t size_bytes, struct err *e)
{
	struct sum *sum = arg;

	(void)e;
	sum->n_bytes += size_bytes;
	for (uint64_t i = 0; i < size_bytes; i++)
		sum->hash = sum->hash * 31 + bytes[i];
	return 0;
}

static int untar_all(const uint8_t *data, size_t size_bytes, size_t slice_bytes, struct sum *sum)
{
	static const struct untar_ops ops = { on_file, on_bytes };
	struct err e = { .code = 0 };
	struct untar *tar = untar_new(&ops, sum);
	int r = 0;

	for (size_t at = 0; at < size_bytes && r == 0; at += slice_bytes) {
		const size_t left = size_bytes - at;

		r = untar_add(tar, data + at, left < slice_bytes ? left : slice_bytes, &e);
	}
	if (r == 0)
		r = untar_end(tar, &e);
	untar_free(&tar);
	assert(r == 0 || (e.code == -r && e.msg[0] != '\0'));
	return r;
}

static int drop(void *arg, const uint8_t *bytes, uint64_t size_bytes, struct err *e)
{
	(void)arg;
	(void)bytes;
	(void)size_bytes;
	(void)e;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	struct sum whole = { 0 }, cut = { 0 };
	struct boot_layer layer;
	struct err e = { .code = 0 };
	const int r = untar_all(data, size_bytes, size_bytes, &whole);
	const int r_cut = untar_all(data, size_bytes, 97, &cut);

	assert(r_cut == r);
	assert(memcmp(&whole, &cut, sizeof(whole)) == 0);
	if (untar_unpack(data, size_bytes, PLAIN_MAX_BYTES, drop, NULL, &e) == 0) {
		if (boot_layer_read(data, size_bytes, &layer, &e) == 0)
			assert(layer.bootstrap.size_bytes > 0);
		boot_layer_clear(&layer);
	}
	return 0;
}
