/*
 * api_explain, with an image of one file of one chunk: what is told of a chunk while others fetch.
 */
#include "api.h"
#include "fake_pool.h"
#include "image_walk.h"
#include "mem.h"
#include "share.h"
#include "unconst.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define FILE_BYTES 4096

struct cas_blob {
	struct blob_layout *layout;
	bool present;
};

struct fetch_blob {
	struct cas_blob cas;
};

struct fetch {
	uint32_t n_events;
	struct fetch_event events[2];
};

struct mounts {
	struct mounted mounted;
};

struct fixture {
	struct loop *loop;
	struct fetch_blob blob;
	struct fetch_blob *blobs[1];
	struct lazy_image image;
	struct mounts mounts;
	struct fetch fetch;
	struct config config;
	struct agent agent;
	struct api api;
	struct api_call call;
	json_t *answer;
};

/* ---- in place of what is asked ---- */

void api_reply(struct api_call *call, json_t *document)
{
	container_of(call, struct fixture, call)->answer = document;
}

void api_fail(struct api_call *call, int r, const struct err *why)
{
	(void)call;
	fail_msg("%d: %s", r, why->msg);
}

const struct mounted *mounts_resolve(const struct mounts *mounts, const char *path,
                                     const char **ret_rest)
{
	*ret_rest = path + strlen(mounts->mounted.rec.dir);
	return &mounts->mounted;
}

struct lazy_image *lazy_image_ref(struct lazy_image *image)
{
	image->refs++;
	return image;
}

void lazy_image_release(struct lazy_image **image)
{
	(*image)->refs--;
	*image = NULL;
}

int image_walk(const struct image *image, const char *path, uint64_t *ret_node, struct err *e)
{
	(void)image;
	(void)e;
	assert_string_equal(path, "/file");
	*ret_node = 2;
	return 0;
}

int image_getattr(const struct image *image, uint64_t node, struct stat *ret_attr, struct err *e)
{
	(void)image;
	(void)node;
	(void)e;
	*ret_attr = (struct stat){ .st_mode = S_IFREG, .st_size = FILE_BYTES };
	return 0;
}

/* NOLINTNEXTLINE(readability-function-size): image.h has it so */
int image_map(const struct image *image, uint64_t node, uint64_t offset, uint64_t size_bytes,
              struct image_segment *ret_segments, uint32_t max, struct err *e)
{
	(void)image;
	(void)node;
	(void)offset;
	(void)size_bytes;
	(void)max;
	(void)e;
	ret_segments[0] = (struct image_segment){ .size_bytes = FILE_BYTES };
	return 1;
}

bool image_segment_fits(const struct image_segment *seg, const struct blob_layout *layout)
{
	return seg->chunk_idx < layout->n_chunks;
}

struct cas_blob *fetch_blob_cas(struct fetch_blob *blob)
{
	return &blob->cas;
}

const char *cas_blob_key(const struct cas_blob *blob)
{
	(void)blob;
	return "blob";
}

const struct blob_layout *cas_blob_layout(const struct cas_blob *blob)
{
	return blob->layout;
}

uint32_t cas_blob_origins(const struct cas_blob *blob, struct cas_origin *ret_origins, uint32_t max)
{
	(void)blob;
	(void)ret_origins;
	(void)max;
	return 0;
}

bool cas_blob_is_present(const struct cas_blob *blob, uint32_t chunk_idx)
{
	(void)chunk_idx;
	return blob->present;
}

bool cas_blob_owner_of(const struct cas_blob *blob, uint32_t chunk_idx,
                       struct cas_chunk_place *ret_place)
{
	(void)blob;
	(void)chunk_idx;
	(void)ret_place;
	return false;
}

uint32_t fetch_explain(const struct fetch *f, const char *blob_key, uint32_t unit_idx,
                       struct fetch_event *ret_events, uint32_t max)
{
	assert_string_equal(blob_key, "blob");
	assert_int_equal(unit_idx, 0);
	assert_true(f->n_events <= max);
	memcpy(ret_events, f->events, f->n_events * sizeof(f->events[0]));
	return f->n_events;
}

uint64_t fetch_explain_since_ms(const struct fetch *f)
{
	(void)f;
	return 0;
}

/* ---- the world ---- */

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct mount_record rec = { .dir = xstrdup("/mnt/app"),
		                    .reference = xstrdup("host/app:1") };
	struct err e;

	assert_int_equal(loop_new(&f->loop, &e), 0);
	assert_int_equal(pool_new(f->loop, 1, "desk", &f->agent.desk, &e), 0);
	f->blob.cas.layout = layout_new(1);
	f->blob.cas.layout->chunks[0] = (struct chunk_rec){ .plain_size_bytes = FILE_BYTES,
		                                            .packed_size_bytes = FILE_BYTES };
	f->blobs[0] = &f->blob;
	f->image.n_blobs = 1;
	f->image.blobs = f->blobs;
	f->mounts.mounted = (struct mounted){ .rec = rec, .image = &f->image };
	f->config.state_dir = unconst("/var/lib/shoal");
	f->agent.config = &f->config;
	f->agent.mounts = &f->mounts;
	f->agent.fetch = &f->fetch;
	f->api.agent = &f->agent;
	f->call.api = &f->api;
	f->call.query = json_pack("{s:s, s:s}", "path", "/mnt/app/file", "offset", "0");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->image.refs, 0);
	json_drop(&f->answer);
	json_drop(&f->call.query);
	mount_record_clear(&f->mounts.mounted.rec);
	layout_unref(&f->blob.cas.layout);
	pool_free(&f->agent.desk);
	loop_free(&f->loop);
	free(f);
	return 0;
}

static void the_origin_gave_it(struct fixture *f)
{
	f->blob.cas.present = true;
	f->fetch.n_events = 1;
	f->fetch.events[0] =
		(struct fetch_event){ .source = "origin", .reader = true, .took_us = 1500 };
}

static void must_be_here_and_from_the_origin(const struct fixture *f)
{
	assert_true(json_is_true(json_object_get(f->answer, "ready")));
	assert_string_equal(json_str(f->answer, "source"), "origin");
	assert_string_equal(json_str(f->answer, "why"),
	                    "a reader waited: the origin gave it in 1.5 ms");
	assert_string_equal(json_str(f->answer, "data_file"),
	                    "/var/lib/shoal/blobs/blob.blob.data");
}

/* ---- */

static void what_is_here_is_told_with_who_gave_it(void **state)
{
	struct fixture *f = *state;

	the_origin_gave_it(f);
	api_explain(&f->call);
	(void)fake_pool_settle(f->agent.desk);
	must_be_here_and_from_the_origin(f);
}

static void what_comes_while_the_image_is_walked_is_told_as_here(void **state)
{
	struct fixture *f = *state;

	api_explain(&f->call);
	assert_int_equal(fake_pool_run_one(f->agent.desk), 1);
	the_origin_gave_it(f);
	(void)fake_pool_settle(f->agent.desk);
	must_be_here_and_from_the_origin(f);
}

static void what_goes_meanwhile_is_told_as_gone(void **state)
{
	struct fixture *f = *state;

	the_origin_gave_it(f);
	api_explain(&f->call);
	assert_int_equal(fake_pool_run_one(f->agent.desk), 1);
	f->blob.cas.present = false;
	(void)fake_pool_settle(f->agent.desk);
	assert_true(json_is_false(json_object_get(f->answer, "ready")));
	assert_null(json_object_get(f->answer, "source"));
	assert_string_equal(json_str(f->answer, "why"),
	                    "a reader waited: the origin gave it in 1.5 ms; now it is not here");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_here_is_told_with_who_gave_it),
		TEST(what_comes_while_the_image_is_walked_is_told_as_here),
		TEST(what_goes_meanwhile_is_told_as_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
