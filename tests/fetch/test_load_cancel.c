/*
 * A load that is given up by who is told of the same image: nothing is left of it.
 */
#include "lazy_load.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define LAYERS "9fd607e7529e690f7e082d8db8f9d64febb9c4ade74ea3c269c4d8a5ab00a796"

/* Of two who wait for one image the first is told of it, and gives up the other. */
struct first {
	struct image_load *other;
	struct lazy_image *image;
	const struct outcome *third; /* NULL: there is none */
};

static void give_up_the_other(void *arg, int r, struct lazy_image *image, const struct err *why)
{
	struct first *first = arg;

	(void)why;
	assert_int_equal(r, 0);
	first->image = image;
	image_load_cancel(first->other);
	if (first->third != NULL)
		assert_int_equal(first->third->n_done, 0); /* not inside that call */
}

/* It has its manifest, and asks for the rest: what others ask for is answered before that. */
static void start_the_first(struct world *w, struct first *first)
{
	const struct image_load_opts opts = { .reference = HOST "app@sha256:" LAYERS,
		                              .done = give_up_the_other,
		                              .arg = first };
	struct image_load *load = NULL;
	struct err e;

	assert_int_equal(image_load_start(w->loader, &opts, &load, &e), 0);
	while (w->registry.n_manifests == 0 || !w->registry.reqs[0].used)
		assert_true(world_step(w));
}

static void one_that_is_given_up_as_its_image_comes_holds_none(void **state)
{
	struct world *w = *state;
	struct first first = { .image = NULL };
	struct outcome other;

	start_the_first(w, &first);
	first.other = start(w, HOST "other@sha256:" LAYERS, &other);
	world_settle(w);
	assert_int_equal(w->registry.n_blobs, 1);
	assert_int_equal(other.n_done, 0);
	lazy_image_release(&first.image);
	assert_int_equal(world_n_blobs_open(w), 0);
}

/* ... and a third one waits as well. */
static void who_gives_up_another_load_hears_of_no_third_one_inside_that(void **state)
{
	struct world *w = *state;
	struct outcome other, third;
	struct first first = { .third = &third };

	start_the_first(w, &first);
	first.other = start(w, HOST "other@sha256:" LAYERS, &other);
	(void)start(w, HOST "third@sha256:" LAYERS, &third);
	world_settle(w);
	assert_int_equal(w->registry.n_blobs, 1);
	assert_int_equal(other.n_done, 0);
	assert_int_equal(third.n_done, 1);
	assert_int_equal(third.r, 0);
	lazy_image_release(&third.image);
	lazy_image_release(&first.image);
	assert_int_equal(world_n_blobs_open(w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_that_is_given_up_as_its_image_comes_holds_none,
		                                lazy_set_up, lazy_tear_down),
		cmocka_unit_test_setup_teardown(
			who_gives_up_another_load_hears_of_no_third_one_inside_that, lazy_set_up,
			lazy_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
