/*
 * test_lazy_image: what a load costs, what it shares, and what it makes of wrong bytes; on the real
 * images of tests/data/layout.
 */
#include "elsewhere_layouts.h"
#include "hex.h"
#include "image_store.h"
#include "lazy_load.h"
#include "manifest.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define HOST         "127.0.0.1:5000/"
#define EDGE         "08f5e4d3c5ac90abc30120bd4b31e0f1104a6e7cf3bbd5380ee6dac201af2257"
#define EDGE_BOOT    "2a992b823cba9223a51925b0d24926baa5464d7a90f6ad5aeb1eb3906d294d75"
#define EDGE_BLOB    "808ed15868caa920b1417070504dc08298ab670f814e601c2dacb33242215204"
#define LAYERS       "9fd607e7529e690f7e082d8db8f9d64febb9c4ade74ea3c269c4d8a5ab00a796"
#define BATCH        "614e36cf0f18972a8ace84de71f374c48fb08a027cf5c9275f5385df6df32860"
#define BATCH_BLOB_0 "9ab8ae4471137de8f819db6b74064795e4c0bdff9fc96475f5b70981262d837a"
#define BATCH_BLOB_1 "0124be34fac4a01dcc7e43b5d913e0fc39ee30b0a4012db5317d7a5e22406d92"
#define ZRAN         "7e013b0251a684f14b41d3399a322fadeb060d161e0a1f3f06853f7626945553"
#define ZRAN_META_0  "f9eff9c1a98fc571fea4a085c9d28e06b04cf3ce90b98135e12546b5e12fdb22"
#define PLAIN_OCI    "3ce28c08e2a825e0fbda3cfbec294e70c9f75aca16dd28d848bce7c0b5416401"

/* ---- what it costs ---- */

static void a_native_image_costs_one_manifest_and_one_bootstrap(void **state)
{
	struct world *w = *state;
	struct lazy_image *image = NULL;

	set_tag(w, LAYERS);
	image = load_good(w, HOST "app:1");
	requests_were(w, 0, 1, 1);
	assert_int_equal(w->origins.n_reads + w->origins.n_sizes, 0);
	assert_string_equal(image->digest, LAYERS);
	assert_string_equal(image->name, HOST "app:1");
	assert_int_equal(image->n_blobs, 3);
	for (uint32_t i = 0; i < image->n_blobs; i++)
		assert_string_equal(fetch_blob_cas(image->blobs[i])->origins[0],
		                    "registry:" HOST "app");
	assert_true(world_has_file(w, LAYERS, "manifest.json"));
	assert_true(world_has_file(w, LAYERS, "source.json"));
	assert_int_equal(w->cas.n_records, 1);
	assert_string_equal(w->cas.records[0].name, HOST "app:1");
	assert_true(w->cas.records[0].anonymous);
	lazy_image_release(&image);
}

static void by_digest_and_known_here_no_request_is_made(void **state)
{
	struct world *w = *state;

	load_and_let_go(w, HOST "app@sha256:" LAYERS);
	requests_were(w, 0, 1, 1);
	world_restart(w);
	load_and_let_go(w, HOST "app@sha256:" LAYERS);
	requests_were(w, 0, 0, 0);
}

static void zero_file(struct world *w, const char *digest, const char *name)
{
	for (size_t i = 0; i < WORLD_FILES_MAX; i++) {
		struct store_file *f = &w->cas.files[i];

		if (f->used && strcmp(f->digest, digest) == 0 && strcmp(f->name, name) == 0)
			memset(f->data, 0, f->size_bytes);
	}
}

static void what_the_disk_lost_of_an_image_is_brought_again(void **state)
{
	struct world *w = *state;

	load_and_let_go(w, HOST "app@sha256:" LAYERS);
	world_restart(w);
	world_drop_file(w, LAYERS, "image.boot");
	load_and_let_go(w, HOST "app@sha256:" LAYERS);
	requests_were(w, 0, 1, 1);
	assert_true(world_has_file(w, LAYERS, "image.boot"));
	world_restart(w);
	zero_file(w, LAYERS, "image.boot");
	load_and_let_go(w, HOST "app@sha256:" LAYERS);
	requests_were(w, 0, 1, 1);
	world_restart(w);
	load_and_let_go(w, HOST "app@sha256:" LAYERS);
	requests_were(w, 0, 0, 0);
}

/* In place of the database: the image uses every blob. */
int image_store_users(struct cas *cas, const char *blob_key,
                      int (*fn)(void *arg, const char *digest), void *arg, struct err *e)
{
	(void)cas;
	(void)blob_key;
	(void)e;
	(void)fn(arg, LAYERS);
	return 0;
}

static void who_only_wants_to_know_how_a_blob_is_packed_destroys_nothing(void **state)
{
	struct world *w = *state;
	struct blob_layout *layout = NULL;
	char key[BLOB_ID_MAX + 16];
	struct lazy_image *image;
	struct err e;

	set_tag(w, LAYERS);
	image = load_good(w, HOST "app:1");
	(void)snprintf(key, sizeof(key), "%s", fetch_blob_cas(image->blobs[0])->layout->blob_id);
	lazy_image_release(&image);
	assert_int_equal(elsewhere_layout_read(&w->cas, NULL, key, &layout, &e), 0);
	assert_string_equal(layout->blob_id, key);
	layout_unref(&layout);
	zero_file(w, LAYERS, "image.boot");
	assert_int_equal(elsewhere_layout_read(&w->cas, NULL, key, &layout, &e), CAS_MISS);
	assert_true(world_has_file(w, LAYERS, "image.boot"));
	assert_true(world_has_file(w, LAYERS, "source.json"));
}

static void a_lost_image_that_cannot_be_brought_fails_with_the_registrys_word(void **state)
{
	struct world *w = *state;

	load_and_let_go(w, HOST "app@sha256:" LAYERS);
	world_restart(w);
	zero_file(w, LAYERS, "image.boot");
	w->registry.fail = -ECONNREFUSED;
	load_bad(w, HOST "app@sha256:" LAYERS, ECONNREFUSED, "app");
	w->registry.fail = 0;
	load_and_let_go(w, HOST "app@sha256:" LAYERS);
}

static void by_tag_and_known_here_one_head_is_made(void **state)
{
	struct world *w = *state;

	set_tag(w, LAYERS);
	load_and_let_go(w, HOST "app:1");
	world_restart(w);
	load_and_let_go(w, HOST "app:1");
	requests_were(w, 1, 0, 0);
}

static void a_registry_that_tells_no_digest_costs_the_manifest_once_more(void **state)
{
	struct world *w = *state;

	w->registry.tells_no_digest = true;
	set_tag(w, LAYERS);
	load_and_let_go(w, HOST "app:1");
	world_restart(w);
	load_and_let_go(w, HOST "app:1");
	requests_were(w, 1, 1, 0);
}

static void a_tag_that_moved_brings_the_new_image(void **state)
{
	struct world *w = *state;
	struct lazy_image *image = NULL;

	set_tag(w, LAYERS);
	load_and_let_go(w, HOST "app:1");
	world_restart(w);
	set_tag(w, EDGE);
	image = load_good(w, HOST "app:1");
	assert_string_equal(image->digest, EDGE);
	requests_were(w, 1, 1, 1);
	lazy_image_release(&image);
	assert_string_equal(w->cas.records[0].digest, EDGE);
}

static void a_tag_that_moved_to_an_image_that_is_here_costs_one_head(void **state)
{
	struct world *w = *state;

	load_and_let_go(w, HOST "app@sha256:" EDGE);
	set_tag(w, LAYERS);
	load_and_let_go(w, HOST "app:1");
	world_restart(w);
	set_tag(w, EDGE);
	load_and_let_go(w, HOST "app:1");
	requests_were(w, 1, 0, 0);
}

static void at_a_restart_a_known_tag_needs_no_registry(void **state)
{
	struct world *w = *state;
	struct outcome o = { .r = 1 };
	const struct image_load_opts opts = {
		.reference = HOST "app:1", .offline_ok = true, .done = outcome_set, .arg = &o
	};
	struct image_load *l = NULL;
	struct err e;

	set_tag(w, LAYERS);
	load_and_let_go(w, HOST "app:1");
	world_restart(w);
	w->registry.fail = -EAGAIN;
	assert_int_equal(image_load_start(w->loader, &opts, &l, &e), 0);
	world_settle(w);
	assert_int_equal(o.r, 0);
	requests_were(w, 0, 0, 0);
	lazy_image_release(&o.image);
}

/* ---- indexes of images, and of blobs ---- */

static void serve_index(struct world *w)
{
	static const char json[] =
		"{\"manifests\":[{\"digest\":\"sha256:" PLAIN_OCI
		"\",\"size\":9,\"platform\":{\"os\":\"linux\",\"architecture\":\"%s\"}},"
		"{\"digest\":\"sha256:" LAYERS
		"\",\"size\":9,\"platform\":{\"os\":\"linux\",\"architecture\":\"%s\","
		"\"os.features\":[\"nydus.remoteimage.v1\"]}}]}";
	uint8_t digest[DIGEST_BYTES];
	char *text = NULL;

	assert_true(asprintf(&text, json, platform_here().arch, platform_here().arch) > 0);
	digest_compute(DIGEST_SHA256, text, strlen(text), digest);
	hex_encode(digest, DIGEST_BYTES, w->registry.index_digest);
	w->registry.index = text;
	set_tag(w, w->registry.index_digest);
}

static void an_index_leads_to_the_nydus_image_of_this_platform(void **state)
{
	struct world *w = *state;
	struct lazy_image *image = NULL;
	char by_digest[200];

	serve_index(w);
	image = load_good(w, HOST "app:1");
	assert_string_equal(image->digest, LAYERS);
	requests_were(w, 0, 2, 1);
	lazy_image_release(&image);
	world_restart(w);
	load_and_let_go(w, HOST "app:1"); /* the digest of the index is known, too */
	requests_were(w, 1, 0, 0);
	(void)snprintf(by_digest, sizeof(by_digest), HOST "app@sha256:%s",
	               w->registry.index_digest);
	load_and_let_go(w, by_digest);
	requests_were(w, 1, 0, 0);
	free(w->registry.index);
	w->registry.index = NULL;
}

static void blob_indexes_that_are_missing_come_from_the_blobs_once(void **state)
{
	struct world *w = *state;
	struct lazy_image *image = NULL;

	load_and_let_go(w, HOST "app@sha256:" BATCH);
	assert_int_equal(w->origins.n_reads, 0);
	world_drop_file(w, BATCH, BATCH_BLOB_0 ".blob.meta");
	world_drop_file(w, BATCH, BATCH_BLOB_1 ".blob.meta");
	image = load_good(w, HOST "app@sha256:" BATCH);
	assert_int_equal(w->origins.n_reads, 2);
	assert_int_equal(image->n_blobs, 3);
	lazy_image_release(&image);
	assert_true(world_has_file(w, BATCH, BATCH_BLOB_0 ".blob.meta"));
	load_and_let_go(w, HOST "app@sha256:" BATCH);
	assert_int_equal(w->origins.n_reads, 2);
}

static void a_full_disk_does_not_stop_a_mount_that_can_do_without(void **state)
{
	struct world *w = *state;

	load_and_let_go(w, HOST "app@sha256:" BATCH);
	world_drop_file(w, BATCH, BATCH_BLOB_0 ".blob.meta");
	w->cas.full = true;
	load_and_let_go(w, HOST "app@sha256:" BATCH);
	assert_false(world_has_file(w, BATCH, BATCH_BLOB_0 ".blob.meta"));
	load_bad(w, HOST "app@sha256:" EDGE, ENOSPC, "full");
}

static void a_vouched_index_is_held_against_the_table_of_contents(void **state)
{
	struct world *w = *state;

	load_and_let_go(w, HOST "app@sha256:" ZRAN);
	world_drop_file(w, ZRAN, ZRAN_META_0 ".blob.meta");
	load_and_let_go(w, HOST "app@sha256:" ZRAN);
	assert_int_equal(w->origins.n_sizes, 1);
	assert_int_equal(w->origins.n_reads, 2);
	world_drop_file(w, ZRAN, ZRAN_META_0 ".blob.meta");
	w->origins.spoilt = ZRAN_META_0;
	load_bad(w, HOST "app@sha256:" ZRAN, EBADMSG, "registry:" HOST "app");
}

static void an_index_that_is_not_to_be_had_stops_the_load(void **state)
{
	struct world *w = *state;

	load_and_let_go(w, HOST "app@sha256:" BATCH);
	world_drop_file(w, BATCH, BATCH_BLOB_0 ".blob.meta");
	world_drop_file(w, BATCH, BATCH_BLOB_1 ".blob.meta");
	w->origins.fail = -EAGAIN;
	load_bad(w, HOST "app@sha256:" BATCH, EAGAIN, "registry:" HOST "app");
}

static void a_zran_image_opens_with_the_indexes_beside_its_bootstrap(void **state)
{
	struct world *w = *state;
	struct lazy_image *image = load_good(w, HOST "app@sha256:" ZRAN);

	assert_int_equal(image->n_blobs, 3);
	assert_int_equal(w->origins.n_reads + w->origins.n_sizes, 0);
	requests_were(w, 0, 1, 1);
	lazy_image_release(&image);
}

/* ---- blobs without digests ---- */

static void a_blob_without_digests_is_fetched_whole_checked_and_kept(void **state)
{
	struct world *w = *state;
	struct boot_file file = boot_file_new(false);
	const struct cas_blob *blob = NULL;
	struct outcome o;

	load_file(w, file.path, &o);
	if (o.r != 0)
		fail_msg("%s", o.err.msg);
	blob = fetch_blob_cas(o.image->blobs[0]);
	assert_int_equal(blob->layout->trust, TRUST_DIGESTS);
	assert_int_equal(blob->n_put, blob->layout->n_chunks);
	assert_int_equal(w->origins.n_bytes, 4498493 + 14843 + 4096); /* all of it; its index */
	lazy_image_release(&o.image);
	boot_file_end(&file);
}

static void a_blob_without_digests_and_with_a_flipped_bit_is_refused(void **state)
{
	struct world *w = *state;
	struct boot_file file = boot_file_new(false);
	struct outcome o;

	w->origins.spoilt = EDGE_BLOB;
	w->origins.spoilt_kind = "data";
	load_file(w, file.path, &o);
	assert_int_equal(o.r, -EBADMSG);
	assert_non_null(strstr(o.err.msg, "SHA-256"));
	assert_int_equal(world_n_blobs_open(w), 0);
	boot_file_end(&file);
}

/* ---- what is refused ---- */

static void wrong_bytes_of_manifest_and_bootstrap_are_refused(void **state)
{
	struct world *w = *state;

	set_tag(w, EDGE);
	w->registry.spoilt = EDGE;
	load_bad(w, HOST "app:1", EBADMSG, "manifest");
	load_bad(w, HOST "app@sha256:" EDGE, EBADMSG, "manifest");
	w->registry.spoilt = EDGE_BOOT;
	load_bad(w, HOST "app:1", EBADMSG, "bootstrap layer");
	assert_false(world_has_file(w, EDGE, "image.boot"));
}

static void an_ordinary_image_is_refused_by_name(void **state)
{
	load_bad(*state, HOST "app@sha256:" PLAIN_OCI, ENOTSUP, "ordinary OCI image");
}

static void what_the_registry_says_is_handed_on_with_image_and_step(void **state)
{
	struct world *w = *state;

	load_bad(w, HOST "app:2", ENOENT, "image " HOST "app:2: getting its manifest");
	w->registry.fail = -EACCES;
	load_bad(w, HOST "app:2", EACCES, "fake registry");
	w->registry.fail = -EAGAIN;
	load_bad(w, HOST "app:2", EAGAIN, "fake registry");
}

static void bad_names_are_refused_at_once(void **state)
{
	struct world *w = *state;
	struct image_load_opts opts = { .reference = "app", .done = outcome_set };
	struct image_load *l = NULL;
	struct err e;

	assert_int_equal(image_load_start(w->loader, &opts, &l, &e), -EINVAL);
	opts = (struct image_load_opts){ .bootstrap_path = "x", .blobs_origin = FILE_BLOBS };
	assert_int_equal(image_load_start(w->loader, &opts, &l, &e), -EINVAL);
	opts = (struct image_load_opts){ .bootstrap_path = "/x", .blobs_origin = "x" };
	assert_int_equal(image_load_start(w->loader, &opts, &l, &e), -EINVAL);
	opts = (struct image_load_opts){ .bootstrap_path = "/x" };
	assert_int_equal(image_load_start(w->loader, &opts, &l, &e), -EINVAL);
}

/* ---- sharing ---- */

static void loads_at_once_share_one_flight_and_one_image(void **state)
{
	struct world *w = *state;
	struct outcome o[4];

	set_tag(w, LAYERS);
	(void)start(w, HOST "app:1", &o[0]);
	(void)start(w, HOST "app:1", &o[1]);
	(void)start(w, HOST "app@sha256:" LAYERS, &o[2]);
	(void)start(w, HOST "other@sha256:" LAYERS, &o[3]);
	world_settle(w);
	assert_int_equal(w->registry.n_blobs, 1);
	assert_int_equal(world_n_blobs_open(w), 3);
	for (size_t i = 0; i < ARRAY_LEN(o); i++) {
		assert_int_equal(o[i].n_done, 1);
		assert_int_equal(o[i].r, 0);
		assert_ptr_equal(o[i].image, o[0].image);
	}
	assert_int_equal(fetch_blob_cas(o[0].image->blobs[0])->n_origins, 2);
	for (size_t i = 0; i < ARRAY_LEN(o); i++)
		lazy_image_release(&o[i].image);
	assert_int_equal(world_n_blobs_open(w), 0);
}

static void one_that_waited_for_another_that_failed_tries_itself(void **state)
{
	struct world *w = *state;
	struct outcome first, second;
	struct image_load *l = NULL;

	set_tag(w, LAYERS);
	l = start(w, HOST "app:1", &first);
	while (w->registry.n_manifests < 1)
		assert_true(world_step(w));
	assert_true(world_step(w)); /* it has the claim, its bootstrap layer is on its way */
	(void)start(w, HOST "other@sha256:" LAYERS, &second);
	while (w->registry.n_manifests < 2)
		assert_true(world_step(w));
	assert_true(world_step(w)); /* the second waits for the first */
	assert_int_equal(w->registry.n_blobs, 0);
	image_load_cancel(l);
	world_settle(w);
	assert_int_equal(first.n_done, 0);
	assert_int_equal(second.r, 0);
	requests_were(w, 0, 3, 1);
	lazy_image_release(&second.image);
}

/* Cancel after so many steps. @return false: it was over before */
static bool cancel_after(struct world *w, const char *boot_path, uint32_t n_steps)
{
	struct outcome o;
	struct image_load *l = boot_path != NULL ? start_file(w, boot_path, &o)
	                                         : start(w, HOST "app@sha256:" BATCH, &o);
	bool is_over = false;

	for (uint32_t i = 0; i < n_steps && o.n_done == 0; i++)
		(void)world_step(w);
	is_over = o.n_done > 0;
	if (!is_over)
		image_load_cancel(l);
	if (n_steps == 0) /* a worker has its first step still */
		assert_false(image_loader_is_idle(w->loader));
	world_settle(w);
	assert_true(image_loader_is_idle(w->loader));
	assert_int_equal(o.n_done, is_over ? 1 : 0);
	lazy_image_release(&o.image);
	assert_int_equal(world_n_blobs_open(w), 0);
	return !is_over;
}

static void a_cancelled_load_is_never_told_and_leaves_nothing(void **state)
{
	struct world *w = *state;
	struct boot_file file = boot_file_new(false);

	for (int i = 0; i < 2; i++) {
		uint32_t n_steps = 0;

		do {
			world_close(w);
			world_open(w);
		} while (cancel_after(w, i == 0 ? NULL : file.path, n_steps++));
		assert_true(n_steps > 5);
	}
	boot_file_end(&file);
}

static void a_bootstrap_file_is_copied_and_its_blobs_have_the_origin_given(void **state)
{
	struct world *w = *state;
	struct boot_file file = boot_file_new(true);
	struct outcome o;

	load_file(w, file.path, &o);
	assert_int_equal(o.r, 0);
	assert_string_equal(o.image->name, file.path);
	assert_string_equal(fetch_blob_cas(o.image->blobs[0])->origins[0], FILE_BLOBS);
	assert_true(world_has_file(w, o.image->digest, "image.boot"));
	requests_were(w, 0, 0, 0);
	assert_int_equal(w->origins.n_reads, 0);
	lazy_image_release(&o.image);
	assert_int_equal(ftruncate(file.fd, 100), 0);
	load_file(w, file.path, &o);
	assert_true(o.r == -EUCLEAN || o.r == -ENOTSUP);
	assert_non_null(strstr(o.err.msg, file.path));
	boot_file_end(&file);
	load_file(w, file.path, &o);
	assert_int_equal(o.r, -ENOENT);
}

static bool is_anonymous_by(struct world *w, const char *path)
{
	struct outcome o;

	load_file(w, path, &o);
	lazy_image_release(&o.image);
	return w->cas.records[0].anonymous;
}

static void a_bootstrap_that_is_anybodys_is_so_by_another_path(void **state)
{
	struct world *w = *state;
	struct boot_file first = boot_file_new(true);
	struct boot_file second = boot_file_new(true);
	struct outcome o;

	load_file(w, first.path, &o);
	o.image->anonymous = true; /* in use, and noted just now */
	const bool is = is_anonymous_by(w, second.path);
	lazy_image_release(&o.image);
	assert_true(is);
	world_restart(w);
	assert_true(is_anonymous_by(w, second.path));
	w->registry.users_config = true;
	assert_false(is_anonymous_by(w, first.path));
	boot_file_end(&first);
	boot_file_end(&second);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lazy_set_up, lazy_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_native_image_costs_one_manifest_and_one_bootstrap),
		TEST(by_digest_and_known_here_no_request_is_made),
		TEST(what_the_disk_lost_of_an_image_is_brought_again),
		TEST(a_lost_image_that_cannot_be_brought_fails_with_the_registrys_word),
		TEST(by_tag_and_known_here_one_head_is_made),
		TEST(a_registry_that_tells_no_digest_costs_the_manifest_once_more),
		TEST(a_tag_that_moved_brings_the_new_image),
		TEST(a_tag_that_moved_to_an_image_that_is_here_costs_one_head),
		TEST(at_a_restart_a_known_tag_needs_no_registry),
		TEST(an_index_leads_to_the_nydus_image_of_this_platform),
		TEST(blob_indexes_that_are_missing_come_from_the_blobs_once),
		TEST(a_full_disk_does_not_stop_a_mount_that_can_do_without),
		TEST(a_vouched_index_is_held_against_the_table_of_contents),
		TEST(an_index_that_is_not_to_be_had_stops_the_load),
		TEST(a_zran_image_opens_with_the_indexes_beside_its_bootstrap),
		TEST(a_blob_without_digests_is_fetched_whole_checked_and_kept),
		TEST(a_blob_without_digests_and_with_a_flipped_bit_is_refused),
		TEST(who_only_wants_to_know_how_a_blob_is_packed_destroys_nothing),
		TEST(wrong_bytes_of_manifest_and_bootstrap_are_refused),
		TEST(an_ordinary_image_is_refused_by_name),
		TEST(what_the_registry_says_is_handed_on_with_image_and_step),
		TEST(bad_names_are_refused_at_once),
		TEST(loads_at_once_share_one_flight_and_one_image),
		TEST(one_that_waited_for_another_that_failed_tries_itself),
		TEST(a_cancelled_load_is_never_told_and_leaves_nothing),
		TEST(a_bootstrap_file_is_copied_and_its_blobs_have_the_origin_given),
		TEST(a_bootstrap_that_is_anybodys_is_so_by_another_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
