/*
 * mount_record: one mount as its asker describes it and as the list on disk keeps it.
 *
 * Knows the grammar of references and origins. Touches no file: whether a path exists is for
 * whoever mounts. Never holds a secret: of credentials it knows the path of their file.
 */
#include "mount_record.h"
#include "erofs.h"
#include "hex.h"
#include "mem.h"
#include "origin.h"
#include "reference.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define PATHS_MAX_BYTES 12288U

/* Every text and every switch of a record, by the name that it has in JSON. */
static const struct text_member {
	const char *key;
	size_t offset;
	enum { WORDS, PATH, PATHS } kind; /* PATHS: one, or an array of several; here one a line */
} texts[] = {
	{ "dir", offsetof(struct mount_record, dir), PATH },
	{ "image", offsetof(struct mount_record, reference), WORDS },
	{ "bootstrap", offsetof(struct mount_record, bootstrap), PATH },
	{ "blobs", offsetof(struct mount_record, blobs), WORDS },
	{ "auth_file", offsetof(struct mount_record, auth_file), PATH },
	{ "how", offsetof(struct mount_record, how), WORDS },
	{ "links_dir", offsetof(struct mount_record, links_dir), PATH },
	{ "scheme", offsetof(struct mount_record, scheme), WORDS },
	{ "ca_file", offsetof(struct mount_record, ca_file), PATHS },
	{ "proxy", offsetof(struct mount_record, proxy), WORDS },
};

static const struct {
	const char *key;
	size_t offset;
	bool is_shown; /* also where it is off */
} switches[] = {
	{ "prefetch", offsetof(struct mount_record, prefetch), true },
	{ "transient", offsetof(struct mount_record, transient), false },
	{ "credentials_given", offsetof(struct mount_record, given), false },
	{ "skip_verify", offsetof(struct mount_record, skip_verify), false },
	{ "proxy_fallback", offsetof(struct mount_record, proxy_fallback), false },
};

static char **text_of(struct mount_record *rec, size_t idx)
{
	return (char **)(void *)((char *)rec + texts[idx].offset);
}

static const char *text_in(const struct mount_record *rec, size_t idx)
{
	return *(char *const *)(const void *)((const char *)rec + texts[idx].offset);
}

static bool *switch_of(struct mount_record *rec, size_t idx)
{
	return (bool *)(void *)((char *)rec + switches[idx].offset);
}

static bool switch_in(const struct mount_record *rec, size_t idx)
{
	return *(const bool *)(const void *)((const char *)rec + switches[idx].offset);
}

void mount_record_clear(struct mount_record *rec)
{
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		free(*text_of(rec, i));
	*rec = (struct mount_record){ 0 };
}

void mount_record_copy(struct mount_record *ret_copy, const struct mount_record *rec)
{
	*ret_copy = *rec;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		*text_of(ret_copy, i) = xstrdup_or_null(text_in(rec, i));
}

const char *mount_record_image(const struct mount_record *rec)
{
	return rec->reference != NULL ? rec->reference : rec->bootstrap;
}

static void set_paths(json_t *object, const char *key, const char *lines)
{
	AUTO(free_str) char *copy = xstrdup(lines);
	json_t *array = json_array();
	char *rest = NULL;

	for (char *line = strtok_r(copy, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest))
		(void)json_array_append_new(array, json_words(line));
	(void)json_object_set_new(object, key, array);
}

json_t *mount_record_json(const struct mount_record *rec)
{
	json_t *object = json_object();

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		const char *text = text_in(rec, i);

		if (texts[i].kind == PATHS && text != NULL && strchr(text, '\n') != NULL)
			set_paths(object, texts[i].key, text);
		else
			json_set_text(object, texts[i].key, text);
	}
	json_set_text(object, "digest", rec->digest[0] != '\0' ? rec->digest : NULL);
	for (size_t i = 0; i < ARRAY_LEN(switches); i++) {
		if (switches[i].is_shown || switch_in(rec, i))
			(void)json_object_set_new(object, switches[i].key,
			                          json_boolean(switch_in(rec, i)));
	}
	return object;
}

bool path_is_plain(const char *path)
{
	if (path[0] != '/' || path[1] == '\0' || strlen(path) >= PATH_MAX)
		return false;
	while (*path == '/') {
		const size_t n = strcspn(path + 1, "/");

		if (n == 0 || n > NAME_MAX || (n == 1 && path[1] == '.') ||
		    (n == 2 && path[1] == '.' && path[2] == '.'))
			return false;
		path += 1 + n;
	}
	return true;
}

static int check_path(const char *key, const char *path, struct err *e)
{
	if (path == NULL || path_is_plain(path))
		return 0;
	return err_set(e, EINVAL,
	               "\"%s\" must be an absolute path without \".\" and \"..\", and not the "
	               "root: %s",
	               key, path);
}

static int check_image(const struct mount_record *rec, struct err *e)
{
	struct reference ref;

	if (rec->reference != NULL && (rec->bootstrap != NULL || rec->blobs != NULL))
		return err_set(e, EINVAL,
		               "an image and a bootstrap cannot both be named (give one of them)");
	if (rec->reference != NULL)
		return reference_parse(rec->reference, &ref, e);
	if (rec->bootstrap == NULL || rec->blobs == NULL)
		return err_set(
			e, EINVAL,
			"an image, or a bootstrap and its blobs, must be named (see shoal --help)");
	return origin_check(rec->blobs, e);
}

/* A proxy's user info would be a secret in a file. */
static int check_proxy(const char *proxy, struct err *e)
{
	const char *host = strstr(proxy, "://");

	host = host != NULL ? host + 3 : proxy;
	if (host[strcspn(host, "@/")] != '@')
		return 0;
	return err_set(e, EINVAL,
	               "\"proxy\" must not hold a user name and password (give them as "
	               "\"proxy_username\" and \"proxy_password\" of \"credentials\")");
}

static int check_registry(const struct mount_record *rec, struct err *e)
{
	if (rec->scheme != NULL && strcmp(rec->scheme, "http") != 0 &&
	    strcmp(rec->scheme, "https") != 0 && strcmp(rec->scheme, "any") != 0)
		return err_set(e, EINVAL, "\"scheme\" must be http, https or any: %s", rec->scheme);
	return rec->proxy != NULL ? check_proxy(rec->proxy, e) : 0;
}

static int check_record(const struct mount_record *rec, struct err *e)
{
	enum mount_how how;
	int r = 0;

	if (rec->dir == NULL)
		return err_set(e, EINVAL, "\"dir\" is missing");
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(texts); i++) {
		if (texts[i].kind == PATH)
			r = check_path(texts[i].key, text_in(rec, i), e);
	}
	if (r == 0 && rec->how != NULL && !mount_how_parse(rec->how, &how))
		r = err_set(e, EINVAL, "\"how\": \"%s\" is no way to mount (auto, tree or erofs)",
		            rec->how);
	if (r == 0 && rec->digest[0] != '\0' && !hex_is_sha256(rec->digest))
		r = err_set(e, EINVAL, "\"digest\" is no SHA-256 in hexadecimal");
	if (r == 0)
		r = check_registry(rec, e);
	return r < 0 ? r : check_image(rec, e);
}

static int take_text(const json_t *object, const char *key, char **ret_copy, struct err *e)
{
	const char *text = NULL;
	const int r = json_get_text(object, key, &text, e);

	if (r == 0)
		*ret_copy = xstrdup_or_null(text);
	return r;
}

static int add_path(const char *key, const char *path, char **lines, struct err *e)
{
	const int r = check_path(key, path, e);
	char *longer;

	if (r < 0)
		return r;
	longer = *lines != NULL ? xasprintf("%s\n%s", *lines, path) : xstrdup(path);
	free_str(lines);
	*lines = longer;
	return strlen(longer) <= PATHS_MAX_BYTES
	               ? 0
	               : err_set(e, EINVAL, "the paths of \"%s\" have more than %u bytes", key,
	                         PATHS_MAX_BYTES);
}

/* A text holds no line break: json_get_text(). */
static int take_paths(const json_t *object, const char *key, char **ret_lines, struct err *e)
{
	const json_t *array = json_object_get(object, key);
	AUTO(free_str) char *lines = NULL;
	const char *path = NULL;
	int r = 0;

	if (!json_is_array(array))
		r = json_get_text(object, key, &path, e);
	else if (json_array_size(array) < 2)
		r = err_set(e, EINVAL, "\"%s\" must be a path, or an array of several", key);
	if (path != NULL)
		r = add_path(key, path, &lines, e);
	for (size_t i = 0; r == 0 && i < json_array_size(array); i++) {
		AUTO(json_drop)
		json_t *one = json_pack("{s:O}", key, json_array_get(array, i));

		r = json_get_text(one, key, &path, e);
		if (r == 0 && path == NULL)
			r = err_set(e, EINVAL, "\"%s\" holds what is no path", key);
		if (r == 0)
			r = add_path(key, path, &lines, e);
	}
	if (r < 0)
		return r;
	*ret_lines = lines;
	lines = NULL;
	return 0;
}

static int take_member(const json_t *object, size_t idx, struct mount_record *rec, struct err *e)
{
	const char *key = texts[idx].key;

	return texts[idx].kind == PATHS ? take_paths(object, key, text_of(rec, idx), e)
	                                : take_text(object, key, text_of(rec, idx), e);
}

static int take_digest(const json_t *object, struct mount_record *rec, struct err *e)
{
	const char *text = NULL;
	const int r = json_get_text(object, "digest", &text, e);

	if (r < 0 || text == NULL)
		return r;
	if (strlen(text) >= sizeof(rec->digest))
		return err_set(e, EINVAL, "\"digest\" is too long");
	memcpy(rec->digest, text, strlen(text) + 1);
	return 0;
}

int mount_record_parse(const json_t *object, bool stored, struct mount_record *ret_rec,
                       struct err *e)
{
	const char *keys[ARRAY_LEN(texts) + ARRAY_LEN(switches) + 1];
	AUTO(mount_record_clear) struct mount_record rec = { 0 };
	size_t n_keys = 0;
	int r;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		keys[n_keys++] = texts[i].key;
	for (size_t i = 0; i < ARRAY_LEN(switches); i++)
		keys[n_keys++] = switches[i].key;
	keys[n_keys] = stored ? "digest" : "credentials"; /* those are the API's to look at */
	r = json_check_keys(object, keys, n_keys + 1, e);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(texts); i++)
		r = take_member(object, i, &rec, e);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(switches); i++)
		r = json_get_bool(object, switches[i].key, switch_of(&rec, i), e);
	if (r == 0 && stored)
		r = take_digest(object, &rec, e);
	if (r == 0)
		r = check_record(&rec, e);
	if (r == 0) {
		*ret_rec = rec;
		rec = (struct mount_record){ 0 };
	}
	return r;
}
