/*
 * scene: an agent whose engine wants chunks, the home of their segment, and another member that may
 * hold them. What a test of the peer source begins with.
 */
#pragma once
#include "chunk_world.h"

struct scene {
	struct chunk_world *w;
	struct actor home;  /* of the segment */
	struct actor other; /* a member */
};

int scene_setup(void **state);
/** As scene_setup(), with the other in that zone, a home or not. */
int scene_setup_with(void **state, const char *others_zone, bool other_is_home);
int scene_teardown(void **state);

/** The agent wants n chunks and has asked the home. */
const struct wire_ask *wants(struct scene *s, uint32_t n);
const struct wire_ask *wants_within(struct scene *s, uint32_t n, uint64_t time_ms);
/** Its engine gives what it wants now so long from now on, and anew with what comes of it. */
void has_time(struct scene *s, uint64_t time_ms);
uint64_t now_ms(const struct scene *s);
/** The home says that a holds it, and the agent asks there. */
void is_sent_to(struct scene *s, const struct wire_ask *ask, const struct wire_set *set,
                struct actor *a);
void is_sent_to_other(struct scene *s, const struct wire_ask *ask, const struct wire_set *set);
/** It knows the digests, and sends the bytes. */
void gives(struct actor *a, const struct wire_get *get, const struct wire_set *set, bool then_end);
struct source *scene_source(const struct scene *s);
/** What the agent thinks of an actor. Its texts are gone. */
struct peer_info scene_info(const struct scene *s, const struct actor *a);
