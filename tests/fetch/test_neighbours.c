/*
 * test_neighbours: an image whose registry does not answer, from a node that has it: what is given,
 * what is withheld, and what becomes of wrong bytes; on the real images of tests/data/layout.
 *
 * Two worlds: near has loaded the image from the registry; far has not, and asks near.
 */
#include "blob_tail.h"
#include "first_reads.h"
#include "image_files.h"
#include "lazy_load.h"
#include "neighbours.h"
#include "public_name.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EDGE        "08f5e4d3c5ac90abc30120bd4b31e0f1104a6e7cf3bbd5380ee6dac201af2257"
#define LAYERS      "9fd607e7529e690f7e082d8db8f9d64febb9c4ade74ea3c269c4d8a5ab00a796"
#define ZRAN        "7e013b0251a684f14b41d3399a322fadeb060d161e0a1f3f06853f7626945553"
#define ZRAN_META_0 "f9eff9c1a98fc571fea4a085c9d28e06b04cf3ce90b98135e12546b5e12fdb22"
#define BY_DIGEST   HOST "app@sha256:"

struct two {
	struct world near, far;
};

static int setup(void **state)
{
	struct two *t = calloc(1, sizeof(*t));

	world_open(&t->near);
	world_open(&t->far);
	world_meet(&t->far, &t->near, NULL, 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct two *t = *state;

	world_close(&t->far);
	world_close(&t->near);
	free(t);
	return 0;
}

static void registry_goes(struct two *t)
{
	t->near.registry.fail = -EAGAIN;
	t->far.registry.fail = -EAGAIN;
	t->far.origins.fail = -EAGAIN;
}

static int64_t n_stale(const struct world *w)
{
	return series_get(metrics_series(w->metrics, METRIC_STALE_TAGS, NULL));
}

/* Both had all of it, and lost a part; near fetched it again, and so has the blob's tail. */
static void both_lack_a_part_and_near_has_its_tail(struct two *t)
{
	load_and_let_go(&t->near, BY_DIGEST ZRAN);
	load_and_let_go(&t->far, BY_DIGEST ZRAN);
	world_drop_file(&t->near, ZRAN, ZRAN_META_0 ".blob.meta");
	world_drop_file(&t->far, ZRAN, ZRAN_META_0 ".blob.meta");
	load_and_let_go(&t->near, BY_DIGEST ZRAN);
}

/* ---- given ---- */

static void by_digest_an_image_comes_from_who_has_it(void **state)
{
	struct two *t = *state;
	struct lazy_image *image = NULL;

	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	registry_goes(t);
	image = load_good(&t->far, BY_DIGEST LAYERS);
	assert_string_equal(image->digest, LAYERS);
	assert_string_equal(fetch_blob_cas(image->blobs[0])->origins[0], "registry:" HOST "app");
	requests_were(&t->far, 0, 1, 0); /* one manifest was asked for, then the neighbour */
	assert_int_equal(t->far.neighbours.n_gets, 2);
	assert_true(world_has_file(&t->far, LAYERS, "layer"));
	assert_true(t->far.cas.records[0].anonymous); /* so that it may be given on */
	assert_int_equal(n_stale(&t->far), 0);
	lazy_image_release(&image);
}

static void a_registry_that_answers_is_asked_alone(void **state)
{
	struct two *t = *state;

	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	load_and_let_go(&t->far, BY_DIGEST LAYERS);
	assert_int_equal(t->far.neighbours.n_gets, 0);
}

static void what_a_neighbour_gave_is_given_on(void **state)
{
	struct two *t = *state;
	struct world third;

	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	registry_goes(t);
	load_and_let_go(&t->far, BY_DIGEST LAYERS);
	world_open(&third);
	world_meet(&third, &t->far, NULL, 0);
	third.registry.fail = -EAGAIN;
	load_and_let_go(&third, BY_DIGEST LAYERS);
	world_close(&third);
}

static void the_tail_of_a_blob_comes_from_who_kept_it(void **state)
{
	struct two *t = *state;

	load_and_let_go(&t->near, BY_DIGEST ZRAN);
	world_drop_file(&t->near, ZRAN, ZRAN_META_0 ".blob.meta");
	load_and_let_go(&t->near, BY_DIGEST ZRAN); /* which reads the tail, and keeps it */
	assert_true(world_has_file(&t->near, ZRAN, ZRAN_META_0 ".blob.tail"));
	registry_goes(t);
	load_and_let_go(&t->far, BY_DIGEST ZRAN);
	world_drop_file(&t->far, ZRAN, ZRAN_META_0 ".blob.meta");
	load_and_let_go(&t->far, BY_DIGEST ZRAN);
	assert_int_equal(t->far.origins.n_reads, 0);
	assert_true(world_has_file(&t->far, ZRAN, ZRAN_META_0 ".blob.tail"));
}

/* ---- who was away ---- */

static void away(struct two *t, enum meta_kind kind, uint32_t n_questions)
{
	t->far.neighbours.n_away = n_questions;
	t->far.neighbours.away_in = kind;
}

static void who_was_away_is_asked_again(void **state)
{
	static const enum meta_kind kinds[] = { META_MANIFEST, META_BOOT_LAYER };
	struct two *t = *state;

	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	registry_goes(t);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		away(t, kinds[i], 2);
		load_and_let_go(&t->far, BY_DIGEST LAYERS);
		assert_int_equal(t->far.neighbours.n_away, 0);
		world_drop_image(&t->far, LAYERS);
	}
}

static void who_was_away_is_asked_again_for_a_tail(void **state)
{
	struct two *t = *state;

	both_lack_a_part_and_near_has_its_tail(t);
	registry_goes(t);
	away(t, META_BLOB_TAIL, 2);
	load_and_let_go(&t->far, BY_DIGEST ZRAN);
	assert_int_equal(t->far.neighbours.n_away, 0);
}

static void who_stays_away_is_asked_less_and_less(void **state)
{
	struct two *t = *state;

	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	registry_goes(t);
	away(t, META_MANIFEST, UINT32_MAX);
	load_bad(&t->far, BY_DIGEST LAYERS, EAGAIN, "no neighbour has it");
	assert_int_equal(t->far.neighbours.n_gets, 4); /* after 3, 6, 12, 24 s of 30 */
	requests_were(&t->far, 0, 5, 0);
}

static void a_registry_that_gives_slowly_is_left_alone_then(void **state)
{
	struct two *t = *state;

	t->far.registry.is_slow = true;
	load_bad(&t->far, BY_DIGEST LAYERS, EAGAIN, "no neighbour has it");
	assert_int_equal(t->far.neighbours.n_gets, 1);
	requests_were(&t->far, 0, 1, 2);
}

/* ---- tags ---- */

static void a_tag_that_was_never_known_here_is_the_registrys_to_tell(void **state)
{
	struct two *t = *state;

	set_tag(&t->near, LAYERS);
	load_and_let_go(&t->near, HOST "app:1");
	registry_goes(t);
	load_bad(&t->far, HOST "app:1", EAGAIN, "fake registry");
	assert_int_equal(t->far.neighbours.n_gets, 0);
	assert_int_equal(n_stale(&t->far), 0);
}

static void a_tag_that_was_known_here_is_stale_and_counted(void **state)
{
	struct two *t = *state;

	set_tag(&t->far, LAYERS);
	load_and_let_go(&t->far, HOST "app:1");
	registry_goes(t);
	load_and_let_go(&t->far, HOST "app:1");
	assert_int_equal(t->far.neighbours.n_gets, 0); /* all of it is here */
	assert_int_equal(n_stale(&t->far), 1);
}

static void a_stale_tag_whose_files_are_gone_comes_from_a_neighbour(void **state)
{
	struct two *t = *state;

	set_tag(&t->far, LAYERS);
	load_and_let_go(&t->far, HOST "app:1");
	world_drop_image(&t->far, LAYERS);
	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	registry_goes(t);
	load_and_let_go(&t->far, HOST "app:1");
	assert_int_equal(t->far.neighbours.n_gets, 2);
	assert_int_equal(n_stale(&t->far), 1);
}

static void a_refusal_is_the_last_word(void **state)
{
	struct two *t = *state;

	set_tag(&t->far, LAYERS);
	load_and_let_go(&t->far, HOST "app:1");
	load_and_let_go(&t->near, BY_DIGEST EDGE);
	t->far.registry.fail = -EACCES;
	load_bad(&t->far, HOST "app:1", EACCES, "fake registry");
	load_bad(&t->far, BY_DIGEST EDGE, EACCES, "fake registry");
	assert_int_equal(t->far.neighbours.n_gets, 0);
}

/* ---- withheld ---- */

static void what_took_credentials_is_withheld(void **state)
{
	struct two *t = *state;

	t->near.registry.asks_for_credentials = true;
	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	registry_goes(t);
	load_bad(&t->far, BY_DIGEST LAYERS, EAGAIN, "share_metadata");
	assert_int_equal(t->far.cas.n_records, 0);
	assert_false(world_has_file(&t->far, LAYERS, "manifest.json"));
}

static void what_took_credentials_is_given_where_the_registry_is_the_clusters(void **state)
{
	const struct registry_config configs[] = { { .host = "*", .share_metadata = "never" },
		                                   { .host = "127.0.0.1:5000",
		                                     .share_metadata = "cluster" } };
	struct two *t = *state;

	world_meet(&t->far, &t->near, configs, 2);
	t->near.registry.asks_for_credentials = true;
	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	registry_goes(t);
	load_and_let_go(&t->far, BY_DIGEST LAYERS);
	assert_false(t->far.cas.records[0].anonymous); /* it is not public for that */
}

static void what_is_never_shared_is_withheld(void **state)
{
	const struct registry_config configs[] = { { .host = "*", .share_metadata = "never" } };
	struct two *t = *state;

	world_meet(&t->far, &t->near, configs, 1);
	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	registry_goes(t);
	load_bad(&t->far, BY_DIGEST LAYERS, EAGAIN, "share_metadata");
}

static void an_image_of_another_repository_is_nowhere(void **state)
{
	struct two *t = *state;

	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	registry_goes(t);
	load_bad(&t->far, HOST "other@sha256:" LAYERS, EAGAIN, "no neighbour has it");
	load_bad(&t->far, HOST "ap@sha256:" LAYERS, EAGAIN, "no neighbour has it");
}

static void mounting_again_by_digest_does_not_make_it_private(void **state)
{
	struct two *t = *state;

	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	load_and_let_go(&t->near, BY_DIGEST LAYERS); /* no request: nobody says anything new */
	registry_goes(t);
	load_and_let_go(&t->far, BY_DIGEST LAYERS);
}

/* ---- liars ---- */

static void liars(struct two *t, enum meta_kind kind, uint32_t n_liars)
{
	t->far.neighbours.n_liars = n_liars;
	t->far.neighbours.lies_in = kind;
}

static void wrong_bytes_are_named_and_another_is_asked(void **state)
{
	struct two *t = *state;

	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	registry_goes(t);
	liars(t, META_MANIFEST, 2);
	load_and_let_go(&t->far, BY_DIGEST LAYERS);
	assert_int_equal(t->far.neighbours.n_distrusts, 2);
}

static void a_wrong_layer_is_named_and_another_is_asked(void **state)
{
	struct two *t = *state;

	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	registry_goes(t);
	liars(t, META_BOOT_LAYER, 1);
	load_and_let_go(&t->far, BY_DIGEST LAYERS);
	assert_int_equal(t->far.neighbours.n_distrusts, 1);
	assert_int_equal(t->far.neighbours.n_gets, 3);
}

static void who_lies_for_ever_is_not_asked_for_ever(void **state)
{
	struct two *t = *state;

	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	registry_goes(t);
	liars(t, META_BOOT_LAYER, UINT32_MAX);
	load_bad(&t->far, BY_DIGEST LAYERS, EAGAIN, "fake registry");
	assert_int_equal(t->far.neighbours.n_distrusts, NEIGHBOURS_WRONG_MAX + 1);
	assert_false(world_has_file(&t->far, LAYERS, "manifest.json"));
}

static void a_wrong_tail_is_named_and_another_is_asked(void **state)
{
	struct two *t = *state;

	both_lack_a_part_and_near_has_its_tail(t);
	registry_goes(t);
	liars(t, META_BLOB_TAIL, 1);
	load_and_let_go(&t->far, BY_DIGEST ZRAN);
	assert_int_equal(t->far.neighbours.n_distrusts, 1);
}

static void a_registry_that_is_back_makes_up_for_liars(void **state)
{
	struct two *t = *state;

	both_lack_a_part_and_near_has_its_tail(t);
	t->far.origins.fail = -EAGAIN;
	t->far.origins.n_fails = 1;
	t->far.origins.n_reads = 0;
	liars(t, META_BLOB_TAIL, UINT32_MAX);
	load_and_let_go(&t->far, BY_DIGEST ZRAN);
	assert_int_equal(t->far.neighbours.n_distrusts, NEIGHBOURS_WRONG_MAX + 1);
	assert_true(t->far.origins.n_reads > 0);
}

/* ---- the shelf ---- */

static void keys_that_are_none_are_nowhere(void **state)
{
	static const char *const keys[] = { "",
		                            "@",
		                            "a@sha256:",
		                            BY_DIGEST "00",
		                            BY_DIGEST LAYERS "/x",
		                            BY_DIGEST LAYERS " ",
		                            "../@sha256:" LAYERS,
		                            HOST "app:1",
		                            HOST "app:1@sha256:" LAYERS "/../image.boot" };
	struct two *t = *state;
	struct meta_shelf *shelf = t->far.neighbours.shelf;

	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		struct meta_item item;
		struct err e;

		assert_int_equal(shelf->ops->open(shelf, META_MANIFEST, keys[i], &item, &e),
		                 META_NOWHERE);
		assert_int_equal(shelf->ops->open(shelf, META_BLOB_TAIL, keys[i], &item, &e),
		                 META_NOWHERE);
	}
}

/* ---- what is read first ---- */

static int ask_for_reads(struct two *t, const char *digest)
{
	struct meta_shelf *shelf = t->far.neighbours.shelf;
	struct public_namer *namer = public_image_namer_new();
	char key[PUBLIC_IMAGE_NAME_BYTES];
	struct meta_item item = { .data = NULL };
	struct err e;
	int r;

	assert_true(public_image_name(namer, digest, key));
	public_namer_free(&namer);
	r = shelf->ops->open(shelf, META_FIRST_READS, key, &item, &e);
	if (r == META_FOUND)
		shelf->ops->close(shelf, &item);
	return r;
}

static void keep_reads(struct two *t, const char *digest, uint64_t drop_bytes)
{
	const struct fetch_stretch stretch = { 0, 3, 4 };
	uint64_t size_bytes = 0;
	uint8_t *bytes = first_reads_make(&stretch, 1, &size_bytes);
	struct err e;

	assert_int_equal(image_store_hint(&t->near.cas, digest, IMAGE_FILE_READS, bytes,
	                                  size_bytes - drop_bytes, &e),
	                 0);
	free(bytes);
}

static void what_is_read_first_is_given_by_public_name_alone(void **state)
{
	struct two *t = *state;
	struct meta_shelf *shelf = t->far.neighbours.shelf;
	struct meta_item item;
	struct err e;

	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	assert_int_equal(ask_for_reads(t, LAYERS), META_NOWHERE);
	keep_reads(t, LAYERS, 0);
	assert_int_equal(ask_for_reads(t, LAYERS), META_FOUND);
	assert_int_equal(ask_for_reads(t, EDGE), META_NOWHERE);
	assert_int_equal(shelf->ops->open(shelf, META_FIRST_READS, "sha256:" LAYERS, &item, &e),
	                 META_NOWHERE);
	assert_int_equal(shelf->ops->open(shelf, META_FIRST_READS, BY_DIGEST LAYERS, &item, &e),
	                 META_NOWHERE);
}

static void what_is_read_first_of_a_private_image_is_nowhere(void **state)
{
	struct two *t = *state;

	t->near.registry.asks_for_credentials = true;
	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	keep_reads(t, LAYERS, 0);
	assert_int_equal(ask_for_reads(t, LAYERS), META_NOWHERE);
	assert_false(image_shelf_tells(t->far.neighbours.shelf, BY_DIGEST LAYERS, false));
	assert_true(image_shelf_tells(t->far.neighbours.shelf, BY_DIGEST LAYERS, true));
	assert_false(image_shelf_tells(t->far.neighbours.shelf, "/some/image.boot", true));
}

static void what_is_read_first_is_never_shared_where_metadata_is_not(void **state)
{
	const struct registry_config configs[] = { { .host = "*", .share_metadata = "never" } };
	struct two *t = *state;

	world_meet(&t->far, &t->near, configs, 1);
	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	keep_reads(t, LAYERS, 0);
	assert_int_equal(ask_for_reads(t, LAYERS), META_NOWHERE);
	assert_false(image_shelf_tells(t->far.neighbours.shelf, BY_DIGEST LAYERS, true));
}

static void a_damaged_list_is_not_given(void **state)
{
	struct two *t = *state;

	load_and_let_go(&t->near, BY_DIGEST LAYERS);
	keep_reads(t, LAYERS, 1);
	assert_int_equal(ask_for_reads(t, LAYERS), META_NOWHERE);
}

/* ---- a blob's tail ---- */

static void a_tail_is_read_as_it_was_made(void **state)
{
	const struct blob_tail tail = { .object_size_bytes = UINT64_C(1) << 40,
		                        .toc = { (const uint8_t *)"toc", 3 },
		                        .ci = { (const uint8_t *)"index", 5 } };
	struct blob_tail read;
	uint8_t *bytes = NULL;
	uint64_t size_bytes = 0;
	struct err e;

	(void)state;
	assert_int_equal(blob_tail_make(&tail, &bytes, &size_bytes, &e), 0);
	assert_int_equal(size_bytes, BLOB_TAIL_HEADER_BYTES + 8);
	assert_int_equal(blob_tail_parse(bytes, size_bytes, &read, &e), 0);
	assert_true(read.object_size_bytes == UINT64_C(1) << 40);
	assert_int_equal(read.digests.size_bytes, 0);
	assert_memory_equal(read.ci.data, "index", 5);
	for (uint64_t n = 0; n < size_bytes; n++)
		assert_int_equal(blob_tail_parse(bytes, n, &read, &e), -EUCLEAN);
	bytes[16] = 0xff; /* a part that is larger than all of it */
	assert_int_equal(blob_tail_parse(bytes, size_bytes, &read, &e), -EUCLEAN);
	memset(bytes + 16, 0xff, 24); /* sums that wrap */
	assert_int_equal(blob_tail_parse(bytes, size_bytes, &read, &e), -EUCLEAN);
	free(bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(by_digest_an_image_comes_from_who_has_it),
		TEST(a_registry_that_answers_is_asked_alone),
		TEST(what_a_neighbour_gave_is_given_on),
		TEST(the_tail_of_a_blob_comes_from_who_kept_it),
		TEST(who_was_away_is_asked_again),
		TEST(who_was_away_is_asked_again_for_a_tail),
		TEST(who_stays_away_is_asked_less_and_less),
		TEST(a_registry_that_gives_slowly_is_left_alone_then),
		TEST(a_tag_that_was_never_known_here_is_the_registrys_to_tell),
		TEST(a_tag_that_was_known_here_is_stale_and_counted),
		TEST(a_stale_tag_whose_files_are_gone_comes_from_a_neighbour),
		TEST(a_refusal_is_the_last_word),
		TEST(what_took_credentials_is_withheld),
		TEST(what_took_credentials_is_given_where_the_registry_is_the_clusters),
		TEST(what_is_never_shared_is_withheld),
		TEST(an_image_of_another_repository_is_nowhere),
		TEST(mounting_again_by_digest_does_not_make_it_private),
		TEST(wrong_bytes_are_named_and_another_is_asked),
		TEST(a_wrong_layer_is_named_and_another_is_asked),
		TEST(who_lies_for_ever_is_not_asked_for_ever),
		TEST(a_wrong_tail_is_named_and_another_is_asked),
		TEST(a_registry_that_is_back_makes_up_for_liars),
		TEST(keys_that_are_none_are_nowhere),
		TEST(what_is_read_first_is_given_by_public_name_alone),
		TEST(what_is_read_first_of_a_private_image_is_nowhere),
		TEST(what_is_read_first_is_never_shared_where_metadata_is_not),
		TEST(a_damaged_list_is_not_given),
		TEST(a_tail_is_read_as_it_was_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
