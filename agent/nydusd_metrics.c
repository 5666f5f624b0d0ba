/*
 * nydusd_metrics: nydusd's JSON metrics, from what the agent says of a mount.
 *
 * What shoal does not count for a mount is 0; its own metrics have more (docs/metrics.md).
 */
#include "mem.h"
#include "nydusd_api.h"
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>

#define FILE_OPERATIONS 15
#define SIZE_CLASSES    8

/* One mount, looked at by a worker. */
struct look {
	struct job job;
	struct nydusd_call *call;
	struct link *link;
	char *at;
	char *dir;
	json_t *mount; /* NULL: the agent does not answer */
	json_t *(*make)(const struct instance *i, const json_t *mount);
	struct err err;
};

static void look_work(struct job *job) /* worker */
{
	struct look *look = container_of(job, struct look, job);

	if (link_look(look->link, look->dir, &look->mount, &look->err) < 0)
		look->mount = NULL;
}

static void look_after(struct job *job)
{
	struct look *look = container_of(job, struct look, job);
	const struct instance *i = front_find(look->call->front, look->at);

	if (i == NULL)
		nydusd_fail(look->call, HTTP_NOTFOUND, "it was unmounted meanwhile");
	else
		nydusd_reply(look->call, look->make(i, look->mount));
	json_drop(&look->mount);
	free_str(&look->at);
	free_str(&look->dir);
	free(look);
}

/* By id; without one the only mount. NULL: it is answered. */
static struct instance *wanted(struct nydusd_call *call)
{
	const char *id = json_string_value(json_object_get(call->query, "id"));
	struct instance *first = call->front->instances;
	struct instance *i = id != NULL ? front_find(call->front, id) : first;

	/* The snapshotter asks a nydusd of one image by the id of its snapshot, too. */
	if (i == NULL && first != NULL && strcmp(first->at, "/") == 0)
		i = first;
	if (i == NULL || !i->up || (id == NULL && first->next != NULL)) {
		nydusd_fail(call, HTTP_NOTFOUND, "no mount, or more than one, has this id");
		return NULL;
	}
	return i;
}

static void answer(struct nydusd_call *call,
                   json_t *(*make)(const struct instance *i, const json_t *mount))
{
	const struct instance *i = wanted(call);
	struct look *look;

	if (i == NULL)
		return;
	look = xcalloc(1, sizeof(*look));
	look->call = call;
	look->link = call->front->link;
	look->at = xstrdup(i->at);
	look->dir = xstrdup(i->dir);
	look->make = make;
	look->job = (struct job){ .work = look_work, .after = look_after, .prio = JOB_NORMAL };
	pool_submit(call->front->pool, &look->job);
}

/* ---- the documents ---- */

static json_t *zeros(size_t n)
{
	json_t *array = json_array();

	while (n-- > 0)
		(void)json_array_append_new(array, json_integer(0));
	return array;
}

static json_int_t read_of(const json_t *mount, const char *source)
{
	return (json_int_t)json_u64(json_object_get(mount, "read_bytes"), source);
}

static json_t *fs_json(const struct instance *i, const json_t *mount)
{
	const json_int_t read_bytes = read_of(mount, "cache") + read_of(mount, "dedup") +
	                              read_of(mount, "peer") + read_of(mount, "origin");

	return json_pack("{s:b, s:b, s:b, s:b, s:o, s:i, s:I, s:o, s:o, s:o, s:o, s:o}",
	                 "files_account_enabled", 0, "access_pattern_enabled", 0,
	                 "record_latest_read_files_enabled", 0, "measure_latency", 0, "id",
	                 json_words(i->at), "nr_opens", 0, "data_read", read_bytes,
	                 "block_count_read", zeros(SIZE_CLASSES), "fop_hits",
	                 zeros(FILE_OPERATIONS), "fop_errors", zeros(FILE_OPERATIONS),
	                 "fop_cumulative_latency_total", zeros(FILE_OPERATIONS),
	                 "read_latency_dist", zeros(SIZE_CLASSES));
}

void nydusd_get_metrics(struct nydusd_call *call)
{
	answer(call, fs_json);
}

static json_t *origin_json(const struct instance *i, const json_t *mount)
{
	json_t *sizes = json_array();

	for (int n = 0; n < SIZE_CLASSES; n++)
		(void)json_array_append_new(sizes, zeros(SIZE_CLASSES));
	return json_pack("{s:o, s:o, s:i, s:i, s:I, s:i, s:o, s:o, s:o}", "id", json_words(i->at),
	                 "backend_type", json_words(i->backend), "read_count", 0, "read_errors", 0,
	                 "read_amount_total", read_of(mount, "origin"),
	                 "read_cumulative_latency_millis_total", 0,
	                 "read_cumulative_latency_millis_dist", zeros(SIZE_CLASSES),
	                 "read_count_block_size_dist", zeros(SIZE_CLASSES),
	                 "read_latency_sizes_dist", sizes);
}

void nydusd_get_metrics_backend(struct nydusd_call *call)
{
	answer(call, origin_json);
}

/* The snapshotter's garbage collection removes what no such list names: so blobs are named also
 * while the agent does not answer. */
static json_t *files_of(const struct instance *i, const json_t *mount)
{
	const json_t *ids = json_object_get(mount, "blob_ids");
	json_t *names = json_array();

	if (!json_is_array(ids))
		ids = i->blob_ids;
	for (size_t n = 0; n < json_array_size(ids); n++) {
		AUTO(free_str)
		char *name = xasprintf("%s.blob.data", json_string_value(json_array_get(ids, n)));

		(void)json_array_append_new(names, json_words(name));
	}
	return names;
}

static json_t *blobcache_json(const struct instance *i, const json_t *mount)
{
	static const char *const none[] = { "prefetch_data_amount",
		                            "prefetch_requests_count",
		                            "prefetch_workers",
		                            "prefetch_unmerged_chunks",
		                            "prefetch_cumulative_time_millis",
		                            "prefetch_begin_time_secs",
		                            "prefetch_begin_time_millis",
		                            "prefetch_end_time_secs",
		                            "prefetch_end_time_millis",
		                            "buffered_backend_size" };
	/* What is down, or on its way up, has no size yet. */
	const bool is_loaded = json_object_get(mount, "plain_bytes") != NULL;
	const uint64_t plain_bytes = json_u64(mount, "plain_bytes");
	const uint64_t ready_bytes = json_u64(mount, "ready_bytes");
	json_t *document = json_pack(
		"{s:o, s:o, s:o, s:i, s:i, s:i, s:I, s:b}", "id", json_words(i->at),
		"underlying_files", files_of(i, mount), "store_path",
		json_words(i->work_dir != NULL ? i->work_dir : ""), "partial_hits", 0, "whole_hits",
		0, "total", 0, "entries_count", (json_int_t)json_u64(mount, "ready_chunks"),
		"data_all_ready", is_loaded && ready_bytes == plain_bytes);

	for (size_t n = 0; n < ARRAY_LEN(none); n++)
		(void)json_object_set_new(document, none[n], json_integer(0));
	return document;
}

void nydusd_get_metrics_blobcache(struct nydusd_call *call)
{
	answer(call, blobcache_json);
}

/* ---- what readers wait for ---- */

/* Of what the agent has mounted at the root or below it, looked at by a worker. */
struct inflight {
	struct job job;
	struct nydusd_call *call;
	struct link *link;
	char *root;
	json_t *requests;
	int result;
	struct err err;
};

static void inflight_work(struct job *job) /* worker */
{
	struct inflight *f = container_of(job, struct inflight, job);

	f->result = link_requests(f->link, f->root, &f->requests, &f->err);
}

static bool is_ours(const struct front *front, const char *dir)
{
	for (const struct instance *i = front->instances; i != NULL; i = i->next) {
		if (strcmp(i->dir, dir) == 0)
			return true;
	}
	return false;
}

static json_t *inflight_json(const struct front *front, const json_t *requests)
{
	json_t *found = json_array();

	for (size_t n = 0; n < json_array_size(requests); n++) {
		const json_t *request = json_array_get(requests, n);
		json_t *one;

		if (!is_ours(front, json_str(request, "dir")))
			continue;
		one = json_object();
		json_set_u64(one, "inode", json_u64(request, "node"));
		json_set_u64(one, "opcode", json_u64(request, "opcode"));
		json_set_u64(one, "unique", json_u64(request, "unique"));
		json_set_u64(one, "timestamp_secs", json_u64(request, "since_s"));
		(void)json_array_append_new(found, one);
	}
	return found;
}

static void inflight_after(struct job *job)
{
	struct inflight *f = container_of(job, struct inflight, job);
	json_t *found = inflight_json(f->call->front, f->requests);

	if (f->result < 0)
		nydusd_fail(f->call, HTTP_INTERNAL, f->err.msg);
	else if (json_array_size(found) > 0)
		nydusd_reply(f->call, json_incref(found));
	else
		nydusd_reply_nothing(f->call);
	json_drop(&found);
	json_drop(&f->requests);
	free_str(&f->root);
	free(f);
}

void nydusd_get_metrics_inflight(struct nydusd_call *call)
{
	struct inflight *f;

	if (call->front->instances == NULL) {
		nydusd_reply_nothing(call);
		return;
	}
	f = xcalloc(1, sizeof(*f));
	f->call = call;
	f->link = call->front->link;
	f->root = xstrdup(call->front->root);
	f->job = (struct job){ .work = inflight_work, .after = inflight_after, .prio = JOB_NORMAL };
	pool_submit(call->front->pool, &f->job);
}

void nydusd_get_metrics_files(struct nydusd_call *call)
{
	if (wanted(call) != NULL)
		nydusd_reply(call, json_array());
}
