/*
 * test_wire: messages to bytes and back, the walk over headers, frames in pieces, proofs.
 */
#include "err.h"
#include "frame.h"
#include "hex.h"
#include "proof.h"
#include "wire.h"
#include "wire_samples.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct fixture {
	struct wire_decoder *decoder;
	struct wire_buf buf, again;
	struct err e;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->decoder = wire_decoder_new();
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	wire_decoder_free(&f->decoder);
	wire_buf_free(&f->buf);
	wire_buf_free(&f->again);
	free(f);
	return 0;
}

static int decode(struct fixture *f, const struct wire_buf *b, uint32_t payload,
                  struct wire_msg *ret_msg)
{
	return wire_decode(f->decoder, b->data + WIRE_PREFIX_BYTES,
	                   b->size_bytes - WIRE_PREFIX_BYTES, payload, ret_msg, &f->e);
}

static void every_message_comes_back_as_it_was(void **state)
{
	struct fixture *f = *state;

	for (int type = 1; type < N_WIRE_TYPES; type++) {
		for (int big = 0; big < 2; big++) {
			struct wire_msg in, out;

			wire_sample((enum wire_type)type, big != 0, &in);
			f->buf.size_bytes = 0;
			f->again.size_bytes = 0;
			wire_encode(&in, &f->buf);
			if (decode(f, &f->buf, in.payload_size_bytes, &out) != 0)
				fail_msg("%s: %s", wire_type_name((enum wire_type)type), f->e.msg);
			assert_int_equal(out.type, type);
			wire_encode(&out, &f->again);
			assert_int_equal(f->buf.size_bytes, f->again.size_bytes);
			assert_memory_equal(f->buf.data, f->again.data, f->buf.size_bytes);
		}
	}
}

static void no_field_of_a_message_is_lost(void **state)
{
	struct fixture *f = *state;
	struct wire_msg in, out;

	wire_sample(WIRE_ASK, true, &in);
	wire_encode(&in, &f->buf);
	assert_int_equal(decode(f, &f->buf, 0, &out), 0);
	assert_memory_equal(&in.u.ask, &out.u.ask, sizeof(in.u.ask));
	wire_sample(WIRE_LEASE_END, false, &in);
	f->buf.size_bytes = 0;
	wire_encode(&in, &f->buf);
	assert_int_equal(decode(f, &f->buf, 0, &out), 0);
	assert_memory_equal(&in.u.lease, &out.u.lease, sizeof(in.u.lease));
	wire_sample(WIRE_ANSWER, true, &in);
	f->buf.size_bytes = 0;
	wire_encode(&in, &f->buf);
	assert_int_equal(decode(f, &f->buf, 0, &out), 0);
	assert_memory_equal(in.u.answer.items, out.u.answer.items,
	                    WIRE_ITEMS_MAX * sizeof(*in.u.answer.items));
}

static void every_message_cut_short_is_refused(void **state)
{
	struct fixture *f = *state;

	for (int type = 1; type < N_WIRE_TYPES; type++) {
		struct wire_msg in, out;

		wire_sample((enum wire_type)type, false, &in);
		f->buf.size_bytes = 0;
		wire_encode(&in, &f->buf);
		for (size_t n = WIRE_PREFIX_BYTES; n < f->buf.size_bytes; n++) {
			const struct wire_buf cut = { .data = f->buf.data, .size_bytes = n };

			assert_int_equal(decode(f, &cut, in.payload_size_bytes, &out), -EPROTO);
		}
	}
}

static void fields_of_a_later_version_are_passed_over(void **state)
{
	struct fixture *f = *state;
	const uint8_t cancel[] = { 0x94, WIRE_CANCEL, 7, 0xa1, 'x', 0x91, 0xc3 };
	struct wire_msg out;

	assert_int_equal(wire_decode(f->decoder, cancel, sizeof(cancel), 0, &out, &f->e), 0);
	assert_int_equal(out.u.cancel.req, 7);
}

/* docs/protocol.md: it does nothing with such flags and reasons, and has not such metadata. */
static void what_a_later_version_may_say_is_no_breach(void **state)
{
	struct fixture *f = *state;
	const uint8_t kind_256[] = { 0x94, WIRE_META_GET, 7, 0xcd, 1, 0, 0xa1, 'k' };
	const uint8_t kind_largest[] = { 0x94, WIRE_META_GET, 7,    0xce, 0xff,
		                         0xff, 0xff,          0xff, 0xa1, 'k' };
	const uint8_t reason[] = { 0x93, WIRE_BYE, 0xcc, 255, 0xa0 };
	struct wire_msg m, out;

	assert_int_equal(wire_decode(f->decoder, kind_256, sizeof(kind_256), 0, &out, &f->e), 0);
	assert_int_equal(out.u.meta_get.kind, 256);
	assert_int_equal(
		wire_decode(f->decoder, kind_largest, sizeof(kind_largest), 0, &out, &f->e), 0);
	assert_int_equal(out.u.meta_get.kind, UINT32_MAX);
	assert_int_equal(wire_decode(f->decoder, reason, sizeof(reason), 0, &out, &f->e), 0);
	assert_int_equal(out.u.bye.reason, 255);
	wire_sample(WIRE_ASK, false, &m);
	m.u.ask.flags = UINT32_MAX;
	wire_encode(&m, &f->buf);
	assert_int_equal(decode(f, &f->buf, 0, &out), 0);
	wire_sample(WIRE_GET, false, &m);
	m.u.get.flags = UINT32_MAX;
	f->buf.size_bytes = 0;
	wire_encode(&m, &f->buf);
	assert_int_equal(decode(f, &f->buf, 0, &out), 0);
}

struct bad_header {
	const char *what;
	uint8_t bytes[24];
	size_t n;
};

static void hostile_headers_are_refused_before_memory_is_reserved(void **state)
{
	static const struct bad_header bad[] = {
		{ "an array of 2^32 - 1", { 0xdd, 0xff, 0xff, 0xff, 0xff }, 5 },
		{ "a binary of 2^32 - 1", { 0x92, 0x03, 0xc6, 0xff, 0xff, 0xff, 0xff }, 7 },
		{ "a string of 2^32 - 1", { 0x92, 0x03, 0xdb, 0xff, 0xff, 0xff, 0xff }, 7 },
		{ "a map", { 0x92, 0x03, 0x81, 0x01, 0x01 }, 5 },
		{ "an extension", { 0x92, 0x03, 0xc7, 0x01, 0x01, 0x01 }, 6 },
		{ "a float", { 0x92, 0x03, 0xca, 0, 0, 0, 0 }, 7 },
		{ "nil", { 0x92, 0x03, 0xc0 }, 3 },
		{ "a negative number", { 0x92, 0x03, 0xff }, 3 },
		{ "five deep", { 0x91, 0x91, 0x91, 0x91, 0x91, 0x01 }, 6 },
		{ "bytes behind", { 0x91, 0x17, 0x00 }, 3 },
		{ "not an array", { 0x17 }, 1 },
		{ "an empty array", { 0x90 }, 1 },
		{ "type 0", { 0x91, 0x00 }, 2 },
		{ "type 99", { 0x91, 99 }, 2 },
		{ "a cut number", { 0x91, 0xcf, 0, 0, 0 }, 5 },
	};
	struct fixture *f = *state;
	struct wire_msg out;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (wire_decode(f->decoder, bad[i].bytes, bad[i].n, 0, &out, &f->e) != -EPROTO)
			fail_msg("%s was taken", bad[i].what);
}

static void many_small_objects_are_too_many(void **state)
{
	struct fixture *f = *state;
	static uint8_t header[60000];

	header[0] = 0xdc;
	header[1] = (uint8_t)((sizeof(header) - 3) >> 8);
	header[2] = (uint8_t)(sizeof(header) - 3);
	assert_int_equal(frame_walk(header, sizeof(header), &f->e), -EPROTO);
}

/* Change one field of a sample, and it must be refused. */
static void expect_refused(struct fixture *f, const struct wire_msg *m, uint32_t payload)
{
	struct wire_msg out;

	f->buf.size_bytes = 0;
	wire_encode(m, &f->buf);
	if (decode(f, &f->buf, payload, &out) != -EPROTO)
		fail_msg("%s was taken", wire_type_name(m->type));
}

static void values_out_of_range_are_refused(void **state)
{
	struct fixture *f = *state;
	struct wire_chunk_item items[2] = { { .pos = 1, .size_bytes = 10 },
		                            { .pos = 2, .size_bytes = 10 } };
	struct wire_answer_item item = { .kind = WIRE_HOLDERS, .set = { 1, { 1 } } };
	struct wire_msg m;

	wire_sample(WIRE_END, false, &m);
	m.u.end.status = WIRE_LOST;
	expect_refused(f, &m, 0);
	m.u.end.status = WIRE_DONE;
	m.u.end.retry_ms = WIRE_RETRY_MAX_MS + 1;
	expect_refused(f, &m, 0);
	wire_sample(WIRE_CHUNK, false, &m);
	expect_refused(f, &m, 0);                        /* no payload */
	expect_refused(f, &m, m.payload_size_bytes + 1); /* beyond the chunk */
	m.u.chunk.items = items;
	m.u.chunk.n_items = 2;
	m.u.chunk.offset = 0;
	expect_refused(f, &m, 19); /* not what the items say */
	items[0].form = N_COMPRESSORS;
	expect_refused(f, &m, 20);
	items[0].form = COMPRESSOR_NONE;
	items[0].size_bytes = 0;
	expect_refused(f, &m, 10);
	wire_sample(WIRE_META, false, &m);
	expect_refused(f, &m, 1001);
	wire_sample(WIRE_PING, false, &m);
	expect_refused(f, &m, 1); /* payload where none is */
	wire_sample(WIRE_ANSWER, false, &m);
	m.u.answer.items = &item;
	m.u.answer.n_items = 1;
	expect_refused(f, &m, 0); /* holders without any */
	item.kind = N_WIRE_ANSWER_KINDS;
	item.n_nodes = 1;
	expect_refused(f, &m, 0);
	item.kind = WIRE_LEASE;
	item.term_ms = WIRE_TERM_MAX_MS + 1;
	expect_refused(f, &m, 0);
	wire_sample(WIRE_GET, false, &m);
	m.u.get.part.set.words[0] = 0;
	expect_refused(f, &m, 0); /* nothing is asked for */
	m.u.get.part.set.words[3] = 1;
	expect_refused(f, &m, 0); /* bits beyond the list */
	wire_sample(WIRE_NAMES, false, &m);
	m.u.names.list.b[0] ^= 1;
	expect_refused(f, &m, 0); /* not the names of this list */
}

static void texts_with_control_bytes_are_refused(void **state)
{
	struct fixture *f = *state;
	struct wire_msg m;

	wire_sample(WIRE_HELLO, false, &m);
	m.u.hello.self.address[2] = '\n';
	expect_refused(f, &m, 0);
	wire_sample(WIRE_HELLO, false, &m);
	m.u.hello.self.zone[0] = ' ';
	expect_refused(f, &m, 0);
	wire_sample(WIRE_HELLO, false, &m);
	(void)memset(&m.u.hello.self.id, 0, sizeof(m.u.hello.self.id));
	expect_refused(f, &m, 0);
	wire_sample(WIRE_HELLO, false, &m);
	m.u.hello.min_version = 2;
	expect_refused(f, &m, 0);
	wire_sample(WIRE_BYE, false, &m);
	m.u.bye.text[0] = '\x1b';
	expect_refused(f, &m, 0);
	wire_sample(WIRE_META_GET, false, &m);
	m.u.meta_get.key[0] = '\0';
	expect_refused(f, &m, 0);
	wire_sample(WIRE_META_GET, false, &m);
	m.u.meta_get.kind = 1; /* nobody could vouch for what a tag means */
	expect_refused(f, &m, 0);
}

/* Feed in pieces of step bytes; count headers and payload bytes. */
static void feed(struct frame_parser *p, const uint8_t *data, size_t n, size_t step,
                 uint32_t *ret_headers, size_t *ret_payload)
{
	struct err e = { 0 };

	for (size_t at = 0; at < n; at += step) {
		const uint8_t *bytes = data + at;
		size_t left = n - at < step ? n - at : step;
		struct frame_piece piece;
		int r;

		while ((r = frame_next(p, &bytes, &left, &piece, &e)) != FRAME_MORE) {
			assert_true(r > 0);
			*ret_headers += r == FRAME_HEADER;
			*ret_payload += r == FRAME_PAYLOAD ? piece.size_bytes : 0;
		}
		assert_int_equal(left, 0);
	}
}

static void frames_come_whole_however_they_are_cut(void **state)
{
	static const size_t steps[] = { 1, 2, 3, 7, 8, 9, 100, 65536, 1 << 20 };
	struct fixture *f = *state;
	uint8_t *data;
	size_t n;
	struct wire_msg m;

	wire_sample(WIRE_HELLO_ACK, true, &m);
	wire_encode(&m, &f->buf);
	wire_sample(WIRE_DRAIN, false, &m);
	wire_encode(&m, &f->buf);
	wire_sample(WIRE_CHUNK, true, &m);
	wire_encode(&m, &f->buf);
	n = f->buf.size_bytes + m.payload_size_bytes;
	data = calloc(1, n);
	assert_non_null(data);
	memcpy(data, f->buf.data, f->buf.size_bytes);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct frame_parser p = { 0 };
		uint32_t n_headers = 0;
		size_t payload = 0;

		feed(&p, data, n, steps[i], &n_headers, &payload);
		assert_int_equal(n_headers, 3);
		assert_int_equal(payload, m.payload_size_bytes);
		assert_false(frame_is_partial(&p));
		feed(&p, data, 5, 5, &n_headers, &payload);
		assert_true(frame_is_partial(&p));
		frame_parser_fini(&p);
	}
	free(data);
}

static void claimed_sizes_reserve_nothing(void **state)
{
	struct fixture *f = *state;
	const uint8_t largest[] = { 0, 1, 0, 0, 0, 0, 0, 0, 0x91 };
	const uint8_t too_large[] = { 0, 1, 0, 1, 0, 0, 0, 0 };
	const uint8_t payload[] = { 0, 0, 0, 1, 0, 1, 0, 1 };
	const uint8_t empty[] = { 0, 0, 0, 0, 0, 0, 0, 0 };
	const uint8_t *bytes = largest;
	size_t n = sizeof(largest);
	struct frame_parser p = { 0 };
	struct frame_piece piece;

	assert_int_equal(frame_next(&p, &bytes, &n, &piece, &f->e), FRAME_MORE);
	assert_true(p.partial.room_bytes <= 1024);
	frame_parser_fini(&p);
	for (int i = 0; i < 3; i++) {
		struct frame_parser q = { 0 };

		bytes = i == 0 ? too_large : i == 1 ? payload : empty;
		n = 8;
		assert_int_equal(frame_next(&q, &bytes, &n, &piece, &f->e), -EPROTO);
		frame_parser_fini(&q);
	}
}

/* ---- proofs ---- */

static void make_key(uint8_t first, uint8_t ret_key[PROOF_KEY_BYTES])
{
	struct proof_key *k = proof_key_new();
	uint8_t digest[DIGEST_BYTES] = { first };

	proof_key_add(k, DIGEST_BLAKE3, digest, 100);
	digest[1] = 1;
	proof_key_add(k, DIGEST_BLAKE3, digest, 200);
	proof_key_end(&k, ret_key);
}

static void a_proof_holds_for_this_connection_side_and_question_alone(void **state)
{
	struct proof_binding here = { .nonce = { 1 }, .connected = true };
	struct proof_binding there = { .nonce = { 1 }, .connected = false };
	struct proof_binding other = { .nonce = { 2 }, .connected = false };
	uint8_t key[PROOF_KEY_BYTES], wrong[PROOF_KEY_BYTES];
	uint8_t a[WIRE_MAC_BYTES], b[WIRE_MAC_BYTES];
	struct wire_msg m;

	(void)state;
	make_key(1, key);
	make_key(2, wrong);
	wire_sample(WIRE_GET, false, &m);
	proof_of_get(&here, true, key, &m.u.get, a);
	proof_of_get(&there, false, key, &m.u.get, b);
	assert_true(proof_equal(a, b)); /* both sides compute the same */
	proof_of_get(&there, true, key, &m.u.get, b);
	assert_false(proof_equal(a, b)); /* thrown back at its sender */
	proof_of_get(&other, false, key, &m.u.get, b);
	assert_false(proof_equal(a, b)); /* on another connection */
	proof_of_get(&there, false, wrong, &m.u.get, b);
	assert_false(proof_equal(a, b)); /* without the digests */
	m.u.get.part.set.words[0] ^= 2;
	proof_of_get(&there, false, key, &m.u.get, b);
	assert_false(proof_equal(a, b)); /* for other chunks */
	proof_of_grant(&here, true, key, a, b);
	assert_false(proof_equal(a, b)); /* the answer is not the question */
	proof_of_grant(&there, false, key, a, a);
	assert_true(proof_equal(a, b));
}

static void a_proof_by_names_covers_the_names(void **state)
{
	const struct proof_binding here = { .nonce = { 1 }, .connected = true };
	uint8_t key[PROOF_KEY_BYTES], a[WIRE_MAC_BYTES], b[WIRE_MAC_BYTES];
	struct wire_id names[2] = { { { 1 } }, { { 2 } } };
	struct wire_get get = { .by_names = true, .names = names, .part.set = { 2, { 3 } } };

	(void)state;
	make_key(1, key);
	proof_of_get(&here, true, key, &get, a);
	names[1].b[15] = 1;
	proof_of_get(&here, true, key, &get, b);
	assert_false(proof_equal(a, b));
}

static void expect_hex(const uint8_t *bytes, size_t n_bytes, const char *expected)
{
	char text[512];

	assert_true(2 * n_bytes < sizeof(text));
	hex_encode(bytes, n_bytes, text);
	assert_string_equal(text, expected);
}

/* docs/protocol.md, "Test vectors": other implementations compute these. */
static void the_protocol_does_not_change(void **state)
{
	struct proof_binding b = { .connected = true };
	struct public_namer *namer = public_namer_new();
	struct proof_key *k = proof_key_new();
	uint8_t digest[DIGEST_BYTES], key[PROOF_KEY_BYTES], mac[WIRE_MAC_BYTES];
	uint8_t ones[WIRE_NONCE_BYTES], twos[WIRE_NONCE_BYTES], nonce[WIRE_NONCE_BYTES];
	struct wire_msg m = { .type = WIRE_GET, .u.get = { .req = 1, .part.set = { 1, { 1 } } } };
	struct fixture *f = *state;

	memset(digest, 0x11, sizeof(digest));
	memset(b.nonce, 0x22, sizeof(b.nonce));
	public_name(namer, DIGEST_BLAKE3, digest, 100, m.u.get.part.segment.b);
	public_namer_free(&namer);
	m.u.get.part.list = wire_list_id(&m.u.get.part.segment, 1);
	proof_key_add(k, DIGEST_BLAKE3, digest, 100);
	proof_key_end(&k, key);
	proof_of_get(&b, true, key, &m.u.get, m.u.get.proof);
	proof_of_grant(&b, true, key, m.u.get.proof, mac);
	wire_encode(&m, &f->buf);
	expect_hex(key, sizeof(key),
	           "81461ca3cf2f8b8f68f2646e6b7e42c3dc008cbd05e7b318334b0fd3c46e8358");
	expect_hex(mac, sizeof(mac),
	           "1c759c0e2602455b2a5ad231776f1bb606dffce5927d35d321f2ecbb0ba017b7");
	expect_hex(f->buf.data, f->buf.size_bytes,
	           "00000051000000009a0c010000c420dac8564756fe448af512523c2735825f3b961bb89f73e52e"
	           "96eccd8b269b9651c400c41069bfc0c35745a78fb2453d3d6ab6895dc4101741966f9374ebf2eb"
	           "724ded1e09b3de01c40101");
	memset(ones, 1, sizeof(ones));
	memset(twos, 2, sizeof(twos));
	proof_insecure_nonce(ones, twos, nonce);
	expect_hex(nonce, sizeof(nonce),
	           "acbd86b1c5482fb8b6bde7a8677806d797a1ca6631865003c216adfc322db5a1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_message_comes_back_as_it_was, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(no_field_of_a_message_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(every_message_cut_short_is_refused, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(fields_of_a_later_version_are_passed_over, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(what_a_later_version_may_say_is_no_breach, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(
			hostile_headers_are_refused_before_memory_is_reserved, setup, teardown),
		cmocka_unit_test_setup_teardown(many_small_objects_are_too_many, setup, teardown),
		cmocka_unit_test_setup_teardown(values_out_of_range_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(texts_with_control_bytes_are_refused, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(frames_come_whole_however_they_are_cut, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(claimed_sizes_reserve_nothing, setup, teardown),
		cmocka_unit_test(a_proof_holds_for_this_connection_side_and_question_alone),
		cmocka_unit_test(a_proof_by_names_covers_the_names),
		cmocka_unit_test_setup_teardown(the_protocol_does_not_change, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
