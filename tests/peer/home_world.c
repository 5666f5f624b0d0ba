/*
 * home_world: see the header.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "home_world.h"
#include "mem.h"
#include <stdlib.h>

struct wire_id home_node_id(uint32_t i)
{
	return test_id(1, i);
}

void home_names_of(uint32_t first, struct wire_id *names)
{
	for (uint32_t i = 0; i < N; i++)
		names[i] = test_id(5, first + i);
}

int home_setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct wire_id names[N];

	fake_clock_init(&f->clock);
	f->home =
		home_new(&(struct home_opts){ .clock = &f->clock.clock, .self = home_node_id(0) });
	f->out = xcalloc(MAX_OUT, sizeof(*f->out));
	home_names_of(0, names);
	f->list = wire_list_id(names, N);
	f->segment = names[3];
	*state = f;
	return 0;
}

int home_teardown(void **state)
{
	struct fixture *f = *state;

	home_free(&f->home);
	free(f->out);
	free(f);
	return 0;
}

void home_tell_names(struct fixture *f, uint32_t from)
{
	struct wire_id names[N];
	const struct wire_id id = home_node_id(from);

	home_names_of(0, names);
	assert_int_equal(
		home_names(f->home, &id, &(struct wire_names){ f->segment, f->list, N, names }),
		HOME_OK);
}

void home_tell_list(struct fixture *f, const struct wire_id *from, const struct wire_id *names)
{
	const struct wire_names msg = { names[0], wire_list_id(names, N), N, names };

	assert_int_equal(home_names(f->home, from, &msg), HOME_OK);
}

struct wire_part home_part(const struct fixture *f, uint32_t first, uint32_t count)
{
	return (struct wire_part){ f->segment, f->list, test_range(N, first, count) };
}

/* Each chunk a unit, RUN chunks a run. */
struct wire_ask home_ask_of(const struct fixture *f, uint32_t req, uint32_t first, uint32_t count)
{
	struct wire_ask ask = {
		.req = req,
		.part = home_part(f, first, count),
		.have = set_none(N),
		.units = set_all(N),
		.runs = set_none(N),
	};

	for (uint32_t i = 0; i < N; i += RUN)
		wire_set_add(&ask.runs, i);
	return ask;
}

void home_drain(struct fixture *f)
{
	f->n_out = 0;
	while (home_next(f->home, &f->out[f->n_out]))
		assert_true(++f->n_out < MAX_OUT);
}

int home_asks(struct fixture *f, uint32_t from, const struct wire_ask *msg)
{
	const struct wire_id id = home_node_id(from);
	const int r = home_ask(f->home, &id, msg);

	home_drain(f);
	return r;
}

/* The item of a kind that was told to node for req; NULL: none. */
const struct wire_answer_item *home_told(const struct fixture *f, uint32_t to, uint32_t req,
                                         uint8_t kind)
{
	const struct wire_id id = home_node_id(to);

	for (uint32_t i = 0; i < f->n_out; i++) {
		if (!id_equal(&f->out[i].to, &id) || f->out[i].req != req)
			continue;
		for (uint32_t k = 0; k < f->out[i].n_items; k++) {
			if (f->out[i].items[k].kind == kind)
				return &f->out[i].items[k];
		}
	}
	return NULL;
}

/* As home_told(); it must be there. */
const struct wire_answer_item *home_must(const struct fixture *f, uint32_t to, uint32_t req,
                                         uint8_t kind)
{
	const struct wire_answer_item *item = home_told(f, to, req, kind);

	if (item == NULL) {
		fail_msg("node %u was told nothing of kind %u", to, kind);
		abort();
	}
	return item;
}

bool home_ended(const struct fixture *f, uint32_t to, uint32_t req)
{
	const struct wire_id id = home_node_id(to);

	for (uint32_t i = 0; i < f->n_out; i++) {
		if (id_equal(&f->out[i].to, &id) && f->out[i].req == req && f->out[i].end)
			return true;
	}
	return false;
}

void home_names_node(const struct wire_answer_item *item, uint32_t i)
{
	const struct wire_id id = home_node_id(i);

	if (item == NULL || item->n_nodes == 0) {
		fail_msg("node %u was not named", i);
		abort();
	}
	assert_true(id_equal(&item->nodes[0], &id));
}

void home_has(struct fixture *f, uint32_t from, uint32_t first, uint32_t count)
{
	const struct wire_id id = home_node_id(from);
	const struct wire_part p = home_part(f, first, count);

	assert_int_equal(home_have(f->home, &id, &p), HOME_OK);
	home_drain(f);
}

void home_end_lease(struct fixture *f, uint32_t from, uint64_t token, uint32_t first,
                    uint32_t count, bool failed)
{
	const struct wire_id id = home_node_id(from);

	home_lease_end(f->home, &id,
	               &(struct wire_lease){ .token = token,
	                                     .part = home_part(f, first, count),
	                                     .failed = failed });
	home_drain(f);
}

uint64_t home_after_ms(struct fixture *f, uint64_t ms)
{
	uint64_t due;

	fake_clock_advance_ms(&f->clock, ms);
	due = home_tick(f->home);
	home_drain(f);
	return due;
}
