/*
 * Loads of an image that is being removed.
 */
#include "image_store.h"
#include "lazy_load.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LAYERS  "9fd607e7529e690f7e082d8db8f9d64febb9c4ade74ea3c269c4d8a5ab00a796"
#define ANOTHER "00d607e7529e690f7e082d8db8f9d64febb9c4ade74ea3c269c4d8a5ab00a796"

static struct image_load *bar(struct world *w, const char *digest)
{
	struct image_load *barred = NULL;
	struct err e;

	assert_int_equal(image_load_bar(w->loader, digest, &barred, &e), 0);
	return barred;
}

/* Its files go; who waits brings it anew. */
static void remove_it(struct world *w, const char *digest, struct image_load *barred)
{
	struct err e;

	assert_int_equal(image_store_retire(&w->cas, digest, &e), 0);
	image_load_cancel(barred);
	world_settle(w);
	assert_true(image_store_has(&w->cas, digest));
}

static void assert_loaded(struct outcome *o)
{
	assert_int_equal(o->n_done, 1);
	assert_int_equal(o->r, 0);
	lazy_image_release(&o->image);
}

static void who_comes_while_it_is_removed_waits_and_brings_it_anew(void **state)
{
	struct world *w = *state;
	struct outcome by_digest, by_tag;
	struct image_load *barred;

	set_tag(w, LAYERS);
	load_and_let_go(w, HOST "app:1");
	requests_were(w, 0, 1, 1);
	barred = bar(w, LAYERS);
	(void)start(w, HOST "app@sha256:" LAYERS, &by_digest);
	(void)start(w, HOST "app:1", &by_tag);
	world_settle(w);
	assert_int_equal(by_digest.n_done + by_tag.n_done, 0);
	remove_it(w, LAYERS, barred);
	requests_were(w, 1, 3, 2);
	assert_loaded(&by_digest);
	assert_loaded(&by_tag);
}

static void who_has_it_from_the_registry_while_it_is_removed_keeps_it_afterwards(void **state)
{
	struct world *w = *state;
	struct image_load *barred = bar(w, LAYERS);
	struct outcome o;

	(void)start(w, HOST "app@sha256:" LAYERS, &o);
	world_settle(w);
	assert_int_equal(o.n_done, 0);
	assert_false(image_store_has(&w->cas, LAYERS));
	image_load_cancel(barred);
	world_settle(w);
	assert_true(image_store_has(&w->cas, LAYERS));
	assert_loaded(&o);
}

static void a_bootstrap_file_is_copied_again_behind_its_removal(void **state)
{
	struct world *w = *state;
	struct boot_file file = boot_file_new(true);
	char digest[DIGEST_TEXT_BYTES];
	struct image_load *barred;
	struct outcome o;

	load_file(w, file.path, &o);
	memcpy(digest, o.image->digest, sizeof(digest));
	assert_loaded(&o);
	barred = bar(w, digest);
	(void)start_file(w, file.path, &o);
	world_settle(w);
	assert_int_equal(o.n_done, 0);
	remove_it(w, digest, barred);
	assert_loaded(&o);
	boot_file_end(&file);
}

/* A prefetch has it, say. */
static void an_image_in_use_is_not_handed_out_while_it_is_removed(void **state)
{
	struct world *w = *state;
	struct lazy_image *in_use = load_good(w, HOST "app@sha256:" LAYERS);
	struct image_load *barred = bar(w, LAYERS);
	struct outcome o;

	(void)start(w, HOST "app@sha256:" LAYERS, &o);
	world_settle(w);
	assert_int_equal(o.n_done, 0);
	remove_it(w, LAYERS, barred);
	assert_ptr_equal(o.image, in_use);
	assert_loaded(&o);
	lazy_image_release(&in_use);
}

/* It has seen that it is here, and asks what its tag means. @return who has it in use */
static struct lazy_image *has_looked(struct world *w, struct outcome *o)
{
	struct lazy_image *in_use;

	set_tag(w, LAYERS);
	in_use = load_good(w, HOST "app:1");
	(void)start(w, HOST "app:1", o);
	while (!w->registry.reqs[0].used)
		assert_true(world_step(w));
	assert_true(w->registry.reqs[0].req.head);
	return in_use;
}

static void who_looked_before_a_removal_looks_again_behind_it(void **state)
{
	struct world *w = *state;
	struct outcome o;
	struct lazy_image *in_use = has_looked(w, &o);

	remove_it(w, LAYERS, bar(w, LAYERS));
	requests_were(w, 1, 2, 2);
	assert_ptr_equal(o.image, in_use);
	assert_loaded(&o);
	lazy_image_release(&in_use);
}

static void who_looked_does_not_look_again_for_the_removal_of_another(void **state)
{
	struct world *w = *state;
	struct outcome o;
	struct lazy_image *in_use = has_looked(w, &o);

	image_load_cancel(bar(w, ANOTHER));
	world_settle(w);
	requests_were(w, 1, 1, 1);
	assert_ptr_equal(o.image, in_use);
	assert_loaded(&o);
	lazy_image_release(&in_use);
}

static void an_image_that_is_on_its_way_cannot_be_removed(void **state)
{
	struct world *w = *state;
	struct image_load *barred = NULL;
	struct outcome o;
	struct err e;

	(void)start(w, HOST "app@sha256:" LAYERS, &o);
	while (w->registry.n_blobs == 0)
		assert_true(world_step(w));
	assert_int_equal(image_load_bar(w->loader, LAYERS, &barred, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "being loaded as " HOST "app@sha256:" LAYERS));
	world_settle(w);
	assert_loaded(&o);
}

static void two_may_remove_it_and_who_waits_does_so_for_both(void **state)
{
	struct world *w = *state;
	struct image_load *first = bar(w, LAYERS);
	struct image_load *second;
	struct outcome o;

	(void)start(w, HOST "app@sha256:" LAYERS, &o);
	world_settle(w);
	second = bar(w, LAYERS);
	image_load_cancel(first);
	world_settle(w);
	assert_int_equal(o.n_done, 0);
	image_load_cancel(second);
	world_settle(w);
	assert_loaded(&o);
}

static void who_waits_for_a_removal_may_give_up(void **state)
{
	struct world *w = *state;
	struct image_load *barred = bar(w, LAYERS);
	struct outcome o;
	struct image_load *waits = start(w, HOST "app@sha256:" LAYERS, &o);

	world_settle(w);
	image_load_cancel(waits);
	image_load_cancel(barred);
	world_settle(w);
	assert_int_equal(o.n_done, 0);
	assert_true(image_loader_is_idle(w->loader));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, lazy_set_up, lazy_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(who_comes_while_it_is_removed_waits_and_brings_it_anew),
		TEST(who_has_it_from_the_registry_while_it_is_removed_keeps_it_afterwards),
		TEST(a_bootstrap_file_is_copied_again_behind_its_removal),
		TEST(an_image_in_use_is_not_handed_out_while_it_is_removed),
		TEST(who_looked_before_a_removal_looks_again_behind_it),
		TEST(who_looked_does_not_look_again_for_the_removal_of_another),
		TEST(an_image_that_is_on_its_way_cannot_be_removed),
		TEST(two_may_remove_it_and_who_waits_does_so_for_both),
		TEST(who_waits_for_a_removal_may_give_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
