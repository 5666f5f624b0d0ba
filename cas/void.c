/*
 * void: take ready chunks back whose bytes are wrong or gone.
 *
 * Readers stop at once; the database follows in a synced transaction. Until that is done the chunk
 * is "barred": it cannot become ready again, or a power cut could leave "ready" of before next to
 * bytes that were being replaced. Knows bits and rows; knows not who found the fault.
 */
#include "ready_rows.h"
#include "share_rules.h"
#include "state.h"
#include <errno.h>
#include <inttypes.h>

const char *void_reason_text(enum void_reason why)
{
	static const char *const texts[] = {
		[VOID_WRONG_BYTES] = "wrong bytes",
		[VOID_NO_DATA] = "data missing",
		[VOID_UNREADABLE] = "unreadable",
	};

	return texts[why];
}

/* [writer] */
static int clear_barred(struct cas *cas, void *arg, struct err *e)
{
	struct cas_blob *blob = arg;
	AUTO(bitmap_free) struct bitmap *gone = bitmap_new(blob->barred->n_bits);
	int r = 0;

	if (gone == NULL)
		return err_set(e, ENOMEM, "clearing chunks of %s: out of memory", blob->key);
	/* Not between the two bits of a blob_void(): a flush behind this job would write "ready"
	 * again, with no bar left to take it back by. */
	(void)pthread_mutex_lock(&blob->mutex);
	for (uint32_t i = bitmap_next_set(blob->barred, 0); i < gone->n_bits;
	     i = bitmap_next_set(blob->barred, i + 1))
		(void)bitmap_set(gone, i);
	(void)pthread_mutex_unlock(&blob->mutex);
	if (blob->row != 0 && bitmap_next_set(gone, 0) < gone->n_bits)
		r = ready_rows_clear(cas->db, blob->row, gone, e);
	if (r < 0)
		return err_wrap(e, "taking back chunks of blob %s", blob->key);
	for (uint32_t i = bitmap_next_set(gone, 0); i < gone->n_bits;
	     i = bitmap_next_set(gone, i + 1))
		(void)bitmap_clear(blob->barred, i);
	return 0;
}

void blob_voids_wait(struct cas_blob *blob)
{
	(void)pthread_mutex_lock(&blob->mutex);
	(void)pthread_mutex_unlock(&blob->mutex);
}

int blob_clear_now(struct cas_blob *blob, struct err *e)
{
	return writer_do(blob->cas, clear_barred, blob, e);
}

static void clear_work(struct job *job)
{
	struct cas_blob *blob = container_of(job, struct cas_blob, clear_job);
	struct err e;

	atomic_store(&blob->clear_queued, false);
	if (clear_barred(blob->cas, blob, &e) < 0)
		log_error(blob->cas->log, "cannot record that chunks are gone", "why=%s",
		          LOG_Q(e.msg));
	cas_blob_release(&blob);
}

void blob_void(struct cas_blob *blob, uint32_t chunk_idx, enum void_reason why)
{
	struct cas *cas = blob->cas;
	bool was_ready;

	(void)pthread_mutex_lock(&blob->mutex);
	(void)bitmap_set(blob->barred, chunk_idx);
	/* A reader looks at them the other way round: whoever has the new generation, and so would
	 * not notice, sees that it is not ready. */
	was_ready = bitmap_clear(blob->ready, chunk_idx);
	atomic_fetch_add(&blob->generation, 1);
	(void)pthread_mutex_unlock(&blob->mutex);
	if (was_ready) {
		share_went(blob, chunk_idx);
		log_warn(cas->log, "chunk taken back: it will be fetched again",
		         "blob=%s chunk=%" PRIu32 " why=%s", blob->key, chunk_idx,
		         LOG_Q(void_reason_text(why)));
	}
	if (atomic_exchange(&blob->clear_queued, true))
		return;
	(void)cas_blob_ref(blob);
	blob->clear_job = (struct job){ .work = clear_work };
	writer_submit(cas, &blob->clear_job);
}
