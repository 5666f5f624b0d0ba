/*
 * cas: opening and closing: the state directory, the database, the writer, the flush timer.
 *
 * Knows which parts there are and in which order they start and end; the work is done elsewhere.
 */
#include "cas.h"
#include "data_file.h"
#include "flush.h"
#include "hand_out.h"
#include "image_dirs.h"
#include "mem.h"
#include "reflink.h"
#include "state.h"
#include "state_dir.h"
#include "unregister.h"
#include "use_rows.h"
#include <errno.h>
#include <stdlib.h>

#define FLUSH_MS_DEFAULT 1000
#define HIGH_DEFAULT     95
#define LOW_DEFAULT      85

static int open_database(struct cas *cas, const char *vfs, struct err *e)
{
	AUTO(free_str) char *path = xasprintf("%s/shoal.db", cas->state_dir);
	const struct db_opts opts = {
		.path = path,
		.vfs = vfs,
		.log = cas->log,
		.wall_seconds = clock_wall_seconds(cas->clock),
	};
	int r = db_open_writer(&opts, &cas->db, e);

	if (r == 0)
		r = db_readers_new(&opts, &cas->readers, e);
	return r < 0 ? err_wrap(e, "%s", path) : 0;
}

static int resume_removal(struct cas *cas, void *arg, struct err *e)
{
	(void)arg;
	return unregister_resume(cas, e);
}

static int open_parts(struct cas *cas, const struct cas_opts *opts, struct err *e)
{
	struct state_dir dir;
	int r = state_dir_open(cas->state_dir, &dir, e);

	if (r < 0)
		return r;
	cas->lock_fd = dir.lock_fd;
	cas->blobs_fd = dir.blobs_fd;
	cas->images_fd = dir.images_fd;
	cas->room.dir_fd = dir.blobs_fd;
	image_dirs_sweep(cas);
	cas->pad_bytes = data_file_pad(cas->disk, cas->blobs_fd);
	reflink_try(cas);
	hand_out_try(cas);
	evict_lend_ballast(cas);
	r = open_database(cas, opts->sqlite_vfs, e);
	if (r == 0)
		r = pool_new(opts->loop, 1, "cas-writer", &cas->writer, e);
	if (r == 0)
		r = pool_new(opts->loop, 1, "cas-share", &cas->helper, e);
	if (r == 0)
		r = queue_thread(cas, cas->writer, &cas->writer_thread, e);
	if (r == 0)
		r = writer_do(cas, resume_removal, NULL, e); /* before files without rows go */
	if (r == 0)
		r = use_rows_start_clock(cas, e);
	if (r == 0)
		r = evictor_start(cas, e);
	return r;
}

static void free_parts(struct cas *cas)
{
	atomic_store(&cas->closing, true);
	pool_free(&cas->helper);
	evictor_stop(cas);
	kept_fini(&cas->kept);
	pool_free(&cas->writer); /* closes the blobs that were released */
	db_readers_free(&cas->readers);
	db_close(&cas->db);
	blob_table_fini(&cas->table);
	share_map_free(&cas->map);
	digest_memo_free(&cas->memo);
	close_fd(&cas->images_fd);
	close_fd(&cas->blobs_fd);
	close_fd(&cas->lock_fd);
	use_clock_fini(&cas->use);
	room_fini(&cas->room);
	hooks_fini(&cas->hooks);
	free(cas->state_dir);
	free(cas);
}

static struct room_limits limits_of(const struct cas_opts *opts)
{
	return (struct room_limits){
		.quota_bytes = opts->quota_bytes,
		.reserve_bytes = opts->reserve_bytes,
		.high_percent = opts->high_percent != 0 ? opts->high_percent : HIGH_DEFAULT,
		.low_percent = opts->low_percent != 0 ? opts->low_percent : LOW_DEFAULT,
	};
}

void cas_set_limits(struct cas *cas, const struct cas_opts *opts)
{
	const struct room_limits limits = limits_of(opts);

	room_set_limits(&cas->room, &limits);
	atomic_store(&cas->evictor.not_before_ns, 0);
	evict_kick(cas);
}

static void init_room(struct cas *cas, const struct cas_opts *opts)
{
	const struct room_opts room = {
		.disk = cas->disk,
		.clock = cas->clock,
		.log = cas->log,
		.metrics = cas->metrics,
		.limits = limits_of(opts),
		.crowded = evict_kick,
		.arg = cas,
	};

	cas->room.dir_fd = -1;
	cas->evictor.ballast_fd = -1;
	room_init(&cas->room, &room);
	use_clock_init(&cas->use, cas->clock);
}

int cas_open(const struct cas_opts *opts, struct cas **ret_cas, struct err *e)
{
	struct cas *cas = NULL;
	int r;

	if (opts->state_dir == NULL || opts->state_dir[0] != '/')
		return err_set(e, EINVAL, "state_dir must be an absolute path");
	cas = xcalloc(1, sizeof(*cas));
	cas->state_dir = xstrdup(opts->state_dir);
	cas->loop = opts->loop;
	cas->clock = opts->clock;
	cas->log = opts->log;
	cas->metrics = opts->metrics;
	cas->disk = opts->disk != NULL ? opts->disk : disk_real();
	cas->lock_fd = -1;
	cas->blobs_fd = -1;
	cas->images_fd = -1;
	blob_table_init(&cas->table);
	cas->map = share_map_new();
	cas->memo = digest_memo_new();
	kept_init(&cas->kept);
	cas->dedup = opts->dedup;
	hooks_init(&cas->hooks);
	init_room(cas, opts);
	r = open_parts(cas, opts, e);
	if (r < 0) {
		free_parts(cas);
		return r;
	}
	flush_timer_start(cas, opts->flush_ms != 0 ? opts->flush_ms : FLUSH_MS_DEFAULT);
	*ret_cas = cas;
	return 0;
}

static int flush_call(struct cas *cas, void *arg, struct err *e)
{
	(void)arg;
	return flush_all(cas, e);
}

int cas_flush(struct cas *cas, struct err *e)
{
	return writer_do(cas, flush_call, NULL, e);
}

void cas_close(struct cas **cas)
{
	struct cas *c = *cas;
	struct err e;

	if (c == NULL)
		return;
	*cas = NULL;
	flush_timer_stop(c);
	atomic_store(&c->closing, true);
	if (cas_flush(c, &e) < 0)
		log_warn(c->log, "ready chunks could not be recorded: fetched again later",
		         "why=%s", LOG_Q(e.msg));
	free_parts(c);
}

struct pool *cas_writer(struct cas *cas)
{
	return cas->writer;
}
