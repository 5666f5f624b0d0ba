/*
 * tls: mutual TLS 1.3 between agents of one cluster CA, and the ids that certificates give.
 *
 * Knows OpenSSL; knows neither sockets nor messages. The files are read when the context is made.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "wire.h"

struct ssl_st;
struct tls;

struct tls_opts {
	const char *ca_file;   /* PEM; every certificate in it is trusted */
	const char *cert_file; /* PEM; the node's, and what leads from it to the CA */
	const char *key_file;  /* PEM; without a pass phrase */
};

/** @return 0; -EINVAL: a file is unreadable, or they do not fit together: *e says which */
MUST_CHECK int tls_new(const struct tls_opts *opts, struct tls **ret_tls, struct err *e);
void tls_free(struct tls **tls); /* NULL is fine */

/** Would the others take this node's certificate now, if theirs is the same CA? Said at start: the
 * node can still read without them. @return 0; -EINVAL: expired, of another CA, too long a chain,
 * ... */
MUST_CHECK int tls_check(const struct tls *tls, struct err *e);

/** From now on, sessions are made with what fresh has read: its CA and certificate. Those that are
 * there stay. fresh is what is left over, to be freed.
 * @return 0; -EINVAL: it is of another key, and so another node's; nothing is changed */
MUST_CHECK int tls_replace(struct tls *tls, struct tls *fresh, struct err *e);

/** When this node's certificate ends, in seconds since 1970. */
int64_t tls_end_s(const struct tls *tls);

/** This node's id: the first 16 bytes of SHA-256 of its public key (SubjectPublicKeyInfo, DER). */
struct wire_id tls_own_id(const struct tls *tls);

/* What is noted of a session, beside what is read and written. */
struct tls_notes {
	/* The common name in the other side's certificate, for people: also when it is refused.
	 * "": it showed none (yet) */
	char name[80];
	/* Handshake records (changes of keys, tickets) that came after the handshake, since who
	 * looks after the session set this to 0. One above the limit, and reading ends with
	 * -EPROTO: OpenSSL reads on behind each of them, inside one SSL_read(). */
	uint32_t n_handshake_records;
	/* Of the handshake itself, from whoever it is; one above a limit, likewise. */
	uint32_t n_shake_records;
	uint32_t shake_bytes;
	bool is_shaken; /* the handshake is over */
};
#define TLS_HANDSHAKE_RECORDS_MAX 32U
#define TLS_SHAKE_RECORDS_MAX     64U
#define TLS_SHAKE_MAX_BYTES       (64U << 10)
#define TLS_CHAIN_MAX_BYTES       (16U << 10) /* of certificates, DER */

/** A new session. Never NULL; the caller's (SSL_free()). connected: the client's side.
 * @param notes  borrowed, must outlive the session */
struct ssl_st *tls_session(const struct tls *tls, bool connected, struct tls_notes *notes);

/** Its bytes: read from fd, which must be non-blocking; what it writes is appended to *out, so that
 * many records cost one send(2). Both are borrowed and must outlive the session, as tls must. */
void tls_attach(const struct tls *tls, struct ssl_st *ssl, int fd, struct wire_buf *out);

/** Of a finished handshake: the other side's id and the exporter's 32 bytes. From here on its
 * handshake records are counted. @return 0; -EPROTO */
MUST_CHECK int tls_peer(struct ssl_st *ssl, struct wire_id *ret_id,
                        uint8_t ret_nonce[WIRE_NONCE_BYTES], struct err *e);

/**
 * Say why a handshake, read or write failed, for people: "its certificate (CN=node2) is refused:
 * certificate has expired".
 * @param ssl_error  of SSL_get_error(). @param saved_errno  of the failed call
 * @return -EACCES: certificates; -EPROTO: TLS, which the other side broke; -EBADMSG: a record that
 * may not be the other side's; -ECONNRESET and others: the network
 */
int tls_error(struct ssl_st *ssl, int ssl_error, int saved_errno, struct err *e);

/** The id of a node without certificates: read from, or made at random in, DIR/node-id (0600).
 * @return 0; -errno */
MUST_CHECK int tls_insecure_id(const char *state_dir, struct wire_id *ret_id, struct err *e);
