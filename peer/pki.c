/*
 * pki: keys and certificates with OpenSSL, written so that a failure leaves nothing behind.
 */
#include "pki.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SERIAL_BITS   127
#define DIR_MODE      0700
#define KEY_MODE      0600
#define CERT_MODE     0644
#define SECONDS_A_DAY 86400

/* A key with its certificate, and where they go. */
struct pair {
	EVP_PKEY *key;
	X509 *cert;
	char *cert_path;
	char *key_path;
	bool key_is_there; /* the file was before us: it stays as it is */
};

static void pair_fini(struct pair *p)
{
	EVP_PKEY_free(p->key);
	X509_free(p->cert);
	free_str(&p->cert_path);
	free_str(&p->key_path);
}

static void pair_paths(struct pair *p, const char *dir, const char *name)
{
	p->cert_path = xasprintf("%s/%s.pem", dir, name);
	p->key_path = xasprintf("%s/%s.key", dir, name);
}

static int openssl_failed(struct err *e, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return err_set(e, EIO, "%s: %s", what, reason != NULL ? reason : "OpenSSL failed");
}

/* ---- files ---- */

static int refuse_existing(const char *path, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) == 0)
		return err_set(e, EEXIST, "%s is there already (move it away first)", path);
	return errno == ENOENT ? 0 : err_errno(e, errno, "%s", path);
}

static int write_all(int fd, const char *data, size_t n_bytes)
{
	while (n_bytes > 0) {
		const ssize_t n = write(fd, data, n_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		data += n;
		n_bytes -= (size_t)n;
	}
	return 0;
}

static int write_new(const char *path, BIO *pem, mode_t mode, struct err *e)
{
	AUTO(close_fd)
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	char *data = NULL;
	const long n = BIO_get_mem_data(pem, &data);
	int code;

	if (fd < 0)
		return err_errno(e, errno, "%s", path);
	if (n > 0 && write_all(fd, data, (size_t)n) == 0 && fsync(fd) == 0)
		return 0;
	code = errno;
	(void)unlink(path);
	return err_errno(e, code, "%s", path);
}

/* The key first: a certificate is never there without its key. */
static int pair_write(const struct pair *p, struct err *e)
{
	BIO *key = BIO_new(BIO_s_secmem());
	BIO *cert = BIO_new(BIO_s_mem());
	int r;

	if (key == NULL || cert == NULL ||
	    PEM_write_bio_PKCS8PrivateKey(key, p->key, NULL, NULL, 0, NULL, NULL) != 1 ||
	    PEM_write_bio_X509(cert, p->cert) != 1) {
		r = openssl_failed(e, "PEM");
	} else {
		r = p->key_is_there ? 0 : write_new(p->key_path, key, KEY_MODE, e);
		if (r == 0) {
			r = write_new(p->cert_path, cert, CERT_MODE, e);
			if (r < 0 && !p->key_is_there)
				(void)unlink(p->key_path);
		}
	}
	BIO_free(key);
	BIO_free(cert);
	return r;
}

static FILE *open_ca_file(const char *path, struct err *e)
{
	FILE *f = fopen(path, "re");

	if (f == NULL && errno == ENOENT)
		(void)err_set(e, ENOENT, "%s: there is no CA here (first: shoal pki init DIR)",
		              path);
	else if (f == NULL)
		(void)err_errno(e, errno, "%s", path);
	return f;
}

static int ca_read_key(struct pair *ca, struct err *e)
{
	FILE *f = open_ca_file(ca->key_path, e);

	if (f == NULL)
		return -e->code;
	ca->key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	(void)fclose(f);
	return ca->key != NULL ? 0 : openssl_failed(e, ca->key_path);
}

/* The one of the key: while a CA is replaced, ca.pem has that of the other CA, too. */
static int ca_read_cert(struct pair *ca, struct err *e)
{
	FILE *f = open_ca_file(ca->cert_path, e);
	bool any = false;

	if (f == NULL)
		return -e->code;
	while (ca->cert == NULL) {
		X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);

		if (cert == NULL)
			break;
		any = true;
		if (X509_check_private_key(cert, ca->key) == 1)
			ca->cert = cert;
		else
			X509_free(cert);
	}
	(void)fclose(f);
	if (!any)
		return openssl_failed(e, ca->cert_path);
	ERR_clear_error(); /* of the others, and of the end of the file */
	if (ca->cert == NULL)
		return err_set(e, EINVAL, "%s is not the key of %s", ca->key_path, ca->cert_path);
	return 0;
}

static int ca_read(struct pair *ca, struct err *e)
{
	const int r = ca_read_key(ca, e);

	return r == 0 ? ca_read_cert(ca, e) : r;
}

/* A key that waits for its certificate: one that was moved away to be renewed. */
static int key_read(struct pair *p, struct err *e)
{
	FILE *f = fopen(p->key_path, "re");

	if (f == NULL)
		return errno == ENOENT ? 0 : err_errno(e, errno, "%s", p->key_path);
	p->key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	(void)fclose(f);
	if (p->key == NULL)
		return openssl_failed(e, p->key_path);
	p->key_is_there = true;
	return 0;
}

/* ---- certificates ---- */

static int set_serial(X509 *cert)
{
	BIGNUM *n = BN_new();
	const int ok = n != NULL && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
	               BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;

	BN_free(n);
	return ok;
}

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	int ok;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok;
}

static int add_ca_extensions(X509 *cert)
{
	return add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	       add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	       add_extension(cert, cert, NID_subject_key_identifier, "hash");
}

static int add_node_extensions(X509 *cert, X509 *issuer, const char *name)
{
	AUTO(free_str) char *dns = xasprintf("DNS:%s", name);

	return add_extension(cert, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(cert, issuer, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(cert, issuer, NID_ext_key_usage, "serverAuth,clientAuth") &&
	       add_extension(cert, issuer, NID_subject_key_identifier, "hash") &&
	       add_extension(cert, issuer, NID_authority_key_identifier, "keyid") &&
	       add_extension(cert, issuer, NID_subject_alt_name, dns);
}

/* X509_gmtime_adj() takes a long of seconds; days and seconds apart take every span. */
static int set_time(ASN1_TIME *t, int64_t offset_s)
{
	return X509_time_adj_ex(t, (int)(offset_s / SECONDS_A_DAY),
	                        (long)(offset_s % SECONDS_A_DAY), NULL) != NULL;
}

static int set_name(X509 *cert, const char *name)
{
	X509_NAME *subject = X509_get_subject_name(cert);

	return X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC,
	                                  (const unsigned char *)"shoal", -1, -1, 0) &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name,
	                                  -1, -1, 0);
}

/* ca NULL: it signs itself. */
static int pair_make(struct pair *p, const char *name, const struct pair *ca,
                     struct pki_times times, struct err *e)
{
	const struct pair *issuer = ca != NULL ? ca : p;
	int ok;

	if (p->key == NULL)
		p->key = EVP_EC_gen("P-256");
	p->cert = X509_new();
	ok = p->key != NULL && p->cert != NULL && X509_set_version(p->cert, X509_VERSION_3) &&
	     set_serial(p->cert) && set_name(p->cert, name) &&
	     X509_set_issuer_name(p->cert, X509_get_subject_name(issuer->cert)) &&
	     set_time(X509_getm_notBefore(p->cert), times.not_before_s) &&
	     set_time(X509_getm_notAfter(p->cert), times.not_after_s) &&
	     X509_set_pubkey(p->cert, p->key);
	if (ok && ca != NULL &&
	    ASN1_TIME_compare(X509_get0_notAfter(p->cert), X509_get0_notAfter(ca->cert)) > 0)
		ok = X509_set1_notAfter(p->cert, X509_get0_notAfter(ca->cert));
	if (ok)
		ok = ca == NULL ? add_ca_extensions(p->cert)
		                : add_node_extensions(p->cert, ca->cert, name);
	if (!ok || X509_sign(p->cert, issuer->key, EVP_sha256()) == 0)
		return openssl_failed(e, name);
	return 0;
}

/* ---- the two commands ---- */

int pki_make_ca(const char *dir, struct pki_times times, struct err *e)
{
	AUTO(pair_fini) struct pair ca = { 0 };
	int r;

	pair_paths(&ca, dir, "ca");
	if (mkdir(dir, DIR_MODE) != 0 && errno != EEXIST)
		return err_errno(e, errno, "%s", dir);
	r = refuse_existing(ca.cert_path, e);
	if (r == 0)
		r = refuse_existing(ca.key_path, e);
	if (r == 0)
		r = pair_make(&ca, "shoal cluster CA", NULL, times, e);
	return r == 0 ? pair_write(&ca, e) : r;
}

static int check_name(const char *name, struct err *e)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	const size_t n = strlen(name);

	if (n == 0 || n > PKI_NAME_MAX || strspn(name, allowed) != n || name[0] == '.' ||
	    name[0] == '-')
		return err_set(e, EINVAL,
		               "a node's name is up to %d letters, digits, '.', '-', '_', and "
		               "begins with none of '.' and '-' (such as node-1)",
		               PKI_NAME_MAX);
	if (strcmp(name, "ca") == 0)
		return err_set(e, EINVAL, "\"ca\" is the name of the CA's files (choose another)");
	return 0;
}

int pki_make_node(const char *dir, const char *name, struct pki_times times, struct err *e)
{
	AUTO(pair_fini) struct pair ca = { 0 };
	AUTO(pair_fini) struct pair node = { 0 };
	int r = check_name(name, e);

	if (r < 0)
		return r;
	pair_paths(&ca, dir, "ca");
	pair_paths(&node, dir, name);
	r = ca_read(&ca, e);
	if (r == 0)
		r = refuse_existing(node.cert_path, e);
	if (r == 0)
		r = key_read(&node, e);
	if (r == 0)
		r = pair_make(&node, name, &ca, times, e);
	return r == 0 ? pair_write(&node, e) : r;
}
