/*
 * api_store: what the node has: images, blobs, chunks, status. Each is a question to cas, asked
 * on the desk; what a mount has changed is asked behind what is still to be recorded.
 */
#include "api.h"
#include "hex.h"
#include "image.h"
#include "image_store.h"
#include "inspect_image.h"
#include "live.h"
#include "mem.h"
#include "pins.h"
#include "reference.h"
#include "share.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- images ---- */

struct image_list {
	json_t *images;
	json_t *missing; /* pinned names, as keys, of which no image is here yet */
};

static int add_pin(void *arg, const char *name)
{
	const struct image_list *list = arg;

	(void)json_object_set_new(list->missing, name, json_true());
	return 0;
}

static int add_image(void *arg, const struct image_record *rec)
{
	const struct image_list *list = arg;

	(void)json_object_del(list->missing, rec->name);
	(void)json_array_append_new(
		list->images,
		json_pack("{s:o, s:s, s:b, s:b, s:I, s:I}", "name", json_words(rec->name), "digest",
	                  rec->digest, "anonymous", rec->anonymous, "pinned", rec->pinned,
	                  "added_s", (json_int_t)rec->added_s, "used_s", (json_int_t)rec->used_s));
	return 0;
}

static int list_images(struct agent *agent, const json_t *params, json_t **ret_document,
                       struct err *e)
{
	AUTO(json_drop) json_t *missing = json_object();
	struct image_list list = { .images = json_array(), .missing = missing };
	const char *name;
	json_t *ignored;
	int r = pins_list(agent->cas, add_pin, &list, e);

	if (r == 0)
		r = image_store_list(agent->cas, add_image, &list, e);
	json_object_foreach(missing, name, ignored)(void) json_array_append_new(
		list.images,
		json_pack("{s:s, s:s, s:b, s:b, s:i, s:i}", "name", name, "digest", "", "anonymous",
	                  false, "pinned", true, "added_s", 0, "used_s", 0));
	(void)params;
	*ret_document = json_pack("{s:o}", "images", list.images);
	return r;
}

void api_images_list(struct api_call *call)
{
	api_work_behind(call, list_images, NULL);
}

struct wanted {
	const char *digest;
	struct image_record rec;
	bool found;
};

static int look_for_digest(void *arg, const struct image_record *rec)
{
	struct wanted *wanted = arg;

	if (strcmp(rec->digest, wanted->digest) != 0)
		return 0;
	wanted->rec = *rec;
	wanted->found = true;
	return 1;
}

/* The digest that a person wrote, if it is one: hexadecimal, perhaps behind "sha256:". */
static const char *digest_of(const char *text)
{
	static const char prefix[] = "sha256:";

	if (strncmp(text, prefix, strlen(prefix)) == 0)
		text += strlen(prefix);
	return hex_is_sha256(text) ? text : NULL;
}

/* By name as it is recorded, as people shorten it, or by digest. */
static int find_image(struct cas *cas, const char *text, struct image_record *ret_rec,
                      struct err *e)
{
	struct wanted wanted = { .digest = digest_of(text) };
	AUTO(free_str) char *full = NULL;
	struct err ignored = { 0 };
	struct reference ref;
	int r;

	if (text[0] == '\0')
		return err_set(e, EINVAL,
		               "an image must be named (as HOST[:PORT]/REPOSITORY:TAG, or by its "
		               "digest)");
	if (wanted.digest != NULL) {
		r = image_store_list(cas, look_for_digest, &wanted, e);
		if (r >= 0 && wanted.found) {
			*ret_rec = wanted.rec;
			return 0;
		}
	} else {
		if (reference_parse(text, &ref, &ignored) == 0)
			full = reference_text(&ref);
		r = image_store_by_name(cas, full != NULL ? full : text, ret_rec, e);
		if (r == 0)
			return 0;
	}
	return r < 0 ? r : err_set(e, ENOENT, "no such image here: %s (see shoal image ls)", text);
}

static int inspect(struct agent *agent, const json_t *params, json_t **ret_document, struct err *e)
{
	AUTO(image_file_unmap) struct image_file file = { 0 };
	struct image_record rec;
	int r = find_image(agent->cas, json_str(params, "image"), &rec, e);

	if (r == 0)
		r = image_store_map(agent->cas, rec.digest, "image.boot", IMAGE_BOOTSTRAP_MAX_BYTES,
		                    &file, e);
	if (r == 0)
		r = inspect_image(file.data, file.size_bytes, ret_document, e);
	if (r == 0) {
		json_set_text(*ret_document, "name", rec.name);
		(void)json_object_set_new(*ret_document, "digest", json_string(rec.digest));
	}
	return r;
}

static json_t *query_params(const struct api_call *call)
{
	return json_incref(call->query);
}

void api_images_inspect(struct api_call *call)
{
	api_work_behind(call, inspect, query_params);
}

/* An image that is found, and then removed. A worker touches what stands behind the job alone. */
struct removal {
	struct api_call *call;
	struct image_load *bar; /* who would load it meanwhile */
	struct job job;
	struct cas *cas;
	char *image; /* as it was asked for */
	struct image_record rec;
	int result;
	struct err err;
};

static void removal_end(struct removal *rm)
{
	if (rm->result < 0)
		api_fail(rm->call, rm->result, &rm->err);
	else
		api_reply(rm->call, json_pack("{s:o, s:s}", "name", json_words(rm->rec.name),
		                              "digest", rm->rec.digest));
	free(rm->image);
	free(rm);
}

static void remove_work(struct job *job)
{
	struct removal *rm = container_of(job, struct removal, job);

	rm->result = image_store_remove(rm->cas, rm->rec.digest, &rm->err);
	if (rm->result == CAS_MISS)
		rm->result = err_set(&rm->err, ENOENT,
		                     "no such image here: %s (see shoal image ls)", rm->rec.name);
}

static void removed(struct job *job)
{
	struct removal *rm = container_of(job, struct removal, job);

	image_load_cancel(rm->bar);
	removal_end(rm);
}

/* Nobody uses it, and nobody will before it is removed. */
static int bar_users(struct removal *rm, struct err *e)
{
	const struct agent *agent = rm->call->api->agent;
	const struct mounted *m = mounts_of_image(agent->mounts, rm->rec.digest);

	if (m != NULL)
		return err_set(e, EBUSY, "mounted at %s (umount it first)", m->rec.dir);
	return image_load_bar(agent->loader, rm->rec.digest, &rm->bar, e);
}

static void submit_removal(struct removal *rm, void (*work)(struct job *job),
                           void (*after)(struct job *job))
{
	rm->job = (struct job){ .work = work, .after = after, .prio = JOB_NORMAL };
	pool_submit(rm->call->api->agent->desk, &rm->job);
}

static void found_to_be_removed(struct job *job)
{
	struct removal *rm = container_of(job, struct removal, job);
	struct err why;

	if (rm->result == 0) {
		rm->result = bar_users(rm, &why);
		if (rm->result < 0)
			(void)err_set(&rm->err, why.code, "%s is %s", rm->rec.name, why.msg);
	}
	if (rm->result < 0)
		removal_end(rm);
	else
		submit_removal(rm, remove_work, removed);
}

static void find_work(struct job *job)
{
	struct removal *rm = container_of(job, struct removal, job);

	rm->result = find_image(rm->cas, rm->image, &rm->rec, &rm->err);
}

static void recorded_before_removal(struct job *job)
{
	submit_removal(container_of(job, struct removal, job), find_work, found_to_be_removed);
}

/* What was to be recorded may have taken long: only then is it looked who uses what. */
void api_images_remove(struct api_call *call)
{
	struct removal *rm = xcalloc(1, sizeof(*rm));

	rm->call = call;
	rm->cas = call->api->agent->cas;
	rm->image = xstrdup(json_str(call->query, "image"));
	rm->job.after = recorded_before_removal;
	image_store_behind(rm->cas, &rm->job);
}

/* ---- blobs and chunks ---- */

static int add_blob(void *arg, const struct cas_blob_info *info)
{
	json_t *blobs = arg;
	json_t *origins = json_array();

	for (uint32_t i = 0; i < info->n_origins; i++)
		(void)json_array_append_new(origins, json_words(info->origins[i].text));
	(void)json_array_append_new(
		blobs,
		json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o}", "key",
	                  json_words(info->key), "blob_id", json_words(info->blob_id), "n_chunks",
	                  (json_int_t)info->n_chunks, "n_ready",
	                  (json_int_t)info->n_ready + info->n_referred, "n_referred",
	                  (json_int_t)info->n_referred, "plain_size_bytes",
	                  (json_int_t)info->plain_size_bytes, "ready_bytes",
	                  (json_int_t)info->ready_bytes, "disk_bytes", (json_int_t)info->disk_bytes,
	                  "open", info->open, "origins", origins));
	return 0;
}

static int list_blobs(struct agent *agent, const json_t *params, json_t **ret_document,
                      struct err *e)
{
	json_t *blobs = json_array();
	const int r = cas_blobs(agent->cas, add_blob, blobs, e);

	(void)params;
	*ret_document = json_pack("{s:o}", "blobs", blobs);
	return r;
}

void api_blobs_list(struct api_call *call)
{
	api_work_behind(call, list_blobs, NULL);
}

#define CHUNK_PLACES_MAX 10000

static int add_place(void *arg, const struct cas_chunk_place *place)
{
	json_t *places = arg;

	(void)json_array_append_new(
		places, json_pack("{s:o, s:I, s:I, s:I, s:b, s:b}", "blob", json_words(place->key),
	                          "chunk_idx", (json_int_t)place->chunk_idx, "plain_offset",
	                          (json_int_t)place->plain_offset, "plain_size_bytes",
	                          (json_int_t)place->plain_size_bytes, "ready",
	                          place->ready || place->referred, "referred", place->referred));
	return json_array_size(places) >= CHUNK_PLACES_MAX;
}

static int find_chunk(struct agent *agent, const json_t *params, json_t **ret_document,
                      struct err *e)
{
	const char *text = json_str(params, "digest");
	const char *hex = strchr(text, ':') != NULL ? strchr(text, ':') + 1 : text;
	uint8_t digest[DIGEST_BYTES];
	json_t *places;
	int r;

	if (strlen(hex) != sizeof(digest) * 2 || !hex_decode(hex, sizeof(digest), digest))
		return err_set(
			e, EINVAL,
			"%s is no digest (64 hexadecimal digits: shoal explain says a chunk's)",
			text);
	places = json_array();
	r = cas_chunk_find(agent->cas, digest, add_place, places, e);
	if (r >= 0 && json_array_size(places) == 0)
		r = err_set(
			e, ENOENT,
			"no blob that is known here has the chunk %s (shoal explain FILE says a "
			"file's chunks)",
			text);
	*ret_document = json_pack("{s:s, s:o}", "digest", hex, "places", places);
	if (r < 0)
		json_drop(ret_document);
	return r < 0 ? r : 0;
}

void api_chunks_find(struct api_call *call)
{
	api_work(call, find_chunk, json_pack("{s:o}", "digest", json_words(call->rest)));
}

/* ---- status ---- */

static int add_disk(struct agent *agent, const json_t *params, json_t **ret_document, struct err *e)
{
	uint64_t disk_bytes = 0;
	const int r = cas_disk_bytes(agent->cas, &disk_bytes, e);

	if (r < 0)
		return r;
	*ret_document = json_deep_copy(params);
	json_set_u64(json_object_get(*ret_document, "cache"), "disk_bytes", disk_bytes);
	return 0;
}

static uint64_t made_ready_by(struct metrics *m, const char *source)
{
	return (uint64_t)series_get(metrics_series(m, METRIC_CHUNK_BYTES, &source));
}

static json_t *sources_json(struct metrics *m)
{
	static const char *const sources[] = { "dedup", "peer", "origin" };
	json_t *object = json_object();

	for (size_t i = 0; i < ARRAY_LEN(sources); i++)
		json_set_u64(object, sources[i], made_ready_by(m, sources[i]));
	return object;
}

static json_t *mounts_json(const struct mounts *mounts)
{
	json_t *states = json_object();

	for (const struct mounted *m = mounts_first(mounts); m != NULL; m = m->next) {
		const char *state = mount_state_name(m->state);

		json_set_u64(states, state, json_u64(states, state) + 1);
	}
	return states;
}

static json_t *cache_json(const struct agent *agent)
{
	json_t *cache = json_object();

	json_set_u64(cache, "quota_bytes", agent->config->cache_quota_bytes);
	json_set_u64(cache, "reserve_bytes", agent->config->cache_reserve_bytes);
	(void)json_object_set_new(cache, "full",
	                          json_boolean(metrics_sum(agent->metrics, METRIC_CACHE_FULL) > 0));
	json_set_text(cache, "sharing", cas_share_way(agent->cas));
	json_set_u64(cache, "pinned_bytes",
	             (uint64_t)metrics_sum(agent->metrics, METRIC_CACHE_PINNED_BYTES));
	json_set_u64(cache, "joins_running", cas_joins_running(agent->cas));
	return cache;
}

/* Can the kernel mount images by itself? */
static json_t *erofs_json(const struct agent *agent)
{
	if (agent->no_erofs.code != 0)
		return json_pack("{s:b, s:o}", "works", 0, "why", json_words(agent->no_erofs.msg));
	return json_pack("{s:b, s:s}", "works", 1, "why", "");
}

void api_status(struct api_call *call)
{
	const struct agent *agent = call->api->agent;
	struct metrics *m = agent->metrics;
	json_t *status = json_object();

	(void)json_object_set_new(status, "version", json_string(SHOAL_VERSION));
	(void)json_object_set_new(status, "ready", json_boolean(agent_is_ready(agent)));
	json_set_text(status, "state_dir", agent->config->state_dir);
	(void)json_object_set_new(status, "erofs", erofs_json(agent));
	(void)json_object_set_new(status, "mounts", mounts_json(agent->mounts));
	(void)json_object_set_new(status, "cache", cache_json(agent));
	(void)json_object_set_new(status, "made_ready_bytes", sources_json(m));
	(void)json_object_set_new(status, "peers", api_peers_summary(call->api->agent));
	json_set_u64(status, "pid", (uint64_t)getpid());
	json_set_u64(status, "uptime_s",
	             (clock_now_ns(agent->clock) - agent->started_ns) / NS_PER_S);
	json_set_u64(status, "read_bytes", (uint64_t)metrics_sum(m, METRIC_READ_BYTES));
	json_set_u64(status, "origin_received_bytes",
	             (uint64_t)metrics_sum(m, METRIC_ORIGIN_RECEIVED_BYTES));
	json_set_u64(status, "origin_requests", (uint64_t)metrics_sum(m, METRIC_ORIGIN_REQUESTS));
	json_set_u64(status, "verify_failures", (uint64_t)metrics_sum(m, METRIC_VERIFY_FAILURES));
	json_set_u64(status, "unverified_bytes", (uint64_t)metrics_sum(m, METRIC_UNVERIFIED_BYTES));
	json_set_u64(status, "readers_waiting", (uint64_t)metrics_sum(m, METRIC_READERS_WAITING));
	json_set_u64(status, "fetches_in_flight",
	             (uint64_t)metrics_sum(m, METRIC_FETCHES_IN_FLIGHT));
	api_work(call, add_disk, status);
}

void api_live(struct api_call *call)
{
	api_reply(call, live_document(call->api->agent));
}
