/*
 * use_rows: see the header. Knows ticks and one table.
 */
#include "use_rows.h"
#include "state.h"
#include <stdlib.h>

/* @return 0 when nothing was used since it was stored */
static uint64_t last_use_s(const struct cas_blob *blob)
{
	uint8_t tick = 0;
	uint64_t at_s;

	for (uint32_t i = 0; i < blob->ready->n_bits; i++) {
		const uint8_t t = atomic_load_explicit(&blob->used[i], memory_order_relaxed);

		tick = t > tick ? t : tick;
	}
	at_s = tick == 0 ? 0 : use_second_of(&blob->cas->use, tick);
	return at_s > blob->used_s ? at_s : 0;
}

static int store(struct cas_blob *blob, struct err *e)
{
	const uint64_t at_s = last_use_s(blob);
	const uint64_t values[] = { blob->row, at_s };
	int r;

	if (blob->row == 0 || at_s == 0)
		return 0;
	r = db_run_with(blob->cas->db, "INSERT OR REPLACE INTO used(blob, at_s) VALUES(?, ?)",
	                values, 2, e);
	if (r == 0)
		blob->used_s = at_s;
	return r;
}

void use_rows_store(struct cas_blob *blob)
{
	struct err e;

	if (store(blob, &e) < 0)
		log_warn(blob->cas->log, "the last use of a blob is not recorded", "blob=%s why=%s",
		         blob->key, LOG_Q(e.msg));
}

static int store_all(struct cas *cas, void *arg, struct err *e)
{
	AUTO(tx_end) struct tx tx = { .db = NULL };
	struct cas_blob **blobs = NULL;
	const uint32_t n = blob_table_all(cas, &blobs);
	int r = tx_begin(cas->db, TX_LAZY, &tx, e);

	(void)arg;
	for (uint32_t i = 0; i < n; i++) {
		if (r == 0)
			r = store(blobs[i], e);
		cas_blob_release(&blobs[i]);
	}
	free(blobs);
	return r == 0 ? tx_commit(&tx, e) : r;
}

int use_rows_store_all(struct cas *cas, struct err *e)
{
	return writer_do(cas, store_all, NULL, e);
}

static int start_clock(struct cas *cas, void *arg, struct err *e)
{
	uint64_t last_s = 0;
	const int r = db_number(cas->db, "SELECT coalesce(max(at_s), 0) FROM used", &last_s, e);

	(void)arg;
	if (r == 0)
		use_clock_start_after(&cas->use, last_s);
	return r;
}

int use_rows_start_clock(struct cas *cas, struct err *e)
{
	return writer_do(cas, start_clock, NULL, e);
}
