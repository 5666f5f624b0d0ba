/*
 * verify_refs: see the header. Knows the tables refer, blob, layout and ready; changes nothing.
 */
#include "verify_refs.h"
#include "bitmap.h"
#include "mem.h"
#include "ready_rows.h"
#include "refer.h"
#include "state.h"
#include "stored.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* A blob as the database has it. */
struct side {
	uint64_t row;
	struct blob_layout *layout; /* NULL: it is not registered */
	struct bitmap *ready;
};

struct checking {
	struct db *db;
	const char *key;
	void (*fault)(void *arg, const struct cas_fault *f);
	void *arg;
	struct refs_seen *seen;
	struct side self;
	uint32_t n_owners;
	struct side *owners;
};

static void side_clear(struct side *s)
{
	layout_unref(&s->layout);
	bitmap_free(&s->ready);
}

static void checking_clear(struct checking *c)
{
	side_clear(&c->self);
	for (uint32_t i = 0; i < c->n_owners; i++)
		side_clear(&c->owners[i]);
	free(c->owners);
}

/* @return 0, also where it is not registered; negative */
static int load_side(struct db *db, const char *key, struct side *ret_side, struct err *e)
{
	AUTO(stored_blob_fini) struct stored_blob s = { .row = 0 };
	int r = stored_blob_find(db, key, &s, e);

	if (r != 0)
		return r < 0 ? r : 0;
	ret_side->row = s.row;
	ret_side->ready = bitmap_new(s.layout->n_chunks);
	if (ret_side->ready == NULL)
		return err_set(e, ENOMEM, "ready map: out of memory");
	ret_side->layout = s.layout;
	s.layout = NULL;
	return ready_rows_load(db, ret_side->row, ret_side->ready, e);
}

static int load_owner(struct db *db, uint64_t row, struct side *ret_owner, struct err *e)
{
	char key[CAS_KEY_BYTES];
	int r = stored_key(db, row, key, e);

	if (r == 0)
		r = load_side(db, key, ret_owner, e);
	ret_owner->row = row;
	return r < 0 ? r : 0;
}

static int owner_of(struct checking *c, uint64_t row, const struct side **ret_owner, struct err *e)
{
	uint32_t i = 0;
	int r = 0;

	while (i < c->n_owners && c->owners[i].row != row)
		i++;
	if (i == c->n_owners) { /* <= REFER_OWNERS_MAX of a map that shoal wrote */
		c->owners = xrealloc(c->owners, i + (size_t)1, sizeof(*c->owners));
		c->owners[i] = (struct side){ .row = row };
		c->n_owners++;
		r = load_owner(c->db, row, &c->owners[i], e);
	}
	*ret_owner = &c->owners[i];
	return r;
}

static void tell(const struct checking *c, uint32_t chunk_idx)
{
	struct cas_fault f = { .chunk_idx = chunk_idx, .what = "refers to another chunk" };

	(void)snprintf(f.key, sizeof(f.key), "%s", c->key);
	c->fault(c->arg, &f);
}

static void check_one(const struct checking *c, uint32_t idx, const struct side *owner,
                      uint32_t owner_idx)
{
	if (owner->layout != NULL &&
	    (owner->row == c->self.row ||
	     !refer_same_chunk(c->self.layout, idx, owner->layout, owner_idx)))
		tell(c, idx);
	else if (owner->layout == NULL || !bitmap_get(owner->ready, owner_idx))
		c->seen->n_dead++;
	else if (bitmap_get(c->self.ready, idx))
		c->seen->n_needless++;
}

static int check_run(void *arg, const struct refer_run *run, struct err *e)
{
	struct checking *c = arg;
	const struct side *owner = NULL;
	const int r = owner_of(c, run->owner_row, &owner, e);

	for (uint32_t i = 0; r == 0 && i < run->n_chunks; i++)
		check_one(c, run->chunk_idx + i, owner, run->owner_idx + i);
	return r;
}

int verify_refs(struct cas *cas, const char *key,
                void (*fault)(void *arg, const struct cas_fault *f), void *arg,
                struct refs_seen *seen, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(checking_clear)
	struct checking c = { .key = key, .fault = fault, .arg = arg, .seen = seen };
	struct err end_e;
	int end;
	int r = db_reader_begin(cas->readers, &reader, e);

	c.db = reader.db;
	if (r == 0)
		r = db_exec(c.db, "BEGIN", e); /* all of it as at one moment */
	if (r < 0)
		return r;
	r = load_side(c.db, key, &c.self, e);
	if (r == 0 && c.self.layout != NULL)
		r = refer_rows_each(c.db, c.self.row, check_run, &c, e);
	end = db_exec(c.db, "COMMIT", &end_e); /* also after a failure */
	if (r == 0 && end < 0)
		*e = end_e;
	return r < 0 ? r : end;
}
