/*
 * docker_config: finds a repository's entry in a docker config.json.
 *
 * Knows the forms of its keys and values. Does not read files, nor run helpers.
 */
#include "docker_config.h"
#include "mem.h"
#include "secret.h"
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define AUTH_MAX_BYTES 65536
#define HUB_KEY        "https://index.docker.io/v1/"

void credentials_wipe(struct credentials *c)
{
	free_secret(&c->username);
	free_secret(&c->password);
	free_secret(&c->identity_token);
	free_secret(&c->bearer);
	free_secret(&c->proxy_username);
	free_secret(&c->proxy_password);
}

void credentials_copy(struct credentials *ret_copy, const struct credentials *c)
{
	ret_copy->username = xstrdup_or_null(c->username);
	ret_copy->password = xstrdup_or_null(c->password);
	ret_copy->identity_token = xstrdup_or_null(c->identity_token);
	ret_copy->bearer = xstrdup_or_null(c->bearer);
	ret_copy->proxy_username = xstrdup_or_null(c->proxy_username);
	ret_copy->proxy_password = xstrdup_or_null(c->proxy_password);
	ret_copy->for_proxy_alone = c->for_proxy_alone;
}

static bool is_hub(const char *host)
{
	return strcmp(host, "docker.io") == 0 || strcmp(host, "index.docker.io") == 0 ||
	       strcmp(host, "registry-1.docker.io") == 0;
}

const char *docker_config_server(const char *host)
{
	return is_hub(host) ? HUB_KEY : host;
}

/* ---- keys ---- */

static const char *skip_scheme(const char *key)
{
	if (strncasecmp(key, "https://", 8) == 0)
		return key + 8;
	return strncasecmp(key, "http://", 7) == 0 ? key + 7 : key;
}

static bool is_host(const char *text, size_t size_bytes, const char *host)
{
	return strlen(host) == size_bytes && strncasecmp(text, host, size_bytes) == 0;
}

/* How well a key names HOST/REPOSITORY: 0 not at all; more is better. */
static size_t key_matches(const char *key, const char *host, const char *repository)
{
	const char *name = skip_scheme(key);
	const size_t n_host = strcspn(name, "/");
	const char *path = name + n_host + (name[n_host] == '/');
	size_t n_path = strlen(path);
	const bool same = is_host(name, n_host, host) ||
	                  (is_hub(host) && (is_host(name, n_host, "index.docker.io") ||
	                                    is_host(name, n_host, "docker.io")));

	while (n_path > 0 && path[n_path - 1] == '/')
		n_path--;
	if (!same)
		return 0;
	if (n_path == 0 ||
	    (n_path == 2 && (memcmp(path, "v1", 2) == 0 || memcmp(path, "v2", 2) == 0)))
		return 1;
	if (strncmp(repository, path, n_path) != 0 ||
	    (repository[n_path] != '/' && repository[n_path] != '\0'))
		return 0;
	return 1 + n_path;
}

static json_t *best_entry(json_t *table, const char *host, const char *repository)
{
	json_t *best = NULL;
	size_t best_match = 0;
	const char *key;
	json_t *value;

	json_object_foreach(table, key, value)
	{
		const size_t match = key_matches(key, host, repository);

		if (match > best_match) {
			best = value;
			best_match = match;
		}
	}
	return best;
}

/* ---- values ---- */

/* @return n bytes of plain text with a NUL, malloc'd; NULL: not base64 */
static char *base64_plain(const char *text)
{
	const size_t size_bytes = strlen(text);
	size_t n_pad = 0;
	char *plain;
	int n;

	if (size_bytes == 0 || size_bytes % 4 != 0 || size_bytes > AUTH_MAX_BYTES)
		return NULL;
	while (n_pad < 2 && text[size_bytes - 1 - n_pad] == '=')
		n_pad++;
	plain = xcalloc(1, size_bytes + 1);
	n = EVP_DecodeBlock((unsigned char *)plain, (const unsigned char *)text, (int)size_bytes);
	if (n < 0 || (size_t)n < n_pad) {
		free_secret(&plain);
		return NULL;
	}
	plain[(size_t)n - n_pad] = '\0'; /* a NUL inside only shortens it */
	return plain;
}

static int take_auth(const char *text, struct credentials *c, struct err *e)
{
	AUTO(free_secret) char *plain = base64_plain(text);
	char *colon = plain != NULL ? strchr(plain, ':') : NULL;

	if (colon == NULL)
		return err_set(e, EINVAL, "its \"auth\" is not the base64 of USER:PASSWORD");
	*colon = '\0';
	free_secret(&c->username);
	free_secret(&c->password);
	c->username = xstrdup(plain);
	c->password = xstrdup(colon + 1);
	/* Padded with NULs by some tools; strdup() has cut those off. */
	return 0;
}

static char *dup_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text != NULL && *text != '\0' && strlen(text) <= AUTH_MAX_BYTES ? xstrdup(text)
	                                                                       : NULL;
}

static int take_entry(const json_t *entry, struct credentials *c, struct err *e)
{
	const char *auth = json_string_value(json_object_get(entry, "auth"));
	int r = 0;

	if (!json_is_object(entry))
		return err_set(e, EINVAL, "an entry of \"auths\" is not an object");
	c->username = dup_text(entry, "username");
	c->password = dup_text(entry, "password");
	c->identity_token = dup_text(entry, "identitytoken");
	if (auth != NULL && *auth != '\0')
		r = take_auth(auth, c, e);
	if (r < 0)
		credentials_wipe(c);
	return r;
}

/* It becomes part of a program's name. */
static int take_helper(const json_t *value, char ret_helper[DOCKER_HELPER_MAX_BYTES], struct err *e)
{
	const char *name = json_string_value(value);
	const size_t n = name != NULL ? strlen(name) : 0;

	if (n == 0 || n >= DOCKER_HELPER_MAX_BYTES)
		return err_set(e, EINVAL, "a credential helper's name is not a short text");
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && strchr("._-", name[i]) == NULL)
			return err_set(e, EINVAL,
			               "a credential helper's name has a character "
			               "that is no letter, digit, '.', '_' or '-'");
	memcpy(ret_helper, name, n + 1);
	return 0;
}

static bool says_something(const struct credentials *c)
{
	return c->identity_token != NULL || (c->username != NULL && c->password != NULL);
}

/* A helper of this very host, then what stands in the file, then the helper for all hosts. */
static int find(const json_t *root, const char *host, const char *repository,
                struct docker_config_entry *ret_entry, struct err *e)
{
	const json_t *helper = best_entry(json_object_get(root, "credHelpers"), host, repository);
	const json_t *entry = best_entry(json_object_get(root, "auths"), host, repository);
	int r = 0;

	if (helper != NULL)
		return take_helper(helper, ret_entry->helper, e);
	if (entry != NULL)
		r = take_entry(entry, &ret_entry->credentials, e);
	if (r < 0 || says_something(&ret_entry->credentials))
		return r;
	credentials_wipe(&ret_entry->credentials);
	helper = json_object_get(root, "credsStore");
	if (helper == NULL || json_string_length(helper) == 0)
		return DOCKER_CONFIG_NONE;
	return take_helper(helper, ret_entry->helper, e);
}

int docker_config_find(const char *json, size_t size_bytes, const char *host,
                       const char *repository, struct docker_config_entry *ret_entry, struct err *e)
{
	json_error_t where;
	json_t *root;
	int r;

	if (size_bytes > DOCKER_CONFIG_MAX_BYTES)
		return err_set(e, EINVAL, "longer than %d bytes", DOCKER_CONFIG_MAX_BYTES);
	root = json_loadb(json, size_bytes, 0, &where);
	if (!json_is_object(root)) {
		json_decref(root);
		return err_set(e, EINVAL, "not a JSON object (line %d)", where.line);
	}
	memset(ret_entry, 0, sizeof(*ret_entry));
	r = find(root, host, repository, ret_entry, e);
	json_decref(root);
	return r;
}

int docker_helper_parse(const char *json, size_t size_bytes, struct credentials *ret_credentials,
                        struct err *e)
{
	struct credentials c = { 0 };
	json_error_t where;
	json_t *root;

	if (size_bytes > DOCKER_CONFIG_MAX_BYTES)
		return err_set(e, EINVAL, "its answer is longer than %d bytes",
		               DOCKER_CONFIG_MAX_BYTES);
	root = json_loadb(json, size_bytes, 0, &where);
	c.username = dup_text(root, "Username");
	c.password = dup_text(root, "Secret");
	json_decref(root);
	/* Source: docker-credential-helpers: this user name marks an identity token. */
	if (c.username != NULL && strcmp(c.username, "<token>") == 0) {
		c.identity_token = c.password;
		c.password = NULL;
	}
	if (!says_something(&c)) {
		credentials_wipe(&c);
		return err_set(e, EINVAL, "its answer has no Username and Secret");
	}
	*ret_credentials = c;
	return 0;
}
