/*
 * registry_way: which owner's way a request goes, and which it tries next.
 *
 * Each of a row is tried once, without a rest. A refusal is held against a way only when another
 * is not refused; that no answer came, at once: who waited for it in vain may have no time left for
 * another, and the next request has to begin elsewhere.
 *
 * If none works, the way that has worked last has the word: what the others say may be of a server
 * that is no registry. Where none has ever worked, trouble counts before a refusal, for it may
 * pass.
 */
#include "registry_impl.h"
#include <errno.h>

#define LATE_NS (50 * NS_PER_MS) /* before the deadline: no time for another way */

static struct ways *ways_of(const struct registry_req *req)
{
	return &req->registry->auths.ways;
}

static void drop_row(struct registry_req *req)
{
	for (uint32_t i = 0; i < req->row.n_tried; i++)
		way_unref(ways_of(req), &req->row.tried[i]);
	req->row = (struct way_row){ .n_tried = 0 };
}

static void add_to_row(struct registry_req *req)
{
	way_ref(req->way);
	req->row.tried[req->row.n_tried++] = req->way;
}

static void set_way(struct registry_req *req, struct way *way)
{
	if (way != req->way) {
		way_ref(way);
		way_unref(ways_of(req), &req->way);
		req->way = way;
		req->no_cached_target = false;
	}
	add_to_row(req);
	req->reach = way_reach(way, req->asked);
}

static bool is_late(const struct registry_req *req, uint64_t now_ns)
{
	return req->want.deadline_ns != 0 && now_ns + LATE_NS >= req->want.deadline_ns;
}

/* The first n of the row. */
static void mark_failed(struct registry_req *req, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		ways_failed(ways_of(req), req->asked, req->repository, req->row.tried[i]);
}

void registry_way_first(struct registry_req *req)
{
	drop_row(req);
	set_way(req, ways_next(ways_of(req), req->asked, req->repository, NULL, 0));
}

bool registry_way_next(struct registry_req *req, uint64_t now_ns)
{
	const struct way_row *row = &req->row;
	struct way *next;

	next = ways_next(ways_of(req), req->asked, req->repository, row->tried, row->n_tried);
	if (next == NULL)
		return false;
	if (is_late(req, now_ns)) { /* the others may have said yes */
		req->result = -EAGAIN;
		req->err.code = EAGAIN;
		return false;
	}
	if (row->n_tried == WAYS_IN_A_ROW) { /* the rest of them have their turn in the next row */
		mark_failed(req, row->n_tried);
		return false;
	}
	log_debug(req->registry->opts.log, "another mount's way to the registry is tried",
	          "host=%s repository=%s why=%s", req->asked->name, req->repository,
	          LOG_Q(req->err.msg));
	set_way(req, next);
	return true;
}

void registry_way_failed(struct registry_req *req, bool may_pass, int r, const struct err *why,
                         uint64_t now_ns)
{
	struct way_row *row = &req->row;
	const uint64_t at = ways_worked_at(ways_of(req), req->asked, req->repository, req->way);

	if (row->n_words++ == 0 || at > row->word_worked_at ||
	    (at == row->word_worked_at && may_pass && !row->word_may_pass)) {
		row->word_worked_at = at;
		row->word_may_pass = may_pass;
		req->result = r;
		req->err = *why;
	}
	/* What the others before it have left it may not have been enough. */
	if (may_pass && (row->n_tried == 1 || !is_late(req, now_ns)))
		ways_failed(ways_of(req), req->asked, req->repository, req->way);
}

void registry_way_worked(struct registry_req *req)
{
	mark_failed(req, req->row.n_tried - 1);
	ways_worked(ways_of(req), req->asked, req->repository, req->way);
	drop_row(req);
	add_to_row(req);
}

void registry_way_end(struct registry_req *req)
{
	drop_row(req);
	way_unref(ways_of(req), &req->way);
}
