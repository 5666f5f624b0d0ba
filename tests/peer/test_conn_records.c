/*
 * test_conn_records: what a connection does with a member that keeps OpenSSL busy: with records
 * that carry nothing, or a byte each. The other side is a bare TLS client here.
 */
#include "fake_clock.h"
#include "wire_pair.h"
#include "wire_samples.h"
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* What it writes is collected, and goes out when the test says so. */
struct client {
	struct pair *p;
	int fd;
	SSL *ssl;
	struct tls_notes notes;
};

static void go_out(struct client *c)
{
	char bytes[4096];
	int n;

	while ((n = BIO_read(SSL_get_wbio(c->ssl), bytes, sizeof(bytes))) > 0)
		assert_int_equal(send(c->fd, bytes, (size_t)n, MSG_NOSIGNAL), n);
}

static void say(const struct client *c, const struct wire_msg *msg, size_t record_bytes)
{
	struct wire_buf buf = { 0 };

	wire_encode(msg, &buf);
	for (size_t at = 0; at < buf.size_bytes; at += record_bytes) {
		const size_t left = buf.size_bytes - at;
		const int n = (int)(left < record_bytes ? left : record_bytes);

		assert_int_equal(SSL_write(c->ssl, buf.data + at, n), n);
	}
	wire_buf_free(&buf);
}

/* End 1 is open to it, as node0. */
static void client_open(struct client *c, struct pair *p)
{
	struct wire_msg hello;

	*c = (struct client){ .p = p };
	pair_half(p, &c->fd);
	(void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
	c->ssl = tls_session(p->tls[0], true, &c->notes);
	SSL_set_bio(c->ssl, BIO_new_socket(c->fd, BIO_NOCLOSE), BIO_new(BIO_s_mem()));
	while (SSL_do_handshake(c->ssl) != 1) {
		go_out(c);
		(void)event_base_loop(loop_base(p->loop), EVLOOP_NONBLOCK);
	}
	wire_sample(WIRE_HELLO, false, &hello);
	hello.u.hello.self.id = tls_own_id(p->tls[0]);
	say(c, &hello, 16384);
	go_out(c);
	pair_until(p, &p->ends[1].n_open, 1);
}

static void client_close(struct client *c)
{
	SSL_free(c->ssl);
	close(c->fd);
}

static void change_keys(const struct client *c, uint32_t n, int whose)
{
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(SSL_key_update(c->ssl, whose), 1);
		assert_int_equal(SSL_do_handshake(c->ssl), 1);
	}
}

static void who_changes_keys_without_end_is_cut_off(void **state)
{
	const struct wire_msg ping = { .type = WIRE_PING };
	struct pair *p = *state;
	struct client c;

	client_open(&c, p);
	change_keys(&c, 1000, SSL_KEY_UPDATE_NOT_REQUESTED);
	say(&c, &ping, 16384); /* a sign that all of it was read */
	go_out(&c);
	for (int i = 0; i < 1000 && p->ends[1].n_closed + p->ends[1].n_msgs == 0; i++)
		(void)event_base_loop(loop_base(p->loop), EVLOOP_ONCE);
	assert_int_equal(p->ends[1].n_msgs, 0);
	pair_expect_end(p, 1, EPROTO, "changes its keys without end");
	client_close(&c);
}

static void keys_may_be_changed_now_and_then(void **state)
{
	const struct wire_msg ping = { .type = WIRE_PING };
	struct pair *p = *state;
	struct client c;

	client_open(&c, p);
	for (uint32_t i = 1; i <= 4; i++) {
		change_keys(&c, 1, SSL_KEY_UPDATE_REQUESTED);
		change_keys(&c, TLS_HANDSHAKE_RECORDS_MAX - 1, SSL_KEY_UPDATE_NOT_REQUESTED);
		say(&c, &ping, 16384);
		go_out(&c);
		pair_until(p, &p->ends[1].n_msgs, i);
		conn_probe(p->ends[1].conn); /* a ping's time: it counts anew */
		p->ends[1].conn->ping_stamp = 0;
	}
	assert_int_equal(p->ends[1].n_closed, 0);
	client_close(&c);
}

/* However full its buffers are, others have their turn. */
static void a_turn_takes_so_many_records_however_small(void **state)
{
	const struct wire_msg ping = { .type = WIRE_PING };
	struct pair *p = *state;
	struct client c;
	uint64_t n_before;

	client_open(&c, p);
	for (int i = 0; i < 200; i++)
		say(&c, &ping, 1);
	pair_spin(p);
	n_before = conn_counts(p->ends[1].conn)->n_messages_in;
	go_out(&c);
	(void)event_base_loop(loop_base(p->loop), EVLOOP_ONCE);
	/* 256 records of 12 a message; twice that where a tick came as well. */
	assert_in_range(conn_counts(p->ends[1].conn)->n_messages_in - n_before, 1, 50);
	pair_until(p, &p->ends[1].n_msgs, 200);
	client_close(&c);
}

/* On a slow line a record takes long: the other side lives, though nothing of it can be read yet.
 * It is to come to an end all the same. */
static void a_part_of_a_record_is_a_sign_of_life(void **state)
{
	const struct wire_msg ping = { .type = WIRE_PING };
	struct pair *p = *state;
	static struct fake_clock clock; /* it outlives the connection */
	struct client c;
	char bytes[4096];
	uint64_t heard_ns;
	int n;

	fake_clock_init(&clock);
	p->ends[1].opts.clock = &clock.clock;
	p->ends[1].opts.ping_interval_ms = 5000;
	client_open(&c, p);
	heard_ns = conn_heard_ns(p->ends[1].conn);
	say(&c, &ping, 16384);
	n = BIO_read(SSL_get_wbio(c.ssl), bytes, sizeof(bytes));
	for (int i = 0; i < n - 1; i++) {
		fake_clock_advance_ms(&clock, 1000);
		assert_int_equal(send(c.fd, &bytes[i], 1, MSG_NOSIGNAL), 1);
		pair_spin(p);
		assert_int_equal(p->ends[1].n_msgs, 0);
		if (p->ends[1].n_closed > 0)
			break;
		assert_true(conn_heard_ns(p->ends[1].conn) > heard_ns);
		heard_ns = conn_heard_ns(p->ends[1].conn); /* of each byte */
	}
	pair_expect_end(p, 1, ETIMEDOUT, "does not answer pings");
	client_close(&c);
}

/* Whoever sits on the line can do that, with no certificate at all. */
static void who_is_garbled_on_the_way_has_broken_no_rule(void **state)
{
	const struct wire_msg ping = { .type = WIRE_PING };
	struct pair *p = *state;
	struct client c;
	char bytes[4096];
	int n;

	client_open(&c, p);
	say(&c, &ping, 16384);
	n = BIO_read(SSL_get_wbio(c.ssl), bytes, sizeof(bytes));
	assert_true(n > 0);
	bytes[n - 1] ^= 1;
	assert_int_equal(send(c.fd, bytes, (size_t)n, MSG_NOSIGNAL), n);
	pair_expect_end(p, 1, EBADMSG, "bad record mac");
	client_close(&c);
}

/* ---- before it is known who that is ---- */

/* A ClientHello of 64 KiB, a byte a record: of no certificate it takes any. */
static void who_says_its_hello_byte_by_byte_is_cut_off(void **state)
{
	static const uint8_t head[] = { 1, 1, 0, 0 };
	struct pair *p = *state;
	int fd;

	pair_half(p, &fd);
	for (uint32_t i = 0; i <= TLS_SHAKE_RECORDS_MAX; i++) {
		const uint8_t record[] = { 22, 3, 1, 0, 1, i < sizeof(head) ? head[i] : 3 };

		assert_int_equal(send(fd, record, sizeof(record), MSG_NOSIGNAL), sizeof(record));
	}
	pair_expect_end(p, 1, EPROTO, "its handshake has no end");
	close(fd);
}

/* In large ones it is the bytes that count. */
static void who_says_more_than_a_hello_is_cut_off(void **state)
{
	static const uint8_t head[] = { 22, 3, 1, 0x40, 0 };
	static const uint8_t hello[0x4000] = { 1, 1, 0xff, 0 };
	static const uint8_t more[0x4000];
	struct pair *p = *state;
	int fd;

	pair_half(p, &fd);
	for (uint32_t i = 0; i <= TLS_SHAKE_MAX_BYTES / sizeof(hello); i++) {
		if (send(fd, head, sizeof(head), MSG_NOSIGNAL) < 0)
			break;
		if (send(fd, i == 0 ? hello : more, sizeof(hello), MSG_NOSIGNAL) < 0)
			break;
		(void)event_base_loop(loop_base(p->loop), EVLOOP_NONBLOCK);
	}
	pair_expect_end(p, 1, EPROTO, "its handshake has no end");
	close(fd);
}

/* The member's own certificate is right, and stands there a hundred times. */
static void who_shows_a_chain_without_end_is_cut_off(void **state)
{
	struct pair *p = *state;
	struct tls_notes notes = { .name = "" };
	SSL *ssl = tls_session(p->tls[0], true, &notes);
	int fd;

	pair_half(p, &fd);
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	SSL_set_bio(ssl, BIO_new_socket(fd, BIO_NOCLOSE), BIO_new_socket(fd, BIO_NOCLOSE));
	for (int i = 0; i < 100; i++)
		assert_int_equal(SSL_add1_chain_cert(ssl, SSL_get_certificate(ssl)), 1);
	while (SSL_do_handshake(ssl) != 1 && p->ends[1].n_closed == 0)
		(void)event_base_loop(loop_base(p->loop), EVLOOP_NONBLOCK);
	pair_expect_end(p, 1, EPROTO, "excessive message size");
	SSL_free(ssl);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_changes_keys_without_end_is_cut_off,
		                                pair_secure, pair_teardown),
		cmocka_unit_test_setup_teardown(a_turn_takes_so_many_records_however_small,
		                                pair_secure, pair_teardown),
		cmocka_unit_test_setup_teardown(a_part_of_a_record_is_a_sign_of_life, pair_secure,
		                                pair_teardown),
		cmocka_unit_test_setup_teardown(who_is_garbled_on_the_way_has_broken_no_rule,
		                                pair_secure, pair_teardown),
		cmocka_unit_test_setup_teardown(who_says_its_hello_byte_by_byte_is_cut_off,
		                                pair_secure, pair_teardown),
		cmocka_unit_test_setup_teardown(who_says_more_than_a_hello_is_cut_off, pair_secure,
		                                pair_teardown),
		cmocka_unit_test_setup_teardown(who_shows_a_chain_without_end_is_cut_off,
		                                pair_secure, pair_teardown),
		cmocka_unit_test_setup_teardown(keys_may_be_changed_now_and_then, pair_secure,
		                                pair_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
