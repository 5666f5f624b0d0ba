/*
 * live: what an agent is doing now, as one document.
 *
 * A strip shows an image's chunks in the order of its blobs, in at most CELLS cells. A cell is two
 * characters: how much of it is present (0-9), and what is said of it: '.' nothing, 's' some of it
 * stands in another image's file, 'f' some of it is being fetched.
 */
#include "live.h"
#include "api.h"
#include "mem.h"
#include "past.h"
#include "share.h"
#include <stdlib.h>
#include <string.h>

#define CELLS         64U
#define CELL_SAMPLES  8U /* looks a cell, at most */
#define MOUNTS_MAX    64U
#define QUESTIONS_MAX 64U
#define BARE          '-' /* a cell of which no chunk was seen; not told */

/* ---- sums ---- */

static uint64_t uptime_ms(const struct agent *agent)
{
	return (clock_now_ns(agent->clock) - agent->started_ns) / NS_PER_MS;
}

static void take_sums(const struct agent *agent, struct sums *ret_sums)
{
	const uint64_t now_ms = uptime_ms(agent);

	if (agent->peer != NULL)
		peer_count_bytes(agent->peer);
	sums_take(agent->metrics, now_ms, ret_sums);
}

/* At whole steps since the start; a timer may be a little early. */
static void arm_past(struct agent *agent, uint64_t now_ms)
{
	const uint64_t wait_ms = PAST_STEP_MS - now_ms % PAST_STEP_MS;

	timer_start(&agent->past_timer,
	            wait_ms < PAST_STEP_MS / 2 ? wait_ms + PAST_STEP_MS : wait_ms);
}

static void on_past(struct timer *t)
{
	struct agent *agent = container_of(t, struct agent, past_timer);
	struct sums now;

	take_sums(agent, &now);
	past_add(agent->past, &now);
	arm_past(agent, now.uptime_ms);
}

void live_start(struct agent *agent)
{
	agent->past = past_new();
	timer_init(&agent->past_timer, agent->loop, on_past);
	arm_past(agent, uptime_ms(agent)); /* on a slow disk the start has taken a while */
}

void live_stop(struct agent *agent)
{
	timer_fini(&agent->past_timer);
	past_free(&agent->past);
}

static void add_now(json_t *document, const struct metrics *m)
{
	json_set_u64(document, "readers_waiting", (uint64_t)metrics_sum(m, METRIC_READERS_WAITING));
	json_set_u64(document, "fetches_in_flight",
	             (uint64_t)metrics_sum(m, METRIC_FETCHES_IN_FLIGHT));
	json_set_u64(document, "cache_bytes", (uint64_t)metrics_sum(m, METRIC_CACHE_BYTES));
	json_set_u64(document, "cache_pinned_bytes",
	             (uint64_t)metrics_sum(m, METRIC_CACHE_PINNED_BYTES));
	json_set_u64(document, "cache_quota_bytes",
	             (uint64_t)metrics_sum(m, METRIC_CACHE_QUOTA_BYTES));
	(void)json_object_set_new(document, "cache_full",
	                          json_boolean(metrics_sum(m, METRIC_CACHE_FULL) > 0));
}

static void add_sums(json_t *document, const struct agent *agent)
{
	json_t *minutes_ago = json_object();
	struct sums now;

	take_sums(agent, &now);
	sums_tell(&now, document);
	sums_tell(past_begin(agent->past, now.uptime_ms), minutes_ago);
	(void)json_object_set_new(document, "minutes_ago", minutes_ago);
	add_now(document, agent->metrics);
	json_set_u64(document, "waiting_ms", fetch_waiting_ns(agent->fetch) / NS_PER_MS);
}

/* ---- strips ---- */

struct questions {
	uint32_t n;
	struct fetch_question list[QUESTIONS_MAX];
};

/* The chunks of all blobs of an image, one after the other. */
struct strip {
	const struct lazy_image *image;
	uint32_t blob_idx;   /* where the walk stands ... */
	uint64_t blob_begin; /* ... and the number of that blob's first chunk */
	uint64_t n_chunks;   /* and numbers that the image gives to none */
};

static const struct cas_blob *strip_blob(const struct strip *s, uint32_t blob_idx)
{
	return fetch_blob_cas(s->image->blobs[blob_idx]);
}

/* To the blob of a chunk; chunks are asked for in rising order. @return its index in the blob */
static uint32_t strip_seek(struct strip *s, uint64_t chunk)
{
	uint64_t n = cas_blob_layout(strip_blob(s, s->blob_idx))->n_chunks;

	while (chunk - s->blob_begin >= n) {
		s->blob_begin += n;
		s->blob_idx++;
		n = cas_blob_layout(strip_blob(s, s->blob_idx))->n_chunks;
	}
	return (uint32_t)(chunk - s->blob_begin);
}

static void draw_cell(struct strip *s, uint64_t begin, uint64_t end, char *ret_cell)
{
	const uint64_t n_looks = end - begin < CELL_SAMPLES ? end - begin : CELL_SAMPLES;
	uint64_t n_present = 0, n_seen = 0;

	ret_cell[1] = '.';
	for (uint64_t i = 0; i < n_looks; i++) {
		const uint32_t idx = strip_seek(s, begin + i * (end - begin) / n_looks);
		const struct cas_blob *blob = strip_blob(s, s->blob_idx);

		if (!lazy_image_names(s->image, s->blob_idx, idx))
			continue;
		n_seen++;
		if (cas_blob_is_present(blob, idx)) {
			n_present++;
			if (ret_cell[1] == '.' && !cas_blob_is_ready(blob, idx))
				ret_cell[1] = 's';
		}
	}
	ret_cell[0] = BARE;
	if (n_seen > 0)
		ret_cell[0] = (char)('0' + n_present * 9 / n_seen);
}

/* Where no look fell on a chunk, it is as beside it. */
static void fill_bare_cells(char *cells, bool whole)
{
	char beside = whole ? '9' : '0';

	for (char *at = cells; *at != '\0'; at += 2) {
		if (*at != BARE) {
			beside = *at;
			break;
		}
	}
	for (char *at = cells; *at != '\0'; at += 2) {
		if (*at == BARE)
			*at = beside;
		beside = *at;
	}
}

/* The cell that a chunk of the strip is in: the inverse of where cells begin. */
static uint64_t cell_of(const struct strip *s, uint64_t n_cells, uint64_t chunk)
{
	uint64_t cell = chunk * n_cells / s->n_chunks;

	while ((cell + 1) * s->n_chunks / n_cells <= chunk)
		cell++;
	return cell;
}

/* The first chunk of a unit, or the last. @return false: there is no such unit */
static bool chunk_of_unit(const struct blob_layout *l, uint32_t unit_idx, bool last,
                          uint32_t *ret_chunk)
{
	struct unit_rec u;

	if (unit_idx >= l->n_units || !layout_unit(l, unit_idx, &u) || u.n_members == 0)
		return false;
	*ret_chunk = layout_member(l, &u, last ? u.n_members - 1 : 0);
	return true;
}

/* Looks at samples would miss what few chunks are on their way: so each question marks its cells.
 * Of several those that look whole are, most likely: what has come is still part of the question.
 */
static void mark_question(const struct strip *s, const struct fetch_question *q,
                          const struct cas_blob *blob, uint64_t blob_begin, char *cells)
{
	const struct blob_layout *l = cas_blob_layout(blob);
	const uint64_t n_cells = strlen(cells) / 2;
	uint32_t first = 0, last = 0;
	uint64_t from, to;

	if (q->n_units == 0 || !chunk_of_unit(l, q->first_unit, false, &first) ||
	    !chunk_of_unit(l, q->first_unit + q->n_units - 1, true, &last))
		return;
	from = cell_of(s, n_cells, blob_begin + first);
	to = cell_of(s, n_cells, blob_begin + (last > first ? last : first));
	for (uint64_t i = from; i <= to; i++) {
		if (cells[2 * i] != '9' || from == to)
			cells[2 * i + 1] = 'f';
	}
}

static void mark_questions(const struct strip *s, const struct questions *questions, char *cells)
{
	uint64_t blob_begin = 0;

	for (uint32_t i = 0; i < s->image->n_blobs; i++) {
		const struct cas_blob *blob = strip_blob(s, i);

		for (uint32_t k = 0; k < questions->n; k++)
			if (strcmp(questions->list[k].blob_key, cas_blob_key(blob)) == 0)
				mark_question(s, &questions->list[k], blob, blob_begin, cells);
		blob_begin += cas_blob_layout(blob)->n_chunks;
	}
}

/* Of a blob: how many of its chunks the image names, and how many of those are here. */
static void count_named(const struct strip *s, uint32_t blob_idx, uint64_t *n_named,
                        uint64_t *n_ready)
{
	const struct cas_blob *blob = strip_blob(s, blob_idx);
	const struct bitmap *named = s->image->named[blob_idx];
	const uint32_t n_described = cas_blob_n_described(blob);
	const uint32_t n = named != NULL ? bitmap_count(named) : n_described;

	*n_named += n;
	if (n == n_described) { /* no other image names more: counted a word at a time */
		*n_ready += cas_blob_n_ready(blob);
		return;
	}
	for (uint32_t i = bitmap_next_set(named, 0); i < named->n_bits;
	     i = bitmap_next_set(named, i + 1))
		*n_ready += cas_blob_is_present(blob, i);
}

static void add_strip(json_t *mount, const struct lazy_image *image,
                      const struct questions *questions)
{
	struct strip s = { .image = image };
	char cells[2 * CELLS + 1] = "";
	uint64_t n_named = 0, n_ready = 0;
	uint64_t n_cells = 0;

	for (uint32_t i = 0; i < image->n_blobs; i++) {
		s.n_chunks += cas_blob_layout(strip_blob(&s, i))->n_chunks;
		count_named(&s, i, &n_named, &n_ready);
	}
	n_cells = s.n_chunks < CELLS ? s.n_chunks : CELLS;
	for (uint64_t i = 0; i < n_cells; i++)
		draw_cell(&s, i * s.n_chunks / n_cells, (i + 1) * s.n_chunks / n_cells,
		          &cells[2 * i]);
	fill_bare_cells(cells, n_ready == n_named);
	mark_questions(&s, questions, cells);
	json_set_u64(mount, "chunks", n_named);
	json_set_u64(mount, "chunks_ready", n_ready);
	json_set_text(mount, "strip", cells);
}

static json_t *mount_live(const struct mounted *m, const struct questions *questions)
{
	json_t *mount = json_object();

	json_set_text(mount, "dir", m->rec.dir);
	json_set_text(mount, "state", mount_state_name(m->state));
	if (m->state == MOUNT_UP)
		json_set_text(mount, "as", m->erofs ? "erofs" : "tree");
	if (m->state == MOUNT_DOWN)
		json_set_text(mount, "error", m->why.msg);
	if (m->image != NULL) {
		json_set_text(mount, "name", m->image->name);
		json_set_text(mount, "digest", m->image->digest);
		add_strip(mount, m->image, questions);
	}
	return mount;
}

/* Where not all are told: first those that are down, then those on their way, then the others. */
enum need { NEED_HELP, NEED_TIME, NEED_NOTHING, N_NEEDS };

static enum need need_of(const struct mounted *m)
{
	if (m->state == MOUNT_DOWN)
		return NEED_HELP;
	return m->state == MOUNT_UP ? NEED_NOTHING : NEED_TIME;
}

static json_t *mounts_live(const struct agent *agent, const struct questions *questions)
{
	json_t *list = json_array();

	for (int need = NEED_HELP; need < N_NEEDS; need++) {
		for (const struct mounted *m = mounts_first(agent->mounts);
		     m != NULL && json_array_size(list) < MOUNTS_MAX; m = m->next) {
			if ((int)need_of(m) == need)
				(void)json_array_append_new(list, mount_live(m, questions));
		}
	}
	return list;
}

/* ---- questions and peers ---- */

static json_t *questions_live(const struct questions *questions)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < questions->n; i++) {
		const struct fetch_question *q = &questions->list[i];
		json_t *question = json_object();

		json_set_text(question, "blob", q->blob_key);
		json_set_u64(question, "first_unit", q->first_unit);
		json_set_u64(question, "n_units", q->n_units);
		json_set_text(question, "source", q->source);
		(void)json_object_set_new(question, "reader", json_boolean(q->reader));
		json_set_u64(question, "since_us", q->since_us);
		json_set_text(question, "detail", q->detail);
		(void)json_array_append_new(list, question);
	}
	return list;
}

json_t *live_document(struct agent *agent)
{
	struct questions *questions = xcalloc(1, sizeof(*questions));
	json_t *document = json_object();

	questions->n = fetch_questions(agent->fetch, questions->list, QUESTIONS_MAX);
	json_set_text(document, "version", SHOAL_VERSION);
	json_set_text(document, "node", agent->peer != NULL ? peer_self_name(agent->peer) : "");
	(void)json_object_set_new(document, "ready", json_boolean(agent_is_ready(agent)));
	add_sums(document, agent);
	(void)json_object_set_new(document, "mounts", mounts_live(agent, questions));
	json_set_u64(document, "n_mounts", mounts_count(agent->mounts));
	(void)json_object_set_new(document, "questions", questions_live(questions));
	(void)json_object_set_new(document, "peers", api_peers_list(agent));
	free(questions);
	return document;
}

json_t *live_document_with_past(struct agent *agent)
{
	json_t *document = live_document(agent);

	(void)json_object_set_new(document, "past",
	                          past_tell(agent->past, json_u64(document, "uptime_ms")));
	return document;
}
