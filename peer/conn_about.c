/*
 * conn_about: what is known of a connection: who is at the other end, and how long its answers
 * take.
 */
#include "conn_impl.h"
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

const struct wire_hello *conn_peer(const struct conn *c)
{
	return &c->peer;
}

const struct proof_binding *conn_binding(const struct conn *c)
{
	return &c->binding;
}

const char *conn_name(const struct conn *c)
{
	return c->tls_notes.name;
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
	return c->in_ns;
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
	return min_u64(c->answer_ns + 4 * c->answer_var_ns, CONN_PATIENCE_MAX_NS);
}

bool conn_sent(const struct conn *c, uint64_t *ret_acked_bytes, uint64_t *ret_busy_us)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);

	if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
	    size < offsetof(struct tcp_info, tcpi_busy_time) + sizeof(info.tcpi_busy_time))
		return false;
	*ret_acked_bytes = info.tcpi_bytes_acked;
	*ret_busy_us = info.tcpi_busy_time;
	return true;
}

bool conn_is_idle(const struct conn *c)
{
	return session_is_idle(c->session);
}
