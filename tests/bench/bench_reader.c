/*
 * bench_reader: what programs do to a tree, timed.
 *
 *   bench_reader read LIST DIR THREADS
 *       every regular file, whole, in 128 KiB reads: directory by directory, each listed first, as
 *       tar and cp -r do
 *   bench_reader open LIST DIR THREADS
 *       the same files by their paths, nothing listed
 *   bench_reader lstat LIST DIR
 *       every entry, by its path
 *   bench_reader pread LIST DIR COUNT SEED
 *       4 KiB at random places, each with open and close
 *   bench_reader random LIST DIR COUNT SEED
 *       64 KiB at random places of large files; on stdout a line "PATH<tab>OFFSET" each, then the
 *       times
 *
 * LIST: entries "SIZE PATH", a NUL behind each, for names may have line ends; SIZE "-" for what is
 * no regular file, "d" for a directory; it is also what the files that were read must amount to.
 * Prints seconds (milliseconds of p50 and p99 for random). Knows nothing of shoal.
 */
#include "clock.h"
#include "err.h"
#include "listed.h"
#include "mem.h"
#include "times.h"
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES  (128U << 10)
#define SMALL_BYTES 4096U
#define LARGE_BYTES (64U << 10)
#define THREADS_MAX 64U

struct tree {
	int dir_fd;
	struct listed list;
	atomic_size_t next;
	atomic_llong total_bytes;
	atomic_bool failed;
};

static double seconds_since(uint64_t start_ns)
{
	return (double)(clock_now_ns(clock_real()) - start_ns) / (double)NS_PER_S;
}

/* @return false: it cannot be read */
static bool read_whole(struct tree *t, int dir_fd, const char *name, char *buf)
{
	AUTO(close_fd) int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	while ((n = read(fd, buf, READ_BYTES)) > 0)
		atomic_fetch_add(&t->total_bytes, n);
	return n == 0;
}

static void check(struct tree *t, bool ok, const char *path)
{
	if (ok)
		return;
	(void)fprintf(stderr, "bench_reader: cannot read %s\n", path);
	atomic_store(&t->failed, true);
}

static void read_directory(struct tree *t, const char *path, char *buf)
{
	const int fd = openat(t->dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d;

	if (dir == NULL)
		die(path);
	while ((d = readdir(dir)) != NULL) { /* NOLINT(concurrency-mt-unsafe): nobody else's dir */
		if (d->d_type == DT_REG)
			check(t, read_whole(t, dirfd(dir), d->d_name, buf), d->d_name);
	}
	(void)closedir(dir);
}

static struct entry *next_entry(struct tree *t)
{
	const size_t i = atomic_fetch_add(&t->next, 1);

	return i < t->list.n_entries ? &t->list.entries[i] : NULL;
}

static void *read_directories(void *arg)
{
	struct tree *t = arg;
	char *buf = xcalloc(1, READ_BYTES);

	for (const struct entry *e = next_entry(t); e != NULL; e = next_entry(t)) {
		if (e->size_bytes == DIRECTORY)
			read_directory(t, e->path, buf);
	}
	free(buf);
	return NULL;
}

static void *read_files(void *arg)
{
	struct tree *t = arg;
	char *buf = xcalloc(1, READ_BYTES);

	for (const struct entry *e = next_entry(t); e != NULL; e = next_entry(t)) {
		if (e->size_bytes >= 0)
			check(t, read_whole(t, t->dir_fd, e->path, buf), e->path);
	}
	free(buf);
	return NULL;
}

static void run_read(struct tree *t, uint32_t n_threads, void *(*work)(void *arg))
{
	pthread_t threads[THREADS_MAX];
	const uint64_t start_ns = clock_now_ns(clock_real());
	int64_t expected_bytes = 0;

	if (n_threads > THREADS_MAX)
		n_threads = THREADS_MAX;
	for (uint32_t i = 0; i < n_threads; i++) {
		if (pthread_create(&threads[i], NULL, work, t) != 0)
			die("thread");
	}
	for (uint32_t i = 0; i < n_threads; i++)
		(void)pthread_join(threads[i], NULL);
	(void)printf("%.6f\n", seconds_since(start_ns));
	for (size_t i = 0; i < t->list.n_entries; i++)
		expected_bytes +=
			t->list.entries[i].size_bytes > 0 ? t->list.entries[i].size_bytes : 0;
	check(t, atomic_load(&t->total_bytes) == expected_bytes, "all that the list says");
}

static void run_lstat(struct tree *t)
{
	const uint64_t start_ns = clock_now_ns(clock_real());
	struct stat st;

	for (size_t i = 0; i < t->list.n_entries; i++) {
		if (fstatat(t->dir_fd, t->list.entries[i].path, &st, AT_SYMLINK_NOFOLLOW) < 0)
			die(t->list.entries[i].path);
	}
	(void)printf("%.6f\n", seconds_since(start_ns));
}

/* splitmix64: the same places in every run with the same seed. */
static uint64_t next_random(uint64_t *seed)
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* A random place of size_bytes in a random file that has so many, each place alike. */
static const struct entry *pick(const struct tree *t, uint64_t *seed, uint32_t size_bytes,
                                off_t *ret_offset)
{
	assert(t->list.n_entries > 0);
	for (;;) {
		const struct entry *e = &t->list.entries[next_random(seed) % t->list.n_entries];

		if (e->size_bytes < (int64_t)size_bytes)
			continue;
		*ret_offset =
			(off_t)(next_random(seed) % (uint64_t)(e->size_bytes - size_bytes + 1));
		return e;
	}
}

static uint64_t read_at(const struct tree *t, const struct entry *e, off_t offset, char *buf,
                        uint32_t size_bytes)
{
	const uint64_t start_ns = clock_now_ns(clock_real());
	AUTO(close_fd) int fd = openat(t->dir_fd, e->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, buf, size_bytes, offset) != (ssize_t)size_bytes)
		die(e->path);
	close_fd(&fd);
	return clock_now_ns(clock_real()) - start_ns;
}

static void run_pread(struct tree *t, uint32_t n, uint64_t seed)
{
	char buf[SMALL_BYTES];
	const uint64_t start_ns = clock_now_ns(clock_real());

	for (uint32_t i = 0; i < n; i++) {
		off_t offset = 0;
		const struct entry *e = pick(t, &seed, SMALL_BYTES, &offset);

		(void)read_at(t, e, offset, buf, SMALL_BYTES);
	}
	(void)printf("%.6f\n", seconds_since(start_ns));
}

static void run_random(struct tree *t, uint32_t n, uint64_t seed)
{
	uint64_t *took_ns = xcalloc(n, sizeof(*took_ns));
	char *buf = xcalloc(1, LARGE_BYTES);

	for (uint32_t i = 0; i < n; i++) {
		off_t offset = 0;
		const struct entry *e = pick(t, &seed, LARGE_BYTES, &offset);

		took_ns[i] = read_at(t, e, offset, buf, LARGE_BYTES);
		(void)printf("%s\t%jd\n", e->path, (intmax_t)offset);
	}
	times_print(took_ns, n);
	free(took_ns);
	free(buf);
}

int main(int argc, char **argv)
{
	struct tree t = { .dir_fd = -1 };
	const uint32_t n = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 1;
	const uint64_t seed = argc > 5 ? strtoull(argv[5], NULL, 10) : 1;

	if (argc < 4 || n == 0) {
		(void)fprintf(stderr, "usage: see the head of bench_reader.c\n");
		return 2;
	}
	t.list = listed_load(argv[2], false);
	t.dir_fd = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t.dir_fd < 0)
		die(argv[3]);
	if (strcmp(argv[1], "read") == 0)
		run_read(&t, n, read_directories);
	else if (strcmp(argv[1], "open") == 0)
		run_read(&t, n, read_files);
	else if (strcmp(argv[1], "lstat") == 0)
		run_lstat(&t);
	else if (strcmp(argv[1], "pread") == 0)
		run_pread(&t, n, seed);
	else
		run_random(&t, n, seed);
	listed_free(&t.list);
	close_fd(&t.dir_fd);
	return atomic_load(&t.failed) ? 1 : 0;
}
