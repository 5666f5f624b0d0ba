/*
 * serve: GETs of others: the proof is checked, then chunks go out as the connection asks for them:
 * read and checked by a worker, one piece at a time in memory.
 *
 *   GET --list known--> proof --right--> GRANT, stream: pull -> read -> put ... -> END
 *    `--by names--> a worker finds them --^  `--wrong--> END (DENIED)
 *                   (few of a peer at a time: nothing is proven yet)
 *
 * What is on its way here (a lease, or from another holder) may be waited for: it is sent when it
 * is ready; when it comes no more, that is a MISS.
 */
#include "bytes.h"
#include "mem.h"
#include "serve_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define SERVES_MAX      1024              /* of all connections together */
#define SERVES_TOP      2048              /* ... also of peers with less than their floor */
#define SERVES_FLOOR    4                 /* of a peer, whatever others have */
#define SERVES_OWN      WIRE_REQUESTS_MAX /* of a peer, with those that a worker still has */
#define NAMES_AT_ONCE   4                 /* GETs by names of a peer that workers have */
#define WRONG_PROOFS    8                 /* in a row: then the connection is closed */
#define LOOK_NS         (5 * NS_PER_MS)   /* between two looks at what is waited for */
#define CROSSING_NS     (250 * NS_PER_MS) /* that one answer may be later than another */
#define DEADLINE_MAX_MS 60000U
#define BUSY_RETRY_MS   50

static void next_piece(struct serve *s);

static void send_end(struct link *l, uint32_t req, enum wire_status status, uint32_t retry_ms)
{
	const struct wire_msg msg = {
		.type = WIRE_END,
		.u.end = { .req = req, .status = (uint8_t)status, .retry_ms = retry_ms },
	};

	conn_send(l->conn, &msg);
}

static void serve_free(struct serve *s)
{
	DL_DELETE(s->p->serves, s);
	if (s->known != NULL)
		known_put(s->known);
	free(s);
	/* a drain may be waiting for this */
}

/* Nobody listens any more. What a worker has is freed when it is back. */
static void let_go(struct serve *s)
{
	s->closed = true;
	s->stream = NULL;
	peer_work_soon(s->p);
	if (!s->busy)
		serve_free(s);
}

/* Deadlines of who asks move as chunks arrive there: it has this long for each piece. */
static void move_end(struct serve *s)
{
	s->end_ns = peer_now_ns(s->p) + 2 * (s->deadline_ms * NS_PER_MS);
}

static void on_pull(void *arg, struct conn_stream *stream)
{
	struct serve *s = arg;

	(void)stream;
	s->pulled = true;
	move_end(s);
	next_piece(s);
}

static void on_closed(void *arg)
{
	let_go(arg);
}

static const struct stream_ops stream_ops = { .pull = on_pull, .closed = on_closed };

static void finish(struct serve *s)
{
	const enum wire_status status = s->any_missed ? WIRE_NOT_HERE : WIRE_DONE;

	stream_end(&s->stream, status, 0);
	peer_work_soon(s->p);
	serve_free(s);
}

static void send_miss(struct serve *s, const struct wire_set *missed)
{
	const struct wire_msg msg = { .type = WIRE_MISS,
		                      .u.miss = { .req = s->req, .set = *missed } };

	s->any_missed = true;
	conn_send(s->link->conn, &msg);
}

/* ---- pieces ---- */

static void read_after(struct job *job)
{
	struct serve *s = container_of(job, struct serve, job);
	struct piece *piece = &s->piece;

	s->busy = false;
	if (s->closed) {
		free(piece->bytes);
		serve_free(s);
		return;
	}
	if (!set_empty(&piece->missed))
		send_miss(s, &piece->missed);
	if (piece->n_items > 0) {
		s->pulled = false;
		stream_put_chunks(s->stream, piece->items, piece->n_items, piece->bytes);
	} else {
		free(piece->bytes);
	}
	piece->bytes = NULL;
	next_piece(s);
}

/* The next position, and small ones behind it, as long as they fit into one frame. */
static uint32_t choose(struct serve *s)
{
	const uint32_t most_bytes = conn_frame_bytes(s->link->conn);
	struct piece *piece = &s->piece;
	uint32_t bytes = 0;
	uint32_t pos = set_next(&s->ready, 0);

	*piece = (struct piece){ .missed = set_none(s->ready.n) };
	for (; pos < s->ready.n; pos = set_next(&s->ready, pos + 1)) {
		const uint32_t size = s->targets[pos].plain_size_bytes;

		if (piece->n_chosen > 0 && bytes + size > most_bytes)
			break;
		if (piece->n_chosen == ARRAY_LEN(piece->chosen))
			break;
		piece->chosen[piece->n_chosen++] = (uint16_t)pos;
		bytes += size;
		if (bytes > most_bytes)
			break;
	}
	return bytes;
}

/* Who waits for the budget longest has of it first. */
static void to_the_end(struct serve *s)
{
	DL_DELETE(s->p->serves, s);
	DL_APPEND(s->p->serves, s);
}

static void next_piece(struct serve *s)
{
	uint32_t bytes;

	if (s->stream == NULL || !s->pulled || s->busy)
		return;
	if (set_empty(&s->ready)) {
		if (set_empty(&s->waiting)) {
			finish(s);
			return;
		}
		s->pulled = false; /* others have the room meanwhile */
		stream_pass(s->stream);
		return;
	}
	bytes = choose(s);
	if (!stream_reserve(s->stream, bytes)) {
		s->pulled = false;
		return;
	}
	s->due_ns = rate_take(&s->p->upload, peer_now_ns(s->p), bytes,
	                      (s->flags & WIRE_GET_READER) != 0);
	if (s->due_ns != 0)
		return; /* the budget is used up: later */
	to_the_end(s);
	for (uint32_t i = 0; i < s->piece.n_chosen; i++)
		wire_set_remove(&s->ready, s->piece.chosen[i]);
	s->busy = true;
	serve_choose_form(s);
	s->job = (struct job){ .work = serve_read_work, .after = read_after, .prio = s->prio };
	pool_submit(s->p->opts.pool, &s->job);
}

/* ---- the proof ---- */

static bool proof_is_right(const struct serve *s, const struct wire_get *get,
                           uint8_t ret_key[PROOF_KEY_BYTES])
{
	struct proof_key *k = proof_key_new();
	uint8_t proof[WIRE_MAC_BYTES];

	for (uint32_t pos = set_next(&s->ready, 0); pos < s->ready.n;
	     pos = set_next(&s->ready, pos + 1)) {
		const struct target *t = &s->targets[pos];

		proof_key_add(k, t->alg, t->digest, t->plain_size_bytes);
	}
	proof_key_end(&k, ret_key);
	proof_of_get(conn_binding(s->link->conn), false, ret_key, get, proof);
	return proof_equal(proof, get->proof);
}

/* Each costs as much as a right one: who is wrong again and again is not listened to. The log has
 * it once in each time of distrust. */
static void deny(struct serve *s)
{
	struct link *l = s->link;
	char name[PEER_NAME_BYTES];

	wire_id_text(&l->id, name);
	if (holders_trusted(s->p->holders, &l->id))
		log_warn(s->p->opts.log, "a peer asked for chunks without knowing their digests",
		         "peer=%s", name);
	peer_blame(s->p, &l->id, 0, HOLDERS_LIED);
	send_end(l, s->req, WIRE_DENIED, 0);
	serve_free(s);
	if (++l->n_wrong_proofs == WRONG_PROOFS)
		conn_close(l->conn, WIRE_BYE_PROTOCOL, "GETs without knowing the digests");
}

/* All its targets are known: check, and begin to send. */
static void grant(struct serve *s, const struct wire_get *get)
{
	struct wire_msg msg = { .type = WIRE_GRANT, .u.grant = { .req = s->req } };
	uint8_t key[PROOF_KEY_BYTES];

	if (!proof_is_right(s, get, key)) {
		deny(s);
		return;
	}
	s->link->n_wrong_proofs = 0;
	to_the_end(s);
	proof_of_grant(conn_binding(s->link->conn), false, key, get->proof, msg.u.grant.mac);
	conn_send(s->link->conn, &msg);
	serve_sort(s);
	if (conn_serve(s->link->conn, s->req,
	               (s->flags & WIRE_GET_READER) ? CONN_READER : CONN_PREFETCH, &stream_ops, s,
	               &s->stream) != 0)
		serve_free(s); /* cancelled meanwhile */
}

/* ---- by list, by names ---- */

static struct serve *serve_new(struct peer *p, struct link *l, const struct wire_get *get)
{
	struct serve *s = xcalloc(1, sizeof(*s));

	s->p = p;
	s->link = l;
	s->asker = l->id;
	s->req = get->req;
	s->flags = get->flags;
	s->deadline_ms = get->deadline_ms == 0 || get->deadline_ms > DEADLINE_MAX_MS
	                         ? DEADLINE_MAX_MS
	                         : get->deadline_ms;
	s->prio = (get->flags & WIRE_GET_READER) ? JOB_READER : JOB_NORMAL;
	s->ready = get->part.set;
	s->waiting = set_none(get->part.set.n);
	s->crossing_ns = peer_now_ns(p) + CROSSING_NS;
	move_end(s);
	DL_APPEND(p->serves, s);
	return s;
}

static void get_list(struct peer *p, struct link *l, const struct wire_get *get)
{
	const struct blob_layout *layout;
	const struct segment *segment;
	uint32_t segment_idx;
	struct known *k;
	struct wire_id names[WIRE_LIST_MAX];
	struct serve *s;

	if (!known_list(p->known, &get->part.list, &k, &segment_idx)) {
		send_end(l, get->req, WIRE_UNKNOWN_LIST, 0);
		return;
	}
	segment = segments_at(k->segments, segment_idx);
	if (segment->n_chunks != get->part.set.n || set_empty(&get->part.set)) {
		send_end(l, get->req, WIRE_FAILED, 0);
		return;
	}
	s = serve_new(p, l, get);
	s->known = known_get(p->known, k->layout);
	s->list = get->part.list;
	layout = k->layout;
	segments_names(k->segments, segment_idx, names);
	for (uint16_t pos = 0; pos < segment->n_chunks; pos++) {
		const struct chunk_rec *c =
			&layout->chunks[segments_chunk(k->segments, segment_idx, pos)];

		s->targets[pos].name = names[pos];
		s->targets[pos].alg = layout->digest_alg;
		memcpy(s->targets[pos].digest, c->digest, DIGEST_BYTES);
		s->targets[pos].plain_size_bytes = c->plain_size_bytes;
	}
	grant(s, get);
}

static void find_after(struct job *job);

/* Look for the names of a peer's GETs whose turn it is. */
static void find_next(struct peer *p, const struct wire_id *asker)
{
	struct serve *s;
	uint32_t n = 0;

	DL_FOREACH(p->serves, s)
	n += s->finding == FINDING_NOW && id_equal(&s->asker, asker);
	DL_FOREACH(p->serves, s)
	{
		if (n >= NAMES_AT_ONCE)
			return;
		if (s->finding != FINDING_LATER || !id_equal(&s->asker, asker))
			continue;
		s->finding = FINDING_NOW;
		s->busy = true;
		s->job = (struct job){ .work = serve_find_work,
			               .after = find_after,
			               .prio = JOB_NORMAL }; /* behind this node's own readers */
		pool_submit(p->opts.pool, &s->job);
		n++;
	}
}

static void find_after(struct job *job)
{
	struct serve *s = container_of(job, struct serve, job);
	struct wire_get get = {
		.req = s->req, .flags = s->flags, .by_names = true, .part = { .set = s->ready }
	};
	struct wire_id names[WIRE_LIST_MAX];

	s->busy = false;
	s->finding = FINDING_OVER;
	find_next(s->p, &s->asker);
	if (s->closed) {
		serve_free(s);
		return;
	}
	if (!set_empty(&s->piece.missed)) {
		send_miss(s, &s->piece.missed);
		send_end(s->link, s->req, WIRE_NOT_HERE, 0);
		serve_free(s);
		return;
	}
	for (uint32_t i = 0; i < s->ready.n; i++)
		names[i] = s->targets[i].name;
	get.names = names;
	memcpy(get.proof, s->proof, sizeof(get.proof));
	grant(s, &get);
}

static void get_names(struct peer *p, struct link *l, const struct wire_get *get)
{
	struct serve *s = serve_new(p, l, get);

	for (uint16_t i = 0; i < get->part.set.n; i++)
		s->targets[i].name = get->names[i];
	memcpy(s->proof, get->proof, sizeof(s->proof));
	s->piece.missed = set_none(s->ready.n);
	s->finding = FINDING_LATER;
	find_next(p, &l->id);
}

/* What was cancelled and is still with a worker counts: it holds memory, and a place there. */
static bool has_room(const struct peer *p, const struct wire_id *asker)
{
	const struct serve *s;
	uint32_t n = 0;
	uint32_t n_own = 0;

	DL_FOREACH(p->serves, s)
	{
		n++;
		n_own += id_equal(&s->asker, asker);
	}
	return n < SERVES_TOP && n_own < SERVES_OWN && (n < SERVES_MAX || n_own < SERVES_FLOOR);
}

void serve_get(struct peer *p, struct link *l, const struct wire_get *get)
{
	if (p->draining || p->stopping)
		send_end(l, get->req, WIRE_DRAINING, 0);
	else if (!has_room(p, &l->id))
		send_end(l, get->req, WIRE_IS_BUSY, BUSY_RETRY_MS);
	else if (get->by_names)
		get_names(p, l, get);
	else
		get_list(p, l, get);
}

/* ---- ends from outside ---- */

void serve_cancelled(struct peer *p, struct link *l, uint32_t req)
{
	struct serve *s;
	struct serve *next;

	DL_FOREACH_SAFE(p->serves, s, next)
	{
		if (s->link == l && s->req == req && s->stream == NULL && !s->closed)
			let_go(s);
	}
}

void serve_link_closed(struct peer *p, const struct link *l)
{
	struct serve *s;
	struct serve *next;

	DL_FOREACH_SAFE(p->serves, s, next)
	{
		if (s->link == l && !s->closed)
			let_go(s);
	}
}

void serves_free(struct peer *p)
{
	struct serve *s;
	struct serve *next;

	DL_FOREACH_SAFE(p->serves, s, next)
	{
		free(s->piece.bytes);
		serve_free(s);
	}
}

/* ---- what is waited for ---- */

void serve_on_ready(struct peer *p, const struct known *k, uint32_t segment_idx, uint16_t pos)
{
	const struct wire_id *list = &segments_at(k->segments, segment_idx)->list;
	struct serve *s;
	struct serve *next;

	DL_FOREACH_SAFE(p->serves, s, next)
	{
		if (s->known == NULL || !wire_set_has(&s->waiting, pos) ||
		    !id_equal(&s->list, list))
			continue;
		wire_set_remove(&s->waiting, pos);
		wire_set_add(&s->ready, pos);
		if (s->stream != NULL)
			stream_wake(s->stream);
	}
}

/* What is not coming any more. The last word on each is the worker's: it may have come. */
static void give_up_waiting(struct serve *s, uint64_t now_ns)
{
	const struct wire_id *asker = now_ns < s->crossing_ns ? NULL : &s->asker;
	const struct wire_set over = source_not_coming(s->p, &s->list, &s->waiting, asker);

	if (set_empty(&over))
		return;
	s->waiting = set_minus(s->waiting, &over);
	s->ready = set_or(s->ready, &over);
	stream_wake(s->stream);
}

/* Nobody has any use of it now, or somebody takes it too slowly. */
static void break_off(struct serve *s)
{
	stream_break(&s->stream, WIRE_CANCELLED);
	let_go(s);
}

/* Each round of the loop may have ended what somebody waits for; to look costs, for each of them.
 */
static bool may_look(struct peer *p, uint64_t now)
{
	if (now >= p->look_ns) {
		p->look_ns = now + LOOK_NS;
		p->look_again = false;
		return true;
	}
	p->look_again = true;
	return false;
}

void serve_work(struct peer *p)
{
	const uint64_t now = peer_now_ns(p);
	const bool looks = may_look(p, now);
	struct serve *s;
	struct serve *next;

	DL_FOREACH_SAFE(p->serves, s, next)
	{
		if (s->closed || s->stream == NULL)
			continue;
		if (looks && !set_empty(&s->waiting))
			give_up_waiting(s, now);
		if (now >= s->end_ns)
			break_off(s);
		else if (s->due_ns <= now)
			next_piece(s);
	}
}

uint64_t serve_due_ns(struct peer *p)
{
	const uint64_t now = peer_now_ns(p);
	uint64_t due = UINT64_MAX;
	const struct serve *s;

	DL_FOREACH(p->serves, s)
	{
		if (s->stream != NULL)
			due = min_u64(due, s->end_ns);
		if (s->stream != NULL && p->look_again && !set_empty(&s->waiting))
			due = min_u64(due, p->look_ns);
		if (s->stream != NULL && now < s->crossing_ns && !set_empty(&s->waiting))
			due = min_u64(due, s->crossing_ns);
		if (s->due_ns != 0 && s->pulled && !s->busy)
			due = min_u64(due, s->due_ns);
	}
	return due;
}
