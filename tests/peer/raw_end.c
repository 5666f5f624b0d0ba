/*
 * raw_end: see the header.
 */
#include "raw_end.h"
#include "wire_samples.h"
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

void raw_bytes(int fd, const void *bytes, size_t n_bytes)
{
	assert_int_equal(send(fd, bytes, n_bytes, MSG_NOSIGNAL), (ssize_t)n_bytes);
}

void raw_say(int fd, const struct wire_msg *msg)
{
	static const uint8_t zeros[WIRE_PAYLOAD_MAX_BYTES];
	struct wire_buf buf = { 0 };

	wire_encode(msg, &buf);
	raw_bytes(fd, buf.data, buf.size_bytes);
	wire_buf_free(&buf);
	if (msg->payload_size_bytes > 0)
		raw_bytes(fd, zeros, msg->payload_size_bytes);
}

void raw_sample(int fd, enum wire_type type)
{
	struct wire_msg msg;

	wire_sample(type, false, &msg);
	raw_say(fd, &msg);
}

size_t raw_next(struct wire_decoder *decoder, const uint8_t *bytes, size_t n_bytes,
                struct wire_msg *ret_msg)
{
	size_t size;
	struct err e;

	if (n_bytes < WIRE_PREFIX_BYTES)
		return 0;
	size = (size_t)bytes[2] << 8 | bytes[3];
	if (n_bytes < WIRE_PREFIX_BYTES + size)
		return 0;
	assert_int_equal(wire_decode(decoder, bytes + WIRE_PREFIX_BYTES, size, 0, ret_msg, &e), 0);
	return WIRE_PREFIX_BYTES + size;
}

int raw_open(struct pair *p)
{
	int fd;

	pair_half(p, &fd);
	raw_sample(fd, WIRE_HELLO);
	pair_until(p, &p->ends[1].n_open, 1);
	return fd;
}
