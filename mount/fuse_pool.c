/*
 * fuse_pool: the threads that serve all FUSE mounts of the agent.
 *
 * Each thread waits on an epoll set of its own, and every descriptor is in all of them,
 * exclusively: an arrival wakes the first thread in line that sleeps. So a lone reader is always
 * served by the same thread, whose caches are warm, and a thread that works on a request keeps
 * nobody waiting. An event carries a number, not a pointer: a member that was removed while its
 * event was on the way is simply not found any more.
 *
 * Knows descriptors and who is inside which, with what request by its header. Knows nothing of
 * images, nor of what a request means.
 */
#include "block_list.h"
#include "fuse_member.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <uthash.h>

/* The kernel wants room for the largest write that was agreed on (1 MiB goes with reads of 1 MiB)
 * and its header. No page of it is touched that a request does not fill: they are small. */
#define REQUEST_MAX_BYTES ((1U << 20) + 4096)
#define SPARE_BLOCKS_MAX  8
#define STOP_ID           0 /* the event of stop_fd */
/* It was sent before, to an earlier process. Source: Linux fuse.h, FUSE_UNIQUE_RESEND (6.9). */
#define UNIQUE_RESEND (UINT64_C(1) << 63)

struct fuse_member {
	uint64_t id;
	struct fuse_member_opts opts;
	uint32_t n_inside; /* threads, under the pool's lock */
	atomic_bool removed;
	atomic_bool gone_told;
	UT_hash_handle hh;
};

struct thread {
	struct fuse_pool *pool;
	pthread_t id;
	int epoll_fd;
	pthread_mutex_t lock; /* guards what it serves, for those who watch: */
	const struct fuse_member *inside;
	struct fuse_asked asked; /* unique 0: nothing */
};

struct fuse_pool {
	int stop_fd;
	struct log *log;
	struct block_list *blocks;
	uint32_t n_threads; /* whose epoll set is open */
	uint32_t n_started;
	atomic_uint n_aside;
	struct thread threads[FUSE_THREADS_MAX];
	pthread_key_t own;    /* a thread's struct thread */
	pthread_mutex_t lock; /* guards members, next_id, n_inside; held for a look-up alone */
	pthread_cond_t left;  /* a thread left a removed member */
	struct fuse_member *members;
	uint64_t next_id;
};

static struct fuse_member *member_enter(struct fuse_pool *pool, uint64_t id)
{
	struct fuse_member *m = NULL;

	pthread_mutex_lock(&pool->lock);
	HASH_FIND(hh, pool->members, &id, sizeof(id), m);
	if (m != NULL)
		m->n_inside++;
	pthread_mutex_unlock(&pool->lock);
	return m;
}

static void member_leave(struct fuse_pool *pool, struct fuse_member *m)
{
	pthread_mutex_lock(&pool->lock);
	if (--m->n_inside == 0 && atomic_load(&m->removed))
		pthread_cond_broadcast(&pool->left);
	pthread_mutex_unlock(&pool->lock);
}

/* From every thread's set. What is on its way to a thread already still comes. */
static void unwatch(struct fuse_pool *pool, int fd)
{
	for (uint32_t i = 0; i < pool->n_threads; i++)
		(void)epoll_ctl(pool->threads[i].epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static int watch(struct fuse_pool *pool, int fd, uint32_t events, uint64_t id, struct err *e)
{
	struct epoll_event ev = { .events = events, .data.u64 = id };

	for (uint32_t i = 0; i < pool->n_threads; i++) {
		if (epoll_ctl(pool->threads[i].epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
			const int code = errno;

			unwatch(pool, fd);
			return err_errno(e, code, "cannot wait for FUSE requests");
		}
	}
	return 0;
}

/* ENODEV: unmounted. ECONNABORTED: aborted. Whatever else it is, nothing more can be read. */
static void tell_gone(struct fuse_pool *pool, struct fuse_member *m, int code)
{
	if (atomic_exchange(&m->gone_told, true))
		return;
	if (code != ENODEV && code != ECONNABORTED)
		log_error(pool->log, "cannot read FUSE requests, the mount is dead", "error=%s",
		          LOG_Q(strerrordesc_np(code)));
	unwatch(pool, m->opts.fd);
	m->opts.gone(m->opts.arg);
}

/* ---- what a thread serves ---- */

static void set_asked(struct thread *thread, const struct fuse_member *m,
                      const struct fuse_asked *asked)
{
	pthread_mutex_lock(&thread->lock);
	thread->inside = m;
	thread->asked = *asked;
	pthread_mutex_unlock(&thread->lock);
}

static void set_idle(struct thread *thread)
{
	set_asked(thread, NULL, &(struct fuse_asked){ 0 });
}

static void set_busy(struct thread *thread, const struct fuse_member *m, const void *buf, size_t n)
{
	struct fuse_in_header header;

	if (n < sizeof(header))
		return;
	memcpy(&header, buf, sizeof(header));
	set_asked(thread, m,
	          &(struct fuse_asked){ .unique = header.unique & ~UNIQUE_RESEND,
	                                .node = header.nodeid,
	                                .opcode = header.opcode,
	                                .since_s = (uint64_t)time(NULL) });
}

bool fuse_pool_asked(struct fuse_pool *pool, struct fuse_asked *ret_asked)
{
	const struct thread *thread = pthread_getspecific(pool->own);

	if (thread == NULL || thread->asked.unique == 0) /* ours: nobody else writes it */
		return false;
	*ret_asked = thread->asked;
	return true;
}

uint32_t fuse_pool_inside(struct fuse_pool *pool, const struct fuse_member *member,
                          struct fuse_asked ret_asked[FUSE_THREADS_MAX])
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < pool->n_started; i++) {
		struct thread *thread = &pool->threads[i];

		pthread_mutex_lock(&thread->lock);
		if (thread->inside == member && thread->asked.unique != 0)
			ret_asked[n++] = thread->asked;
		pthread_mutex_unlock(&thread->lock);
	}
	return n;
}

/* One request: then the thread looks which descriptor is next, so that all have their turn. */
static void serve(struct thread *thread, struct fuse_member *m, void *buf)
{
	const ssize_t n = read(m->opts.fd, buf, REQUEST_MAX_BYTES);

	if (n > 0) {
		set_busy(thread, m, buf, (size_t)n);
		m->opts.request(m->opts.arg, buf, (size_t)n);
		set_idle(thread);
	} else if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOENT) {
		tell_gone(thread->pool, m, errno);
	}
	/* EAGAIN: another thread was faster; ENOENT: the asker gave up. */
}

static void *thread_main(void *arg)
{
	struct thread *thread = arg;
	struct fuse_pool *pool = thread->pool;
	void *buf = mmap(NULL, REQUEST_MAX_BYTES, PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert(buf != MAP_FAILED); /* as xcalloc(): at start, a fixed size of our own */
	(void)pthread_setspecific(pool->own, thread);
	for (;;) {
		struct epoll_event ev;
		struct fuse_member *m;

		if (epoll_wait(thread->epoll_fd, &ev, 1, -1) != 1)
			continue; /* EINTR */
		if (ev.data.u64 == STOP_ID)
			break;
		m = member_enter(pool, ev.data.u64);
		if (m == NULL)
			continue;
		serve(thread, m, buf);
		member_leave(pool, m);
	}
	(void)munmap(buf, REQUEST_MAX_BYTES);
	return NULL;
}

/* Signals are the loop thread's. */
static int start_threads(struct fuse_pool *pool, struct err *e)
{
	sigset_t all;
	sigset_t before;
	int r = 0;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	while (r == 0 && pool->n_started < pool->n_threads) {
		struct thread *thread = &pool->threads[pool->n_started];
		char name[16];

		r = pthread_create(&thread->id, NULL, thread_main, thread);
		if (r != 0)
			break;
		(void)snprintf(name, sizeof(name), "fuse%" PRIu32, pool->n_started);
		(void)pthread_setname_np(thread->id, name);
		pool->n_started++;
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r == 0 ? 0 : err_errno(e, r, "cannot start a FUSE thread");
}

static int open_sets(struct fuse_pool *pool, uint32_t n_threads, struct err *e)
{
	pool->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->stop_fd < 0)
		return err_errno(e, errno, "cannot set up waiting for FUSE requests");
	while (pool->n_threads < n_threads) {
		struct thread *thread = &pool->threads[pool->n_threads];

		thread->pool = pool;
		thread->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
		if (thread->epoll_fd < 0)
			return err_errno(e, errno, "cannot set up waiting for FUSE requests");
		pool->n_threads++;
	}
	return watch(pool, pool->stop_fd, EPOLLIN, STOP_ID, e);
}

int fuse_pool_new(uint32_t n_threads, struct log *log, struct fuse_pool **ret_pool, struct err *e)
{
	AUTO(fuse_pool_free) struct fuse_pool *pool = xcalloc(1, sizeof(*pool));
	int r;

	pool->stop_fd = -1;
	pool->log = log;
	pool->blocks = block_list_new(FUSE_BLOCK_BYTES, SPARE_BLOCKS_MAX);
	pool->next_id = STOP_ID + 1;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->left, NULL);
	for (uint32_t i = 0; i < FUSE_THREADS_MAX; i++)
		pthread_mutex_init(&pool->threads[i].lock, NULL);
	r = pthread_key_create(&pool->own, NULL);
	assert(r == 0); /* as xcalloc(): one a pool */
	if (n_threads == 0 || n_threads > FUSE_THREADS_MAX)
		return err_set(e, EINVAL, "%" PRIu32 " FUSE threads: 1 to %d are possible",
		               n_threads, FUSE_THREADS_MAX);
	r = open_sets(pool, n_threads, e);
	if (r == 0)
		r = start_threads(pool, e);
	if (r < 0)
		return r;
	*ret_pool = pool;
	pool = NULL;
	return 0;
}

void fuse_pool_free(struct fuse_pool **pool)
{
	struct fuse_pool *p = *pool;

	if (p == NULL)
		return;
	*pool = NULL;
	assert(p->members == NULL);
	if (p->stop_fd >= 0)
		(void)eventfd_write(p->stop_fd, 1); /* level-triggered: every thread sees it */
	for (uint32_t i = 0; i < p->n_started; i++)
		(void)pthread_join(p->threads[i].id, NULL);
	for (uint32_t i = 0; i < p->n_threads; i++)
		close_fd(&p->threads[i].epoll_fd);
	block_list_free(&p->blocks);
	close_fd(&p->stop_fd);
	(void)pthread_key_delete(p->own);
	for (uint32_t i = 0; i < FUSE_THREADS_MAX; i++)
		pthread_mutex_destroy(&p->threads[i].lock);
	pthread_cond_destroy(&p->left);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

struct block_list *fuse_pool_blocks(struct fuse_pool *pool)
{
	return pool->blocks;
}

bool fuse_pool_step_aside(struct fuse_pool *pool)
{
	struct thread *thread = pthread_getspecific(pool->own);

	if (thread != NULL)
		set_idle(thread); /* its request is answered */
	if (atomic_fetch_add(&pool->n_aside, 1) + 1 < pool->n_threads)
		return true;
	fuse_pool_back(pool);
	return false;
}

void fuse_pool_back(struct fuse_pool *pool)
{
	(void)atomic_fetch_sub(&pool->n_aside, 1);
}

int fuse_pool_add(struct fuse_pool *pool, const struct fuse_member_opts *opts,
                  struct fuse_member **ret_member, struct err *e)
{
	struct fuse_member *m = xcalloc(1, sizeof(*m));
	int r;

	m->opts = *opts;
	pthread_mutex_lock(&pool->lock);
	m->id = pool->next_id++;
	HASH_ADD(hh, pool->members, id, sizeof(m->id), m);
	pthread_mutex_unlock(&pool->lock);
	*ret_member = m; /* before the first request can come */
	r = watch(pool, opts->fd, EPOLLIN | EPOLLEXCLUSIVE, m->id, e);
	if (r < 0)
		fuse_pool_remove(pool, ret_member);
	return r;
}

void fuse_pool_remove(struct fuse_pool *pool, struct fuse_member **member)
{
	struct fuse_member *m = *member;

	if (m == NULL)
		return;
	*member = NULL;
	unwatch(pool, m->opts.fd);
	pthread_mutex_lock(&pool->lock);
	HASH_DEL(pool->members, m);
	atomic_store(&m->removed, true);
	while (m->n_inside > 0)
		pthread_cond_wait(&pool->left, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
	free(m);
}
