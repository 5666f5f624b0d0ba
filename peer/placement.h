/*
 * placement: which node is the home of a segment. Rendezvous hashing of the segment's name over the
 * node ids, zone first, cluster second.
 *
 *   score(name, id) = mix(mix(n0 ^ i0) + (n1 ^ i1)), n0 n1 and i0 i1 being the two halves of name
 *   and id, little-endian, mix the finalizer of splitmix64; the home is the node with the greatest
 *   score, of equal ones that with the smaller id. Part of the protocol.
 *
 * The *zone home* is picked among the nodes of the asker's zone; the *cluster home* among all of
 * them. Where all nodes are in one zone the two are one node and there is only one level.
 * A pure function of the node list; one thread.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "wire.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLACEMENT_NODES_MAX 4096U
#define PLACEMENT_RANK_MAX  8U

enum place_level { PLACE_ZONE, PLACE_CLUSTER };
#define PLACE_LEVELS 2

struct place_node {
	struct wire_id id;
	const char *zone; /* copied as a hash; "" is a zone, too */
};

struct placement;
struct placement *placement_new(void); /* empty; never NULL */
void placement_free(struct placement **p);

/**
 * Take over a new list of nodes, this node among them; ids must differ.
 * @return 0; -E2BIG more than PLACEMENT_NODES_MAX
 */
MUST_CHECK int placement_set(struct placement *p, const struct place_node *nodes, uint32_t n_nodes,
                             struct err *e);

uint32_t placement_count(const struct placement *p);
uint64_t placement_version(const struct placement *p); /* changes with each list that differs */
bool placement_has_zones(const struct placement *p);   /* more than one: ask on two levels */
bool placement_has(const struct placement *p, const struct wire_id *id);
bool placement_same_zone(const struct placement *p, const struct wire_id *a,
                         const struct wire_id *b); /* false where one is unknown */

/**
 * The nodes for name in falling order of score: the first is the home, the others stand in when it
 * does not answer.
 * @param zone_of  PLACE_ZONE: pick in this node's zone
 * @return how many were written, at most max
 */
uint32_t placement_rank(const struct placement *p, enum place_level level,
                        const struct wire_id *zone_of, const struct wire_id *name, uint32_t max,
                        struct wire_id *ret_ids);

/** The home alone. @return false: no node */
bool placement_home(const struct placement *p, enum place_level level,
                    const struct wire_id *zone_of, const struct wire_id *name,
                    struct wire_id *ret_id);

uint64_t placement_score(const struct wire_id *name, const struct wire_id *id);
