/*
 * test_pki: the files of a cluster's certificates, and the id of a node without one.
 */
#include "mem.h"
#include "pki.h"
#include "remove_tree.h"
#include "tls.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define PATH_BYTES 128

struct fixture {
	char top[32];
	char dir[64];
	struct err e;
};

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	(void)snprintf(f->top, sizeof(f->top), "/tmp/shoal-pki-XXXXXX");
	assert_non_null(mkdtemp(f->top));
	(void)snprintf(f->dir, sizeof(f->dir), "%s/pki", f->top);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	(void)remove_tree(f->top);
	free(f);
	return 0;
}

static struct stat stat_of(const struct fixture *f, const char *name)
{
	char path[128];
	struct stat st = { 0 };

	(void)snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	assert_int_equal(lstat(path, &st), 0);
	return st;
}

static void keys_are_for_their_owner_alone(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pki_make_ca(f->dir, PKI_CA_TIMES, &f->e), 0);
	assert_int_equal(pki_make_node(f->dir, "n", PKI_NODE_TIMES, &f->e), 0);
	assert_int_equal(stat_of(f, "ca.key").st_mode & 07777, 0600);
	assert_int_equal(stat_of(f, "n.key").st_mode & 07777, 0600);
	assert_int_equal(stat_of(f, ".").st_mode & 07777, 0700);
}

static void nothing_is_overwritten(void **state)
{
	struct fixture *f = *state;
	struct stat before;
	char path[128];

	assert_int_equal(pki_make_ca(f->dir, PKI_CA_TIMES, &f->e), 0);
	before = stat_of(f, "ca.key");
	assert_int_equal(pki_make_ca(f->dir, PKI_CA_TIMES, &f->e), -EEXIST);
	(void)snprintf(path, sizeof(path), "%s/ca.pem", f->dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(pki_make_ca(f->dir, PKI_CA_TIMES, &f->e), -EEXIST); /* the key is there */
	assert_int_equal(stat_of(f, "ca.key").st_ino, before.st_ino);
	assert_int_equal(access(path, F_OK), -1); /* and nothing half made beside it */
}

static void a_key_that_is_there_gets_a_new_certificate(void **state)
{
	struct fixture *f = *state;
	char ca[128], cert[128], key[128];
	struct tls_opts opts = { .ca_file = ca, .cert_file = cert, .key_file = key };
	struct tls *tls = NULL;
	struct stat before;

	(void)snprintf(ca, sizeof(ca), "%s/ca.pem", f->dir);
	(void)snprintf(cert, sizeof(cert), "%s/n.pem", f->dir);
	(void)snprintf(key, sizeof(key), "%s/n.key", f->dir);
	assert_int_equal(pki_make_ca(f->dir, PKI_CA_TIMES, &f->e), 0);
	assert_int_equal(pki_make_node(f->dir, "n", PKI_NODE_TIMES, &f->e), 0);
	before = stat_of(f, "n.key");
	assert_int_equal(unlink(cert), 0);
	assert_int_equal(pki_make_node(f->dir, "n", PKI_NODE_TIMES, &f->e), 0);
	assert_int_equal(stat_of(f, "n.key").st_ino, before.st_ino);
	assert_int_equal(tls_new(&opts, &tls, &f->e), 0); /* they fit */
	tls_free(&tls);
	assert_int_equal(unlink(cert), 0);
	assert_int_equal(truncate(key, 10), 0);
	assert_int_equal(pki_make_node(f->dir, "n", PKI_NODE_TIMES, &f->e), -EIO);
	assert_int_equal(access(cert, F_OK), -1);
}

static void path_in(char *ret_path, const char *dir, const char *name)
{
	(void)snprintf(ret_path, PATH_BYTES, "%s/%s", dir, name);
}

/* What `cat FROM... > TO` does. */
static void concatenate(const char *to, const char *const *from, size_t n_from)
{
	char bytes[4096];
	FILE *out = fopen(to, "w");

	assert_non_null(out);
	for (size_t i = 0; i < n_from; i++) {
		FILE *in = fopen(from[i], "r");
		size_t n;

		assert_non_null(in);
		n = fread(bytes, 1, sizeof(bytes), in);
		assert_int_equal(fwrite(bytes, 1, n, out), n);
		(void)fclose(in);
	}
	assert_int_equal(fclose(out), 0);
}

static void the_certificate_of_the_cas_key_is_found_among_others(void **state)
{
	struct fixture *f = *state;
	char other_dir[64], other[PATH_BYTES], old[PATH_BYTES], ca[PATH_BYTES], cert[PATH_BYTES],
		key[PATH_BYTES];
	const char *const orders[][2] = { { other, old }, { old, other } };
	struct tls_opts opts = { .ca_file = old, .cert_file = cert, .key_file = key };
	struct tls *tls = NULL;

	(void)snprintf(other_dir, sizeof(other_dir), "%s/other", f->top);
	path_in(other, other_dir, "ca.pem");
	path_in(old, f->dir, "ca-alone.pem");
	path_in(ca, f->dir, "ca.pem");
	path_in(cert, f->dir, "n.pem");
	path_in(key, f->dir, "n.key");
	assert_int_equal(pki_make_ca(other_dir, PKI_CA_TIMES, &f->e), 0);
	assert_int_equal(pki_make_ca(f->dir, PKI_CA_TIMES, &f->e), 0);
	assert_int_equal(rename(ca, old), 0);
	for (size_t i = 0; i < 2; i++) {
		concatenate(ca, orders[i], 2);
		assert_int_equal(pki_make_node(f->dir, "n", PKI_NODE_TIMES, &f->e), 0);
		assert_int_equal(tls_new(&opts, &tls, &f->e), 0);
		assert_int_equal(tls_check(tls, &f->e), 0); /* it is of this CA and no other */
		tls_free(&tls);
		assert_int_equal(unlink(cert), 0);
	}
	concatenate(ca, orders[0], 1);
	assert_int_equal(pki_make_node(f->dir, "n", PKI_NODE_TIMES, &f->e), -EINVAL);
	assert_non_null(strstr(f->e.msg, "ca.key is not the key of"));
	assert_int_equal(truncate(ca, 10), 0);
	assert_int_equal(pki_make_node(f->dir, "n", PKI_NODE_TIMES, &f->e), -EIO);
	assert_int_equal(access(cert, F_OK), -1);
}

static void a_node_needs_a_ca_and_a_sane_name(void **state)
{
	static const char *const bad[] = { "", "ca", "a/b", "../x", ".x", "-x", "a b", "a\nb" };
	struct fixture *f = *state;
	char long_name[PKI_NAME_MAX + 2];

	assert_int_equal(pki_make_node(f->dir, "n", PKI_NODE_TIMES, &f->e), -ENOENT);
	assert_non_null(strstr(f->e.msg, "pki init"));
	assert_int_equal(pki_make_ca(f->dir, PKI_CA_TIMES, &f->e), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(pki_make_node(f->dir, bad[i], PKI_NODE_TIMES, &f->e), -EINVAL);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(pki_make_node(f->dir, long_name, PKI_NODE_TIMES, &f->e), -EINVAL);
	long_name[PKI_NAME_MAX] = '\0';
	assert_int_equal(pki_make_node(f->dir, long_name, PKI_NODE_TIMES, &f->e), 0);
	assert_int_equal(pki_make_node(f->dir, long_name, PKI_NODE_TIMES, &f->e), -EEXIST);
}

static void files_that_do_not_fit_are_named(void **state)
{
	struct fixture *f = *state;
	char ca[128], a[128], b[128];
	struct tls_opts opts = { .ca_file = ca, .cert_file = a, .key_file = b };
	struct tls *tls = NULL;

	(void)snprintf(ca, sizeof(ca), "%s/ca.pem", f->dir);
	(void)snprintf(a, sizeof(a), "%s/a.pem", f->dir);
	(void)snprintf(b, sizeof(b), "%s/b.key", f->dir);
	assert_int_equal(tls_new(&opts, &tls, &f->e), -ENOENT);
	assert_non_null(strstr(f->e.msg, "ca.pem: No such file or directory"));
	assert_int_equal(pki_make_ca(f->dir, PKI_CA_TIMES, &f->e), 0);
	assert_int_equal(pki_make_node(f->dir, "a", PKI_NODE_TIMES, &f->e), 0);
	assert_int_equal(pki_make_node(f->dir, "b", PKI_NODE_TIMES, &f->e), 0);
	assert_int_equal(tls_new(&opts, &tls, &f->e), -EAGAIN); /* half replaced */
	assert_non_null(strstr(f->e.msg, "b.key"));
	assert_int_equal(truncate(a, 10), 0);
	assert_int_equal(tls_new(&opts, &tls, &f->e), -EAGAIN); /* half written */
	assert_non_null(strstr(f->e.msg, "a.pem"));
	assert_null(tls);
}

static void an_id_stays_the_same(void **state)
{
	struct fixture *f = *state;
	struct wire_id a, b;
	char path[128];
	FILE *file;

	assert_int_equal(tls_insecure_id(f->top, &a, &f->e), 0);
	assert_int_equal(tls_insecure_id(f->top, &b, &f->e), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	(void)snprintf(path, sizeof(path), "%s/node-id", f->top);
	file = fopen(path, "w"); /* torn: a new one, not an error for ever */
	assert_non_null(file);
	(void)fputs("12", file);
	(void)fclose(file);
	assert_int_equal(tls_insecure_id(f->top, &b, &f->e), 0);
	assert_memory_not_equal(&a, &b, sizeof(a));
	assert_int_equal(tls_insecure_id(f->dir, &a, &f->e), -ENOENT); /* no such directory */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(keys_are_for_their_owner_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_overwritten, setup, teardown),
		cmocka_unit_test_setup_teardown(a_key_that_is_there_gets_a_new_certificate, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(
			the_certificate_of_the_cas_key_is_found_among_others, setup, teardown),
		cmocka_unit_test_setup_teardown(a_node_needs_a_ca_and_a_sane_name, setup, teardown),
		cmocka_unit_test_setup_teardown(files_that_do_not_fit_are_named, setup, teardown),
		cmocka_unit_test_setup_teardown(an_id_stays_the_same, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
