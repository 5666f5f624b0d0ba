/*
 * cmd_mount: mount, umount, ls.
 */
#include "commands.h"
#include "mem.h"
#include "progress.h"
#include "render.h"
#include <string.h>

/* What is not UTF-8 cannot be said in JSON, and left out it would be another request.
 * @param text  NULL: nothing is set. @return false: it is not UTF-8 */
static bool set_text(json_t *object, const char *key, const char *text)
{
	return text == NULL || json_object_set_new(object, key, json_string(text)) == 0;
}

static bool set_path(json_t *object, const char *key, const char *path)
{
	AUTO(free_str) char *absolute = path != NULL ? absolute_path(path) : NULL;

	return set_text(object, key, absolute);
}

static bool set_all(const struct shoal *sh, bool by_bootstrap, json_t *body)
{
	return set_path(body, "dir", sh->args[sh->n_args - 1]) &&
	       set_path(body, "bootstrap", sh->bootstrap) &&
	       set_path(body, "auth_file", sh->auth_file) &&
	       (by_bootstrap ? set_text(body, "blobs", sh->blobs)
	                     : set_text(body, "image", sh->args[0])) &&
	       set_text(body, "how", sh->how);
}

/* The agent fetches in the background, whoever looks; who sits at a terminal sees how far it is,
 * and what it fails of. It is mounted all the same. */
static void watch_prefetch(const struct shoal *sh, const char *dir)
{
	AUTO(json_drop) json_t *body = json_object();
	AUTO(json_drop) json_t *document = NULL;
	struct progress bar;
	struct client_request req = {
		.socket = sh->socket, .method = "POST", .path = "/v1/prefetch", .body = body
	};
	struct err e = { 0 };
	int status;

	progress_follow(&bar, "prefetch", true, &req);
	if (!bar.on)
		return;
	json_set_text(body, "dir", dir);
	status = client_call(&req, &document, &e);
	progress_end(&bar);
	if (status != SHOAL_DONE) {
		AUTO(free_str)
		char *why = xasprintf("mounted, but not all of it could be fetched: %s", e.msg);

		(void)shoal_fail(sh, status, why);
	}
}

/* @return malloc'd: what the mount, which was there, is otherwise than said */
static char *otherwise(const json_t *document, const char *name)
{
	if (strcmp(name, "how") == 0)
		return xasprintf("it was mounted already, as %s (umount it, and mount it again, to "
		                 "have it as --how says)",
		                 json_str(document, "as"));
	return xasprintf("it was mounted already, without this %s (umount it, and mount it again)",
	                 name);
}

static void tell_mounted(const struct shoal *sh, const json_t *document)
{
	const json_t *name;
	size_t i;

	render_clean(stdout, json_str(document, "name"));
	(void)fputs(json_is_true(json_object_get(document, "was_there"))
	                    ? " was mounted already at "
	                    : " mounted at ",
	            stdout);
	render_clean(stdout, json_str(document, "dir"));
	(void)fputc('\n', stdout);
	(void)fflush(stdout);
	json_array_foreach(json_object_get(document, "not_applied"), i, name)
	{
		AUTO(free_str) char *why = otherwise(document, json_string_value(name));

		(void)shoal_fail(sh, SHOAL_DONE, why);
	}
}

int cmd_mount(struct shoal *sh)
{
	AUTO(json_drop) json_t *body = json_object();
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .method = "POST", .path = "/v1/mounts", .body = body };
	const bool by_bootstrap = sh->bootstrap != NULL || sh->blobs != NULL;
	int status;

	if (by_bootstrap && (sh->bootstrap == NULL || sh->blobs == NULL))
		return shoal_fail(sh, SHOAL_USAGE,
		                  "--bootstrap and --blobs go together (see shoal --help)");
	if (sh->n_args != (by_bootstrap ? 1 : 2))
		return shoal_fail(sh, SHOAL_USAGE,
		                  by_bootstrap ? "with --bootstrap, DIR alone is expected (the "
		                                 "bootstrap is the image)"
		                               : "IMAGE and DIR are expected (as in: shoal mount "
		                                 "HOST/REPOSITORY:TAG /mnt)");
	if (!set_all(sh, by_bootstrap, body))
		return shoal_fail(sh, SHOAL_USAGE, SHOAL_NO_UTF8);
	(void)json_object_set_new(body, "prefetch", json_boolean(sh->prefetch));
	status = shoal_ask(sh, &req, &document);
	if (status != SHOAL_DONE || sh->json)
		return status;
	tell_mounted(sh, document);
	if (sh->prefetch)
		watch_prefetch(sh, json_str(document, "dir"));
	return status;
}

int cmd_umount(struct shoal *sh)
{
	AUTO(free_str) char *dir = absolute_path(sh->args[0]);
	AUTO(free_str) char *path = client_query("/v1/mounts", "dir", dir);
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .method = "DELETE", .path = path };

	return shoal_ask(sh, &req, &document);
}

int cmd_ls(struct shoal *sh)
{
	static const struct column columns[] = {
		{ "DIRECTORY", "dir", CELL_TEXT, NULL },
		{ "STATE", "state", CELL_TEXT, NULL },
		{ "AS", "as", CELL_TEXT, NULL },
		{ "HERE", "ready_bytes", CELL_SHARE, "plain_bytes" },
		{ "SIZE", "plain_bytes", CELL_BYTES, NULL },
		{ "IMAGE", "name", CELL_TEXT, NULL },
		{ "NOTE", "note", CELL_TEXT, NULL },
	};
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .method = "GET", .path = "/v1/mounts" };
	const int status = shoal_ask(sh, &req, &document);
	json_t *mounts = json_object_get(document, "mounts");
	json_t *m;
	size_t i;

	if (status != SHOAL_DONE || sh->json)
		return status;
	json_array_foreach(mounts, i, m)
	{
		const char *note = json_str(m, "error");

		if (note[0] == '\0')
			note = json_str(m, "no_erofs");
		if (note[0] == '\0' && json_is_true(json_object_get(m, "auth_file_gone")))
			note = "its auth file is gone: what is here can be read";
		if (note[0] == '\0' && json_is_true(json_object_get(m, "unverified")))
			note = "without digests: not verified";
		(void)json_object_set_new(m, "note", json_string(note));
	}
	render_table(stdout, mounts, columns, ARRAY_LEN(columns));
	return status;
}
