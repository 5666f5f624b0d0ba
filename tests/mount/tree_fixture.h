/*
 * tree_fixture: a loop on its own thread, a pool, FUSE threads, and a tree mounted on a new
 * directory.
 *
 * What image_mount.h wants on the loop is posted there and waited for.
 */
#pragma once
#include "fake_fetch.h"
#include "fake_tree_image.h"
#include "image_mount.h"
#include "loop.h"
#include "pool.h"
#include <stdatomic.h>

struct fixture {
	struct loop *loop;
	pthread_t loop_thread;
	struct pool *pool;
	struct log *log;
	struct metrics *metrics;
	struct fuse_pool *fuse_pool;
	struct fetch fetch;
	struct image image;
	struct fake_counts counts;
	struct lazy_image lazy;
	char dir[64]; /* made for this test */
	atomic_uint n_ended;
	pthread_mutex_t lock; /* guards ended_signal */
	pthread_cond_t ended_cond;
};

/* For cmocka; NULL state, and the test is skipped, where the machine has no FUSE for us. */
int fixture_up(void **state);
int fixture_down(void **state);
struct fixture *fixture_of(void **state);

/* @return what done() got; *ret_mount is set on success */
int mount_start(struct fixture *f, const char *dir, struct image_mount **ret_mount, struct err *e);
int mount_stop(struct fixture *f, struct image_mount *mount, bool lazy);
void wait_ended(struct fixture *f, uint32_t n);

/* DIR/NAME in the fixture's directory; a new string. */
char *path_of(const struct fixture *f, const char *name);

/* Read the file whole. @return bytes read, or -errno; *ret_right: all of them are /big's */
int64_t read_big(const char *path, bool *ret_right);
