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

void mount_record_clear(struct mount_record *rec)
{
	free(rec->dir);
	free(rec->reference);
	free(rec->bootstrap);
	free(rec->blobs);
	free(rec->auth_file);
	free(rec->how);
	*rec = (struct mount_record){ 0 };
}

static char *dup_or_null(const char *text)
{
	return text != NULL ? xstrdup(text) : NULL;
}

void mount_record_copy(struct mount_record *ret_copy, const struct mount_record *rec)
{
	*ret_copy = *rec;
	ret_copy->dir = dup_or_null(rec->dir);
	ret_copy->reference = dup_or_null(rec->reference);
	ret_copy->bootstrap = dup_or_null(rec->bootstrap);
	ret_copy->blobs = dup_or_null(rec->blobs);
	ret_copy->auth_file = dup_or_null(rec->auth_file);
	ret_copy->how = dup_or_null(rec->how);
}

const char *mount_record_image(const struct mount_record *rec)
{
	return rec->reference != NULL ? rec->reference : rec->bootstrap;
}

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool mount_record_same_image(const struct mount_record *a, const struct mount_record *b)
{
	return same_text(a->reference, b->reference) && same_text(a->bootstrap, b->bootstrap) &&
	       same_text(a->blobs, b->blobs);
}

static void set_text(json_t *object, const char *key, const char *text)
{
	if (text != NULL)
		(void)json_object_set_new(object, key, json_words(text));
}

json_t *mount_record_json(const struct mount_record *rec)
{
	json_t *object = json_object();

	set_text(object, "dir", rec->dir);
	set_text(object, "image", rec->reference);
	set_text(object, "bootstrap", rec->bootstrap);
	set_text(object, "blobs", rec->blobs);
	set_text(object, "auth_file", rec->auth_file);
	set_text(object, "how", rec->how);
	set_text(object, "digest", rec->digest[0] != '\0' ? rec->digest : NULL);
	(void)json_object_set_new(object, "prefetch", json_boolean(rec->prefetch));
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
	return err_set(e, EINVAL, "\"%s\" must be an absolute path without \".\" and \"..\": %s",
	               key, path);
}

static int check_image(const struct mount_record *rec, struct err *e)
{
	struct reference ref;

	if (rec->reference != NULL && (rec->bootstrap != NULL || rec->blobs != NULL))
		return err_set(e, EINVAL, "either an image or a bootstrap and its blobs, not both");
	if (rec->reference != NULL)
		return reference_parse(rec->reference, &ref, e);
	if (rec->bootstrap == NULL || rec->blobs == NULL)
		return err_set(e, EINVAL, "an image, or a bootstrap and its blobs, must be named");
	return origin_check(rec->blobs, e);
}

static int check_record(const struct mount_record *rec, struct err *e)
{
	enum mount_how how;
	int r = 0;

	if (rec->dir == NULL)
		return err_set(e, EINVAL, "\"dir\" is missing");
	r = check_path("dir", rec->dir, e);
	if (r == 0)
		r = check_path("bootstrap", rec->bootstrap, e);
	if (r == 0)
		r = check_path("auth_file", rec->auth_file, e);
	if (r == 0 && rec->how != NULL && !mount_how_parse(rec->how, &how))
		r = err_set(e, EINVAL, "\"how\" must be auto, tree or erofs: %s", rec->how);
	if (r == 0 && rec->digest[0] != '\0' && !hex_is_sha256(rec->digest))
		r = err_set(e, EINVAL, "\"digest\" is no SHA-256 in hexadecimal");
	return r < 0 ? r : check_image(rec, e);
}

static int take_text(const json_t *object, const char *key, char **ret_copy, struct err *e)
{
	const char *text = NULL;
	const int r = json_get_text(object, key, &text, e);

	if (r == 0)
		*ret_copy = dup_or_null(text);
	return r;
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
	static const char *const keys[] = { "dir",       "image",    "bootstrap", "blobs",
		                            "auth_file", "prefetch", "how",       "digest" };
	AUTO(mount_record_clear) struct mount_record rec = { 0 };
	int r = json_check_keys(object, keys, ARRAY_LEN(keys) - !stored, e);

	if (r == 0)
		r = take_text(object, "dir", &rec.dir, e);
	if (r == 0)
		r = take_text(object, "image", &rec.reference, e);
	if (r == 0)
		r = take_text(object, "bootstrap", &rec.bootstrap, e);
	if (r == 0)
		r = take_text(object, "blobs", &rec.blobs, e);
	if (r == 0)
		r = take_text(object, "auth_file", &rec.auth_file, e);
	if (r == 0)
		r = take_text(object, "how", &rec.how, e);
	if (r == 0)
		r = json_get_bool(object, "prefetch", &rec.prefetch, e);
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
