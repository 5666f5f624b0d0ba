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

int raw_open(struct pair *p)
{
	int fd;

	pair_half(p, &fd);
	raw_sample(fd, WIRE_HELLO);
	pair_until(p, &p->ends[1].n_open, 1);
	return fd;
}
