/*
 * recognise: what a file is that should be a bootstrap, told from its first bytes; and what to do
 * with one that shoal does not read. Looks at magics alone, checks nothing else.
 * Source: docs/rafs.md, "Which format".
 */
#include "bootstrap.h"
#include <errno.h>

#define EROFS_MAGIC          0xe0f5e1e2U
#define EROFS_SUPER_OFFSET   1024
#define EROFS_COMPAT_RAFS_V6 0x40000000U
#define EROFS_BLOCK_BITS     12
#define RAFS_V6_EXT_OFFSET   1152
#define RAFS_V5_MAGIC        0x52414653U
#define BOOTSTRAP_MIN_BYTES  4096

#define CONVERT "convert the image with 'nydusify convert --fs-version 6'"

/* Files that are no bootstrap at all, but are found where one should be. */
static const struct {
	uint32_t offset;
	uint32_t size_bytes;
	const char *magic;
	const char *what;
} strangers[] = {
	{ 0, 2, "\x1f\x8b", "a gzip file: the bootstrap stands inside, as image/image.boot" },
	{ 0, 4, "\x28\xb5\x2f\xfd",
	  "a zstd file: the bootstrap stands inside, as image/image.boot" },
	{ 257, 5, "ustar", "a tar archive: the bootstrap stands inside, as image/image.boot" },
	{ 0, 1, "{", "JSON (a manifest, or the index of an eStargz layer): " CONVERT },
	{ 0, 4, "hsqs", "a SquashFS image: " CONVERT },
	{ 0, 8, "LPBLMETA", "the blob meta of a nydus v3 image: " CONVERT },
	{ 0, 4, "\x0b\xb1\x0b\xb1", "the head of a blob's chunk index, not a bootstrap" },
};

static int erofs_recognise(const uint8_t *data, enum image_format *ret_format, struct err *e)
{
	const uint8_t *super = data + EROFS_SUPER_OFFSET;
	const uint32_t compat = le32(super + 8);
	const uint32_t incompat = le32(super + 80);

	if (!(compat & EROFS_COMPAT_RAFS_V6) || le32(super + 4) != 0)
		return err_set(e, ENOTSUP,
		               "this is a nydus v3 or plain EROFS image (features 0x%x, 0x%x), not "
		               "RAFS v6: " CONVERT,
		               compat, incompat);
	if (super[12] != EROFS_BLOCK_BITS || le64(data + RAFS_V6_EXT_OFFSET) & SUPER_TARFS)
		return err_set(
			e, ENOTSUP,
			"this is a tarfs bootstrap (an index over plain tar layers, blocks of "
			"%u bytes): " CONVERT,
			super[12] < 16 ? 1U << super[12] : 0U);
	*ret_format = IMAGE_RAFS_V6;
	return 0;
}

static int rafs_v5_recognise(const uint8_t *data, enum image_format *ret_format, struct err *e)
{
	const uint32_t version = le32(data + 4);

	if (version != 0x500)
		return err_set(e, ENOTSUP, "this is a RAFS v%u bootstrap (version 0x%x): " CONVERT,
		               version >> 8, version);
	*ret_format = IMAGE_RAFS_V5;
	return 0;
}

int bootstrap_recognise(const uint8_t *data, uint64_t size_bytes, enum image_format *ret_format,
                        struct err *e)
{
	if (size_bytes > IMAGE_BOOTSTRAP_MAX_BYTES)
		return err_set(e, EUCLEAN,
		               "bootstrap: %llu bytes, more than the %llu that shoal reads",
		               (unsigned long long)size_bytes,
		               (unsigned long long)IMAGE_BOOTSTRAP_MAX_BYTES);
	for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
		if (range_fits(strangers[i].offset, strangers[i].size_bytes, size_bytes) &&
		    memcmp(data + strangers[i].offset, strangers[i].magic,
		           strangers[i].size_bytes) == 0)
			return err_set(e, ENOTSUP, "this is no bootstrap but %s",
			               strangers[i].what);
	}
	if (size_bytes < BOOTSTRAP_MIN_BYTES)
		return err_set(e, EUCLEAN, "bootstrap: only %llu bytes, it was cut off",
		               (unsigned long long)size_bytes);
	if (le32(data + EROFS_SUPER_OFFSET) == EROFS_MAGIC)
		return erofs_recognise(data, ret_format, e);
	if (le32(data) == RAFS_V5_MAGIC)
		return rafs_v5_recognise(data, ret_format, e);
	return err_set(e, ENOTSUP,
	               "this is no RAFS bootstrap (it begins with %08x): is the last layer "
	               "of the image a nydus bootstrap?",
	               le32(data));
}
