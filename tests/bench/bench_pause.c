/*
 * bench_pause: readers that never stop, and how long each of their calls took.
 *
 *   bench_pause LIST READERS DIR...
 *
 * READERS threads, shared out among the directories, read the regular files of LIST ("SIZE PATH")
 * over and over, each from a place of its own, in calls of 128 KiB and with THINK_NS between two
 * files, so that they do not take all CPUs; what was read leaves the page cache again. "." on
 * stdout when all have read one file more. When stdin ends they stop, and a line follows for each
 * call that took CALL_MIN_NS or more: "READER BEGIN_NS END_NS" of CLOCK_MONOTONIC; then "errors N".
 * A file that is shorter or longer than the list says is an error, too. Its bytes are not looked
 * at: that is what tests/e2e/takeover_readers.py is for, where Python's lock is part of each call's
 * time. Knows nothing of shoal.
 */
#include "clock.h"
#include "err.h"
#include "listed.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES  (128U << 10)
#define READERS_MAX 64U
#define CALL_MIN_NS (5 * NS_PER_MS)
#define CALLS_MAX   100000U /* of one reader */
#define APART       131U    /* files between two readers at the start */
#define ROUNDS_MAX  4096U   /* that the first reader can be ahead of the last */
#define THINK_NS    (5 * NS_PER_MS)

struct call {
	uint64_t begin_ns, end_ns;
};

struct team {
	struct listed files;
	atomic_bool stopping;
	atomic_uint n_done[ROUNDS_MAX]; /* readers that are through with that round */
	atomic_uint n_errors;
	uint32_t n_readers;
};

struct reader {
	struct team *team;
	pthread_t thread;
	int dir_fd;
	uint32_t number;
	uint32_t n_calls;
	struct call *calls;
};

static void note_call(struct reader *r, uint64_t begin_ns)
{
	const uint64_t end_ns = clock_now_ns(clock_real());

	if (end_ns - begin_ns >= CALL_MIN_NS && r->n_calls < CALLS_MAX)
		r->calls[r->n_calls++] = (struct call){ begin_ns, end_ns };
}

static bool read_file(struct reader *r, const struct entry *file, char *buf)
{
	uint64_t begin_ns = clock_now_ns(clock_real());
	AUTO(close_fd) int fd = openat(r->dir_fd, file->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int64_t seen_bytes = 0;
	ssize_t n = fd < 0 ? -1 : 1;

	note_call(r, begin_ns);
	while (n > 0) {
		begin_ns = clock_now_ns(clock_real());
		n = read(fd, buf, READ_BYTES);
		note_call(r, begin_ns);
		seen_bytes += n > 0 ? n : 0;
	}
	if (fd >= 0)
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return n == 0 && seen_bytes == file->size_bytes;
}

static void end_round(struct team *t, size_t round)
{
	atomic_uint *n_done = &t->n_done[round % ROUNDS_MAX];

	if (atomic_fetch_add(n_done, 1) + 1 < t->n_readers)
		return;
	atomic_store(n_done, 0);
	(void)!write(STDOUT_FILENO, ".\n", 2);
}

static void *read_on(void *arg)
{
	struct reader *r = arg;
	struct team *t = r->team;
	const struct timespec think = { .tv_nsec = THINK_NS };
	char *buf = xcalloc(1, READ_BYTES);

	for (size_t round = 0; !atomic_load(&t->stopping); round++) {
		const size_t at = round + (size_t)r->number * APART;
		const struct entry *file = &t->files.entries[at % t->files.n_entries];

		if (!read_file(r, file, buf)) {
			(void)fprintf(stderr, "bench_pause: %s: %s\n", file->path,
			              strerrordesc_np(errno));
			atomic_fetch_add(&t->n_errors, 1);
		}
		end_round(t, round);
		(void)nanosleep(&think, NULL); /* the time itself is meant: it bounds the load */
	}
	free(buf);
	return NULL;
}

static void reader_start(struct reader *r, struct team *t, uint32_t number, const char *dir)
{
	*r = (struct reader){ .team = t, .number = number };
	r->calls = xcalloc(CALLS_MAX, sizeof(r->calls[0]));
	r->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* so it is in use */
	if (r->dir_fd < 0)
		die(dir);
	if (pthread_create(&r->thread, NULL, read_on, r) != 0)
		die("thread");
}

static void reader_end(struct reader *r)
{
	(void)pthread_join(r->thread, NULL);
	for (uint32_t i = 0; i < r->n_calls; i++)
		(void)printf("%" PRIu32 " %" PRIu64 " %" PRIu64 "\n", r->number,
		             r->calls[i].begin_ns, r->calls[i].end_ns);
	free(r->calls);
	close_fd(&r->dir_fd);
}

int main(int argc, char **argv)
{
	struct team t = { 0 };
	struct reader readers[READERS_MAX];
	char byte;

	t.n_readers = argc > 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
	if (t.n_readers == 0 || t.n_readers > READERS_MAX) {
		(void)fprintf(stderr, "usage: see the head of bench_pause.c\n");
		return 2;
	}
	t.files = listed_load(argv[1], true);
	for (uint32_t i = 0; i < t.n_readers; i++)
		reader_start(&readers[i], &t, i, argv[3 + i % (uint32_t)(argc - 3)]);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	atomic_store(&t.stopping, true);
	for (uint32_t i = 0; i < t.n_readers; i++)
		reader_end(&readers[i]);
	(void)printf("errors %u\n", atomic_load(&t.n_errors));
	listed_free(&t.files);
	return 0;
}
