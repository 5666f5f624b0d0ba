/*
 * peer_meta: manifests, bootstraps and blobs' tails for other agents, from the shelf that the agent
 * gave. What may be given is the shelf's to say.
 *
 *   META_GET --a worker opens it--> stream: pull -> copy -> put ... -> END -> a worker closes it
 *                `--not here, withheld--> END
 *
 * At most one piece of a request is in memory, of what all connections may hold; the upload budget
 * counts it.
 */
#include "bytes.h"
#include "mem.h"
#include "meta_source.h"
#include "peer_impl.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define META_SERVES_MAX  32U             /* of all connections together */
#define META_SERVES_OWN  8U              /* of a peer, once half of them are taken */
#define META_HINTS_MAX   8U              /* of them all, for hints */
#define META_TAKE_NS     (30 * NS_PER_S) /* for a piece */
#define META_PIECE_BYTES (128U << 10)
#define BUSY_RETRY_MS    100

struct meta_serve {
	struct meta_serve *prev, *next;
	struct peer *p;
	struct link *link; /* not closed */
	struct wire_id asker;
	uint32_t req;
	enum meta_kind kind;
	char key[WIRE_META_KEY_MAX + 1];
	struct conn_stream *stream;
	bool closed; /* nobody listens any more */
	bool pulled;
	uint64_t due_ns; /* the budget is used up until then; 0: it is not */
	uint64_t end_ns; /* a piece was put, and is to be taken by then */
	/* a worker has these while busy */
	bool busy;
	struct job job;
	int r;
	struct err err;
	struct meta_item item;
	uint64_t offset;
	uint8_t *piece;
	uint32_t piece_bytes;
};

static_assert((int)META_MANIFEST == WIRE_META_MANIFEST &&
                      (int)META_BOOT_LAYER == WIRE_META_BOOTSTRAP &&
                      (int)META_BLOB_TAIL == WIRE_META_BLOB &&
                      (int)META_FIRST_READS == WIRE_META_READS,
              "the wire's numbers");
static_assert(META_KEY_MAX <= WIRE_META_KEY_MAX, "a key fits");

static struct meta_serve *serve_of(struct job *job)
{
	struct meta_serve *ms = container_of(job, struct meta_serve, job);

	ms->busy = false;
	return ms;
}

static void submit(struct meta_serve *ms, void (*work)(struct job *job),
                   void (*after)(struct job *job))
{
	ms->busy = true;
	ms->job = (struct job){ .work = work, .after = after, .prio = JOB_NORMAL };
	pool_submit(ms->p->opts.pool, &ms->job);
}

static void send_end(struct peer *p, struct link *l, uint32_t req, enum wire_status status)
{
	const struct wire_msg end = {
		.type = WIRE_END,
		.u.end = { .req = req,
		           .status = (uint8_t)status,
		           .retry_ms = status == WIRE_IS_BUSY ? BUSY_RETRY_MS : 0 },
	};

	conn_send(l->conn, &end);
	peer_work_soon(p); /* a drain may be waiting for this */
}

/* ---- the end ---- */

static void serve_free(struct meta_serve *ms)
{
	DL_DELETE(ms->p->meta_serves, ms);
	peer_work_soon(ms->p);
	free(ms->piece);
	free(ms);
}

static void close_work(struct job *job)
{
	struct meta_serve *ms = container_of(job, struct meta_serve, job);
	struct meta_shelf *shelf = ms->p->opts.shelf;

	shelf->ops->close(shelf, &ms->item);
	ms->item = (struct meta_item){ .data = NULL };
}

static void close_after(struct job *job)
{
	serve_free(serve_of(job));
}

static void part(struct meta_serve *ms)
{
	ms->closed = true;
	if (ms->item.data != NULL)
		submit(ms, close_work, close_after);
	else
		serve_free(ms);
}

/* What a worker has comes back first. */
static void let_go(struct meta_serve *ms)
{
	ms->closed = true;
	ms->stream = NULL;
	if (!ms->busy)
		part(ms);
}

/* ---- pieces ---- */

static void piece_work(struct job *job)
{
	struct meta_serve *ms = container_of(job, struct meta_serve, job);

	ms->piece = xcalloc(1, ms->piece_bytes);
	memcpy(ms->piece, ms->item.data + ms->offset, ms->piece_bytes);
}

static void piece_after(struct job *job)
{
	struct meta_serve *ms = serve_of(job);
	const struct wire_meta meta = { .offset = ms->offset,
		                        .total_bytes = ms->item.size_bytes,
		                        .is_public = ms->item.is_public };

	if (ms->closed) {
		part(ms);
		return;
	}
	ms->pulled = false;
	ms->offset += ms->piece_bytes;
	ms->end_ns = peer_now_ns(ms->p) + META_TAKE_NS;
	stream_put_meta(ms->stream, &meta, ms->piece, ms->piece_bytes);
	ms->piece = NULL;
	if (ms->offset < ms->item.size_bytes)
		return;
	stream_end(&ms->stream, WIRE_DONE, 0);
	part(ms);
}

static void next_piece(struct meta_serve *ms)
{
	if (ms->stream == NULL || !ms->pulled || ms->busy)
		return;
	ms->piece_bytes = (uint32_t)min_u64(ms->item.size_bytes - ms->offset, META_PIECE_BYTES);
	if (!stream_reserve(ms->stream, ms->piece_bytes)) {
		ms->pulled = false;
		return;
	}
	ms->due_ns = rate_take(&ms->p->upload, peer_now_ns(ms->p), ms->piece_bytes, true);
	if (ms->due_ns == 0)
		submit(ms, piece_work, piece_after);
}

static void on_pull(void *arg, struct conn_stream *stream)
{
	struct meta_serve *ms = arg;

	(void)stream;
	ms->pulled = true;
	next_piece(ms);
	peer_work_soon(ms->p);
}

static void on_closed(void *arg)
{
	let_go(arg);
}

static const struct stream_ops stream_ops = { .pull = on_pull, .closed = on_closed };

/* ---- begin ---- */

static void open_work(struct job *job)
{
	struct meta_serve *ms = container_of(job, struct meta_serve, job);
	struct meta_shelf *shelf = ms->p->opts.shelf;

	ms->r = shelf->ops->open(shelf, ms->kind, ms->key, &ms->item, &ms->err);
	if (ms->r != META_FOUND)
		ms->item = (struct meta_item){ .data = NULL };
}

static enum wire_status status_of(const struct meta_serve *ms)
{
	if (ms->r == META_WITHHELD)
		return WIRE_DENIED;
	return ms->r < 0 ? WIRE_FAILED : WIRE_NOT_HERE;
}

static void open_after(struct job *job)
{
	struct meta_serve *ms = serve_of(job);
	const bool found = ms->r == META_FOUND && ms->item.size_bytes > 0;

	if (ms->r < 0)
		log_warn(ms->p->opts.log, "metadata could not be given to a peer", "key=%s why=%s",
		         LOG_Q(ms->key), LOG_Q(ms->err.msg));
	if (!ms->closed && !found)
		send_end(ms->p, ms->link, ms->req, status_of(ms));
	ms->end_ns = peer_now_ns(ms->p) + META_TAKE_NS;
	if (ms->closed || !found ||
	    conn_serve(ms->link->conn, ms->req, CONN_READER, &stream_ops, ms, &ms->stream) != 0)
		part(ms);
}

/* What a worker still has counts. */
static bool has_room(const struct peer *p, const struct wire_id *asker, uint32_t kind)
{
	const struct meta_serve *ms;
	uint32_t n = 0;
	uint32_t n_own = 0;
	uint32_t n_hints = 0;

	DL_FOREACH(p->meta_serves, ms)
	{
		n++;
		n_own += id_equal(&ms->asker, asker);
		n_hints += ms->kind == META_FIRST_READS;
	}
	if (kind == WIRE_META_READS && (n_hints >= META_HINTS_MAX || n >= META_SERVES_MAX / 2))
		return false;
	return n < META_SERVES_MAX && (n < META_SERVES_MAX / 2 || n_own < META_SERVES_OWN);
}

void meta_get(struct peer *p, struct link *l, const struct wire_meta_get *get)
{
	struct meta_serve *ms;

	if (p->draining || p->stopping) {
		send_end(p, l, get->req, WIRE_DRAINING);
	} else if (p->opts.shelf == NULL || get->kind >= N_WIRE_META_KINDS) {
		send_end(p, l, get->req, WIRE_NOT_HERE);
	} else if (!has_room(p, &l->id, get->kind)) {
		send_end(p, l, get->req, WIRE_IS_BUSY);
	} else {
		ms = xcalloc(1, sizeof(*ms));
		ms->p = p;
		ms->link = l;
		ms->asker = l->id;
		ms->req = get->req;
		ms->kind = (enum meta_kind)get->kind;
		memcpy(ms->key, get->key, sizeof(ms->key));
		DL_APPEND(p->meta_serves, ms);
		submit(ms, open_work, open_after);
	}
}

/* ---- from outside ---- */

static void end_some(struct peer *p, const struct link *l, const uint32_t *req)
{
	struct meta_serve *ms;
	struct meta_serve *next;

	DL_FOREACH_SAFE(p->meta_serves, ms, next)
	{
		if (ms->link == l && !ms->closed && ms->stream == NULL &&
		    (req == NULL || ms->req == *req))
			let_go(ms);
	}
}

void meta_cancelled(struct peer *p, const struct link *l, uint32_t req)
{
	end_some(p, l, &req);
}

void meta_link_closed(struct peer *p, const struct link *l)
{
	end_some(p, l, NULL);
}

/* The other side has not taken the last piece. */
static bool is_waiting(const struct meta_serve *ms)
{
	return ms->stream != NULL && !ms->pulled && !ms->busy;
}

void meta_work(struct peer *p)
{
	const uint64_t now = peer_now_ns(p);
	struct meta_serve *ms;
	struct meta_serve *next;

	DL_FOREACH_SAFE(p->meta_serves, ms, next)
	{
		if (is_waiting(ms) && ms->end_ns <= now) {
			stream_break(&ms->stream, WIRE_CANCELLED);
			let_go(ms);
		} else if (ms->due_ns != 0 && ms->due_ns <= now) {
			next_piece(ms);
		}
	}
}

uint64_t meta_due_ns(const struct peer *p)
{
	uint64_t due = UINT64_MAX;
	const struct meta_serve *ms;

	DL_FOREACH(p->meta_serves, ms)
	{
		if (ms->due_ns != 0 && ms->pulled && !ms->busy && !ms->closed)
			due = min_u64(due, ms->due_ns);
		if (is_waiting(ms))
			due = min_u64(due, ms->end_ns);
	}
	return due;
}

void meta_fini(struct peer *p)
{
	struct meta_serve *ms;
	struct meta_serve *next;

	DL_FOREACH_SAFE(p->meta_serves, ms, next)
	{
		if (ms->item.data != NULL)
			p->opts.shelf->ops->close(p->opts.shelf, &ms->item);
		serve_free(ms);
	}
}
