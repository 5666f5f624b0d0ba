/*
 * api_explain: for one byte of a file in a mount: chunk, blob, place, what was asked for it.
 *
 *   the loop finds the mount -> the desk walks the image -> the loop adds what changes while others
 *   fetch: whether the chunk is here, and what fetch remembers; both at once, so that they agree
 */
#include "api.h"
#include "hex.h"
#include "image_walk.h"
#include "mem.h"
#include "share.h"
#include "text.h"
#include "why.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define EVENTS_MAX 64

struct explain {
	struct job job;
	struct api_call *call;
	struct lazy_image *image; /* a reference */
	const char *rest;         /* of the path, inside the image */
	uint64_t offset;
	json_t *document;
	bool has_chunk;
	bool has_unit;
	bool ready;
	bool referred; /* to another blob's chunk */
	uint32_t blob_idx;
	uint32_t chunk_idx;
	uint32_t unit_idx;
	int result;
	struct err err;
};

/* ---- the desk ---- */

static const char *unit_kind_name(uint8_t kind)
{
	if (kind == UNIT_BATCH)
		return "batch";
	return kind == UNIT_ZRAN ? "zran" : "chunk";
}

static void tell_unit(struct explain *x, const struct blob_layout *l)
{
	struct unit_rec unit;

	x->unit_idx = layout_unit_of(l, x->chunk_idx);
	if (!layout_unit(l, x->unit_idx, &unit))
		return;
	x->has_unit = true;
	json_set_u64(x->document, "unit_idx", x->unit_idx);
	json_set_text(x->document, "unit_kind", unit_kind_name(unit.kind));
	json_set_u64(x->document, "packed_offset", unit.packed_offset);
	json_set_u64(x->document, "packed_size_bytes", unit.packed_size_bytes);
	json_set_text(x->document, "packed_as",
	              unit.compressed ? compressor_name(l->compressor) : "none");
	(void)json_object_set_new(x->document, "encrypted", json_boolean(unit.encrypted));
}

static void tell_digest(json_t *document, const struct blob_layout *l,
                        const struct chunk_rec *chunk)
{
	char hex[DIGEST_TEXT_BYTES];
	AUTO(free_str) char *text = NULL;

	if (!(chunk->flags & CHUNK_HAS_DIGEST))
		return;
	hex_encode(chunk->digest, DIGEST_BYTES, hex);
	text = xasprintf("%s:%s", digest_alg_name(l->digest_alg), hex);
	json_set_text(document, "digest", text);
}

static void tell_origins(json_t *document, const struct cas_blob *blob)
{
	struct cas_origin *origins = xcalloc(CAS_ORIGINS_MAX, sizeof(*origins));
	const uint32_t n = cas_blob_origins(blob, origins, CAS_ORIGINS_MAX);
	json_t *list = json_array();

	for (uint32_t i = 0; i < n; i++)
		(void)json_array_append_new(list, json_words(origins[i].text));
	(void)json_object_set_new(document, "origins", list);
	free(origins);
}

static int tell_chunk(struct explain *x, const struct image_segment *seg, struct err *e)
{
	const struct cas_blob *blob = fetch_blob_cas(x->image->blobs[seg->blob_idx]);
	const struct blob_layout *l = cas_blob_layout(blob);

	if (!image_segment_fits(seg, l))
		return err_set(e, EUCLEAN,
		               "the file names a chunk that its blob does not have (build the "
		               "image again)");
	x->has_chunk = true;
	x->blob_idx = seg->blob_idx;
	x->chunk_idx = seg->chunk_idx;
	json_set_text(x->document, "blob", cas_blob_key(blob));
	json_set_u64(x->document, "chunk_idx", seg->chunk_idx);
	json_set_u64(x->document, "chunk_offset", seg->chunk_offset);
	tell_digest(x->document, l, &l->chunks[seg->chunk_idx]);
	json_set_u64(x->document, "plain_offset", l->chunks[seg->chunk_idx].plain_offset);
	json_set_u64(x->document, "plain_size_bytes", l->chunks[seg->chunk_idx].plain_size_bytes);
	tell_unit(x, l);
	tell_origins(x->document, blob);
	return 0;
}

static int tell(struct explain *x, struct err *e)
{
	struct image_segment seg = { 0 };
	struct stat st = { 0 };
	uint64_t node = 0;
	int r = image_walk(x->image->image, x->rest, &node, e);

	if (r == 0)
		r = image_getattr(x->image->image, node, &st, e);
	if (r < 0)
		return r;
	json_set_u64(x->document, "file_size_bytes", (uint64_t)st.st_size);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ENOTSUP, "it is no regular file: it has no chunks (name a file)");
	if (x->offset >= (uint64_t)st.st_size)
		return err_set(e, ERANGE,
		               "offset %" PRIu64 " is past its end (offsets begin at 0, and it has "
		               "%jd bytes)",
		               x->offset, (intmax_t)st.st_size);
	r = image_map(x->image->image, node, x->offset, 1, &seg, 1, e);
	if (r < 0)
		return r;
	if (r == 0 || seg.blob_idx == IMAGE_BLOB_NONE || seg.blob_idx >= x->image->n_blobs) {
		(void)json_object_set_new(x->document, "hole", json_true());
		json_set_text(x->document, "why", "a hole: zeros, which nobody has to fetch");
		return 0;
	}
	return tell_chunk(x, &seg, e);
}

static void explain_work(struct job *job)
{
	struct explain *x = container_of(job, struct explain, job);

	x->result = tell(x, &x->err);
}

/* ---- the loop ---- */

/* In the blob's own file, or in that of another one that it refers to. */
static void tell_place(struct explain *x, const struct cas_blob *blob)
{
	const char *state_dir = x->call->api->agent->config->state_dir;
	struct cas_chunk_place place = {
		.plain_offset = cas_blob_layout(blob)->chunks[x->chunk_idx].plain_offset
	};
	AUTO(free_str) char *data_file = NULL;

	x->referred = cas_blob_owner_of(blob, x->chunk_idx, &place);
	if (x->referred) {
		json_set_text(x->document, "owner", place.key);
		json_set_u64(x->document, "owner_chunk_idx", place.chunk_idx);
	}
	data_file = xasprintf("%s/blobs/%s.blob.data", state_dir,
	                      x->referred ? place.key : cas_blob_key(blob));
	json_set_text(x->document, "data_file", data_file);
	json_set_u64(x->document, "data_offset", place.plain_offset);
	x->ready = cas_blob_is_present(blob, x->chunk_idx);
	(void)json_object_set_new(x->document, "ready", json_boolean(x->ready));
}

static const char *result_text(int result)
{
	switch (result) {
	case SOURCE_OK:
		return "ok";
	case SOURCE_MISS:
		return "miss";
	case SOURCE_GONE:
		return "gone";
	default:
		return strerrorname_np(-result) != NULL ? strerrorname_np(-result) : "failed";
	}
}

static const char *said(const struct fetch_event *ev)
{
	switch (ev->kind) {
	case FETCH_STEP:
		return "said";
	case FETCH_OPEN:
		return "open";
	case FETCH_LEASE:
		return "lease";
	case FETCH_SOME:
		return "some";
	case FETCH_ANSWER:
	default:
		return result_text(ev->result);
	}
}

static json_t *event_json(const struct fetch_event *ev)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I}", "source", ev->source,
	                 "for", ev->reader ? "reader" : "ahead", "result", said(ev), "detail",
	                 json_words(ev->detail), "asked_wall_ms", (json_int_t)ev->asked_wall_ms,
	                 "first_unit_us", (json_int_t)ev->first_unit_us, "took_us",
	                 (json_int_t)ev->took_us, "asked_first_unit", (json_int_t)ev->first_unit,
	                 "asked_n_units", (json_int_t)ev->n_units);
}

static void tell_why(struct explain *x, const struct fetch_event *events, uint32_t n)
{
	AUTO(free_str)
	char *why = why_words(events, n,
	                      x->referred ? WHY_SHARED
	                      : x->ready  ? WHY_HERE
	                                  : WHY_ABSENT);

	json_set_text(x->document, "why", why);
}

static void add_events(struct explain *x, const struct cas_blob *blob)
{
	struct fetch_event *events = xcalloc(EVENTS_MAX, sizeof(*events));
	const uint32_t n = fetch_explain(x->call->api->agent->fetch, cas_blob_key(blob),
	                                 x->unit_idx, events, EVENTS_MAX);
	const uint64_t since_ms = fetch_explain_since_ms(x->call->api->agent->fetch);
	json_t *list = json_array();
	const char *source = NULL; /* the last that gave it, as far as is remembered */

	for (uint32_t i = 0; i < n; i++) {
		(void)json_array_append_new(list, event_json(&events[i]));
		if (x->ready && why_gave(&events[i]))
			source = events[i].source;
	}
	(void)json_object_set_new(x->document, "asked", list);
	if (since_ms != 0)
		json_set_u64(x->document, "asked_since_wall_ms", since_ms);
	if (x->referred || source != NULL)
		json_set_text(x->document, "source", x->referred ? "dedup" : source);
	tell_why(x, events, n);
	free(events);
}

static void add_what_changes(struct explain *x)
{
	const struct cas_blob *blob = fetch_blob_cas(x->image->blobs[x->blob_idx]);

	tell_place(x, blob);
	if (x->has_unit)
		add_events(x, blob);
}

static void explain_after(struct job *job)
{
	struct explain *x = container_of(job, struct explain, job);

	if (x->result == 0 && x->has_chunk)
		add_what_changes(x);
	lazy_image_release(&x->image);
	if (x->result == 0)
		api_reply(x->call, json_incref(x->document));
	else
		api_fail(x->call, x->result, &x->err);
	json_drop(&x->document);
	free(x);
}

static void start(struct api_call *call, const struct mounted *m, const char *path,
                  const char *rest, uint64_t offset)
{
	struct explain *x = xcalloc(1, sizeof(*x));

	x->call = call;
	x->image = lazy_image_ref(m->image);
	x->rest = rest;
	x->offset = offset;
	x->document = json_object();
	json_set_text(x->document, "path", path);
	json_set_text(x->document, "dir", m->rec.dir);
	json_set_text(x->document, "name", mount_record_image(&m->rec));
	json_set_text(x->document, "image_digest", m->rec.digest);
	json_set_u64(x->document, "offset", offset);
	x->job = (struct job){ .work = explain_work, .after = explain_after };
	pool_submit(call->api->agent->desk, &x->job);
}

void api_explain(struct api_call *call)
{
	const char *path = json_str(call->query, "path");
	const char *offset_text = json_str(call->query, "offset");
	const struct mounted *m;
	const char *rest = NULL;
	uint64_t offset = 0;
	struct err e = { 0 };

	if ((!path_is_plain(path) && strcmp(path, "/") != 0) ||
	    (offset_text[0] != '\0' && !text_number(offset_text, INT64_MAX, &offset))) {
		api_fail(call,
		         err_set(&e, EINVAL,
		                 "\"path\" must be an absolute path, \"offset\" a "
		                 "whole number (such as ?path=/mnt/app/bin/sh&offset=0)"),
		         &e);
		return;
	}
	m = mounts_resolve(call->api->agent->mounts, path, &rest);
	if (m == NULL || m->image == NULL) {
		api_fail(call,
		         err_set(&e, ENOENT, "%s lies in no mount of shoal (see shoal ls)", path),
		         &e);
		return;
	}
	start(call, m, path, rest, offset);
}
