/*
 * tree_fixture: see tree_fixture.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem.h"
#include "tree_fixture.h"
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define N_FUSE_THREADS 4
#define N_WORKERS      3

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

int fixture_up(void **state)
{
	struct fixture *f;
	struct err e = { 0 };

	*state = NULL;
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0)
		return 0;
	f = xcalloc(1, sizeof(*f));
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/shoal-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->ended_cond, NULL);
	fake_fetch_init(&f->fetch);
	fake_tree_image_init(&f->image, &f->counts, &f->lazy);
	f->log = log_new(STDERR_FILENO, LOG_ERROR);
	f->metrics = metrics_new();
	assert_int_equal(loop_new(&f->loop, &e), 0);
	assert_int_equal(pool_new(f->loop, N_WORKERS, "worker", &f->pool, &e), 0);
	assert_int_equal(fuse_pool_new(N_FUSE_THREADS, f->log, &f->fuse_pool, &e), 0);
	assert_int_equal(pthread_create(&f->loop_thread, NULL, run_loop, f->loop), 0);
	*state = f;
	return 0;
}

int fixture_down(void **state)
{
	struct fixture *f = *state;

	if (f == NULL)
		return 0;
	if (f->lazy.refs != 1) { /* a failed test must not leave a process that cannot end */
		(void)umount2(f->dir, MNT_FORCE);
		(void)umount2(f->dir, MNT_DETACH);
	}
	assert_int_equal(f->lazy.refs, 1);
	loop_stop(f->loop);
	pthread_join(f->loop_thread, NULL);
	fuse_pool_free(&f->fuse_pool);
	pool_free(&f->pool);
	loop_free(&f->loop);
	metrics_free(&f->metrics);
	log_free(&f->log);
	fake_fetch_fini(&f->fetch);
	pthread_cond_destroy(&f->ended_cond);
	pthread_mutex_destroy(&f->lock);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

struct fixture *fixture_of(void **state)
{
	if (*state == NULL)
		skip(); /* needs root and /dev/fuse */
	return *state;
}

/* A call of image_mount's on the loop, and its outcome. */
struct ask {
	struct loop_call call;
	struct fixture *f;
	const char *dir;
	struct image_mount *mount;
	bool lazy;
	int result;
	struct err *e;
	sem_t done;
};

static void ended(void *arg, struct image_mount *mount)
{
	struct fixture *f = arg;

	(void)mount;
	pthread_mutex_lock(&f->lock);
	atomic_fetch_add(&f->n_ended, 1);
	pthread_cond_broadcast(&f->ended_cond);
	pthread_mutex_unlock(&f->lock);
}

void wait_ended(struct fixture *f, uint32_t n)
{
	pthread_mutex_lock(&f->lock);
	while (atomic_load(&f->n_ended) < n)
		pthread_cond_wait(&f->ended_cond, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static void started(void *arg, int r, struct image_mount *mount, const struct err *why)
{
	struct ask *ask = arg;

	ask->result = r;
	ask->mount = mount;
	if (r < 0)
		*ask->e = *why;
	sem_post(&ask->done);
}

static void start_call(struct loop_call *call)
{
	struct ask *ask = container_of(call, struct ask, call);
	struct fixture *f = ask->f;
	const struct image_mount_opts opts = { .dir = ask->dir,
		                               .image = &f->lazy,
		                               .how = HOW_TREE,
		                               .fuse_pool = f->fuse_pool,
		                               .fetch = &f->fetch,
		                               .loop = f->loop,
		                               .pool = f->pool,
		                               .clock = clock_real(),
		                               .log = f->log,
		                               .metrics = f->metrics,
		                               .ended = ended,
		                               .arg = f };

	ask->result = image_mount_start(&opts, started, ask, ask->e);
	if (ask->result < 0)
		sem_post(&ask->done);
}

int mount_start(struct fixture *f, const char *dir, struct image_mount **ret_mount, struct err *e)
{
	struct ask ask = { .call.fn = start_call, .f = f, .dir = dir, .e = e };

	sem_init(&ask.done, 0, 0);
	loop_post(f->loop, &ask.call);
	sem_wait(&ask.done);
	sem_destroy(&ask.done);
	*ret_mount = ask.mount;
	return ask.result;
}

static void stopped(void *arg, int r, const struct err *why)
{
	struct ask *ask = arg;

	(void)why;
	ask->result = r;
	sem_post(&ask->done);
}

static void stop_call(struct loop_call *call)
{
	struct ask *ask = container_of(call, struct ask, call);

	image_mount_stop(ask->mount, ask->lazy, stopped, ask);
}

int mount_stop(struct fixture *f, struct image_mount *mount, bool lazy)
{
	struct ask ask = { .call.fn = stop_call, .f = f, .mount = mount, .lazy = lazy };

	sem_init(&ask.done, 0, 0);
	loop_post(f->loop, &ask.call);
	sem_wait(&ask.done);
	sem_destroy(&ask.done);
	return ask.result;
}

char *path_of(const struct fixture *f, const char *name)
{
	return xasprintf("%s/%s", f->dir, name);
}

int64_t read_big(const char *path, bool *ret_right)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t buf[65536];
	int64_t total = 0;
	ssize_t n;

	*ret_right = true;
	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			*ret_right = *ret_right && buf[i] == fake_byte((uint64_t)(total + i));
		total += n;
	}
	return n < 0 ? -errno : total;
}
