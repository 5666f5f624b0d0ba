/*
 * test_renew: a new certificate is used, also where it could not be read at first.
 */
#include "fake_pool.h"
#include "mem.h"
#include "pki.h"
#include "remove_tree.h"
#include "renew.h"
#include "tls.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LATER ((struct pki_times){ -86400, INT64_C(3) * 365 * 86400 })

struct fixture {
	char dir[32];
	char ca[64], cert[64], key[64];
	struct peer peer;
	struct err e;
};

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct peer_opts *opts = &f->peer.opts;
	struct tls_opts files;

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/shoal-renew-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->ca, sizeof(f->ca), "%s/ca.pem", f->dir);
	(void)snprintf(f->cert, sizeof(f->cert), "%s/n.pem", f->dir);
	(void)snprintf(f->key, sizeof(f->key), "%s/n.key", f->dir);
	assert_int_equal(pki_make_ca(f->dir, PKI_CA_TIMES, &f->e), 0);
	assert_int_equal(pki_make_node(f->dir, "n", PKI_NODE_TIMES, &f->e), 0);
	assert_int_equal(loop_new(&opts->loop, &f->e), 0);
	assert_int_equal(pool_new(opts->loop, 1, "desk", &opts->desk, &f->e), 0);
	opts->metrics = metrics_new();
	opts->tls_ca = f->ca;
	opts->tls_cert = f->cert;
	opts->tls_key = f->key;
	files = (struct tls_opts){ .ca_file = f->ca, .cert_file = f->cert, .key_file = f->key };
	assert_int_equal(tls_new(&files, &f->peer.tls, &f->e), 0);
	renew_start(&f->peer);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_end(f->peer.opts.loop);
	renew_stop(&f->peer);
	pool_free(&f->peer.opts.desk);
	renew_free(&f->peer);
	tls_free(&f->peer.tls);
	loop_free(&f->peer.opts.loop);
	metrics_free(&f->peer.opts.metrics);
	(void)remove_tree(f->dir);
	free(f);
	return 0;
}

static void look(struct fixture *f)
{
	renew_look(&f->peer);
	assert_int_equal(fake_pool_settle(f->peer.opts.desk), 1);
}

static void renew_files(struct fixture *f)
{
	assert_int_equal(unlink(f->cert), 0);
	assert_int_equal(pki_make_node(f->dir, "n", LATER, &f->e), 0);
}

static void a_new_certificate_of_the_same_key_is_used(void **state)
{
	struct fixture *f = *state;
	const int64_t end_s = tls_end_s(f->peer.tls);

	look(f);
	assert_int_equal(tls_end_s(f->peer.tls), end_s);
	renew_files(f);
	look(f);
	assert_true(tls_end_s(f->peer.tls) > end_s);
}

static void what_could_not_be_read_is_read_at_the_next_look(void **state)
{
	struct fixture *f = *state;
	const int64_t end_s = tls_end_s(f->peer.tls);
	struct rlimit enough;
	struct rlimit none;

	renew_files(f);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &enough), 0);
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = enough.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	look(f);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &enough), 0);
	assert_int_equal(tls_end_s(f->peer.tls), end_s);
	look(f);
	assert_true(tls_end_s(f->peer.tls) > end_s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_new_certificate_of_the_same_key_is_used),
		T(what_could_not_be_read_is_read_at_the_next_look),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
