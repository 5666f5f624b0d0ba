/*
 * fuzz_wire: any bytes as the header of each message. What is taken must come back the same when
 * it is encoded and decoded again. The first byte: is there payload, and how much.
 */
#include "err.h"
#include "fuzz.h"
#include "wire.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void check_again(const struct wire_msg *msg)
{
	struct wire_decoder *decoder = wire_decoder_new();
	struct wire_buf first = { 0 }, second = { 0 };
	struct wire_msg again;
	struct err e;
	int r;

	wire_encode(msg, &first);
	r = wire_decode(decoder, first.data + WIRE_PREFIX_BYTES,
	                first.size_bytes - WIRE_PREFIX_BYTES, msg->payload_size_bytes, &again, &e);
	assert(r == 0);
	wire_encode(&again, &second);
	assert(first.size_bytes == second.size_bytes &&
	       memcmp(first.data, second.data, first.size_bytes) == 0);
	wire_buf_free(&first);
	wire_buf_free(&second);
	wire_decoder_free(&decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	struct wire_decoder *decoder;
	struct wire_msg msg;
	uint32_t payload = 0;
	uint8_t *header;
	struct err e;

	if (size_bytes < 2 || size_bytes > WIRE_HEADER_MAX_BYTES)
		return 0;
	if (data[0] != 0)
		payload = data[0] * 257U; /* 257 .. 65535 */
	decoder = wire_decoder_new();
	header = malloc(size_bytes - 1); /* of its own, so that a read beyond its end is seen */
	if (header != NULL) {
		memcpy(header, data + 1, size_bytes - 1);
		if (wire_decode(decoder, header, size_bytes - 1, payload, &msg, &e) == 0)
			check_again(&msg);
	}
	free(header);
	wire_decoder_free(&decoder);
	return 0;
}
