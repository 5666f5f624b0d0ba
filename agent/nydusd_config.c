/*
 * nydusd_config: see nydusd_config.h.
 */
#include "nydusd_config.h"
#include "mem.h"
#include "nydusd_proxy.h"
#include "reference.h"
#include "secret.h"
#include "toml_json.h"
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

void nydusd_config_clear(struct nydusd_config *config)
{
	free_str(&config->blobs);
	free_str(&config->backend);
	free_str(&config->scheme);
	json_drop(&config->ca_files);
	free_str(&config->proxy);
	free_secret(&config->username);
	free_secret(&config->password);
	free_secret(&config->token);
	free_secret(&config->proxy_username);
	free_secret(&config->proxy_password);
	free_str(&config->work_dir);
	free_str(&config->id);
	json_drop(&config->shown);
	*config = (struct nydusd_config){ 0 };
}

/* ---- USER:PASSWORD ---- */

/* @return malloc'd text, a secret; NULL: no base64, or a NUL in it */
static char *base64_text(const char *base64)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const size_t n = strspn(base64, digits); /* libcrypto takes more than these */
	const size_t n_pad = strlen(base64 + n);
	char *text;
	int n_text;

	if (n == 0 || n > JSON_SECRET_MAX_BYTES || (n + n_pad) % 4 != 0 || n_pad > 2 ||
	    strspn(base64 + n, "=") != n_pad)
		return NULL;
	text = xcalloc(1, n + n_pad);
	n_text = EVP_DecodeBlock((unsigned char *)text, (const unsigned char *)base64,
	                         (int)(n + n_pad));
	if (n_text > 0) {
		text[(size_t)n_text - n_pad] = '\0';
		if (strlen(text) == (size_t)n_text - n_pad)
			return text;
	}
	explicit_bzero(text, n + n_pad);
	free_str(&text);
	return NULL;
}

int nydusd_auth_parse(const char *base64, char **ret_username, char **ret_password, struct err *e)
{
	AUTO(free_secret) char *text = base64_text(base64);
	char *colon = text != NULL ? strchr(text, ':') : NULL;

	if (colon == NULL) /* either may be empty, as with some registries' tokens */
		return err_set(e, EINVAL, "\"auth\" is not the base64 of USER:PASSWORD");
	*colon = '\0';
	*ret_username = xstrdup(text);
	*ret_password = xstrdup(colon + 1);
	return 0;
}

/* ---- members ---- */

/* Absent, null and "" are the same to nydusd. */
static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL && *text != '\0' && strlen(text) < JSON_TEXT_MAX_BYTES ? text : NULL;
}

static char *dup_of(const json_t *object, const char *key)
{
	return xstrdup_or_null(text_of(object, key));
}

/* A secret may be longer than other texts. */
static const char *secret_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL && *text != '\0' && strlen(text) <= JSON_SECRET_MAX_BYTES ? text : NULL;
}

static bool is_on(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

static bool is_secret(const char *name)
{
	static const char *const names[] = { "auth", "registry_token", "access_key_secret",
		                             "access_key_id", "headers" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

/* What is shown of a text: of a URL, or of a host, not who asks. */
static json_t *without_user(const char *text)
{
	AUTO(free_str) char *url = NULL;
	AUTO(free_secret) char *username = NULL;
	AUTO(free_secret) char *password = NULL;
	struct err ignored;

	if (nydusd_proxy_split(text, &url, &username, &password, &ignored) < 0)
		return json_string("");
	return json_string(url);
}

/* @param name  NULL: one of a list */
static json_t *as_shown(const char *name, json_t *value)
{
	if (name != NULL && is_secret(name))
		return json_is_object(value) ? json_object() : json_string("");
	return json_is_string(value) ? without_user(json_string_value(value)) : json_incref(value);
}

/* @param inside  gets what it holds that is to be looked into, too */
static void hide_in(json_t *value, json_t *inside)
{
	const char *name;
	json_t *member;
	void *next;
	size_t i;

	json_object_foreach_safe(value, next, name, member)
	{
		(void)json_object_set_new(value, name, as_shown(name, member));
		(void)json_array_append(inside, json_object_get(value, name));
	}
	json_array_foreach(value, i, member)
	{
		(void)json_array_set_new(value, i, as_shown(NULL, member));
		(void)json_array_append(inside, json_array_get(value, i));
	}
}

/* Also of what shoal has no use for, as mirrors and other backends: it is handed to the next nydusd
 * by others. */
static void hide_secrets(json_t *root)
{
	AUTO(json_drop) json_t *todo = json_array();

	(void)json_array_append(todo, root);
	for (size_t i = 0; i < json_array_size(todo); i++)
		hide_in(json_array_get(todo, i), todo);
}

/* ---- backends ---- */

static int take_registry(const json_t *backend, struct nydusd_config *c, struct err *e)
{
	const char *host = text_of(backend, "host");
	const char *repo = text_of(backend, "repo");
	const char *auth = secret_of(backend, "auth");
	const char *token = secret_of(backend, "registry_token");

	if (host == NULL || repo == NULL)
		return err_set(e, EINVAL, "the registry backend has no host and repo");
	c->blobs = xasprintf(REGISTRY_ORIGIN "%s/%s", host, repo);
	if (c->scheme == NULL)
		c->scheme = xstrdup("any");
	if (auth != NULL)
		return nydusd_auth_parse(auth, &c->username, &c->password, e);
	if (token != NULL)
		c->token = xstrdup(token);
	return 0;
}

static int take_localfs(const json_t *backend, struct nydusd_config *c, struct err *e)
{
	const char *dir = text_of(backend, "dir");
	const char *file = text_of(backend, "blob_file");
	const char *slash = file != NULL ? strrchr(file, '/') : NULL;

	if (dir != NULL)
		c->blobs = xasprintf("dir:%s", dir);
	else if (slash != NULL && slash != file && strlen(slash + 1) == 64)
		c->blobs = xasprintf("dir:%.*s", (int)(slash - file), file);
	else
		return err_set(e, EINVAL,
		               "the localfs backend has no \"dir\" (nor a \"blob_file\" "
		               "named by its blob's id)");
	return 0;
}

static int take_http_proxy(const json_t *backend, struct nydusd_config *c, struct err *e)
{
	const char *addr = text_of(backend, "addr");
	const char *path = text_of(backend, "path");

	if (addr == NULL || strncmp(addr, "http", 4) != 0)
		return err_set(e, ENOTSUP,
		               "the http-proxy backend takes a web server alone, no "
		               "unix socket");
	if (path == NULL)
		path = "";
	c->blobs = xasprintf("%s%s%s%s", addr, path[0] == '/' || path[0] == '\0' ? "" : "/", path,
	                     path[0] != '\0' && path[strlen(path) - 1] == '/' ? "" : "/");
	return 0;
}

static int take_backend(const char *type, const json_t *backend, struct nydusd_config *c,
                        struct err *e)
{
	if (strcmp(type, "registry") == 0)
		return take_registry(backend, c, e);
	if (strcmp(type, "localfs") == 0)
		return take_localfs(backend, c, e);
	if (strcmp(type, "http-proxy") == 0)
		return take_http_proxy(backend, c, e);
	return err_set(e, ENOTSUP,
	               "shoal has no backend \"%.32s\" (registry, localfs and "
	               "http-proxy)",
	               type);
}

static int take_ca_files(const json_t *backend, struct nydusd_config *c, struct err *e)
{
	const json_t *files = json_object_get(backend, "ca_cert_files");

	if (json_array_size(files) == 0)
		return 0;
	c->ca_files = json_array();
	for (size_t i = 0; i < json_array_size(files); i++) {
		const char *file = json_string_value(json_array_get(files, i));

		if (file == NULL || *file == '\0')
			return err_set(e, EINVAL, "\"ca_cert_files\" holds what is no path");
		(void)json_array_append_new(c->ca_files, json_string(file));
	}
	return 0;
}

/* In what is shown, the URL without them takes its place. */
static int take_proxy(json_t *proxy, struct nydusd_config *c, struct err *e)
{
	const char *url = text_of(proxy, "url");
	int r;

	c->proxy_fallback = !json_is_false(json_object_get(proxy, "fallback"));
	if (url == NULL)
		return 0;
	r = nydusd_proxy_split(url, &c->proxy, &c->proxy_username, &c->proxy_password, e);
	if (r == 0)
		(void)json_object_set_new(proxy, "url", json_string(c->proxy));
	return r;
}

static int take_transport(const json_t *backend, struct nydusd_config *c, struct err *e)
{
	int r;

	c->scheme = dup_of(backend, "scheme");
	c->skip_verify = is_on(backend, "skip_verify");
	r = take_ca_files(backend, c, e);
	return r == 0 ? take_proxy(json_object_get(backend, "proxy"), c, e) : r;
}

/* ---- the document ---- */

/* {"device": {"id", "backend": {"type", "config"}, "cache": {"config"}}, "fs_prefetch"}
 * @return the backend's own settings */
static json_t *take_v1(const json_t *root, struct nydusd_config *c)
{
	const json_t *device = json_object_get(root, "device");
	const json_t *backend = json_object_get(device, "backend");
	const json_t *cache = json_object_get(device, "cache");
	const json_t *prefetch = json_object_get(root, "fs_prefetch");

	c->backend = dup_of(backend, "type");
	c->id = dup_of(device, "id");
	c->work_dir = dup_of(json_object_get(cache, "config"), "work_dir");
	c->prefetch = is_on(prefetch, "enable") && is_on(prefetch, "prefetch_all");
	return json_object_get(backend, "config");
}

/* {"version": 2, "id", "backend": {"type", TYPE: {...}}, "cache": {"filecache"}, "rafs"} */
static json_t *take_v2(const json_t *root, struct nydusd_config *c)
{
	const json_t *backend = json_object_get(root, "backend");
	const json_t *cache = json_object_get(root, "cache");
	const json_t *prefetch = json_object_get(json_object_get(root, "rafs"), "prefetch");

	c->backend = dup_of(backend, "type");
	c->id = dup_of(root, "id");
	c->work_dir = dup_of(json_object_get(cache, "filecache"), "work_dir");
	c->prefetch = is_on(prefetch, "enable") && is_on(prefetch, "prefetch_all");
	return c->backend != NULL ? json_object_get(backend, c->backend) : NULL;
}

/* JSON, or TOML where it does not begin as an object does. nydusd has TOML for version 2 alone. */
static int read_document(const char *text, size_t size_bytes, json_t **ret_root, struct err *e)
{
	AUTO(json_drop) json_t *root = NULL;
	size_t n_blank = 0;
	int r;

	while (n_blank < size_bytes && text[n_blank] != '\0' &&
	       strchr(" \t\r\n", text[n_blank]) != NULL)
		n_blank++;
	if (n_blank == size_bytes || text[n_blank] == '{')
		return json_parse_object(text, size_bytes, ret_root, e);
	r = toml_parse_object(text, size_bytes, &root, e);
	if (r < 0)
		return err_wrap(e, "neither a JSON object nor");
	if (json_integer_value(json_object_get(root, "version")) != 2)
		return err_set(e, EINVAL, "a configuration in TOML has \"version = 2\"");
	*ret_root = root;
	root = NULL;
	return 0;
}

int nydusd_config_parse(const char *text, size_t size_bytes, struct nydusd_config *ret_config,
                        struct err *e)
{
	AUTO(nydusd_config_clear) struct nydusd_config c = { 0 };
	AUTO(json_drop) json_t *root = NULL;
	json_t *backend;
	int r;

	if (size_bytes > NYDUSD_CONFIG_MAX_BYTES)
		return err_set(e, EINVAL, "longer than %u bytes", NYDUSD_CONFIG_MAX_BYTES);
	r = read_document(text, size_bytes, &root, e);
	if (r < 0)
		return r;
	backend = json_integer_value(json_object_get(root, "version")) == 2 ? take_v2(root, &c)
	                                                                    : take_v1(root, &c);
	if (c.backend == NULL)
		return err_set(e, EINVAL, "no backend with a type");
	r = take_transport(backend, &c, e);
	if (r == 0)
		r = take_backend(c.backend, backend, &c, e);
	if (r < 0)
		return r;
	c.id_mapping = json_object_size(json_object_get(root, "id_mapping")) > 0;
	hide_secrets(root);
	c.shown = root;
	root = NULL;
	*ret_config = c;
	c = (struct nydusd_config){ 0 };
	return 0;
}
