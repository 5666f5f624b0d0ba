/*
 * test_fuse_pool: the threads' manners, over sockets in place of /dev/fuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fuse_member.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define N_THREADS 3

struct fixture {
	struct fuse_pool *pool;
	struct fuse_member *member;
	int ours, theirs;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	bool hold;
	bool step_aside;         /* as who has answered, and stays */
	struct fuse_asked asked; /* as the last thread saw it, inside */
	uint32_t n_requests, n_inside, n_gone;
	bool removed;
};

static void request(void *arg, void *buf, size_t size_bytes)
{
	struct fixture *f = arg;

	(void)buf;
	assert(size_bytes == 1 || size_bytes == sizeof(struct fuse_in_header));
	if (f->step_aside)
		assert(fuse_pool_step_aside(f->pool));
	pthread_mutex_lock(&f->lock);
	if (!fuse_pool_asked(f->pool, &f->asked))
		f->asked = (struct fuse_asked){ 0 };
	f->n_requests++;
	f->n_inside++;
	pthread_cond_broadcast(&f->changed);
	while (f->hold)
		pthread_cond_wait(&f->changed, &f->lock);
	f->n_inside--;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	if (f->step_aside)
		fuse_pool_back(f->pool);
}

static void gone(void *arg)
{
	struct fixture *f = arg;

	pthread_mutex_lock(&f->lock);
	f->n_gone++;
	pthread_mutex_unlock(&f->lock);
}

static void set_hold(struct fixture *f, bool hold)
{
	pthread_mutex_lock(&f->lock);
	f->hold = hold;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void wait_for(struct fixture *f, const uint32_t *counter, uint32_t n)
{
	pthread_mutex_lock(&f->lock);
	while (*counter < n)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static void send_requests(struct fixture *f, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(send(f->theirs, "x", 1, 0), 1);
}

static int up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err e = { 0 };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	f->theirs = pair[0];
	f->ours = pair[1];
	assert_int_equal(fcntl(f->ours, F_SETFL, O_NONBLOCK), 0);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	assert_int_equal(fuse_pool_new(N_THREADS, NULL, &f->pool, &e), 0);
	const struct fuse_member_opts opts = {
		.fd = f->ours, .request = request, .gone = gone, .arg = f
	};
	assert_int_equal(fuse_pool_add(f->pool, &opts, &f->member, &e), 0);
	*state = f;
	return 0;
}

static int down(void **state)
{
	struct fixture *f = *state;

	fuse_pool_remove(f->pool, &f->member);
	fuse_pool_free(&f->pool);
	close_fd(&f->ours);
	close_fd(&f->theirs);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

static void every_request_is_served_once(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 1; i <= 100; i++) {
		send_requests(f, 10);
		wait_for(f, &f->n_requests, i * 10);
	}
	assert_int_equal(f->n_requests, 1000);
}

static void a_request_that_waits_does_not_keep_others_waiting(void **state)
{
	struct fixture *f = *state;

	set_hold(f, true);
	send_requests(f, N_THREADS); /* perhaps all of them are there before the first thread is */
	wait_for(f, &f->n_inside, N_THREADS);
	set_hold(f, false);
}

static void *remove_member(void *arg)
{
	struct fixture *f = arg;

	fuse_pool_remove(f->pool, &f->member);
	pthread_mutex_lock(&f->lock);
	f->removed = true;
	assert(f->n_inside == 0);
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

static void remove_waits_until_no_thread_is_inside(void **state)
{
	struct fixture *f = *state;
	pthread_t remover;

	set_hold(f, true);
	send_requests(f, 2);
	wait_for(f, &f->n_inside, 2);
	assert_int_equal(pthread_create(&remover, NULL, remove_member, f), 0);
	pthread_mutex_lock(&f->lock);
	assert_false(f->removed);
	pthread_mutex_unlock(&f->lock);
	set_hold(f, false);
	pthread_join(remover, NULL);
	assert_true(f->removed);
}

static void a_removed_member_gets_no_request(void **state)
{
	struct fixture *f = *state;

	send_requests(f, 1);
	wait_for(f, &f->n_requests, 1);
	fuse_pool_remove(f->pool, &f->member);
	send_requests(f, 5);
	assert_int_equal(f->n_requests, 1);
}

static void send_header(struct fixture *f, uint64_t unique)
{
	const struct fuse_in_header header = {
		.len = sizeof(header), .opcode = FUSE_READ, .unique = unique, .nodeid = 7
	};

	assert_int_equal(send(f->theirs, &header, sizeof(header), 0), sizeof(header));
}

static void what_is_being_served_can_be_seen(void **state)
{
	struct fixture *f = *state;
	struct fuse_asked asked[FUSE_THREADS_MAX];

	assert_false(fuse_pool_asked(f->pool, &asked[0])); /* no thread of the pool */
	set_hold(f, true);
	send_header(f, (UINT64_C(1) << 63) | 4); /* sent before, to an earlier process */
	wait_for(f, &f->n_inside, 1);
	assert_int_equal(fuse_pool_inside(f->pool, f->member, asked), 1);
	assert_int_equal(asked[0].unique, 4);
	assert_int_equal(asked[0].node, 7);
	assert_int_equal(asked[0].opcode, FUSE_READ);
	assert_int_not_equal(asked[0].since_s, 0);
	assert_memory_equal(&f->asked, &asked[0], sizeof(f->asked));
	assert_int_equal(fuse_pool_inside(f->pool, NULL, asked), 0); /* another member */
	set_hold(f, false);
	send_requests(f, 1); /* with no header: nothing that can be told */
	wait_for(f, &f->n_requests, 2);
	fuse_pool_remove(f->pool, &f->member);
	assert_int_equal(f->asked.unique, 0);
}

static void what_is_answered_is_not_being_served(void **state)
{
	struct fixture *f = *state;
	struct fuse_asked asked[FUSE_THREADS_MAX];

	f->step_aside = true;
	set_hold(f, true);
	send_header(f, 4);
	wait_for(f, &f->n_inside, 1);
	assert_int_equal(fuse_pool_inside(f->pool, f->member, asked), 0);
	set_hold(f, false);
}

static void a_pool_wants_one_to_sixteen_threads(void **state)
{
	struct fuse_pool *pool = NULL;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(fuse_pool_new(0, NULL, &pool, &e), -EINVAL);
	assert_int_equal(fuse_pool_new(FUSE_THREADS_MAX + 1, NULL, &pool, &e), -EINVAL);
	assert_null(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_request_is_served_once, up, down),
		cmocka_unit_test_setup_teardown(a_request_that_waits_does_not_keep_others_waiting,
		                                up, down),
		cmocka_unit_test_setup_teardown(remove_waits_until_no_thread_is_inside, up, down),
		cmocka_unit_test_setup_teardown(a_removed_member_gets_no_request, up, down),
		cmocka_unit_test_setup_teardown(what_is_being_served_can_be_seen, up, down),
		cmocka_unit_test_setup_teardown(what_is_answered_is_not_being_served, up, down),
		cmocka_unit_test(a_pool_wants_one_to_sixteen_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
