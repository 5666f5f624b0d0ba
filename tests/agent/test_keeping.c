/*
 * keeping, with a keeper that does what it is told: what becomes of what it was given.
 */
#include "fake_pool.h"
#include "keeping.h"
#include "mem.h"
#include "unconst.h"
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DEADLINE_S 30

/* In place of mount/keeper.c. Where it is, is what every call is told: its path stands first. */
struct fake_keeper {
	char path[8];
	int alive_fd; /* the other end of what was watched last */
	uint32_t n_kept, n_dropped;
};

static struct fake_keeper *keeper_at(const char *socket_path)
{
	return unconst(socket_path);
}

int keeper_watch(const char *socket_path, int *ret_fd, struct err *e)
{
	int ends[2];

	if (pipe(ends) != 0)
		return err_errno(e, errno, "a pipe");
	*ret_fd = ends[0];
	close_fd(&keeper_at(socket_path)->alive_fd);
	keeper_at(socket_path)->alive_fd = ends[1];
	return 0;
}

int keeper_start(const char *program, const char *socket_path, int *ret_pid, struct err *e)
{
	(void)socket_path;
	(void)ret_pid;
	return err_set(e, ENOENT, "%s", program);
}

int keeper_keep(const char *socket_path, const struct kept *kept, struct err *e)
{
	(void)kept;
	(void)e;
	keeper_at(socket_path)->n_kept++;
	return 0;
}

int keeper_drop(const char *socket_path, const char *key, struct err *e)
{
	(void)e;
	assert_string_equal(key, "a");
	keeper_at(socket_path)->n_dropped++;
	return 0;
}

int keeper_get(const char *socket_path, uint32_t idx, struct kept *ret_kept, struct err *e)
{
	(void)socket_path;
	(void)idx;
	(void)ret_kept;
	(void)e;
	return 1; /* it has none */
}

void kept_key(const char *dir, char ret_key[KEEPER_KEY_BYTES])
{
	(void)snprintf(ret_key, KEEPER_KEY_BYTES, "%s", dir);
}

void kept_key_elsewhere(const char *key, char ret_key[KEEPER_KEY_BYTES])
{
	kept_key(key, ret_key);
}

bool kept_is_elsewhere(const struct kept *kept)
{
	(void)kept;
	return false;
}

bool kept_is_alive(const struct kept *kept)
{
	(void)kept;
	return true;
}

void kept_close(struct kept *kept)
{
	close_fd(&kept->fd);
}

void kept_detach(struct kept *kept, struct log *log)
{
	(void)log;
	assert_int_equal(kept->fd, -1); /* or whoever looks at its directory waits */
}

void kept_free(struct kept **kept)
{
	free(*kept);
	*kept = NULL;
}

struct fixture {
	struct fake_keeper keeper;
	struct loop *loop;
	struct pool *pool;
	struct metrics *metrics;
	struct log *log;
	struct keeping *keeping;
	uint32_t n_renewals;
	enum keep_outcome outcome; /* of the next that it was given; KEEP_HOLD of those behind */
};

/* One mount. */
static uint32_t all(void *arg, struct kept **ret_kept)
{
	struct fixture *f = arg;

	f->n_renewals++;
	*ret_kept = xcalloc(1, sizeof(**ret_kept));
	**ret_kept = (struct kept){ .key = "a", .fd = -1 };
	return 1;
}

static enum keep_outcome given(void *arg, const struct kept *kept)
{
	struct fixture *f = arg;
	const enum keep_outcome outcome = f->outcome;

	assert_string_equal(kept->key, "a");
	f->outcome = KEEP_HOLD;
	return outcome;
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err e;
	struct keeping_opts opts = { .all = all, .given = given, .arg = f };

	assert_int_equal(loop_new(&f->loop, &e), 0);
	assert_int_equal(pool_new(f->loop, 1, "desk", &f->pool, &e), 0);
	f->metrics = metrics_new();
	f->log = log_new(-1, LOG_ERROR);
	f->keeper.alive_fd = -1;
	opts.socket = f->keeper.path;
	opts.loop = f->loop;
	opts.pool = f->pool;
	opts.log = f->log;
	opts.metrics = f->metrics;
	f->keeping = keeping_new(&opts);
	f->outcome = KEEP_HOLD;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	close_fd(&f->keeper.alive_fd);
	keeping_free(&f->keeping);
	pool_free(&f->pool);
	loop_free(&f->loop);
	metrics_free(&f->metrics);
	log_free(&f->log);
	free(f);
	return 0;
}

/* Another one is there at once. */
static void the_keeper_is_replaced(struct fixture *f)
{
	const uint32_t n_renewals = f->n_renewals;

	close_fd(&f->keeper.alive_fd);
	while (f->n_renewals == n_renewals)
		(void)event_base_loop(loop_base(f->loop), EVLOOP_ONCE);
	(void)fake_pool_settle(f->pool);
	assert_int_equal(f->keeper.n_kept, 1);
}

static void what_has_ended_meanwhile_is_let_go(void **state)
{
	const struct timeval long_enough = { .tv_usec =
		                                     300000 }; /* a renewal is due after 100 ms */
	struct fixture *f = *state;

	f->outcome = KEEP_DROP;
	the_keeper_is_replaced(f);
	assert_int_equal(f->keeper.n_dropped, 1);
	(void)event_base_loopexit(loop_base(f->loop), &long_enough);
	(void)event_base_dispatch(loop_base(f->loop));
	assert_int_equal(f->n_renewals, 1);
}

static void what_was_replaced_meanwhile_is_let_go_and_the_new_one_given(void **state)
{
	struct fixture *f = *state;
	const struct timeval deadline = { .tv_sec = DEADLINE_S };

	f->outcome = KEEP_AGAIN;
	the_keeper_is_replaced(f);
	assert_int_equal(f->keeper.n_dropped, 1);
	assert_int_equal(event_base_loopexit(loop_base(f->loop), &deadline), 0);
	while (f->n_renewals < 2 && !event_base_got_exit(loop_base(f->loop)))
		(void)event_base_loop(loop_base(f->loop), EVLOOP_ONCE);
	(void)fake_pool_settle(f->pool);
	assert_int_equal(f->n_renewals, 2);
	assert_int_equal(f->keeper.n_kept, 2);
	assert_int_equal(f->keeper.n_dropped, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_has_ended_meanwhile_is_let_go),
		TEST(what_was_replaced_meanwhile_is_let_go_and_the_new_one_given),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
