/*
 * api_mounts: ls, mount, umount.
 *
 * Knows the wish of the caller and the list of mounts. How much of an image is here is counted on
 * the desk: an image may have a million chunks.
 */
#include "api.h"
#include "mem.h"
#include "share.h"
#include "text.h"
#include "unconst.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUERY_TIMEOUT_MAX_MS 9999999U

static int check_dir(const char *dir, struct err *e)
{
	if (path_is_plain(dir))
		return 0;
	return err_set(e, EINVAL,
	               "\"dir\" must be an absolute path, and not the root (such as /mnt/app)");
}

/* ---- mount ---- */

static json_t *mounted_json(const struct mounted *m)
{
	json_t *object = mount_record_json(&m->rec);

	json_set_text(object, "name", mount_record_image(&m->rec));
	(void)json_object_set_new(object, "state", json_string(mount_state_name(m->state)));
	if (m->state == MOUNT_DOWN && m->why.code != 0)
		json_set_text(object, "error", m->why.msg);
	if (m->state == MOUNT_UP)
		(void)json_object_set_new(object, "as", json_string(m->erofs ? "erofs" : "tree"));
	if (m->no_erofs != NULL && m->no_erofs[0] != '\0')
		json_set_text(object, "no_erofs", m->no_erofs);
	if (m->hidden)
		(void)json_object_set_new(object, "hidden", json_true());
	if (m->auth_file_gone)
		(void)json_object_set_new(object, "auth_file_gone", json_true());
	if (m->image != NULL && m->image->unverified != 0)
		(void)json_object_set_new(object, "unverified", json_true());
	return object;
}

/* Is what the wish says under this name true of the mount? */
static bool is_so(const json_t *object, const char *key, const json_t *said)
{
	if (json_is_null(said))
		return true; /* not said */
	if (strcmp(key, "how") == 0)
		return strcmp(json_string_value(said), "auto") == 0 ||
		       json_equal(said, json_object_get(object, "as"));
	if (strcmp(key, "prefetch") == 0 || strcmp(key, "image") == 0 ||
	    strcmp(key, "bootstrap") == 0 || strcmp(key, "blobs") == 0)
		return true; /* done; or another name of what is there */
	return json_is_false(said) || json_equal(said, json_object_get(object, key));
}

/* What the wish says and the mount, which was there, does not: an array of names. */
static json_t *not_applied(const json_t *wish, const json_t *object)
{
	json_t *names = json_array();
	const char *key;
	json_t *said;

	json_object_foreach(unconst(wish), key, said)
	{
		if (!is_so(object, key, said))
			(void)json_array_append_new(names, json_string(key));
	}
	return names;
}

static void on_mounted(void *arg, int r, const struct mounted *m, const struct err *why)
{
	struct api_call *call = arg;

	json_t *object = r < 0 ? NULL : mounted_json(m);

	if (r == MOUNT_WAS_THERE) {
		(void)json_object_set_new(object, "not_applied", not_applied(call->body, object));
		(void)json_object_set_new(object, "was_there", json_true());
	}
	if (r < 0)
		api_fail(call, r, why);
	else
		api_reply(call, object);
}

static void on_mount_gone(struct api_call *call, void *arg)
{
	struct err e = { 0 };

	mounts_cancel(arg);
	api_fail(call, err_set(&e, ECANCELED, "it was cancelled"), &e);
}

/* Borrowed from the body. @return 0; -EINVAL */
static int take_credentials(const json_t *object, struct credentials *ret_given, struct err *e)
{
	enum { USERNAME, PASSWORD, TOKEN, PROXY_USERNAME, PROXY_PASSWORD, N_KEYS };
	static const char *const keys[N_KEYS] = { "username", "password", "token", "proxy_username",
		                                  "proxy_password" };
	const char *texts[N_KEYS] = { NULL };
	bool has_password, has_token, has_proxy;
	int r = 0;

	if (!json_is_object(object))
		return err_set(e, EINVAL, "\"credentials\" must be an object (see docs/api.md)");
	r = json_check_keys(object, keys, N_KEYS, e);
	for (size_t i = 0; r == 0 && i < N_KEYS; i++) /* all but a token may be empty */
		r = json_get_secret(object, keys[i], i != TOKEN, &texts[i], e);
	if (r < 0)
		return r;
	has_password = texts[USERNAME] != NULL;
	has_token = texts[TOKEN] != NULL;
	has_proxy = texts[PROXY_USERNAME] != NULL;
	if (has_password != (texts[PASSWORD] != NULL) ||
	    has_proxy != (texts[PROXY_PASSWORD] != NULL) || (has_password && has_token) ||
	    (!has_password && !has_token && !has_proxy))
		return err_set(e, EINVAL,
		               "\"credentials\" are a username and a password, or a token (give "
		               "one of the two), and with a proxy those of it, too");
	*ret_given = (struct credentials){ .username = unconst(texts[USERNAME]),
		                           .password = unconst(texts[PASSWORD]),
		                           .bearer = unconst(texts[TOKEN]),
		                           .proxy_username = unconst(texts[PROXY_USERNAME]),
		                           .proxy_password = unconst(texts[PROXY_PASSWORD]),
		                           .for_proxy_alone = !has_password && !has_token };
	return 0;
}

/* It belongs to the question, and not to the mount. An older agent passes over it. */
static int take_timeout(const json_t *query, struct mount_record *rec, struct err *e)
{
	const char *text = json_string_value(json_object_get(query, "timeout_ms"));
	uint64_t ms = 0;

	if (text == NULL)
		return 0;
	if (!text_number(text, QUERY_TIMEOUT_MAX_MS, &ms) || text[0] == '0')
		return err_set(e, EINVAL, "\"timeout_ms\" must be a number from 1 to %u",
		               QUERY_TIMEOUT_MAX_MS);
	rec->load_timeout_ms = (uint32_t)ms;
	return 0;
}

void api_mounts_add(struct api_call *call)
{
	const json_t *credentials = json_object_get(call->body, "credentials");
	AUTO(mount_record_clear) struct mount_record rec = { 0 };
	struct credentials given = { 0 };
	struct err e = { 0 };
	bool replace = false;
	int r = json_get_bool(call->body, "replace", &replace, &e);

	(void)json_object_del(call->body, "replace"); /* the wish's, and not the mount's */
	if (r == 0)
		r = mount_record_parse(call->body, false, &rec, &e);
	if (r == 0)
		r = take_timeout(call->query, &rec, &e);
	if (r == 0 && credentials != NULL)
		r = take_credentials(credentials, &given, &e);
	if (r < 0) {
		api_fail(call, r, &e);
		return;
	}
	rec.given = rec.given || credentials != NULL;
	call->on_gone_arg =
		mounts_add(call->api->agent->mounts, &rec, credentials != NULL ? &given : NULL,
	                   replace, on_mounted, call);
	call->on_gone = on_mount_gone;
}

/* ---- other credentials ---- */

void api_mounts_give(struct api_call *call)
{
	struct credentials given = { 0 };
	struct err e = { 0 };
	int r = check_dir(json_str(call->body, "dir"), &e);

	if (r == 0)
		r = take_credentials(json_object_get(call->body, "credentials"), &given, &e);
	if (r == 0)
		r = mounts_give(call->api->agent->mounts, json_str(call->body, "dir"), &given, &e);
	if (r < 0)
		api_fail(call, r, &e);
	else
		api_reply(call, json_pack("{s:O}", "dir", json_object_get(call->body, "dir")));
}

/* ---- umount ---- */

static void on_removed(void *arg, int r, const struct err *why)
{
	struct api_call *call = arg;
	struct err e = { 0 };

	if (r == -EBUSY)
		r = err_set(&e, EBUSY,
		            "%s is in use (find by whom with: fuser -vm %s; or mounts inside it)",
		            json_str(call->query, "dir"), json_str(call->query, "dir"));
	else if (r < 0)
		e = *why;
	if (r < 0)
		api_fail(call, r, &e);
	else
		api_reply(call, json_pack("{s:O}", "dir", json_object_get(call->query, "dir")));
}

void api_mounts_remove(struct api_call *call)
{
	struct err e = { 0 };
	const int r = check_dir(json_str(call->query, "dir"), &e);

	if (r == 0)
		mounts_remove(call->api->agent->mounts, json_str(call->query, "dir"),
		              strcmp(json_str(call->query, "detach"), "true") == 0, on_removed,
		              call);
	else
		api_fail(call, r, &e);
}

/* ---- ls ---- */

struct row {
	json_t *object;
	struct lazy_image *image; /* a reference; or NULL */
};

struct listing {
	struct job job;
	struct api_call *call;
	uint32_t n_rows;
	struct row rows[];
};

static void count_ready(struct row *row)
{
	uint64_t plain_bytes = 0;
	uint64_t ready_bytes = 0;
	uint64_t n_ready = 0;

	for (uint32_t i = 0; i < row->image->n_blobs; i++) {
		const struct cas_blob *blob = fetch_blob_cas(row->image->blobs[i]);
		const struct blob_layout *l = cas_blob_layout(blob);

		for (uint32_t c = 0; c < l->n_chunks; c++) {
			if (!lazy_image_names(row->image, i, c))
				continue;
			plain_bytes += l->chunks[c].plain_size_bytes;
			if (!cas_blob_is_present(blob, c))
				continue;
			ready_bytes += l->chunks[c].plain_size_bytes;
			n_ready++;
		}
	}
	json_set_u64(row->object, "plain_bytes", plain_bytes);
	json_set_u64(row->object, "ready_bytes", ready_bytes);
	json_set_u64(row->object, "ready_chunks", n_ready);
}

static void listing_work(struct job *job)
{
	struct listing *listing = container_of(job, struct listing, job);

	for (uint32_t i = 0; i < listing->n_rows; i++) {
		if (listing->rows[i].image != NULL)
			count_ready(&listing->rows[i]);
	}
}

static void listing_after(struct job *job)
{
	struct listing *listing = container_of(job, struct listing, job);
	json_t *mounts = json_array();

	for (uint32_t i = 0; i < listing->n_rows; i++) {
		(void)json_array_append_new(mounts, listing->rows[i].object);
		lazy_image_release(&listing->rows[i].image);
	}
	api_reply(listing->call, json_pack("{s:o}", "mounts", mounts));
	free(listing);
}

/* What only who asks for one mount wants to know. */
static void add_detail(json_t *object, const struct mounted *m, struct metrics *metrics)
{
	json_t *ids = json_array();
	json_t *read_bytes = json_object();

	for (uint32_t i = 0; i < m->image->n_blobs; i++) {
		const struct cas_blob *blob = fetch_blob_cas(m->image->blobs[i]);

		(void)json_array_append_new(ids, json_words(cas_blob_layout(blob)->blob_id));
	}
	(void)json_object_set_new(object, "blob_ids", ids);
	for (size_t i = 0; i < N_FOUND; i++) {
		const char *const labels[] = { fetch_found_names[i], m->image->name };
		const struct series *series = metrics_series(metrics, METRIC_READ_BYTES, labels);

		json_set_u64(read_bytes, fetch_found_names[i], (uint64_t)series_get(series));
	}
	(void)json_object_set_new(object, "read_bytes", read_bytes);
}

void api_mounts_list(struct api_call *call)
{
	const struct mounts *mounts = call->api->agent->mounts;
	const char *dir = json_string_value(json_object_get(call->query, "dir"));
	struct listing *listing;

	listing = xcalloc(1, sizeof(*listing) + mounts_count(mounts) * sizeof(listing->rows[0]));
	listing->call = call;
	for (const struct mounted *m = mounts_first(mounts); m != NULL; m = m->next) {
		struct row *row;

		if (dir != NULL && (m->hidden || strcmp(m->rec.dir, dir) != 0))
			continue;
		row = &listing->rows[listing->n_rows++];
		row->object = mounted_json(m);
		row->image = m->image != NULL ? lazy_image_ref(m->image) : NULL;
		if (dir != NULL && m->image != NULL)
			add_detail(row->object, m, call->api->agent->metrics);
	}
	listing->job =
		(struct job){ .work = listing_work, .after = listing_after, .prio = JOB_NORMAL };
	pool_submit(call->api->agent->desk, &listing->job);
}

/* ---- what readers wait for ---- */

static void add_requests(json_t *requests, const struct mounted *m)
{
	struct fuse_asked asked[ASKED_MAX];
	const uint32_t n = mounts_asked(m, asked);

	for (uint32_t i = 0; i < n; i++) {
		json_t *request = json_object();

		json_set_text(request, "dir", m->rec.dir);
		json_set_u64(request, "node", asked[i].node);
		json_set_u64(request, "opcode", asked[i].opcode);
		json_set_u64(request, "unique", asked[i].unique);
		json_set_u64(request, "since_s", asked[i].since_s);
		(void)json_array_append_new(requests, request);
	}
}

static bool is_below(const char *dir, const char *top)
{
	size_t n = strlen(top);

	while (n > 0 && top[n - 1] == '/')
		n--;
	return strncmp(dir, top, n) == 0 && (dir[n] == '\0' || dir[n] == '/');
}

/* Each nydusd of a node asks once a minute, and has one of its many mounts. */
void api_mounts_requests(struct api_call *call)
{
	const char *below = json_string_value(json_object_get(call->query, "below"));
	json_t *requests = json_array();

	for (const struct mounted *m = mounts_first(call->api->agent->mounts); m != NULL;
	     m = m->next) {
		if (below == NULL || is_below(m->rec.dir, below))
			add_requests(requests, m);
	}
	api_reply(call, json_pack("{s:o}", "requests", requests));
}
