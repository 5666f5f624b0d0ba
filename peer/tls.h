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

/** This node's id: the first 16 bytes of SHA-256 of its public key (SubjectPublicKeyInfo, DER). */
struct wire_id tls_own_id(const struct tls *tls);

/** A new session. Never NULL; the caller's (SSL_free()). connected: the client's side. */
struct ssl_st *tls_session(const struct tls *tls, bool connected);

/** Of a finished handshake: the other side's id and the exporter's 32 bytes. @return 0; -EPROTO */
MUST_CHECK int tls_peer(struct ssl_st *ssl, struct wire_id *ret_id,
                        uint8_t ret_nonce[WIRE_NONCE_BYTES], struct err *e);

/** Say why a handshake failed, for people: "certificate has expired (of CN=node2)". Always
 * returns negative. */
int tls_handshake_error(struct ssl_st *ssl, int ssl_error, struct err *e);

/** The id of a node without certificates: read from, or made at random in, DIR/node-id (0600). */
MUST_CHECK int tls_insecure_id(const char *state_dir, struct wire_id *ret_id, struct err *e);
