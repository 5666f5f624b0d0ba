/*
 * bench_pipeline: what the work on an image's chunks costs by itself, and where they stand.
 *
 *   bench_pipeline work BOOTSTRAP BLOB_DIR OUT   unpack, digest, write: each timed alone, one
 * thread bench_pipeline ranges BOOTSTRAP < reads      lines "PATH<tab>OFFSET" of 64 KiB reads
 * become "BLOB FIRST LAST" of the packed chunks For images of zstd chunks, each its own unit, with
 * a chunk table. Knows no cache and no network.
 */
#include "clock.h"
#include "digest.h"
#include "err.h"
#include "image.h"
#include "layout.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define READ_BYTES     (64U << 10)
#define SEGMENTS_MAX   64
#define LINE_MAX_BYTES 8192

struct bytes {
	uint8_t *data;
	uint64_t size_bytes;
};

struct blob {
	struct blob_layout *layout;
	struct bytes packed;
	uint8_t *plain; /* where its unpacked chunks stand, at their plain offsets */
};

static void die(const char *what, const char *why)
{
	(void)fprintf(stderr, "bench_pipeline: %s: %s\n", what, why);
	_exit(1);
}

static struct bytes map_file(const char *path)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	struct bytes b;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path, strerrordesc_np(errno));
	b.size_bytes = (uint64_t)st.st_size;
	b.data = mmap(NULL, b.size_bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (b.data == MAP_FAILED)
		die(path, strerrordesc_np(errno));
	return b;
}

static double seconds_since(uint64_t start_ns)
{
	return (double)(clock_now_ns(clock_real()) - start_ns) / (double)NS_PER_S;
}

/* Call fn for every chunk of the blob. */
static void each_chunk(const struct blob *b,
                       void (*fn)(const struct blob *b, uint32_t i, void *arg), void *arg)
{
	for (uint32_t i = 0; i < b->layout->n_chunks; i++) {
		if (b->layout->chunks[i].plain_size_bytes > 0)
			fn(b, i, arg);
	}
}

static void unpack(const struct blob *b, uint32_t i, void *arg)
{
	const struct chunk_rec *c = &b->layout->chunks[i];
	uint8_t *dst = b->plain + c->plain_offset;

	if (!(c->flags & CHUNK_COMPRESSED))
		memcpy(dst, b->packed.data + c->place, c->plain_size_bytes);
	else if (ZSTD_decompressDCtx(arg, dst, c->plain_size_bytes, b->packed.data + c->place,
	                             c->packed_size_bytes) != c->plain_size_bytes)
		die("chunk", "does not unpack");
}

static void verify(const struct blob *b, uint32_t i, void *arg)
{
	const struct chunk_rec *c = &b->layout->chunks[i];

	(void)arg;
	if (!digest_matches(b->layout->digest_alg, b->plain + c->plain_offset, c->plain_size_bytes,
	                    c->digest))
		die("chunk", "wrong digest");
}

static void write_out(const struct blob *b, uint32_t i, void *arg)
{
	const struct chunk_rec *c = &b->layout->chunks[i];

	if (pwrite(*(int *)arg, b->plain + c->plain_offset, c->plain_size_bytes,
	           (off_t)c->plain_offset) != (ssize_t)c->plain_size_bytes)
		die("write", strerrordesc_np(errno));
}

static struct blob open_blob(const struct image *image, uint32_t idx, const char *blob_dir)
{
	struct blob b = { 0 };
	struct err e = { 0 };
	AUTO(free_str) char *path = NULL;

	if (image_layout(image, idx, NULL, 0, NULL, &b.layout, &e) < 0)
		die("layout", e.msg);
	if (b.layout->units != NULL || b.layout->cipher.on ||
	    b.layout->compressor != COMPRESSOR_ZSTD)
		die(b.layout->blob_id, "not plain zstd chunks");
	if (blob_dir == NULL)
		return b;
	path = xasprintf("%s/%s", blob_dir, b.layout->blob_id);
	b.packed = map_file(path);
	b.plain = mmap(NULL, b.layout->plain_size_bytes, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (b.plain == MAP_FAILED)
		die("memory", strerrordesc_np(errno));
	return b;
}

static void work(const struct image *image, uint32_t n_blobs, const char *blob_dir, const char *out)
{
	struct blob blobs[IMAGE_BLOBS_MAX];
	ZSTD_DCtx *ctx = ZSTD_createDCtx();
	double seconds[3] = { 0 };
	uint64_t start_ns;

	for (uint32_t i = 0; i < n_blobs; i++)
		blobs[i] = open_blob(image, i, blob_dir);
	start_ns = clock_now_ns(clock_real());
	for (uint32_t i = 0; i < n_blobs; i++)
		each_chunk(&blobs[i], unpack, ctx);
	seconds[0] = seconds_since(start_ns);
	start_ns = clock_now_ns(clock_real());
	for (uint32_t i = 0; i < n_blobs; i++)
		each_chunk(&blobs[i], verify, NULL);
	seconds[1] = seconds_since(start_ns);
	start_ns = clock_now_ns(clock_real());
	for (uint32_t i = 0; i < n_blobs; i++) {
		AUTO(free_str) char *path = xasprintf("%s.%" PRIu32, out, i);
		AUTO(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		if (fd < 0)
			die(path, strerrordesc_np(errno));
		each_chunk(&blobs[i], write_out, &fd);
	}
	seconds[2] = seconds_since(start_ns);
	(void)printf("unpack %.6f digest %.6f write %.6f\n", seconds[0], seconds[1], seconds[2]);
	(void)ZSTD_freeDCtx(ctx);
}

static uint64_t node_of(const struct image *image, char *path)
{
	uint64_t node = IMAGE_ROOT;
	char *rest = NULL;
	struct err e = { 0 };

	for (char *name = strtok_r(path, "/", &rest); name != NULL;
	     name = strtok_r(NULL, "/", &rest)) {
		if (image_lookup(image, node, name, strlen(name), &node, &e) < 0)
			die(name, e.msg);
	}
	return node;
}

/* One line a blob that the read touches: from its first chunk to its last. */
static void print_ranges(const struct image *image, struct blob *blobs, uint64_t node,
                         uint64_t offset)
{
	struct image_segment seg[SEGMENTS_MAX];
	struct err e = { 0 };
	const int n = image_map(image, node, offset, READ_BYTES, seg, SEGMENTS_MAX, &e);

	if (n < 0)
		die("map", e.msg);
	for (int i = 0; i < n; i++) {
		const struct blob_layout *l = blobs[seg[i].blob_idx].layout;
		const struct chunk_rec *c = &l->chunks[seg[i].chunk_idx];
		const uint64_t first = c->place;
		uint64_t end = first + c->packed_size_bytes;

		while (i + 1 < n && seg[i + 1].blob_idx == seg[i].blob_idx &&
		       l->chunks[seg[i + 1].chunk_idx].place == end) {
			i++;
			end += l->chunks[seg[i].chunk_idx].packed_size_bytes;
		}
		(void)printf("%s %" PRIu64 " %" PRIu64 "\n", l->blob_id, first, end - 1);
	}
}

static void ranges(const struct image *image, uint32_t n_blobs)
{
	struct blob blobs[IMAGE_BLOBS_MAX];
	char line[LINE_MAX_BYTES];

	for (uint32_t i = 0; i < n_blobs; i++)
		blobs[i] = open_blob(image, i, NULL);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		char *tab = strchr(line, '\t');

		if (tab == NULL)
			continue;
		*tab = '\0';
		print_ranges(image, blobs, node_of(image, line), strtoull(tab + 1, NULL, 10));
	}
}

int main(int argc, char **argv)
{
	struct image *image = NULL;
	struct image_info info;
	struct err e = { 0 };
	struct bytes bootstrap;

	if (argc < 3 || (strcmp(argv[1], "work") == 0 && argc != 5)) {
		(void)fprintf(stderr, "usage: see the head of bench_pipeline.c\n");
		return 2;
	}
	bootstrap = map_file(argv[2]);
	if (image_open(&(struct image_opts){ .data = bootstrap.data,
	                                     .size_bytes = bootstrap.size_bytes },
	               &image, &e) < 0)
		die(argv[2], e.msg);
	image_info(image, &info);
	if (strcmp(argv[1], "work") == 0)
		work(image, info.n_blobs, argv[3], argv[4]);
	else
		ranges(image, info.n_blobs);
	image_close(&image);
	return 0;
}
