/*
 * tls: contexts, ids and errors, with OpenSSL.
 *
 * TLS 1.3 alone; AES-128-GCM first: as strong as the key exchange, and a third faster. No tickets:
 * a session is made anew in one round trip. Names in certificates are for people; the key is the
 * node.
 */
#include "tls.h"
#include "mem.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORTER         "EXPORTER-shoal-peer-v1"
#define READ_AHEAD_BYTES (128U << 10) /* several records a read(2) */
#define CIPHERS          "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CHAIN_DEPTH_MAX  3

/* What stands between the certificates of a chain. */
#define CHAIN_MARGIN_BYTES 256U

struct tls {
	SSL_CTX *ctx;
	BIO_METHOD *appender; /* of BIOs that write to a wire_buf */
	struct wire_id own_id;
};

static bool shakes_on(const struct tls_notes *notes)
{
	return notes->n_shake_records > TLS_SHAKE_RECORDS_MAX ||
	       notes->shake_bytes > TLS_SHAKE_MAX_BYTES;
}

/* ---- where sessions write ---- */

static int append(BIO *bio, const char *bytes, int n_bytes)
{
	if (n_bytes > 0)
		wire_buf_append(BIO_get_data(bio), bytes, (size_t)n_bytes);
	return n_bytes;
}

/* Each flight of a handshake ends with a flush: there is nothing to be done for it here. */
static long append_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *new_appender(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "wire_buf");

	if (m == NULL || BIO_meth_set_write(m, append) != 1 ||
	    BIO_meth_set_ctrl(m, append_ctrl) != 1)
		abort(); /* memory is out: the size is our own */
	return m;
}

void tls_attach(const struct tls *tls, struct ssl_st *ssl, int fd, struct wire_buf *out)
{
	BIO *bio = BIO_new(tls->appender);

	if (bio == NULL || SSL_set_rfd(ssl, fd) != 1)
		abort(); /* the same */
	BIO_set_data(bio, out);
	BIO_set_init(bio, 1);
	SSL_set0_wbio(ssl, bio);
}

/* ---- contexts ---- */

/* What OpenSSL says, and an empty queue behind it. */
static const char *openssl_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return reason != NULL ? reason : "no reason given";
}

static int id_of(X509 *cert, struct wire_id *ret_id)
{
	unsigned char *der = NULL;
	const int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	uint8_t digest[DIGEST_BYTES];

	if (n <= 0)
		return -EPROTO;
	digest_compute(DIGEST_SHA256, der, (size_t)n, digest);
	OPENSSL_free(der);
	memcpy(ret_id->b, digest, sizeof(ret_id->b));
	return 0;
}

/* Files come and are replaced one by one: what is wrong with them now may be right soon. */
static int refuse_file(const char *what, const char *path, struct err *e)
{
	const int code = access(path, R_OK) == 0 ? 0 : errno;
	const char *reason = openssl_reason(); /* of a file that is not there: "system lib" */

	return code != 0 ? err_errno(e, code, "%s %s", what, path)
	                 : err_set(e, EAGAIN, "%s %s: %s", what, path, reason);
}

static int load_files(struct tls *tls, const struct tls_opts *opts, struct err *e)
{
	if (SSL_CTX_load_verify_file(tls->ctx, opts->ca_file) != 1)
		return refuse_file("CA certificate", opts->ca_file, e);
	if (SSL_CTX_use_certificate_chain_file(tls->ctx, opts->cert_file) != 1)
		return refuse_file("certificate", opts->cert_file, e);
	if (SSL_CTX_use_PrivateKey_file(tls->ctx, opts->key_file, SSL_FILETYPE_PEM) != 1)
		return refuse_file("key", opts->key_file, e);
	if (SSL_CTX_check_private_key(tls->ctx) != 1)
		return err_set(e, EAGAIN, "key %s is not that of certificate %s", opts->key_file,
		               opts->cert_file);
	return 0;
}

/* OpenSSL forgets a certificate that it refuses; people want to know whose it was. */
static int note_name(int ok, X509_STORE_CTX *check)
{
	const SSL *ssl = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_notes *notes = SSL_get_app_data(ssl);
	X509 *cert = X509_STORE_CTX_get0_cert(check);

	if (cert != NULL)
		(void)X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName,
		                                notes->name, sizeof(notes->name));
	return ok;
}

int tls_new(const struct tls_opts *opts, struct tls **ret_tls, struct err *e)
{
	AUTO(tls_free) struct tls *tls = xcalloc(1, sizeof(*tls));
	int r;

	tls->appender = new_appender();
	tls->ctx = SSL_CTX_new(TLS_method());
	if (tls->ctx == NULL)
		return err_set(e, EINVAL, "TLS: %s", openssl_reason());
	if (SSL_CTX_set_min_proto_version(tls->ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(tls->ctx, CIPHERS) != 1 ||
	    SSL_CTX_set_num_tickets(tls->ctx, 0) != 1)
		return err_set(e, EINVAL, "TLS 1.3: %s", openssl_reason());
	(void)SSL_CTX_set_session_cache_mode(tls->ctx, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_mode(tls->ctx, SSL_MODE_RELEASE_BUFFERS);
	(void)SSL_CTX_set_max_cert_list(tls->ctx, TLS_CHAIN_MAX_BYTES);
	SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, note_name);
	SSL_CTX_set_verify_depth(tls->ctx, CHAIN_DEPTH_MAX);
	r = load_files(tls, opts, e);
	if (r == 0 && id_of(SSL_CTX_get0_certificate(tls->ctx), &tls->own_id) < 0)
		r = err_set(e, EAGAIN, "certificate %s has no usable key", opts->cert_file);
	if (r < 0)
		return r;
	*ret_tls = tls;
	tls = NULL;
	return 0;
}

static uint64_t chain_bytes(X509 *cert, const STACK_OF(X509) * chain)
{
	uint64_t bytes = (uint64_t)i2d_X509(cert, NULL);

	for (int i = 0; i < sk_X509_num(chain); i++)
		bytes += (uint64_t)i2d_X509(sk_X509_value(chain, i), NULL);
	return bytes;
}

int tls_check(const struct tls *tls, struct err *e)
{
	X509 *cert = SSL_CTX_get0_certificate(tls->ctx);
	X509_STORE_CTX *check = X509_STORE_CTX_new();
	STACK_OF(X509) *chain = NULL;
	int r = 0;

	(void)SSL_CTX_get0_chain_certs(tls->ctx, &chain);
	if (check == NULL ||
	    X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(tls->ctx), cert, chain) != 1)
		r = err_set(e, EINVAL, "this node's certificate: %s", openssl_reason());
	else if (X509_verify_cert(check) != 1)
		r = err_set(e, EINVAL, "this node's certificate: %s",
		            X509_verify_cert_error_string(X509_STORE_CTX_get_error(check)));
	else if (chain_bytes(cert, chain) > TLS_CHAIN_MAX_BYTES - CHAIN_MARGIN_BYTES)
		r = err_set(e, EINVAL, "this node's certificate: its chain is too long");
	X509_STORE_CTX_free(check);
	ERR_clear_error();
	return r;
}

int tls_replace(struct tls *tls, struct tls *fresh, struct err *e)
{
	SSL_CTX *old = tls->ctx;

	if (memcmp(&tls->own_id, &fresh->own_id, sizeof(tls->own_id)) != 0)
		return err_set(e, EINVAL,
		               "it is of another key, and so of another node (a restart uses it)");
	tls->ctx = fresh->ctx;
	fresh->ctx = old;
	return 0;
}

int64_t tls_end_s(const struct tls *tls)
{
	struct tm end = { 0 };

	if (ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(tls->ctx)), &end) != 1)
		return 0;
	return timegm(&end);
}

void tls_free(struct tls **tls)
{
	if (*tls == NULL)
		return;
	SSL_CTX_free((*tls)->ctx);
	BIO_meth_free((*tls)->appender);
	free(*tls);
	*tls = NULL;
}

struct wire_id tls_own_id(const struct tls *tls)
{
	return tls->own_id;
}

/* A record is about to be read. Before the handshake is over it may be a stranger's: as much as
 * that, in as many pieces, is all that he makes this node work and keep. */
/* NOLINTNEXTLINE(readability-function-size): these parameters are OpenSSL's */
static void on_shake_record(int is_written, int version, int content_type, const void *bytes,
                            size_t n_bytes, SSL *ssl, void *arg)
{
	struct tls_notes *notes = arg;
	const uint8_t *head = bytes;

	(void)version;
	if (is_written || content_type != SSL3_RT_HEADER || n_bytes < SSL3_RT_HEADER_LENGTH)
		return;
	notes->n_shake_records++;
	notes->shake_bytes += SSL3_RT_HEADER_LENGTH + ((uint32_t)head[3] << 8 | head[4]);
	if (shakes_on(notes))
		SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
}

struct ssl_st *tls_session(const struct tls *tls, bool connected, struct tls_notes *notes)
{
	SSL *ssl = SSL_new(tls->ctx);

	if (ssl == NULL)
		abort(); /* memory is out: the size is our own */
	if (SSL_set_app_data(ssl, notes) != 1)
		abort(); /* the same */
	SSL_set_msg_callback(ssl, on_shake_record);
	(void)SSL_set_msg_callback_arg(ssl, notes);
	if (connected)
		SSL_set_connect_state(ssl);
	else
		SSL_set_accept_state(ssl);
	return ssl;
}

/* Each record that came, before OpenSSL acts on it. One above the limit ends the reading, as a
 * closing of the other side would. */
/* NOLINTNEXTLINE(readability-function-size): these parameters are OpenSSL's */
static void on_record(int is_written, int version, int content_type, const void *bytes,
                      size_t n_bytes, SSL *ssl, void *arg)
{
	struct tls_notes *notes = arg;

	(void)version;
	if (is_written || content_type != SSL3_RT_INNER_CONTENT_TYPE || n_bytes != 1 ||
	    *(const uint8_t *)bytes != SSL3_RT_HANDSHAKE)
		return;
	if (++notes->n_handshake_records > TLS_HANDSHAKE_RECORDS_MAX)
		SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
}

int tls_peer(struct ssl_st *ssl, struct wire_id *ret_id, uint8_t ret_nonce[WIRE_NONCE_BYTES],
             struct err *e)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	struct tls_notes *notes = SSL_get_app_data(ssl);

	if (cert == NULL || id_of(cert, ret_id) < 0)
		return err_set(e, EPROTO, "the certificate has no usable key");
	if (SSL_export_keying_material(ssl, ret_nonce, WIRE_NONCE_BYTES, EXPORTER, strlen(EXPORTER),
	                               NULL, 0, 0) != 1)
		return err_set(e, EPROTO, "TLS exporter: %s", openssl_reason());
	SSL_set_msg_callback(ssl, on_record);
	SSL_set_read_ahead(ssl, 1);
	SSL_set_default_read_buffer_len(ssl, READ_AHEAD_BYTES); /* of members alone */
	notes->is_shaken = true;
	return 0;
}

/* Errors that are about certificates are for people to mend. Of what else ends a connection that
 * was there nobody knows who it comes from: anybody on the line can garble a record. */
static int code_of(const struct tls_notes *notes, unsigned long openssl_error)
{
	switch (ERR_GET_REASON(openssl_error)) {
	case SSL_R_CERTIFICATE_VERIFY_FAILED:
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
		return EACCES;
	default:
		return notes->is_shaken ? EBADMSG : EPROTO;
	}
}

int tls_error(struct ssl_st *ssl, int ssl_error, int saved_errno, struct err *e)
{
	const unsigned long why = ERR_peek_last_error();
	const long verify = SSL_get_verify_result(ssl);
	const struct tls_notes *notes = SSL_get_app_data(ssl);

	if (!notes->is_shaken && shakes_on(notes)) {
		ERR_clear_error();
		return err_set(e, EPROTO, "TLS: its handshake has no end");
	}
	if (notes->n_handshake_records > TLS_HANDSHAKE_RECORDS_MAX) {
		ERR_clear_error();
		return err_set(e, EPROTO, "TLS: it changes its keys without end");
	}
	if (ssl_error == SSL_ERROR_SSL &&
	    ERR_GET_REASON(why) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		ERR_clear_error();
		return err_set(e, ECONNRESET, "closed without a word");
	}
	if (ssl_error == SSL_ERROR_ZERO_RETURN)
		return err_set(e, ECONNRESET, "closed");
	if (ssl_error == SSL_ERROR_SYSCALL) {
		ERR_clear_error();
		return err_errno(e, saved_errno != 0 ? saved_errno : ECONNRESET, "TLS");
	}
	if (ERR_GET_REASON(why) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
		ERR_clear_error();
		return err_set(e, EACCES, "its certificate (CN=%s) is refused: %s", notes->name,
		               X509_verify_cert_error_string(verify));
	}
	if (code_of(notes, why) == EACCES)
		return err_set(e, EACCES, "%s: %s",
		               ERR_GET_REASON(why) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE
		                       ? "it shows no certificate"
		                       : "it refuses this node's certificate",
		               openssl_reason());
	return err_set(e, code_of(notes, why), "TLS: %s", openssl_reason());
}
