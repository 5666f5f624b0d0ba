/*
 * untar: a tar stream, block by block.
 *
 *   HEADER --regular file--> BODY ---> PADDING ---> HEADER
 *     | `---long name, pax-> EXTRA --> PADDING
 *     `-----zero block-----> END
 *
 * Knows headers and sizes; does not know which files somebody wants (ops says so), nor gzip.
 */
#include "untar.h"
#include "bytes.h"
#include "mem.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Where fields stand in a header: POSIX.1-2017 pax, "ustar Interchange Format". */
enum {
	NAME_AT = 0,
	NAME_BYTES = 100,
	SIZE_AT = 124,
	SIZE_BYTES = 12,
	SUM_AT = 148,
	SUM_BYTES = 8,
	TYPE_AT = 156,
	MAGIC_AT = 257,
	PREFIX_AT = 345,
	PREFIX_BYTES = 155
};

enum state { HEADER, BODY, EXTRA, PADDING, END };

struct untar {
	const struct untar_ops *ops;
	void *arg;
	enum state state;
	uint8_t block[UNTAR_BLOCK_BYTES]; /* HEADER: what came of it */
	uint32_t block_bytes;
	uint64_t left_bytes;    /* BODY, EXTRA, PADDING: still to come */
	uint32_t padding_bytes; /* behind the body */
	bool keep;              /* BODY: ops wants the bytes */
	char extra_type;        /* EXTRA: 'L' or 'x' */
	struct buffer extra;
	/* What EXTRA said of the next file. */
	char name[UNTAR_NAME_MAX_BYTES + 1]; /* "": nothing */
	bool has_size;
	uint64_t size_bytes;
};

struct untar *untar_new(const struct untar_ops *ops, void *arg)
{
	struct untar *tar = xcalloc(1, sizeof(*tar));

	tar->ops = ops;
	tar->arg = arg;
	tar->extra.max_bytes = UNTAR_PAX_MAX_BYTES;
	return tar;
}

void untar_free(struct untar **tar)
{
	if (*tar == NULL)
		return;
	buffer_clear(&(*tar)->extra);
	free(*tar);
	*tar = NULL;
}

/* Octal digits, led by spaces and ended by a space, a NUL or the field's end. */
static bool octal(const uint8_t *p, size_t n_bytes, uint64_t *ret_value)
{
	uint64_t value = 0;
	size_t i = 0;

	while (i < n_bytes && p[i] == ' ')
		i++;
	for (; i < n_bytes && p[i] >= '0' && p[i] <= '7'; i++)
		value = value << 3 | (uint64_t)(p[i] - '0'); /* 12 digits are 36 bits */
	if (i < n_bytes && p[i] != ' ' && p[i] != '\0')
		return false;
	*ret_value = value;
	return true;
}

/* GNU: the first bit set, the others a big-endian number. Only the low 63 bits may be used. */
static bool base256(const uint8_t *p, size_t n_bytes, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (p[0] != 0x80)
		return false;
	for (size_t i = 1; i < n_bytes; i++) {
		if (value >> 55 != 0)
			return false;
		value = value << 8 | p[i];
	}
	*ret_value = value;
	return true;
}

static bool header_size(const uint8_t *h, uint64_t *ret_value)
{
	if (h[SIZE_AT] & 0x80)
		return base256(h + SIZE_AT, SIZE_BYTES, ret_value);
	return octal(h + SIZE_AT, SIZE_BYTES, ret_value);
}

static bool sum_is_right(const uint8_t *h)
{
	uint64_t want = 0;
	uint64_t sum = 0;

	for (size_t i = 0; i < UNTAR_BLOCK_BYTES; i++)
		sum += i >= SUM_AT && i < SUM_AT + SUM_BYTES ? ' ' : h[i];
	return octal(h + SUM_AT, SUM_BYTES, &want) && want == sum;
}

static void header_name(const uint8_t *h, char ret_name[UNTAR_NAME_MAX_BYTES + 1])
{
	const bool has_prefix = memcmp(h + MAGIC_AT, "ustar", 6) == 0 && h[PREFIX_AT] != 0;

	(void)snprintf(ret_name, UNTAR_NAME_MAX_BYTES + 1, "%.*s%s%.*s",
	               has_prefix ? PREFIX_BYTES : 0, (const char *)h + PREFIX_AT,
	               has_prefix ? "/" : "", NAME_BYTES, (const char *)h + NAME_AT);
}

static void after_body(struct untar *tar)
{
	tar->left_bytes = tar->padding_bytes;
	tar->state = tar->left_bytes > 0 ? PADDING : HEADER;
}

static void begin(struct untar *tar, enum state state, uint64_t size_bytes)
{
	tar->state = state;
	tar->left_bytes = size_bytes;
	tar->padding_bytes = (uint32_t)(align_up(size_bytes, UNTAR_BLOCK_BYTES) - size_bytes);
	if (size_bytes == 0)
		after_body(tar);
}

static int begin_file(struct untar *tar, uint64_t size_bytes, struct err *e)
{
	int r;

	if (tar->name[0] == '\0')
		header_name(tar->block, tar->name);
	if (tar->has_size)
		size_bytes = tar->size_bytes;
	tar->keep = false;
	r = tar->ops->file(tar->arg, tar->name, size_bytes, &tar->keep, e);
	begin(tar, BODY, size_bytes);
	return r;
}

static int begin_extra(struct untar *tar, char type, uint64_t size_bytes, struct err *e)
{
	if (size_bytes > UNTAR_PAX_MAX_BYTES)
		return err_set(e, EMSGSIZE, "a tar header of %" PRIu64 " bytes (at most %u)",
		               size_bytes, UNTAR_PAX_MAX_BYTES);
	buffer_clear(&tar->extra);
	tar->extra_type = type;
	begin(tar, EXTRA, size_bytes);
	return 0;
}

/* Links, devices, directories and fifos carry no bytes, whatever their size field says. */
static bool has_no_body(char type)
{
	return type >= '1' && type <= '6';
}

static int on_header(struct untar *tar, struct err *e)
{
	const uint8_t *h = tar->block;
	const char type = (char)h[TYPE_AT];
	uint64_t size_bytes = 0;
	int r = 0;

	if (all_zero(h, UNTAR_BLOCK_BYTES)) {
		tar->state = END;
		return 0;
	}
	if (!sum_is_right(h) || !header_size(h, &size_bytes) || size_bytes > INT64_MAX / 2)
		return err_set(e, EUCLEAN, "not a tar: a header's checksum or size is wrong");
	if (type == 'L' || type == 'x')
		return begin_extra(tar, type, size_bytes, e);
	if (type == '\0' || type == '0' || type == '7') {
		r = begin_file(tar, size_bytes, e);
	} else {
		tar->keep = false;
		begin(tar, BODY, has_no_body(type) ? 0 : size_bytes);
	}
	if (type != 'g' && type != 'K') {
		tar->name[0] = '\0';
		tar->has_size = false;
	}
	return r;
}

static bool decimal(const char *p, const char *end, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (p == end)
		return false;
	for (; p < end; p++) {
		if (*p < '0' || *p > '9' || value > INT64_MAX / 20)
			return false;
		value = value * 10 + (uint64_t)(*p - '0');
	}
	*ret_value = value;
	return true;
}

static bool take_name(struct untar *tar, const char *p, size_t n_bytes)
{
	if (n_bytes > UNTAR_NAME_MAX_BYTES)
		return false;
	memcpy(tar->name, p, n_bytes);
	tar->name[n_bytes] = '\0';
	return true;
}

/* "KEY=VALUE": path and size are what matters here. */
static bool take_pax(struct untar *tar, const char *key, const char *end)
{
	const size_t n_bytes = (size_t)(end - key);

	if (n_bytes > 5 && memcmp(key, "path=", 5) == 0)
		return take_name(tar, key + 5, n_bytes - 5);
	if (n_bytes > 5 && memcmp(key, "size=", 5) == 0) {
		tar->has_size = true;
		return decimal(key + 5, end, &tar->size_bytes);
	}
	return true;
}

/* Records "LENGTH KEY=VALUE\n", LENGTH counting all of it. */
static bool take_all_pax(struct untar *tar)
{
	const char *p = (const char *)tar->extra.data;
	const char *end = p + tar->extra.size_bytes;

	while (p < end) {
		const char *space = memchr(p, ' ', (size_t)(end - p));
		uint64_t record_bytes = 0;

		if (space == NULL || !decimal(p, space, &record_bytes) ||
		    record_bytes > (uint64_t)(end - p) ||
		    record_bytes < (uint64_t)(space - p) + 2 || p[record_bytes - 1] != '\n' ||
		    !take_pax(tar, space + 1, p + record_bytes - 1))
			return false;
		p += record_bytes;
	}
	return true;
}

static int on_extra(struct untar *tar, struct err *e)
{
	bool good = false;

	if (tar->extra_type == 'x') {
		good = take_all_pax(tar);
	} else {
		const char *name = (const char *)tar->extra.data;

		good = take_name(tar, name, strnlen(name, tar->extra.size_bytes));
	}
	after_body(tar);
	return good ? 0 : err_set(e, EUCLEAN, "a tar header for a long name or size is broken");
}

static int add_header(struct untar *tar, const uint8_t *bytes, uint64_t n_bytes, struct err *e)
{
	memcpy(tar->block + tar->block_bytes, bytes, n_bytes);
	tar->block_bytes += (uint32_t)n_bytes;
	if (tar->block_bytes < UNTAR_BLOCK_BYTES)
		return 0;
	tar->block_bytes = 0;
	return on_header(tar, e);
}

static int add_body(struct untar *tar, const uint8_t *bytes, uint64_t n_bytes, struct err *e)
{
	int r = 0;

	tar->left_bytes -= n_bytes;
	if (tar->state == EXTRA) {
		r = buffer_add(&tar->extra, bytes, n_bytes, e);
		if (r == 0 && tar->left_bytes == 0)
			r = on_extra(tar, e);
		return r;
	}
	if (tar->state == BODY && tar->keep)
		r = tar->ops->bytes(tar->arg, bytes, n_bytes, e);
	if (tar->left_bytes == 0 && tar->state == BODY)
		after_body(tar);
	else if (tar->left_bytes == 0)
		tar->state = HEADER;
	return r;
}

int untar_add(struct untar *tar, const uint8_t *bytes, uint64_t size_bytes, struct err *e)
{
	int r = 0;

	while (r == 0 && size_bytes > 0 && tar->state != END) {
		const uint64_t want_bytes = tar->state == HEADER
		                                    ? UNTAR_BLOCK_BYTES - tar->block_bytes
		                                    : tar->left_bytes;
		const uint64_t n_bytes = min_u64(want_bytes, size_bytes);

		r = tar->state == HEADER ? add_header(tar, bytes, n_bytes, e)
		                         : add_body(tar, bytes, n_bytes, e);
		bytes += n_bytes;
		size_bytes -= n_bytes;
	}
	return r;
}

int untar_end(const struct untar *tar, struct err *e)
{
	const bool between = tar->state == HEADER && tar->block_bytes == 0;

	/* Some writers leave out the padding of the last file and the end mark. */
	if (between || tar->state == END || tar->state == PADDING)
		return 0;
	return err_set(e, EUCLEAN, "the tar ends in the middle of an entry");
}
