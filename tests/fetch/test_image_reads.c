/*
 * test_image_reads: which list of first reads is brought and which is kept, look by look; on the
 * real images of tests/data/layout, with a timer that fires when the test says so.
 */
#include "first_reads.h"
#include "image_files.h"
#include "image_reads.h"
#include "image_shelf.h"
#include "lazy_image_impl.h"
#include "lazy_load.h"
#include "mem.h"
#include "read_log.h"
#include "reads_sift.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EDGE      "08f5e4d3c5ac90abc30120bd4b31e0f1104a6e7cf3bbd5380ee6dac201af2257"
#define BY_DIGEST HOST "app@sha256:"
#define WINDOW_MS 60000U

struct fetch_bring {
	struct fetch_bring_opts opts;
	struct fetch_stretch first; /* of n_chunks in all */
	uint32_t n_chunks;
	bool open;
};

/* What the code under test starts: one of each at a time. */
static struct timer *armed;
static uint64_t armed_ms;
static struct fetch_bring bring;
static uint32_t n_brings;
static uint32_t n_brings_cancelled;

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c): the linker wants these names */
void __wrap_timer_init(struct timer *t, struct loop *loop, void (*fn)(struct timer *t));
void __wrap_timer_start(struct timer *t, uint64_t delay_ms);
void __wrap_timer_fini(struct timer *t);

void __wrap_timer_init(struct timer *t, struct loop *loop, void (*fn)(struct timer *t))
{
	(void)loop;
	*t = (struct timer){ .fn = fn };
}

void __wrap_timer_start(struct timer *t, uint64_t delay_ms)
{
	armed = t;
	armed_ms = delay_ms;
}

void __wrap_timer_fini(struct timer *t)
{
	if (armed == t)
		armed = NULL;
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c) */

struct fetch_bring *fetch_bring_start(struct fetch *f, const struct fetch_bring_opts *opts)
{
	(void)f;
	assert_false(bring.open);
	bring = (struct fetch_bring){ .opts = *opts, .first = opts->stretches[0], .open = true };
	for (uint32_t i = 0; i < opts->n_stretches; i++)
		bring.n_chunks += opts->stretches[i].n_chunks;
	n_brings++;
	return &bring;
}

void fetch_bring_cancel(struct fetch_bring *b)
{
	assert_true(b->open);
	b->open = false;
	n_brings_cancelled++;
}

struct fixture {
	struct world here, there;
	struct meta_shelf *shelf; /* of here */
	struct lazy_image *image;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct image_shelf_opts opts = { .cas = &f->here.cas };

	world_open(&f->here);
	world_open(&f->there);
	world_meet(&f->here, &f->there, NULL, 0);
	f->shelf = image_shelf_new(&opts);
	f->here.loader->opts.shelf = f->shelf;
	armed = NULL;
	bring = (struct fetch_bring){ .open = false };
	n_brings = n_brings_cancelled = 0;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	lazy_image_release(&f->image);
	assert_null(armed);
	assert_false(bring.open);
	world_close(&f->here);
	world_close(&f->there);
	image_shelf_free(&f->shelf);
	free(f);
	return 0;
}

/* ---- steps ---- */

/* Beside the image, which was mounted once. */
static void put_file(struct world *w, const void *bytes, uint64_t size_bytes)
{
	struct err e;

	load_and_let_go(w, BY_DIGEST EDGE);
	assert_int_equal(image_store_hint(&w->cas, EDGE, IMAGE_FILE_READS, bytes, size_bytes, &e),
	                 0);
}

static void put_stretches(struct world *w, const struct fetch_stretch *stretches, uint32_t n)
{
	uint64_t size_bytes = 0;
	uint8_t *bytes = first_reads_make(stretches, n, &size_bytes);

	put_file(w, bytes, size_bytes);
	free(bytes);
}

static void put_list(struct world *w, uint32_t first_chunk, uint32_t n_chunks)
{
	const struct fetch_stretch stretch = { 0, first_chunk, n_chunks };

	put_stretches(w, &stretch, 1);
}

/* How many chunks the list on disk names. 0: there is none */
static uint32_t n_kept(struct world *w)
{
	struct image_file file = { .data = NULL };
	struct fetch_stretch *stretches = NULL;
	uint32_t n = 0;
	uint32_t n_chunks = 0;
	struct err e;

	world_settle(w);
	if (image_store_map(&w->cas, EDGE, IMAGE_FILE_READS, FIRST_READS_MAX_BYTES, &file, &e) < 0)
		return 0;
	assert_int_equal(first_reads_parse(file.data, file.size_bytes, &stretches, &n, &e), 0);
	for (uint32_t i = 0; i < n; i++)
		n_chunks += stretches[i].n_chunks;
	free(stretches);
	image_file_unmap(&file);
	return n_chunks;
}

/* A mount is wished for; nothing of what it starts has happened yet. */
static void mount_it(struct fixture *f)
{
	f->image = load_good(&f->here, BY_DIGEST EDGE);
	f->here.neighbours.n_gets = 0;
	image_reads_begin(f->image);
	assert_non_null(armed);
}

static void mounted(struct fixture *f)
{
	mount_it(f);
	world_settle(&f->here);
}

/* Readers come to chunks [first, first + n) */
static void read_chunks(const struct fixture *f, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++) {
		const struct fetch_piece piece = { .blob = f->image->blobs[0], .chunk_idx = i };

		read_log_note(f->image->log, &piece, 1);
	}
}

static void look(struct fixture *f)
{
	struct timer *t = armed;

	assert_non_null(t);
	armed = NULL;
	fake_clock_advance_ms(&f->here.clock, armed_ms);
	t->fn(t);
}

static void look_times(struct fixture *f, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		look(f);
}

static void until_window_ends(struct fixture *f)
{
	for (uint32_t ms = 0; armed != NULL && ms <= WINDOW_MS; ms += 1000)
		look(f);
	assert_null(armed);
	assert_false(read_log_is_open(f->image->log));
}

/* ---- kept ---- */

static void what_was_read_is_kept_once_readers_rest(void **state)
{
	struct fixture *f = *state;

	mounted(f);
	look_times(f, 3); /* nobody reads yet */
	assert_int_equal(n_kept(&f->here), 0);
	read_chunks(f, 10, 5);
	look_times(f, 3);
	assert_int_equal(n_kept(&f->here), 0);
	look(f);
	assert_int_equal(n_kept(&f->here), 5);
	read_chunks(f, 100, 5);
	until_window_ends(f);
	assert_int_equal(n_kept(&f->here), 10);
}

static void what_is_read_after_the_window_is_not_noted(void **state)
{
	struct fixture *f = *state;

	mounted(f);
	read_chunks(f, 10, 5);
	until_window_ends(f);
	read_chunks(f, 20, 50);
	lazy_image_release(&f->image);
	assert_int_equal(n_kept(&f->here), 5);
}

static void a_mount_that_nobody_reads_is_let_be(void **state)
{
	struct fixture *f = *state;

	mounted(f);
	for (uint32_t i = 0; armed != NULL && i < 1000; i++)
		look(f);
	assert_null(armed);
	assert_false(read_log_is_open(f->image->log));
	assert_int_equal(n_kept(&f->here), 0);
}

static void what_a_short_mount_read_is_kept_at_its_end(void **state)
{
	struct fixture *f = *state;

	mounted(f);
	read_chunks(f, 10, 5);
	lazy_image_release(&f->image);
	assert_int_equal(n_kept(&f->here), 5);
}

/* ---- beside a list that is there ---- */

static void the_own_list_is_brought_and_nobody_is_asked(void **state)
{
	struct fixture *f = *state;

	put_list(&f->here, 7, 100);
	put_list(&f->there, 300, 3);
	mounted(f);
	assert_int_equal(n_brings, 1);
	assert_int_equal(bring.first.first_chunk, 7);
	assert_int_equal(bring.n_chunks, 100);
	assert_int_equal(f->here.neighbours.n_gets, 0);
	bring.open = false;
	bring.opts.done(bring.opts.arg, 1);
	lazy_image_release(&f->image);
	assert_int_equal(n_brings_cancelled, 0);
}

static void a_shorter_list_takes_its_place_at_the_end_of_the_window_alone(void **state)
{
	struct fixture *f = *state;

	put_list(&f->here, 0, 100);
	mounted(f);
	read_chunks(f, 0, 25);
	look_times(f, 10);
	assert_int_equal(n_kept(&f->here), 100);
	until_window_ends(f);
	assert_int_equal(n_kept(&f->here), 25);
}

static void a_mount_that_is_short_shrinks_no_list(void **state)
{
	struct fixture *f = *state;

	put_list(&f->here, 0, 100);
	mounted(f);
	read_chunks(f, 0, 99);
	look_times(f, 10);
	lazy_image_release(&f->image);
	assert_int_equal(n_kept(&f->here), 100);
}

static void a_much_shorter_list_never_takes_its_place(void **state)
{
	struct fixture *f = *state;

	put_list(&f->here, 0, 100);
	mounted(f);
	read_chunks(f, 0, 24);
	until_window_ends(f);
	lazy_image_release(&f->image);
	assert_int_equal(n_kept(&f->here), 100);
}

static void a_longer_list_takes_its_place_at_once(void **state)
{
	struct fixture *f = *state;

	put_list(&f->here, 0, 100);
	mounted(f);
	read_chunks(f, 0, 101);
	look_times(f, 4);
	assert_int_equal(n_kept(&f->here), 101);
}

/* A storm of mounts: the worker that reads the list comes late. */
static void a_list_that_was_not_read_yet_is_not_replaced(void **state)
{
	struct fixture *f = *state;

	put_list(&f->here, 0, 100);
	mount_it(f);
	read_chunks(f, 0, 30);
	look_times(f, 10);
	assert_int_equal(n_kept(&f->here), 100); /* and now it was read */
	look_times(f, 10);
	assert_int_equal(n_kept(&f->here), 100);
	until_window_ends(f);
	assert_int_equal(n_kept(&f->here), 30);
}

static void a_window_that_ends_before_it_was_read_waits_for_it(void **state)
{
	struct fixture *f = *state;

	put_list(&f->here, 0, 100);
	mount_it(f);
	read_chunks(f, 0, 20);
	look_times(f, 2 * WINDOW_MS / 1000);
	world_settle(&f->here);
	look(f);
	assert_null(armed);
	assert_int_equal(n_kept(&f->here), 100);
}

static void a_list_that_names_what_is_not_there_is_brought_without_that(void **state)
{
	const struct fetch_stretch stretches[] = {
		{ 0, 5, 2 }, { 1, 0, 1 }, { 0, UINT32_MAX - 9, 3 }, { 0, 5, 2 }, { 0, 9, 1 }
	};
	struct fixture *f = *state;

	put_stretches(&f->here, stretches, ARRAY_LEN(stretches));
	mounted(f);
	assert_int_equal(bring.opts.n_stretches, 2);
	assert_int_equal(bring.n_chunks, 3);
}

/* ---- neighbours' ---- */

static void without_one_a_neighbours_is_brought_and_not_kept(void **state)
{
	struct fixture *f = *state;

	put_list(&f->there, 300, 3);
	mounted(f);
	assert_int_equal(f->here.neighbours.n_gets, 1);
	assert_int_equal(bring.first.first_chunk, 300);
	assert_int_equal(n_kept(&f->here), 0);
	read_chunks(f, 0, 1); /* shorter than that one was: it is the only one */
	look_times(f, 4);
	assert_int_equal(n_kept(&f->here), 1);
}

static void one_that_is_damaged_is_as_none(void **state)
{
	struct fixture *f = *state;

	put_list(&f->there, 300, 3);
	put_file(&f->here, "shoalfr1", 8);
	mounted(f);
	assert_int_equal(bring.first.first_chunk, 300);
	read_chunks(f, 0, 1);
	look_times(f, 4);
	assert_int_equal(n_kept(&f->here), 1);
}

static void what_is_no_list_is_held_against_nobody(void **state)
{
	struct fixture *f = *state;

	put_list(&f->there, UINT32_MAX - 9, 3); /* with the bit that is flipped: past the end */
	f->here.neighbours.n_liars = 1;
	f->here.neighbours.lies_in = META_FIRST_READS;
	mounted(f);
	assert_int_equal(f->here.neighbours.n_gets, 1);
	assert_int_equal(f->here.neighbours.n_distrusts, 0);
}

static void of_an_image_that_took_credentials_nobody_is_asked(void **state)
{
	struct fixture *f = *state;

	f->here.registry.asks_for_credentials = true;
	mounted(f);
	assert_int_equal(f->here.neighbours.n_gets, 0);
	assert_int_equal(n_brings, 0);
}

/* ---- of a bootstrap file ---- */

static void mounted_by_file(struct fixture *f, const char *path, const char *blobs)
{
	struct outcome o;

	(void)start_file_with(&f->here, path, blobs, &o);
	world_settle(&f->here);
	assert_int_equal(o.r, 0);
	f->image = o.image;
	image_reads_begin(f->image);
	world_settle(&f->here);
}

static bool is_anybodys(struct fixture *f)
{
	read_chunks(f, 10, 5);
	look_times(f, 4);
	world_settle(&f->here);
	return f->here.cas.records[0].anonymous;
}

static void blobs_that_come_without_credentials_are_anybodys(void **state)
{
	struct fixture *f = *state;
	struct boot_file file = boot_file_new(true);

	mounted_by_file(f, file.path, FILE_BLOBS);
	assert_false(f->here.cas.records[0].anonymous); /* nothing came yet */
	assert_true(is_anybodys(f));
	boot_file_end(&file);
}

static void where_there_are_credentials_blobs_are_not_anybodys(void **state)
{
	struct fixture *f = *state;
	struct boot_file file = boot_file_new(true);

	f->here.registry.users_config = true;
	mounted_by_file(f, file.path, FILE_BLOBS);
	assert_false(is_anybodys(f));
	boot_file_end(&file);
}

/* Its registry may have become private meanwhile: nobody asks it. */
static void by_another_origin_it_is_not_anybodys_any_more(void **state)
{
	struct fixture *f = *state;
	struct boot_file file = boot_file_new(true);

	mounted_by_file(f, file.path, FILE_BLOBS);
	assert_true(is_anybodys(f));
	lazy_image_release(&f->image);
	mounted_by_file(f, file.path, "dir:/blobs");
	assert_false(f->here.cas.records[0].anonymous);
	assert_false(f->image->anonymous);
	assert_false(is_anybodys(f));
	boot_file_end(&file);
}

/* ---- the image goes ---- */

static void it_may_go_while_its_list_is_read(void **state)
{
	struct fixture *f = *state;

	put_list(&f->here, 0, 100);
	mount_it(f);
	read_chunks(f, 0, 101);
	lazy_image_release(&f->image);
	assert_int_equal(n_kept(&f->here), 100);
	assert_int_equal(n_brings, 0);
}

static void it_may_go_while_a_neighbour_is_asked(void **state)
{
	struct fixture *f = *state;

	put_list(&f->there, 300, 3);
	mount_it(f);
	while (f->here.neighbours.n_gets == 0)
		assert_true(world_step(&f->here));
	assert_true(f->here.neighbours.reqs[0].used);
	lazy_image_release(&f->image);
	assert_false(f->here.neighbours.reqs[0].used);
	world_settle(&f->here);
	assert_int_equal(n_brings, 0);
}

static void it_may_go_while_its_list_is_brought(void **state)
{
	struct fixture *f = *state;

	put_list(&f->here, 0, 100);
	mounted(f);
	lazy_image_release(&f->image);
	assert_int_equal(n_brings_cancelled, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_was_read_is_kept_once_readers_rest),
		T(what_is_read_after_the_window_is_not_noted),
		T(a_mount_that_nobody_reads_is_let_be),
		T(what_a_short_mount_read_is_kept_at_its_end),
		T(the_own_list_is_brought_and_nobody_is_asked),
		T(a_shorter_list_takes_its_place_at_the_end_of_the_window_alone),
		T(a_mount_that_is_short_shrinks_no_list),
		T(a_much_shorter_list_never_takes_its_place),
		T(a_longer_list_takes_its_place_at_once),
		T(a_list_that_was_not_read_yet_is_not_replaced),
		T(a_window_that_ends_before_it_was_read_waits_for_it),
		T(a_list_that_names_what_is_not_there_is_brought_without_that),
		T(without_one_a_neighbours_is_brought_and_not_kept),
		T(one_that_is_damaged_is_as_none),
		T(what_is_no_list_is_held_against_nobody),
		T(of_an_image_that_took_credentials_nobody_is_asked),
		T(blobs_that_come_without_credentials_are_anybodys),
		T(where_there_are_credentials_blobs_are_not_anybodys),
		T(by_another_origin_it_is_not_anybodys_any_more),
		T(it_may_go_while_its_list_is_read),
		T(it_may_go_while_a_neighbour_is_asked),
		T(it_may_go_while_its_list_is_brought),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
