/*
 * Chunks from other blobs' origins: which are asked, what is handed on, and the end of a question.
 * Origins are directories; what the database and the images would say is made up.
 */
#include "elsewhere.h"
#include "elsewhere_layouts.h"
#include "fake_clock.h"
#include "fake_pool.h"
#include "mem.h"
#include "origin.h"
#include "share.h"
#include "twins.h"
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define N           6U
#define CHUNK_BYTES 5000U
#define BLOB_BYTES  (N * (uint64_t)CHUNK_BYTES)
#define N_OTHERS    9U /* one more than are asked a time */
#define STEPS_MAX   64

/* ---- in place of cas and of the images ---- */

struct cas_blob {
	uint32_t refs;
};

/* Another blob: the same chunks, the last first. */
struct other {
	char key[8];
	bool known;         /* to the database */
	uint32_t n_twins;   /* of our chunks, from the first on */
	bool no_image;      /* that tells how it is packed */
	bool in_part;       /* it does not tell of their first */
	uint32_t n_reads;   /* of that */
	uint32_t spoilt;    /* bit a chunk of ours: wrong bytes */
	uint32_t cut_bytes; /* that its file lacks */
};

struct cas {
	struct other others[N_OTHERS];
	bool fails;
	bool is_cut; /* it knows more than it tells */
	char dir[64];
};

struct world {
	struct fake_clock clock;
	struct loop *loop;
	struct pool *pool;
	struct metrics *metrics;
	struct source *origins;
	struct source *elsewhere;
	struct cas cas;
	struct cas_blob blob;
	struct blob_layout *layout;
	struct unit_run run;
	struct source_req *req;
	uint32_t given; /* bit a chunk */
	uint32_t n_notes;
	uint64_t progress_bytes;
	bool ended;
	int result;
	struct err why;
};

static void fill(uint32_t chunk_idx, uint8_t *ret_bytes)
{
	for (uint32_t i = 0; i < CHUNK_BYTES; i++)
		ret_bytes[i] = (uint8_t)(chunk_idx * 77 + i * 3 + i / 256);
}

static struct blob_layout *make_layout(const char *id, bool reversed)
{
	struct blob_layout *l = layout_new(N);

	assert_non_null(l);
	(void)snprintf(l->blob_id, sizeof(l->blob_id), "%s", id);
	l->digest_alg = DIGEST_SHA256;
	for (uint32_t i = 0; i < N; i++) {
		uint8_t bytes[CHUNK_BYTES];

		fill(reversed ? N - 1 - i : i, bytes);
		l->chunks[i] = (struct chunk_rec){ .plain_offset = (uint64_t)i * CHUNK_BYTES,
			                           .place = (uint64_t)i * CHUNK_BYTES,
			                           .plain_size_bytes = CHUNK_BYTES,
			                           .packed_size_bytes = CHUNK_BYTES,
			                           .flags = CHUNK_HAS_DIGEST };
		digest_compute(l->digest_alg, bytes, CHUNK_BYTES, l->chunks[i].digest);
	}
	l->plain_size_bytes = BLOB_BYTES;
	l->packed_data_end = BLOB_BYTES;
	return l;
}

struct cas_blob *cas_blob_ref(struct cas_blob *blob)
{
	blob->refs++;
	return blob;
}

void cas_blob_release(struct cas_blob **blob)
{
	(*blob)->refs--;
	*blob = NULL;
}

const char *cas_blob_key(const struct cas_blob *blob)
{
	(void)blob;
	return "ours";
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
	(void)blob;
	(void)chunk_idx;
	return false;
}

static void describe(const struct cas *cas, const struct other *o, const uint32_t *chunks,
                     uint32_t n_chunks, struct cas_twin_blob *b)
{
	(void)snprintf(b->key, sizeof(b->key), "%s", o->key);
	b->twins = xcalloc(N, sizeof(*b->twins));
	b->origins = xcalloc(1, sizeof(*b->origins));
	b->n_origins = 1;
	(void)snprintf(b->origins[0].text, sizeof(b->origins[0].text), "dir:%s/%s", cas->dir,
	               o->key);
	for (uint32_t i = 0; i < n_chunks; i++)
		if (chunks[i] < o->n_twins)
			b->twins[b->n_twins++] =
				(struct cas_twin){ .chunk_idx = chunks[i],
				                   .their_idx = N - 1 - chunks[i] };
}

int cas_twins_find(struct cas *cas, const struct cas_blob *blob, const uint32_t *chunks,
                   uint32_t n_chunks, struct cas_twins *ret_twins, struct err *e)
{
	(void)blob;
	if (cas->fails)
		return err_set(e, EIO, "the fake database fails");
	ret_twins->blobs = xcalloc(N_OTHERS, sizeof(*ret_twins->blobs));
	ret_twins->is_cut = cas->is_cut;
	for (uint32_t i = 0; i < N_OTHERS; i++)
		if (cas->others[i].known)
			describe(cas, &cas->others[i], chunks, n_chunks,
			         &ret_twins->blobs[ret_twins->n_blobs++]);
	return 0;
}

void cas_twins_clear(struct cas_twins *twins)
{
	for (uint32_t i = 0; i < twins->n_blobs; i++) {
		free(twins->blobs[i].twins);
		free(twins->blobs[i].origins);
	}
	free(twins->blobs);
	*twins = (struct cas_twins){ .n_blobs = 0 };
}

int elsewhere_layout_read(struct cas *cas, struct log *log, const char *key,
                          struct blob_layout **ret_layout, struct err *e)
{
	(void)log;
	(void)e;
	for (uint32_t i = 0; i < N_OTHERS; i++) {
		struct other *o = &cas->others[i];

		if (strcmp(o->key, key) != 0)
			continue;
		o->n_reads++;
		if (o->no_image)
			return CAS_MISS;
		*ret_layout = make_layout("object", true);
		if (o->in_part)
			(*ret_layout)->chunks[0].plain_size_bytes = 0;
		return 0;
	}
	return CAS_MISS;
}

/* ---- the world ---- */

static char *object_path(const struct world *w, const struct other *o)
{
	return xasprintf("%s/%s/object", w->cas.dir, o->key);
}

static void write_object(const struct world *w, const struct other *o)
{
	AUTO(free_str) char *dir = xasprintf("%s/%s", w->cas.dir, o->key);
	AUTO(free_str) char *path = object_path(w, o);
	FILE *f;

	(void)mkdir(dir, 0700);
	f = fopen(path, "wb");
	assert_non_null(f);
	for (uint32_t i = 0; i < N; i++) {
		uint8_t bytes[CHUNK_BYTES];

		fill(N - 1 - i, bytes);
		bytes[7] ^= (uint8_t)((o->spoilt >> (N - 1 - i)) & 1);
		assert_int_equal(fwrite(bytes, 1, CHUNK_BYTES, f), CHUNK_BYTES);
	}
	assert_int_equal(fclose(f), 0);
	assert_int_equal(truncate(path, (off_t)(BLOB_BYTES - o->cut_bytes)), 0);
}

static void start_source(struct world *w)
{
	struct elsewhere_opts opts = { .loop = w->loop,
		                       .pool = w->pool,
		                       .cas = &w->cas,
		                       .clock = &w->clock.clock,
		                       .metrics = w->metrics,
		                       .origins = w->origins };

	w->elsewhere = elsewhere_source_new(&opts);
}

static int set_up(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct origin_source_opts origins = { .clock = &w->clock.clock };
	struct err e;

	fake_clock_init(&w->clock);
	assert_int_equal(loop_new(&w->loop, &e), 0);
	assert_int_equal(pool_new(w->loop, 2, "test", &w->pool, &e), 0);
	w->metrics = metrics_new();
	origins.loop = w->loop;
	origins.pool = w->pool;
	origins.metrics = w->metrics;
	assert_int_equal(origin_source_new(&origins, &w->origins, &e), 0);
	(void)snprintf(w->cas.dir, sizeof(w->cas.dir), "/tmp/shoal-elsewhere-XXXXXX");
	assert_non_null(mkdtemp(w->cas.dir));
	for (uint32_t i = 0; i < N_OTHERS; i++) {
		w->cas.others[i] = (struct other){ .known = i < 2, .n_twins = N };
		(void)snprintf(w->cas.others[i].key, sizeof(w->cas.others[i].key), "other%u", i);
		write_object(w, &w->cas.others[i]);
	}
	w->layout = make_layout("ours", false);
	start_source(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	assert_int_equal(w->blob.refs, 0);
	elsewhere_source_free(&w->elsewhere);
	origin_source_free(&w->origins);
	layout_unref(&w->layout);
	for (uint32_t i = 0; i < N_OTHERS; i++) {
		AUTO(free_str) char *path = object_path(w, &w->cas.others[i]);

		(void)unlink(path);
		*strrchr(path, '/') = '\0';
		(void)rmdir(path);
	}
	(void)rmdir(w->cas.dir);
	pool_free(&w->pool);
	metrics_free(&w->metrics);
	loop_free(&w->loop);
	free(w);
	return 0;
}

static void on_chunk(void *arg, uint32_t chunk_idx, struct chunk_bytes bytes, uint32_t giver)
{
	struct world *w = arg;
	uint8_t right[CHUNK_BYTES];

	(void)giver;
	assert_true(chunk_idx < N && !(w->given & BIT(chunk_idx)));
	fill(chunk_idx, right);
	assert_int_equal(bytes.size_bytes, CHUNK_BYTES);
	assert_int_equal(bytes.form, COMPRESSOR_NONE);
	assert_memory_equal(bytes.data, right, CHUNK_BYTES);
	free(bytes.data);
	w->given |= BIT(chunk_idx);
}

static void on_wait(void *arg, uint64_t progress_bytes)
{
	struct world *w = arg;

	assert_true(progress_bytes > w->progress_bytes);
	w->progress_bytes = progress_bytes;
}

static void on_note(void *arg, const char *text)
{
	struct world *w = arg;

	assert_non_null(strstr(text, "other"));
	w->n_notes++;
}

static void on_end(void *arg, int r, const struct err *why)
{
	struct world *w = arg;

	assert_false(w->ended);
	w->ended = true;
	w->result = r;
	w->why = *why;
}

static void ask(struct world *w)
{
	static const struct source_events events = {
		.chunk = on_chunk, .wait = on_wait, .note = on_note, .end = on_end
	};
	struct err e;

	w->given = 0;
	w->progress_bytes = 0;
	w->ended = false;
	w->run = (struct unit_run){ .blob = &w->blob,
		                    .layout = w->layout,
		                    .n_units = N,
		                    .reader = true,
		                    .deadline_ns = clock_now_ns(&w->clock.clock) + NS_PER_S };
	assert_int_equal(w->elsewhere->ops->get(w->elsewhere, &w->run, &events, w, &w->req, &e), 0);
}

static int get(struct world *w)
{
	ask(w);
	(void)fake_pool_settle(w->pool);
	assert_true(w->ended);
	assert_true(elsewhere_is_idle(w->elsewhere));
	return w->result;
}

/* ---- tests ---- */

static void all_of_it_comes_from_another_blob_in_another_order(void **state)
{
	struct world *w = *state;

	assert_int_equal(get(w), SOURCE_OK);
	assert_int_equal(w->given, BIT(N) - 1);
	assert_int_equal(w->progress_bytes, BLOB_BYTES);
	assert_int_equal(w->n_notes, 1);
	assert_int_equal(w->cas.others[1].n_reads, 0);
}

static void how_it_is_packed_is_read_once(void **state)
{
	struct world *w = *state;

	assert_int_equal(get(w), SOURCE_OK);
	assert_int_equal(get(w), SOURCE_OK);
	assert_int_equal(w->cas.others[0].n_reads, 1);
}

static void what_one_blob_lacks_the_next_one_gives(void **state)
{
	struct world *w = *state;

	w->cas.others[0].n_twins = 2;
	assert_int_equal(get(w), SOURCE_OK);
	assert_int_equal(w->given, BIT(N) - 1);
	assert_int_equal(w->progress_bytes, BLOB_BYTES); /* nothing twice */
}

static void a_blob_that_no_image_describes_is_passed_over(void **state)
{
	struct world *w = *state;

	w->cas.others[0].no_image = true;
	assert_int_equal(get(w), SOURCE_OK);
	assert_int_equal(get(w), SOURCE_OK);
	assert_int_equal(w->cas.others[0].n_reads, 1);
}

static void what_no_image_told_is_read_again_though_it_is_asked_for_all_the_time(void **state)
{
	struct world *w = *state;

	w->cas.others[0].no_image = true;
	for (int i = 0; i < 4; i++) {
		assert_int_equal(get(w), SOURCE_OK);
		fake_clock_advance_ms(&w->clock, 1000);
	}
	assert_int_equal(w->cas.others[0].n_reads, 2);
	assert_int_equal(w->cas.others[1].n_reads, 1);
}

static void what_is_known_in_part_is_read_again_though_it_is_used(void **state)
{
	struct world *w = *state;

	w->cas.others[0].in_part = true;
	for (int i = 0; i < 4; i++) {
		assert_int_equal(get(w), SOURCE_OK);
		fake_clock_advance_ms(&w->clock, 11000);
	}
	assert_int_equal(w->cas.others[0].n_reads, 2);
	assert_int_equal(w->cas.others[1].n_reads, 1);
}

static void wrong_bytes_are_counted_and_the_next_blob_is_asked(void **state)
{
	struct world *w = *state;

	w->cas.others[0].spoilt = BIT(2) | BIT(4);
	write_object(w, &w->cas.others[0]);
	assert_int_equal(get(w), SOURCE_OK);
	assert_int_equal(w->given, BIT(N) - 1);
	assert_true(metrics_sum(w->metrics, METRIC_VERIFY_FAILURES) >= 2);
}

static void wrong_bytes_everywhere_are_final_for_these_chunks_alone(void **state)
{
	struct world *w = *state;

	for (uint32_t i = 0; i < N_OTHERS; i++) {
		w->cas.others[i].spoilt = BIT(3);
		write_object(w, &w->cas.others[i]);
	}
	assert_int_equal(get(w), SOURCE_GONE);
	assert_int_equal(w->given, (BIT(N) - 1) & ~BIT(3));
	assert_non_null(strstr(w->why.msg, "wrong bytes"));
}

static void an_origin_that_lost_the_blob_is_final(void **state)
{
	struct world *w = *state;
	AUTO(free_str) char *path = object_path(w, &w->cas.others[0]);

	w->cas.others[1].known = false;
	assert_int_equal(unlink(path), 0);
	assert_int_equal(get(w), SOURCE_GONE);
	write_object(w, &w->cas.others[0]);
	assert_int_equal(get(w), SOURCE_OK); /* it is asked again all the same */
}

static void trouble_is_not_final(void **state)
{
	struct world *w = *state;

	w->cas.others[1].known = false;
	w->cas.others[0].cut_bytes = 2 * CHUNK_BYTES;
	write_object(w, &w->cas.others[0]);
	assert_int_equal(get(w), -EAGAIN);
	w->cas.fails = true;
	assert_int_equal(get(w), -EAGAIN);
	assert_int_equal(w->given, 0);
}

static void nobody_having_it_is_final(void **state)
{
	struct world *w = *state;

	w->cas.others[0].known = false;
	w->cas.others[1].known = false;
	assert_int_equal(get(w), SOURCE_GONE);
}

static void not_all_that_may_have_it_were_asked_is_not_final(void **state)
{
	struct world *w = *state;

	for (uint32_t i = 0; i < N_OTHERS; i++) {
		AUTO(free_str) char *path = object_path(w, &w->cas.others[i]);

		w->cas.others[i].known = true;
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(get(w), -EAGAIN); /* the ninth was not asked */
	w->cas.others[0].known = false;
	assert_int_equal(get(w), SOURCE_GONE);
	w->cas.is_cut = true;
	assert_int_equal(get(w), -EAGAIN);
}

/* One thing at a time: a job, or what the loop has. @return false: all is still */
static bool step(struct world *w)
{
	if (fake_pool_run_one(w->pool) > 0)
		return true;
	(void)event_base_loop(loop_base(w->loop), EVLOOP_NONBLOCK);
	return fake_pool_n_waiting(w->pool) > 0;
}

static void a_question_can_be_cancelled_at_every_step(void **state)
{
	struct world *w = *state;
	uint32_t n_steps = 0;

	w->cas.others[0].n_twins = 3;
	for (; n_steps < STEPS_MAX; n_steps++) {
		ask(w);
		for (uint32_t i = 0; i < n_steps && !w->ended; i++)
			(void)step(w);
		if (w->ended)
			break;
		if (n_steps % 2 == 1)
			w->elsewhere->ops->hurry(w->req, n_steps % N);
		w->elsewhere->ops->cancel(w->req);
		(void)fake_pool_settle(w->pool);
		assert_false(w->ended);
		assert_int_equal(w->blob.refs, 0);
		assert_true(elsewhere_is_idle(w->elsewhere));
		elsewhere_source_free(&w->elsewhere); /* so that it reads layouts again */
		start_source(w);
	}
	assert_in_range(n_steps, 8, STEPS_MAX - 1);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(all_of_it_comes_from_another_blob_in_another_order),
		TEST(how_it_is_packed_is_read_once),
		TEST(what_one_blob_lacks_the_next_one_gives),
		TEST(a_blob_that_no_image_describes_is_passed_over),
		TEST(what_no_image_told_is_read_again_though_it_is_asked_for_all_the_time),
		TEST(what_is_known_in_part_is_read_again_though_it_is_used),
		TEST(wrong_bytes_are_counted_and_the_next_blob_is_asked),
		TEST(wrong_bytes_everywhere_are_final_for_these_chunks_alone),
		TEST(an_origin_that_lost_the_blob_is_final),
		TEST(trouble_is_not_final),
		TEST(nobody_having_it_is_final),
		TEST(not_all_that_may_have_it_were_asked_is_not_final),
		TEST(a_question_can_be_cancelled_at_every_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
