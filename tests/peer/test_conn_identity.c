/*
 * test_conn_identity: who may talk to whom: certificates, ids, addresses, and who listens.
 */
#include "bytes.h"
#include "wire_pair.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- the wrong one ---- */

static void another_cluster_is_refused_on_both_sides(void **state)
{
	struct pair *p = *state;

	tls_free(&p->tls[0]);
	p->tls[0] = pair_tls(p, "other", "stranger", PKI_NODE_TIMES);
	p->ends[0].opts.tls = p->tls[0];
	p->ends[0].self.self.id = tls_own_id(p->tls[0]);
	pair_connect(p);
	pair_expect_end(p, 0, EACCES, "CN=node1");
	pair_until(p, &p->ends[1].n_closed, 1);
	assert_int_equal(p->ends[1].why.code, EACCES);
	assert_int_equal(p->ends[0].n_open + p->ends[1].n_open, 0);
}

/* The one that connects knows our CA, but shows a certificate of its own. */
static void a_certificate_of_another_ca_is_refused(void **state)
{
	struct pair *p = *state;
	char path[2][256];
	struct tls_opts opts = { .ca_file = path[0], .cert_file = path[1] };
	char key[256];
	struct err e = { 0 };

	tls_free(&p->tls[0]);
	p->tls[0] = pair_tls(p, "other", "stranger", PKI_NODE_TIMES);
	tls_free(&p->tls[0]);
	(void)snprintf(path[0], sizeof(path[0]), "%s/cluster/ca.pem", p->dir);
	(void)snprintf(path[1], sizeof(path[1]), "%s/other/stranger.pem", p->dir);
	(void)snprintf(key, sizeof(key), "%s/other/stranger.key", p->dir);
	opts.key_file = key;
	assert_int_equal(tls_new(&opts, &p->tls[0], &e), 0);
	assert_int_equal(tls_check(p->tls[0], &e), -EINVAL); /* it could have known */
	p->ends[0].opts.tls = p->tls[0];
	pair_connect(p);
	pair_expect_end(p, 1, EACCES, "CN=stranger");
	pair_expect_end(p, 0, EACCES, "refuses this node's certificate");
	assert_int_equal(p->ends[1].n_open, 0);
}

static void use_certificate(struct pair *p, int64_t not_before_s, int64_t not_after_s)
{
	const struct pki_times times = { .not_before_s = not_before_s, .not_after_s = not_after_s };

	tls_free(&p->tls[0]);
	p->tls[0] = pair_tls(p, "cluster", "node2", times);
	p->ends[0].opts.tls = p->tls[0];
	p->ends[0].self.self.id = tls_own_id(p->tls[0]);
}

static void an_expired_certificate_is_refused(void **state)
{
	struct pair *p = *state;
	struct err e = { 0 };

	use_certificate(p, -7200, -3600);
	assert_int_equal(tls_check(p->tls[0], &e), -EINVAL);
	assert_non_null(strstr(e.msg, "expired"));
	pair_connect(p);
	pair_expect_end(p, 1, EACCES, "expired");
}

static void a_certificate_of_the_future_is_refused(void **state)
{
	struct pair *p = *state;

	use_certificate(p, 3600, 7200);
	pair_connect(p);
	pair_expect_end(p, 1, EACCES, "not yet valid");
}

static void a_fresh_certificate_suits_a_clock_an_hour_behind(void **state)
{
	struct pair *p = *state;

	/* For a node an hour behind, a certificate made now begins an hour later. */
	use_certificate(p, PKI_NODE_TIMES.not_before_s + 3600, PKI_NODE_TIMES.not_after_s);
	pair_open(p);
}

static void a_replaced_certificate_counts_for_the_next_handshake(void **state)
{
	struct pair *p = *state;
	struct tls *fresh = pair_tls(p, "cluster", "node3", (struct pki_times){ -7200, 7200 });
	struct tls *stranger = pair_tls(p, "other", "stranger", PKI_NODE_TIMES);
	char path[3][256];
	const struct tls_opts opts = { .ca_file = path[0],
		                       .cert_file = path[1],
		                       .key_file = path[2] };
	struct err e = { 0 };

	/* node3 with the CA of another cluster: it lets nobody in. */
	(void)snprintf(path[0], sizeof(path[0]), "%s/other/ca.pem", p->dir);
	(void)snprintf(path[1], sizeof(path[1]), "%s/cluster/node3.pem", p->dir);
	(void)snprintf(path[2], sizeof(path[2]), "%s/cluster/node3.key", p->dir);
	tls_free(&p->tls[0]);
	assert_int_equal(tls_new(&opts, &p->tls[0], &e), 0);
	p->ends[0].opts.tls = p->tls[0];
	p->ends[0].self.self.id = tls_own_id(p->tls[0]);

	assert_int_equal(tls_replace(p->tls[0], stranger, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "another key"));
	assert_int_equal(tls_replace(p->tls[0], fresh, &e), 0);
	tls_free(&fresh);
	tls_free(&stranger);
	assert_in_range(tls_end_s(p->tls[0]), time(NULL) + 7200 - 120, time(NULL) + 7200);
	pair_open(p);
}

static void the_id_is_the_certificates(void **state)
{
	struct pair *p = *state;

	p->ends[0].self.self.id.b[3] ^= 1;
	pair_connect(p);
	pair_expect_end(p, 1, EPROTO, "id is not the certificate's");
}

static void without_tls_nobody_talks_to_one_with(void **state)
{
	struct pair *p = *state;

	p->ends[0].opts.tls = NULL;
	pair_connect(p);
	pair_until(p, &p->ends[1].n_closed, 1);
	pair_until(p, &p->ends[0].n_closed, 1);
	assert_int_equal(p->ends[0].n_open + p->ends[1].n_open, 0);
}

static void a_node_knows_itself(void **state)
{
	struct pair *p = *state;

	p->ends[0].opts.tls = p->tls[1];
	p->ends[0].self.self.id = p->ends[1].self.self.id;
	pair_connect(p);
	pair_expect_end(p, 1, ELOOP, "itself");
	pair_expect_end(p, 0, ELOOP, "bye");
}

/* Else one member could have its address passed over for good, whoever is there later. */
static void another_node_is_not_believed_that_it_is_this_one(void **state)
{
	struct pair *p = *state;

	pair_open(p);
	conn_close(p->ends[1].conn, WIRE_BYE_SELF, "");
	pair_expect_end(p, 0, 0, "bye");
}

/* ---- listening ---- */

static void *accepted(void *arg, struct conn *c)
{
	struct pair *p = arg;

	p->ends[1].conn = c;
	return &p->ends[1];
}

static struct listener *listen_at(struct pair *p, uint32_t max_conns, char *ret_address,
                                  size_t room_bytes)
{
	struct listener_opts opts = { .conn = p->ends[1].opts,
		                      .address = "127.0.0.1:0",
		                      .max_conns = max_conns,
		                      .accepted = accepted };
	struct listener *l = NULL;
	struct err e = { 0 };

	opts.conn.arg = p;
	assert_int_equal(listener_new(&opts, &l, &e), 0);
	(void)snprintf(ret_address, room_bytes, "127.0.0.1:%u", listener_port(l));
	return l;
}

static void agents_meet_over_tcp(void **state)
{
	struct pair *p = *state;
	char address[64];
	struct listener *l = listen_at(p, 0, address, sizeof(address));
	struct err e = { 0 };

	assert_int_equal(conn_connect(&p->ends[0].opts, address, &p->ends[0].conn, &e), 0);
	timer_stop(&p->ends[0].conn->tick); /* its socket is enough to wake it */
	pair_until(p, &p->ends[0].n_open, 1);
	pair_until(p, &p->ends[1].n_open, 1);
	assert_string_equal(conn_address(p->ends[0].conn), address);
	listener_free(&l); /* what it accepted stays */
	pair_spin(p);
	assert_int_equal(p->ends[0].n_closed, 0);
	assert_int_equal(conn_connect(&p->ends[0].opts, "nowhere", &p->ends[0].conn, &e), -EINVAL);
}

static void no_more_than_so_many_may_connect(void **state)
{
	struct pair *p = *state;
	char address[64];
	struct listener *l = listen_at(p, 1, address, sizeof(address));
	struct end_point *ep = &p->ends[0];
	struct conn *first;
	struct err e = { 0 };

	assert_int_equal(conn_connect(&ep->opts, address, &ep->conn, &e), 0);
	pair_until(p, &ep->n_open, 1);
	first = ep->conn;
	assert_int_equal(conn_connect(&ep->opts, address, &ep->conn, &e), 0);
	pair_until(p, &ep->n_closed, 1);
	assert_int_equal(p->ends[1].n_open, 1);
	ep->conn = first;
	listener_free(&l);
}

/* ---- who says nothing ---- */

struct crowd {
	uint32_t n_accepted, n_open, n_closed;
};

static void crowd_open(void *arg, struct conn *c, const struct wire_hello *peer)
{
	struct crowd *crowd = arg;

	(void)c;
	(void)peer;
	crowd->n_open++;
}

static void crowd_message(void *arg, struct conn *c, const struct wire_msg *msg)
{
	(void)arg;
	(void)c;
	(void)msg;
}

static void crowd_closed(void *arg, struct conn *c, const struct err *why)
{
	struct crowd *crowd = arg;

	(void)c;
	(void)why;
	crowd->n_closed++;
}

static void *crowd_accepted(void *arg, struct conn *c)
{
	struct crowd *crowd = arg;

	(void)c;
	crowd->n_accepted++;
	return arg;
}

static void who_says_nothing_makes_room_for_others(void **state)
{
	static const struct conn_ops ops = { .open = crowd_open,
		                             .message = crowd_message,
		                             .closed = crowd_closed };
	struct pair *p = *state;
	struct crowd crowd = { .n_accepted = 0 };
	struct listener_opts opts = { .conn = p->ends[1].opts,
		                      .address = "127.0.0.1:0",
		                      .accepted = crowd_accepted };
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct listener *l = NULL;
	struct err e = { 0 };
	char address[64];
	int fds[300];

	opts.conn.ops = &ops;
	opts.conn.handshake_timeout_ms = 120000; /* nobody goes by himself */
	opts.conn.arg = &crowd;
	assert_int_equal(listener_new(&opts, &l, &e), 0);
	in.sin_port = htons(listener_port(l));
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	(void)snprintf(address, sizeof(address), "127.0.0.1:%u", listener_port(l));
	for (uint32_t i = 0; i < ARRAY_LEN(fds); i++) {
		struct sockaddr_in from = { .sin_family = AF_INET };

		/* Three crowds from three hosts: none fills the room alone. */
		from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + i % 3);
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(bind(fds[i], (struct sockaddr *)&from, sizeof(from)), 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&in, sizeof(in)), 0);
		pair_until(p, &crowd.n_accepted, i + 1);
	}
	pair_until(p, &crowd.n_closed, 300 - 3 * 64); /* what is too many of each host */
	assert_int_equal(conn_connect(&p->ends[0].opts, address, &p->ends[0].conn, &e), 0);
	pair_until(p, &p->ends[0].n_open, 1);
	pair_until(p, &crowd.n_open, 1);
	for (uint32_t i = 0; i < ARRAY_LEN(fds); i++)
		(void)close(fds[i]);
	conn_abort(&p->ends[0].conn);
	pair_until(p, &crowd.n_closed, ARRAY_LEN(fds) + 1);
	listener_free(&l);
}

static void nobody_there_is_said(void **state)
{
	struct pair *p = *state;
	char address[64];
	struct listener *l = listen_at(p, 1, address, sizeof(address));
	struct err e = { 0 };

	listener_free(&l);
	if (conn_connect(&p->ends[0].opts, address, &p->ends[0].conn, &e) == 0)
		pair_expect_end(p, 0, ECONNREFUSED, "connect");
}

#define SECURE(test) cmocka_unit_test_setup_teardown(test, pair_secure, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SECURE(another_cluster_is_refused_on_both_sides),
		SECURE(a_certificate_of_another_ca_is_refused),
		SECURE(an_expired_certificate_is_refused),
		SECURE(a_certificate_of_the_future_is_refused),
		SECURE(a_fresh_certificate_suits_a_clock_an_hour_behind),
		SECURE(a_replaced_certificate_counts_for_the_next_handshake),
		SECURE(the_id_is_the_certificates),
		SECURE(without_tls_nobody_talks_to_one_with),
		SECURE(a_node_knows_itself),
		SECURE(another_node_is_not_believed_that_it_is_this_one),
		SECURE(agents_meet_over_tcp),
		SECURE(no_more_than_so_many_may_connect),
		SECURE(who_says_nothing_makes_room_for_others),
		SECURE(nobody_there_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
