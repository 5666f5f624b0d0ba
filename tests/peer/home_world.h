/*
 * home_world: a tracker on a fake clock, with a segment of N chunks, and what it tells whom.
 */
#pragma once
#include "fake_clock.h"
#include "home.h"
#include "names.h"

enum { N = 40, RUN = 10, MAX_OUT = 64 };

struct fixture {
	struct fake_clock clock;
	struct home *home;
	struct wire_id list, segment;
	struct home_out *out; /* of the last drain, MAX_OUT */
	uint32_t n_out;
};

struct wire_id home_node_id(uint32_t i);
void home_names_of(uint32_t first, struct wire_id *names);
int home_setup(void **state);
int home_teardown(void **state);
void home_tell_names(struct fixture *f, uint32_t from);
void home_tell_list(struct fixture *f, const struct wire_id *from, const struct wire_id *names);
struct wire_part home_part(const struct fixture *f, uint32_t first, uint32_t count);
struct wire_ask home_ask_of(const struct fixture *f, uint32_t req, uint32_t first, uint32_t count);
void home_drain(struct fixture *f);
int home_asks(struct fixture *f, uint32_t from, const struct wire_ask *msg);
const struct wire_answer_item *home_told(const struct fixture *f, uint32_t to, uint32_t req,
                                         uint8_t kind);
const struct wire_answer_item *home_must(const struct fixture *f, uint32_t to, uint32_t req,
                                         uint8_t kind);
bool home_ended(const struct fixture *f, uint32_t to, uint32_t req);
void home_names_node(const struct wire_answer_item *item, uint32_t i);
void home_has(struct fixture *f, uint32_t from, uint32_t first, uint32_t count);
void home_end_lease(struct fixture *f, uint32_t from, uint64_t token, uint32_t first,
                    uint32_t count, bool failed);
uint64_t home_after_ms(struct fixture *f, uint64_t ms);
