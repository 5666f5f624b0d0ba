/*
 * source_lease: leases that homes gave this node: handed on to the engine, renewed by progress, and
 * given back when the engine is done. And at how many homes it waits for one.
 */
#include "bytes.h"
#include "home.h"
#include "mem.h"
#include "share.h"
#include "source_impl.h"
#include <stdlib.h>
#include <utlist.h>

#define PROGRESS_EVERY_NS (200 * NS_PER_MS)
#define PATIENCE_MIN_NS   (50 * NS_PER_MS)
#define PACE_FROM_BYTES   (128U << 10) /* fewer come in one burst, or just miss one */

static struct wire_lease lease_message(const struct lease_held *held)
{
	return (struct wire_lease){ .token = held->home_token,
		                    .progress_bytes = held->progress_bytes,
		                    .failed = held->failed,
		                    .part = known_part(held->known, held->segment_idx) };
}

struct wire_set lease_left(const struct lease_held *held)
{
	const struct wire_part here = known_present(held->known, held->segment_idx, held->blob);

	return set_minus(held->set, &here.set);
}

bool lease_speaks_of(const struct lease_held *held, const struct wire_id *list)
{
	bool any = id_equal(&segments_at(held->known->segments, held->segment_idx)->list, list);

	for (uint32_t i = 0; i < held->n_more; i++)
		any = any || id_equal(&held->more[i].list, list);
	return any;
}

bool lease_is_open(const struct seek *s)
{
	const struct lease_held *held;
	uint32_t n = 0;

	DL_FOREACH(s->req->p->leases, held)
	{
		if (!id_equal(&held->home, &s->ask_home))
			continue;
		n++;
		if (held->beyond == s->beyond && lease_speaks_of(held, &seek_segment(s)->list))
			return true;
	}
	return n >= HOME_LEASES_PER_PEER;
}

static void drop(struct peer *p, struct lease_held *held)
{
	DL_DELETE(p->leases, held);
	known_put(held->known);
	cas_blob_release(&held->blob);
	free(held->more);
	free(held);
}

void leases_free(struct peer *p)
{
	struct lease_held *held;
	struct lease_held *next;

	DL_FOREACH_SAFE(p->leases, held, next)
	drop(p, held);
}

/* What took long counts, what was soon there lets it sink. */
static void learn(uint64_t *usual_ns, uint64_t took_ns)
{
	*usual_ns = max_u64(took_ns, *usual_ns - *usual_ns / 16);
}

/* For each KiB. 0: too little came to tell. */
static uint64_t kib_ns_of(uint64_t took_ns, uint64_t come_bytes)
{
	return come_bytes < PACE_FROM_BYTES ? 0 : took_ns / (come_bytes >> 10);
}

/* Leases that brought little are counted together. */
static void learn_pace(struct peer *p, const struct lease_held *held)
{
	p->pace_ns += held->last_ns - held->first_ns;
	p->pace_bytes += held->come_bytes;
	if (p->pace_bytes < PACE_FROM_BYTES)
		return;
	learn(&p->origin_kib_ns, kib_ns_of(p->pace_ns, p->pace_bytes));
	p->pace_ns = p->pace_bytes = 0;
}

void lease_end(struct peer *p, struct lease_held *held)
{
	const struct wire_set left = lease_left(held);
	struct wire_lease msg = lease_message(held);

	msg.part.set = set_minus(held->set, &left);
	if (held->beyond && held->failed)
		zone_failed(p, held);
	if (held->longest_ns > 0) /* one word a lease: it brings many small ones at once */
		learn(&p->origin_chunk_ns, held->longest_ns);
	learn_pace(p, held);
	home_tell_lease(p, &held->home, WIRE_LEASE_END, &msg);
	drop(p, held);
}

static void close_one(struct peer *p, struct lease_held *held, bool ok)
{
	held->failed = held->failed || !ok;
	if (--held->n_open == 0)
		lease_end(p, held);
}

static struct lease_held *find(struct peer *p, uint64_t token)
{
	struct lease_held *held;

	DL_FOREACH(p->leases, held)
	{
		if (held->token == token)
			return held;
	}
	return NULL;
}

void source_lease_end(struct source *source, uint64_t token, bool ok)
{
	struct peer *p = container_of(source, struct peer, source);
	struct lease_held *held = find(p, token);

	if (held != NULL)
		close_one(p, held, ok);
}

void lease_renew(struct peer *p, struct lease_held *held)
{
	const struct wire_lease msg = lease_message(held);

	held->told_ns = peer_now_ns(p);
	home_tell_lease(p, &held->home, WIRE_LEASE_PROGRESS, &msg);
}

uint32_t lease_patience_ms(const struct peer *p)
{
	return (uint32_t)(max_u64(2 * p->origin_first_ns, PATIENCE_MIN_NS) / NS_PER_MS);
}

/* Of a lease that is at it so much is known: it takes that long at least. What small ones take says
 * nothing of a large one, of which nothing has come before all of it has. Where nothing is known,
 * who tells of progress is given as long as who tells nothing. */
uint32_t lease_usual_ms(const struct peer *p, uint32_t unit_bytes)
{
	const uint64_t now = peer_now_ns(p);
	uint64_t usual_ns = p->origin_chunk_ns;
	uint64_t kib_ns = p->origin_kib_ns;
	const struct lease_held *held;

	DL_FOREACH(p->leases, held)
	{
		if (held->progress_bytes == 0)
			continue;
		usual_ns = max_u64(usual_ns, max_u64(held->longest_ns, now - held->kept_ns));
		kib_ns = max_u64(kib_ns,
		                 kib_ns_of(held->last_ns - held->first_ns, held->come_bytes));
	}
	if (kib_ns > 0)
		usual_ns = max_u64(usual_ns, p->origin_first_ns + kib_ns * (unit_bytes >> 10));
	if (usual_ns == 0)
		return HOME_LEASE_TERM_MS;
	return (uint32_t)(min_u64(2 * usual_ns / NS_PER_MS, HOME_LEASE_OVERRIDE_MS - 1) + 1);
}

static void advance(struct peer *p, struct lease_held *held, uint32_t more_bytes)
{
	const uint64_t now = peer_now_ns(p);

	held->progress_bytes += more_bytes;
	if (held->beyond)
		zone_lease_progress(p, held, more_bytes);
	if (now - held->told_ns >= PROGRESS_EVERY_NS)
		lease_renew(p, held);
}

static void note_bytes(struct lease_held *held, uint32_t more_bytes, uint64_t now_ns)
{
	if (held->first_ns == 0)
		held->first_ns = now_ns;
	else
		held->come_bytes += more_bytes;
	held->last_ns = now_ns;
}

void source_lease_progress(struct source *source, uint64_t token, uint32_t more_bytes)
{
	struct peer *p = container_of(source, struct peer, source);
	struct lease_held *held = find(p, token);
	const uint64_t now = peer_now_ns(p);

	if (held == NULL)
		return;
	if (held->progress_bytes == 0)
		learn(&p->origin_first_ns, now - held->began_ns);
	note_bytes(held, more_bytes, now);
	advance(p, held, more_bytes);
}

bool lease_covers(const struct lease_held *held, const struct wire_id *list, uint16_t pos)
{
	if (wire_set_has(&held->set, pos) &&
	    id_equal(&segments_at(held->known->segments, held->segment_idx)->list, list))
		return true;
	for (uint32_t i = 0; i < held->n_more; i++) {
		if (wire_set_has(&held->more[i].set, pos) && id_equal(&held->more[i].list, list))
			return true;
	}
	return false;
}

struct wire_set leases_without(const struct peer *p, const struct wire_id *list,
                               const struct wire_set *set)
{
	const struct lease_held *held;
	struct wire_set rest = *set;

	DL_FOREACH(p->leases, held)
	{
		if (id_equal(&segments_at(held->known->segments, held->segment_idx)->list, list))
			rest = set_minus(rest, &held->set);
		for (uint32_t i = 0; i < held->n_more; i++) {
			if (id_equal(&held->more[i].list, list))
				rest = set_minus(rest, &held->more[i].set);
		}
	}
	return rest;
}

void leases_kept(struct peer *p, const struct wire_id *list, uint16_t pos)
{
	struct lease_held *held;

	DL_FOREACH(p->leases, held)
	{
		if (!lease_covers(held, list, pos))
			continue;
		held->longest_ns = max_u64(held->longest_ns, peer_now_ns(p) - held->kept_ns);
		held->kept_ns = peer_now_ns(p);
		advance(p, held, 1);
	}
}

void lease_cover_more(struct lease_held *held, const struct wire_id *list,
                      const struct wire_set *set)
{
	for (uint32_t i = 0; i < held->n_more; i++) {
		if (!id_equal(&held->more[i].list, list))
			continue;
		held->more[i].set = set_or(held->more[i].set, set);
		return;
	}
	held->more = xrealloc(held->more, held->n_more + (size_t)1, sizeof(held->more[0]));
	held->more[held->n_more++] = (struct lease_more){ .list = *list, .set = *set };
}

/* Members of a leased unit are the lease's business now, also those in a neighbouring segment. */
static void settle_unit(struct source_req *req, struct lease_held *held, uint32_t unit_idx)
{
	struct unit_rec u;

	if (!layout_unit(req->run->layout, unit_idx, &u))
		return;
	for (uint32_t i = 0; i < req->n_seeks; i++) {
		struct seek *s = &req->seeks[i];
		const struct wire_set set = unit_in_segment(s, &u);

		seek_settle(s, &set);
		if (s->segment_idx != held->segment_idx && !set_empty(&set))
			lease_cover_more(held, &seek_segment(s)->list, &set);
	}
}

static bool is_in_run(const struct unit_run *run, uint32_t unit_idx)
{
	return unit_idx >= run->first_unit && unit_idx - run->first_unit < run->n_units;
}

/* The next row of units that the lease covers, from position *pos on. */
bool lease_next_range(struct seek *s, const struct wire_set *set, uint32_t *pos,
                      struct source_lease *ret_range)
{
	const struct source_req *req = s->req;

	*ret_range = (struct source_lease){ .n_units = 0 };
	for (*pos = set_next(set, *pos); *pos < set->n; *pos = set_next(set, *pos + 1)) {
		const uint32_t unit_idx =
			layout_unit_of(req->run->layout, seek_chunk(s, (uint16_t)*pos));

		if (!is_in_run(req->run, unit_idx))
			continue;
		if (ret_range->n_units == 0)
			ret_range->first_unit = unit_idx;
		else if (unit_idx > ret_range->first_unit + ret_range->n_units ||
		         unit_idx < ret_range->first_unit)
			break;
		if (unit_idx == ret_range->first_unit + ret_range->n_units)
			ret_range->n_units++;
	}
	return ret_range->n_units > 0;
}

struct lease_held *lease_new(struct seek *s, const struct wire_answer_item *item)
{
	const struct source_req *req = s->req;
	struct peer *p = req->p;
	struct lease_held *held = xcalloc(1, sizeof(*held));

	*held = (struct lease_held){ .token = p->next_token++,
		                     .home_token = item->token,
		                     .home = s->ask_home,
		                     .beyond = s->beyond,
		                     .known = known_get(p->known, req->run->layout),
		                     .segment_idx = s->segment_idx,
		                     .blob = cas_blob_ref(req->run->blob),
		                     .set = item->set,
		                     .n_open = 1,
		                     .began_ns = peer_now_ns(p),
		                     .kept_ns = peer_now_ns(p) };
	DL_APPEND(p->leases, held);
	return held;
}

void lease_take(struct seek *s, const struct wire_answer_item *item)
{
	struct source_req *req = s->req;
	struct lease_held *held;
	struct source_lease range;
	uint32_t pos = 0;

	vain_came(s);
	ask_was_useful(s);
	if (seek_beyond(s) != NULL) {
		zone_cross(s, item);
		return;
	}
	held = lease_new(s, item);
	while (lease_next_range(s, &item->set, &pos, &range)) {
		range.token = held->token;
		for (uint32_t i = 0; i < range.n_units; i++)
			settle_unit(req, held, range.first_unit + i);
		held->n_open++;
		req->ev.lease(req->arg, &range);
	}
	close_one(req->p, held, true);
}

static void tell_coming(struct peer *p, const struct wire_id *home, const struct wire_part *part)
{
	const struct wire_msg msg = { .type = WIRE_COMING,
		                      .u.adverts = { .n_parts = 1, .parts = part } };

	home_send_names(p, home, &part->list);
	if (!id_equal(home, &p->self.self.id))
		link_send(p, home, &msg);
	else
		(void)!home_coming(p->home, home, part);
}

void leases_moved(struct peer *p)
{
	const struct lease_held *held;

	DL_FOREACH(p->leases, held)
	{
		const enum place_level level = source_level(p, held->beyond);
		struct wire_part part = known_part(held->known, held->segment_idx);
		struct wire_id home;

		part.set = lease_left(held);
		if (!set_empty(&part.set) &&
		    placement_home(p->placement, level, &p->self.self.id, &part.segment, &home) &&
		    !id_equal(&home, &held->home))
			tell_coming(p, &home, &part);
	}
}

bool source_is_leased(struct peer *p, const struct known *k, uint32_t segment_idx, uint16_t pos)
{
	return leases_have(p, &segments_at(k->segments, segment_idx)->list, pos, true);
}

bool leases_have(struct peer *p, const struct wire_id *list, uint16_t pos, bool crossing)
{
	const struct lease_held *held;

	DL_FOREACH(p->leases, held)
	{
		if ((crossing || !held->crossing) && lease_covers(held, list, pos))
			return true;
	}
	return false;
}

bool source_has_leases(const struct peer *p)
{
	return p->leases != NULL;
}

/* ---- where it waits for one ---- */

/* Does a prefetch wait at its home for what nobody brings yet? */
static bool is_queued(const struct seek *s)
{
	struct wire_set paused, queued;

	if (!s->ask_open || s->req->run->reader)
		return false;
	paused = seek_paused(s);
	queued = seek_open(s);
	queued = set_and(queued, &s->asked);
	queued = set_minus(queued, &s->lost);
	queued = set_minus(queued, &paused);
	return !set_empty(&queued);
}

uint32_t source_queues(const struct peer *p, const struct wire_id *home)
{
	const struct wire_id *homes[HOME_PREFETCHES];
	const struct source_req *req;
	uint32_t n_homes = 0;
	bool here = false;

	DL_FOREACH(p->reqs, req)
	{
		for (uint32_t i = 0; i < req->n_seeks && n_homes < ARRAY_LEN(homes); i++) {
			const struct seek *s = &req->seeks[i];
			uint32_t k = 0;

			while (k < n_homes && !id_equal(homes[k], &s->ask_home))
				k++;
			if (k < n_homes || !is_queued(s))
				continue;
			homes[n_homes++] = &s->ask_home;
			here = here || id_equal(&s->ask_home, home);
		}
	}
	return here ? n_homes : 0;
}
