/*
 * peers_world: see the header.
 */
#include "peers_world.h"
#include "clock.h"
#include "mem.h"
#include "metrics.h"
#include "remove_tree.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEADLINE_MS 30000
#define LOOK_MS     1

/* A look is late by a tick of the kernel's also on a machine that has nothing else to do. */
#define ROUND_MAX_MS 5

/* ---- shelves ---- */

static void wait_unblocked(struct peers *world)
{
	(void)pthread_mutex_lock(&world->lock);
	while (world->blocked)
		(void)pthread_cond_wait(&world->unblocked, &world->lock);
	(void)pthread_mutex_unlock(&world->lock);
}

static int shelf_open(struct meta_shelf *s, enum meta_kind kind, const char *key,
                      struct meta_item *ret_item, struct err *e)
{
	struct shelf *shelf = container_of(s, struct shelf, shelf);
	struct peers *world = shelf->world;

	(void)kind;
	(void)e;
	(void)pthread_mutex_lock(&world->lock); /* several open at once */
	(void)snprintf(shelf->key, sizeof(shelf->key), "%s", key);
	(void)pthread_mutex_unlock(&world->lock);
	if (shelf->blocks)
		wait_unblocked(world);
	if (shelf->r != META_FOUND)
		return shelf->r;
	shelf->n_opened++;
	*ret_item = (struct meta_item){ .data = shelf->data,
		                        .size_bytes = shelf->size_bytes,
		                        .is_public = shelf->is_public };
	return META_FOUND;
}

static void shelf_close(struct meta_shelf *s, struct meta_item *item)
{
	(void)item;
	container_of(s, struct shelf, shelf)->n_closed++;
}

static const struct meta_shelf_ops shelf_ops = { .open = shelf_open, .close = shelf_close };

void peers_unblock(struct peers *world)
{
	(void)pthread_mutex_lock(&world->lock);
	world->blocked = false;
	(void)pthread_cond_broadcast(&world->unblocked);
	(void)pthread_mutex_unlock(&world->lock);
}

static void jam_work(struct job *job)
{
	const struct jam *jam = container_of(job, struct jam, job);

	wait_unblocked(jam->world);
}

void peers_jam(struct peers *world)
{
	for (uint32_t i = 0; i < PEERS_MAX; i++) {
		world->jams[i] = (struct jam){ .job.work = jam_work, .world = world };
		pool_submit(world->pool, &world->jams[i].job);
	}
}

/* ---- the loop and the clock ---- */

const struct clock *peers_clock(const struct peers *world)
{
	return &world->clock.clock;
}

struct watch {
	struct timer timer;
	struct peers *world;
	const uint32_t *n; /* NULL: only the time counts */
	uint32_t want;
	uint64_t until_ns;
};

static void go_on(struct peers *world)
{
	const uint64_t now = clock_now_ns(clock_real());
	const uint64_t passed_ms = (now - world->looked_ns) / NS_PER_MS;

	world->looked_ns += passed_ms * NS_PER_MS;
	fake_clock_advance_ms(&world->clock, passed_ms < ROUND_MAX_MS ? passed_ms : ROUND_MAX_MS);
}

static void on_look(struct timer *t)
{
	struct watch *w = container_of(t, struct watch, timer);

	go_on(w->world);
	if ((w->n != NULL && *w->n >= w->want) ||
	    clock_now_ns(peers_clock(w->world)) >= w->until_ns)
		loop_stop(w->world->loop);
	else
		timer_start(t, LOOK_MS);
}

static void run(struct watch *w, uint64_t ms)
{
	w->until_ns = clock_now_ns(peers_clock(w->world)) + ms * NS_PER_MS;
	w->world->looked_ns = clock_now_ns(clock_real());
	timer_init(&w->timer, w->world->loop, on_look);
	timer_start(&w->timer, 0);
	loop_run(w->world->loop);
	timer_fini(&w->timer);
}

void peers_until(struct peers *world, const uint32_t *n, uint32_t want)
{
	struct watch w = { .world = world, .n = n, .want = want };

	run(&w, DEADLINE_MS);
	assert(*n >= want);
}

void peers_run_ms(struct peers *world, uint64_t ms)
{
	struct watch w = { .world = world };

	run(&w, ms);
}

/* ---- begin and end ---- */

static struct cas *open_cache(struct peers *world, struct metrics *metrics)
{
	AUTO(free_str) char *dir = xasprintf("%s/cache", world->dir);
	const struct cas_opts opts = { .state_dir = dir,
		                       .loop = world->loop,
		                       .clock = peers_clock(world),
		                       .metrics = metrics };
	struct cas *cas;
	struct err e;

	assert(cas_open(&opts, &cas, &e) == 0);
	return cas;
}

static void start(struct peers *world, uint32_t i, bool cached)
{
	char first[64] = "";
	const char *const members[] = { first };
	struct shelf *shelf = &world->shelves[i];
	AUTO(free_str) char *dir = xasprintf("%s/%u", world->dir, i);
	struct peer_opts opts = { .loop = world->loop,
		                  .pool = world->pool,
		                  .desk = world->desk,
		                  .clock = peers_clock(world),
		                  .state_dir = dir,
		                  .listen = "127.0.0.1:0",
		                  .members = members,
		                  .zone = "a",
		                  .insecure = true,
		                  .shelf = &shelf->shelf };
	struct err e;

	shelf->shelf.ops = &shelf_ops;
	shelf->r = META_NOWHERE;
	shelf->world = world;
	world->metrics[i] = metrics_new();
	opts.metrics = world->metrics[i];
	if (i == 0 && cached)
		world->cas = open_cache(world, opts.metrics);
	opts.cas = i == 0 ? world->cas : NULL;
	if (i > 0) {
		(void)snprintf(first, sizeof(first), "127.0.0.1:%u", peer_port(world->peers[0]));
		opts.n_members = 1;
	}
	assert(mkdir(dir, 0700) == 0);
	assert(peer_new(&opts, &world->peers[i], &e) == 0);
}

static void count_up(void *arg, const struct peer_info *info)
{
	*(uint32_t *)arg += strcmp(info->state, "up") == 0;
}

static bool all_are_up(struct peers *world)
{
	for (uint32_t i = 0; i < world->n; i++) {
		uint32_t n_up = 0;

		peer_list(world->peers[i], count_up, &n_up);
		if (n_up + 1 < world->n)
			return false;
	}
	return true;
}

struct peers *peers_new(uint32_t n, bool cached)
{
	struct peers *world = xcalloc(1, sizeof(*world));
	struct err e;

	assert(n <= PEERS_MAX);
	fake_clock_init(&world->clock);
	world->clock.ticks = true; /* who looks twice must not take the second look for the first */
	world->n = n;
	world->blocked = true;
	(void)pthread_mutex_init(&world->lock, NULL);
	(void)pthread_cond_init(&world->unblocked, NULL);
	(void)snprintf(world->dir, sizeof(world->dir), "/tmp/shoal-test-peers-XXXXXX");
	assert(mkdtemp(world->dir) != NULL);
	assert(loop_new(&world->loop, &e) == 0);
	assert(pool_new(world->loop, PEERS_MAX, "work", &world->pool, &e) == 0);
	assert(pool_new(world->loop, 1, "desk", &world->desk, &e) == 0);
	for (uint32_t i = 0; i < n; i++)
		start(world, i, cached);
	for (uint32_t ms = 0; !all_are_up(world); ms++) {
		assert(ms < DEADLINE_MS);
		peers_run_ms(world, LOOK_MS);
	}
	return world;
}

void peers_free(struct peers **world_ptr)
{
	struct peers *world = *world_ptr;

	*world_ptr = NULL;
	peers_unblock(world);
	for (uint32_t i = 0; i < world->n; i++)
		peer_stop(world->peers[i]);
	peers_run_ms(world, 20); /* what workers brought back, and byes */
	pool_free(&world->desk);
	pool_free(&world->pool);
	for (uint32_t i = 0; i < world->n; i++) {
		peer_free(&world->peers[i]);
	}
	cas_close(&world->cas);
	for (uint32_t i = 0; i < world->n; i++)
		metrics_free(&world->metrics[i]);
	loop_free(&world->loop);
	(void)pthread_cond_destroy(&world->unblocked);
	(void)pthread_mutex_destroy(&world->lock);
	(void)remove_tree(world->dir);
	free(world);
}

int peers_teardown(void **state)
{
	struct peers *world = *state;

	peers_free(&world);
	return 0;
}

/* ---- asking ---- */

static void on_answer(void *arg, int r, const struct meta_got *got)
{
	struct answer *a = arg;

	a->n_done++;
	a->r = r;
	if (r == META_FOUND)
		a->got = *got;
}

struct meta_req *peers_ask_for(struct peers *world, enum meta_kind kind, uint64_t max_bytes,
                               uint64_t timeout_ms, struct answer *a)
{
	struct meta_source *source = peer_meta_source(world->peers[0]);
	const struct meta_want want = { .kind = kind,
		                        .key = "registry.example/app@sha256:00",
		                        .max_bytes = max_bytes,
		                        .deadline_ns = clock_now_ns(peers_clock(world)) +
		                                       timeout_ms * NS_PER_MS };

	*a = (struct answer){ .r = -1 };
	// cppcheck-suppress returnDanglingLifetime ; what is wanted is copied
	return source->ops->get(source, &want, on_answer, a);
}

struct meta_req *peers_ask(struct peers *world, uint64_t max_bytes, uint64_t timeout_ms,
                           struct answer *a)
{
	return peers_ask_for(world, META_MANIFEST, max_bytes, timeout_ms, a);
}

void answer_clear(struct answer *a)
{
	free(a->got.bytes);
	a->got.bytes = NULL;
}

/* ---- strangers ---- */

static void on_open(void *arg, struct conn *c, const struct wire_hello *peer)
{
	struct stranger *s = arg;

	(void)c;
	(void)peer;
	s->n_open++;
}

static void on_message(void *arg, struct conn *c, const struct wire_msg *msg)
{
	struct stranger *s = arg;

	(void)c;
	if (s->message != NULL)
		s->message(s, msg);
}

static void on_cancelled(void *arg, struct conn *c, uint32_t req)
{
	struct stranger *s = arg;

	(void)c;
	(void)req;
	s->n_cancelled++;
}

static void on_closed(void *arg, struct conn *c, const struct err *why)
{
	struct stranger *s = arg;

	(void)c;
	(void)why;
	s->n_closed++;
}

static void on_no_answer(void *arg, const struct wire_msg *msg)
{
	(void)arg;
	(void)msg;
}

static void on_asked_end(void *arg, enum wire_status status, uint32_t retry_ms)
{
	struct asked_end *end = arg;

	(void)retry_ms;
	end->n++;
	end->status = status;
}

const struct request_ops asked_end_ops = { .answer = on_no_answer, .end = on_asked_end };

void stranger_call(struct peers *world, struct stranger *s, uint8_t nr)
{
	stranger_call_from(world, s, nr, "a");
}

void stranger_call_from(struct peers *world, struct stranger *s, uint8_t nr, const char *zone)
{
	struct wire_id id;

	memset(id.b, nr, sizeof(id.b));
	stranger_call_as(world, s, &id, zone);
}

void stranger_call_as(struct peers *world, struct stranger *s, const struct wire_id *id,
                      const char *zone)
{
	static const struct conn_ops ops = { .open = on_open,
		                             .message = on_message,
		                             .cancelled = on_cancelled,
		                             .closed = on_closed };
	const struct conn_opts opts = { .loop = world->loop,
		                        .clock = peers_clock(world),
		                        .self = &s->self,
		                        .ops = &ops,
		                        .arg = s };
	char address[64];
	struct err e;

	*s = (struct stranger){ .self.self.generation = 1 };
	s->self.self.id = *id;
	(void)snprintf(s->self.self.address, sizeof(s->self.self.address), "127.0.0.1:1");
	(void)snprintf(s->self.self.zone, sizeof(s->self.self.zone), "%s", zone);
	(void)snprintf(s->self.agent, sizeof(s->self.agent), "stranger");
	(void)snprintf(address, sizeof(address), "127.0.0.1:%u", peer_port(world->peers[0]));
	assert(conn_connect(&opts, address, &s->conn, &e) == 0);
	peers_until(world, &s->n_open, 1);
}

void stranger_leave(struct stranger *s)
{
	if (s->n_closed == 0)
		conn_abort(&s->conn);
}
