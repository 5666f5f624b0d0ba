/*
 * scene: an agent, the home of its segment and one more member.
 */
#include "scene.h"
#include "clock.h"
#include "mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

int scene_setup_with(void **state, const char *others_zone, bool other_is_home)
{
	struct scene *s = xcalloc(1, sizeof(*s));

	s->w = chunk_world_new();
	actor_join(s->w, &s->home, true);
	actor_join_from(s->w, &s->other, other_is_home, others_zone);
	*state = s;
	return 0;
}

int scene_setup(void **state)
{
	return scene_setup_with(state, "a", false); /* like everybody */
}

int scene_teardown(void **state)
{
	struct scene *s = *state;

	actor_leave(&s->home);
	actor_leave(&s->other);
	chunk_world_free(&s->w);
	free(s);
	return 0;
}

/* The agent wants n chunks and has asked the home. */
const struct wire_ask *wants_within(struct scene *s, uint32_t n, uint64_t time_ms)
{
	chunks_want(s->w, 0, n);
	has_time(s, time_ms);
	peers_until(s->w->peers, &s->home.n_asks, 1);
	assert_int_equal(set_count(&s->home.asks[0].part.set), n);
	return &s->home.asks[0];
}

const struct wire_ask *wants(struct scene *s, uint32_t n)
{
	return wants_within(s, n, WANT_MS);
}

uint64_t now_ms(const struct scene *s)
{
	return clock_now_ns(peers_clock(s->w->peers)) / NS_PER_MS;
}

void has_time(struct scene *s, uint64_t time_ms)
{
	s->w->time_ns = time_ms * NS_PER_MS;
	s->w->run.deadline_ns = now_ms(s) * NS_PER_MS + s->w->time_ns;
}

void is_sent_to(struct scene *s, const struct wire_ask *ask, const struct wire_set *set,
                struct actor *a)
{
	actor_answer(&s->home, ask, WIRE_HOLDERS, set, a);
	actor_end(&s->home, ask->req, WIRE_DONE, 0);
	peers_until(s->w->peers, &a->n_gets, 1);
}

void is_sent_to_other(struct scene *s, const struct wire_ask *ask, const struct wire_set *set)
{
	is_sent_to(s, ask, set, &s->other);
}

/* It knows the digests, and sends the bytes. */
void gives(struct actor *a, const struct wire_get *get, const struct wire_set *set, bool then_end)
{
	actor_grant(a, get, true);
	actor_send(a, get, set, then_end);
}

struct source *scene_source(const struct scene *s)
{
	return peer_source(s->w->peers->peers[0]);
}

struct look {
	const struct actor *at;
	struct peer_info info;
};

static void look(void *arg, const struct peer_info *info)
{
	struct look *l = arg;
	char begin[8];

	(void)snprintf(begin, sizeof(begin), "%02x%02x", l->at->stranger.self.self.id.b[0],
	               l->at->stranger.self.self.id.b[1]);
	if (strncmp(info->name, begin, 4) == 0)
		l->info = *info;
}

struct peer_info scene_info(const struct scene *s, const struct actor *a)
{
	struct look l = { .at = a };

	peer_list(s->w->peers->peers[0], look, &l);
	return l.info;
}
