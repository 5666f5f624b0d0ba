/*
 * conn_about: what is known of a connection: who is at the other end, and how long its answers
 * take.
 */
#include "bytes.h"
#include "conn_impl.h"
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#define NS_PER_US UINT64_C(1000)

const struct wire_hello *conn_peer(const struct conn *c)
{
	return &c->peer;
}

const struct proof_binding *conn_binding(const struct conn *c)
{
	return &c->binding;
}

const char *conn_address(const struct conn *c)
{
	return c->address;
}

bool conn_is_connected_by_us(const struct conn *c)
{
	return c->connected;
}

const struct conn_counts *conn_counts(const struct conn *c)
{
	return &c->counts;
}

void conn_set_members_hash(struct conn *c, uint64_t hash)
{
	c->members_hash = hash;
}

bool conn_peer_left(const struct conn *c)
{
	return c->peer_left;
}

uint64_t conn_heard_ns(const struct conn *c)
{
	return c->heard_ns;
}

void conn_answered(struct conn *c, uint64_t took_ns)
{
	const uint64_t off_ns =
		took_ns > c->answer_ns ? took_ns - c->answer_ns : c->answer_ns - took_ns;

	if (c->answer_ns == 0) {
		c->answer_ns = took_ns + 1;
		c->answer_var_ns = took_ns / 2;
		return;
	}
	c->answer_var_ns += off_ns / 4 - c->answer_var_ns / 4;
	c->answer_ns += took_ns / 8 - c->answer_ns / 8;
}

uint64_t conn_patience_ns(const struct conn *c)
{
	return min_u64(max_u64(c->answer_ns + 4 * c->answer_var_ns, c->resend_ns),
	               CONN_PATIENCE_MAX_NS);
}

uint64_t conn_pong_ns(const struct conn *c)
{
	return c->pong_ns;
}

/* @return false: it does not say (no TCP, an old kernel) */
static bool ask_tcp(const struct conn *c, struct tcp_info *ret_info)
{
	socklen_t size = sizeof(*ret_info);

	memset(ret_info, 0, sizeof(*ret_info));
	return getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, ret_info, &size) == 0 &&
	       size >= offsetof(struct tcp_info, tcpi_busy_time) + sizeof(ret_info->tcpi_busy_time);
}

void conn_measured(struct conn *c, uint32_t rto_us, uint32_t n_backoff, uint32_t rtt_us)
{
	c->resend_ns =
		((uint64_t)rto_us >> min_u64(n_backoff, 31)) * NS_PER_US + rtt_us * NS_PER_US;
}

void conn_segments(struct conn *c, uint32_t n_with_data)
{
	if (n_with_data != c->n_segments)
		c->stirred_ns = clock_now_ns(c->opts.clock);
	c->n_segments = n_with_data;
}

void conn_measure(struct conn *c)
{
	struct tcp_info info;

	if (!ask_tcp(c, &info))
		return;
	conn_measured(c, info.tcpi_rto, info.tcpi_backoff, info.tcpi_rtt);
	conn_segments(c, info.tcpi_data_segs_in);
}

bool conn_lives_since(struct conn *c, uint64_t since_ns)
{
	conn_measure(c);
	return max_u64(c->heard_ns, c->stirred_ns) > since_ns;
}

bool conn_sent(const struct conn *c, uint64_t *ret_acked_bytes, uint64_t *ret_busy_us)
{
	struct tcp_info info;

	if (!ask_tcp(c, &info))
		return false;
	*ret_acked_bytes = info.tcpi_bytes_acked;
	*ret_busy_us = info.tcpi_busy_time;
	return true;
}

bool conn_is_idle(const struct conn *c)
{
	return session_is_idle(c->session);
}
