/*
 * cmd_pin: pin, unpin: images that are kept whole whatever the cache's quota says.
 *
 * A pin comes first, its image's data behind it, so that nothing of it goes meanwhile; the pin
 * stays when the fetching fails, and the next `shoal pin` goes on from there.
 */
#include "commands.h"
#include "mem.h"
#include "progress.h"
#include "render.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int unpin_name(const struct shoal *sh, const char *name, struct err *e)
{
	AUTO(free_str) char *path = client_query("/v1/pins", "image", name);
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .socket = sh->socket, .method = "DELETE", .path = path };

	return client_call(&req, &document, e);
}

/* @return enum shoal_exit; ret_document: its name, and what its data came to */
static int pin(const struct shoal *sh, const char *image, json_t **ret_document, struct err *e)
{
	AUTO(json_drop) json_t *body = json_pack("{s:s}", "image", image);
	AUTO(json_drop) json_t *pinned = NULL;
	struct progress bar;
	struct err ignored = { 0 };
	struct client_request put = {
		.socket = sh->socket, .method = "PUT", .path = "/v1/pins", .body = body
	};
	struct client_request fetch = {
		.socket = sh->socket, .method = "POST", .path = "/v1/prefetch", .body = body
	};
	int status;

	if (body == NULL) {
		(void)err_set(e, EINVAL, "the name of the image is no text (UTF-8 is expected)");
		return SHOAL_USAGE;
	}
	status = client_call(&put, &pinned, e);
	if (status != SHOAL_DONE)
		return status;
	progress_follow(&bar, "pin", !sh->json, &fetch);
	status = client_call(&fetch, ret_document, e);
	progress_end(&bar);
	if (status == SHOAL_DONE)
		(void)json_object_set_new(*ret_document, "pinned", json_true());
	else if (status == SHOAL_NOT_FOUND && !json_is_true(json_object_get(pinned, "was")))
		(void)unpin_name(sh, image, &ignored); /* a word that was mistyped */
	return status;
}

static void print_pinned(const json_t *document)
{
	static const struct column size = { "", "plain_bytes", CELL_BYTES, NULL };
	AUTO(free_str) char *text = render_cell(document, &size);

	render_clean(stdout, json_str(document, "name"));
	(void)printf(": %s pinned, here and verified\n", text);
	(void)fflush(stdout);
}

/* ---- a list ---- */

/* Cut where a comment begins, and what is blank at both ends. */
static char *trim(char *line)
{
	size_t n;

	line[strcspn(line, "#\r\n")] = '\0';
	line += strspn(line, " \t");
	n = strlen(line);
	while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'))
		n--;
	line[n] = '\0';
	return line;
}

/* errno says why. */
static int unreadable(const char *path, struct err *e)
{
	return err_errno(e, errno,
	                 "the list %s cannot be read (one image a line is expected in it)", path);
}

static int read_list(const char *path, json_t *ret_images, struct err *e)
{
	FILE *in = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;
	int r = 0;

	if (in == NULL)
		return unreadable(path, e);
	while (getline(&line, &room, in) >= 0) {
		const char *image = trim(line);

		if (image[0] != '\0')
			(void)json_array_append_new(ret_images, json_words(image));
	}
	if (ferror(in) != 0) /* what came before it is not all that is to stay pinned */
		r = unreadable(path, e);
	free(line);
	(void)fclose(in);
	return r;
}

struct list_run {
	const struct shoal *sh;
	json_t *pinned;   /* {"name", ...} or {"image", "error"} */
	json_t *unpinned; /* names */
	json_t *wanted;   /* names as keys */
	int status;       /* of the last that failed */
};

static void note_failure(struct list_run *run, const char *image, int status, const char *why)
{
	run->status = status;
	if (run->sh->json) {
		(void)json_array_append_new(
			run->pinned, json_pack("{s:s, s:{s:o, s:i}}", "image", image, "error",
		                               "message", json_words(why), "exit", status));
		return;
	}
	(void)fputs("shoal: pin ", stderr);
	render_clean(stderr, image);
	(void)fputs(": ", stderr);
	render_clean(stderr, why);
	(void)fputc('\n', stderr);
}

static void pin_each(struct list_run *run, const json_t *images)
{
	const json_t *image;
	size_t i;

	json_array_foreach(images, i, image)
	{
		AUTO(json_drop) json_t *document = NULL;
		struct err e = { 0 };
		const int status = pin(run->sh, json_string_value(image), &document, &e);

		if (status != SHOAL_DONE) {
			note_failure(run, json_string_value(image), status, e.msg);
			continue;
		}
		if (!run->sh->json)
			print_pinned(document);
		(void)json_array_append(run->pinned, document);
	}
}

static int cannot_want(const json_t *image, int status, struct err *e)
{
	(void)err_wrap(e, "%s", json_string_value(image));
	return status;
}

/* Names as the agent writes them. One that makes no sense is told when it is pinned; whether
 * another that it did not take is pinned already nobody knows: then none is unpinned. */
static int want_each(struct list_run *run, const json_t *images, struct err *e)
{
	const json_t *image;
	size_t i;

	json_array_foreach(images, i, image)
	{
		AUTO(json_drop)
		json_t *body = json_pack("{s:s}", "image", json_string_value(image));
		AUTO(json_drop) json_t *document = NULL;
		struct client_request put = {
			.socket = run->sh->socket, .method = "PUT", .path = "/v1/pins", .body = body
		};
		const int status = client_call(&put, &document, e);

		if (status == SHOAL_DONE)
			(void)json_object_set_new(run->wanted, json_str(document, "name"),
			                          json_true());
		else if (status == SHOAL_NO_AGENT)
			return status;
		else if (status != SHOAL_USAGE)
			return cannot_want(image, status, e);
	}
	return SHOAL_DONE;
}

static int unpin_others(struct list_run *run, struct err *e)
{
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .socket = run->sh->socket,
		                      .method = "GET",
		                      .path = "/v1/pins" };
	int status = client_call(&req, &document, e);
	const json_t *pins = json_object_get(document, "pins");
	const json_t *p;
	size_t i;

	json_array_foreach(pins, i, p)
	{
		const char *name = json_str(p, "name");

		if (status != SHOAL_DONE || json_object_get(run->wanted, name) != NULL)
			continue;
		status = unpin_name(run->sh, name, e);
		if (status == SHOAL_NOT_FOUND) /* somebody else did */
			status = SHOAL_DONE;
		(void)json_array_append_new(run->unpinned, json_words(name));
		if (!run->sh->json) {
			render_clean(stdout, name);
			(void)fputs(": unpinned\n", stdout);
		}
	}
	return status;
}

/* Who goes is let go first: what comes needs the room. */
static int pin_list(struct shoal *sh)
{
	AUTO(json_drop) json_t *images = json_array();
	AUTO(json_drop) json_t *wanted = json_object();
	AUTO(json_drop)
	json_t *document = json_pack("{s:[], s:[]}", "pinned", "unpinned");
	struct list_run run = { .sh = sh,
		                .pinned = json_object_get(document, "pinned"),
		                .unpinned = json_object_get(document, "unpinned"),
		                .wanted = wanted };
	struct err e = { 0 };
	int status = read_list(sh->list, images, &e) < 0 ? SHOAL_USAGE : SHOAL_DONE;

	if (status == SHOAL_DONE)
		status = want_each(&run, images, &e);
	if (status == SHOAL_DONE)
		status = unpin_others(&run, &e);
	if (status != SHOAL_DONE)
		return shoal_fail(sh, status, e.msg);
	pin_each(&run, images);
	if (sh->json)
		render_json(stdout, document);
	return run.status;
}

int cmd_pin(struct shoal *sh)
{
	AUTO(json_drop) json_t *document = NULL;
	struct err e = { 0 };
	int status;

	if ((sh->list != NULL) == (sh->n_args > 0))
		return shoal_fail(sh, SHOAL_USAGE,
		                  "either IMAGE or --list FILE is expected (see shoal --help)");
	if (sh->list != NULL)
		return pin_list(sh);
	status = pin(sh, sh->args[0], &document, &e);
	if (status != SHOAL_DONE)
		return shoal_fail(sh, status, e.msg);
	if (sh->json)
		render_json(stdout, document);
	else
		print_pinned(document);
	return status;
}

int cmd_unpin(struct shoal *sh)
{
	AUTO(free_str) char *path = client_query("/v1/pins", "image", sh->args[0]);
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .method = "DELETE", .path = path };

	return shoal_ask(sh, &req, &document);
}
