/*
 * Names of members are asked off the loop, and nobody waits for a name server that is silent:
 * neither at the end, nor addresses that stand beside names.
 */
#include "mem.h"
#include "n_threads.h"
#include "peer_impl.h"
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The name server: silent until it is told to answer. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool answers;
	uint32_t n_asked;
} dns = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

int getaddrinfo(const char *restrict node, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict ret_list)
{
	typeof(getaddrinfo) *const real = (typeof(getaddrinfo) *)dlsym(RTLD_NEXT, "getaddrinfo");

	if (hints->ai_flags & AI_NUMERICHOST)
		return real(node, service, hints, ret_list);
	(void)pthread_mutex_lock(&dns.lock);
	dns.n_asked++;
	(void)pthread_cond_broadcast(&dns.changed);
	while (!dns.answers)
		(void)pthread_cond_wait(&dns.changed, &dns.lock);
	(void)pthread_mutex_unlock(&dns.lock);
	return EAI_NONAME;
}

static void wait_for_a_question(void)
{
	(void)pthread_mutex_lock(&dns.lock);
	while (dns.n_asked == 0)
		(void)pthread_cond_wait(&dns.changed, &dns.lock);
	(void)pthread_mutex_unlock(&dns.lock);
}

static void dns_begin(void)
{
	(void)pthread_mutex_lock(&dns.lock);
	dns.answers = false;
	dns.n_asked = 0;
	(void)pthread_mutex_unlock(&dns.lock);
}

/* Until who asked is gone. */
static void dns_answers(uint32_t n_threads_before)
{
	(void)pthread_mutex_lock(&dns.lock);
	dns.answers = true;
	(void)pthread_cond_broadcast(&dns.changed);
	(void)pthread_mutex_unlock(&dns.lock);
	while (n_threads() > n_threads_before)
		(void)sched_yield();
}

/* As much of a peer as the names need. */
struct fixture {
	struct loop *loop;
	struct members members;
	struct peer peer;
	uint32_t n_threads; /* before */
	char told[256];     /* "NAME=ADDRESS " of each answer */
};

static void note(struct members *members, const char *name, const char *const *addresses,
                 size_t n_addresses)
{
	struct fixture *f = container_of(members, struct fixture, members);
	const size_t n = strlen(f->told);

	assert_in_range(n_addresses, 0, 1);
	(void)snprintf(f->told + n, sizeof(f->told) - n, "%s=%s ", name,
	               n_addresses > 0 ? addresses[0] : "-");
}

static const struct members_ops ops = { .resolved = note };

/* The name server is silent from now on. */
static void begin(struct fixture *f, const char *const *names, uint32_t n_names)
{
	struct err e;

	*f = (struct fixture){ .members = { .ops = &ops }, .n_threads = n_threads() };
	dns_begin();
	assert_int_equal(loop_new(&f->loop, &e), 0);
	f->peer = (struct peer){
		.members = &f->members,
		.opts = { .loop = f->loop, .members = names, .n_members = n_names }
	};
	resolve_start(&f->peer);
}

/* The name server says nothing until all of it is gone. */
static void end(struct fixture *f)
{
	f->peer.stopping = true;
	resolve_stop(&f->peer);
	resolve_free(&f->peer); /* and comes back */
	loop_free(&f->loop);
	dns_answers(f->n_threads);
}

static void the_end_does_not_wait_for_a_silent_name_server(void **state)
{
	static const char *const names[] = { "a:1", "b:1", "c:1" };
	struct fixture f;

	(void)state;
	begin(&f, names, ARRAY_LEN(names));
	wait_for_a_question();
	end(&f);
	assert_int_equal(dns.n_asked, 1); /* the names behind it are asked for nobody */
}

static void addresses_do_not_wait_for_names(void **state)
{
	static const char *const mixed[] = { "a:1", "10.0.0.1:2", "[FD00::1]:3" };
	struct fixture f;

	(void)state;
	begin(&f, mixed, ARRAY_LEN(mixed));
	assert_string_equal(f.told, "10.0.0.1:2=10.0.0.1:2 [FD00::1]:3=[fd00::1]:3 ");
	wait_for_a_question();
	end(&f);
	assert_int_equal(dns.n_asked, 1);
}

static void nor_do_those_that_are_configured_meanwhile(void **state)
{
	static const char *const old[] = { "a:1" };
	static const char *const fresh[] = { "10.0.0.1:2" };
	struct fixture f;

	(void)state;
	begin(&f, old, ARRAY_LEN(old));
	wait_for_a_question();
	f.peer.work_posted = true; /* there is nothing but names here */
	peer_set_members(&f.peer, fresh, ARRAY_LEN(fresh), NULL);
	assert_string_equal(f.told, "a:1=- 10.0.0.1:2=10.0.0.1:2 ");
	end(&f);
}

static void *nothing(void *arg)
{
	return arg;
}

/* Sanitizers have a thread of their own from the first one on: it is there before any is counted.
 */
static int first_thread(void **state)
{
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, nothing, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_do_not_wait_for_names),
		cmocka_unit_test(nor_do_those_that_are_configured_meanwhile),
		cmocka_unit_test(the_end_does_not_wait_for_a_silent_name_server),
	};

	return cmocka_run_group_tests(tests, first_thread, NULL);
}
