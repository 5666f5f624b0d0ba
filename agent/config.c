/*
 * config: the configuration with its defaults, and the checks that concern more than one value.
 *
 * The tables become arrays here. What stands in the file is read by config_yaml.c.
 */
#include "config.h"
#include "config_yaml.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "settings_table.h"

#define LIST_ROW(object, field)                                                                    \
	static_assert(offsetof(object, n_##field) ==                                               \
	                      offsetof(object, field) + offsetof(struct setting_list, n_texts),    \
	              "the count follows the list")
LIST_ROW(struct config, peers_members);
LIST_ROW(struct registry_config, mirrors);

#define ROW(object, id, kind, field, unit_text, lowest, highest, standard, words, help)            \
	{ .name = (id),                                                                            \
	  .type = SETTING_##kind,                                                                  \
	  .offset = offsetof(object, field),                                                       \
	  .field_size_bytes = sizeof(((const object *)NULL)->field),                               \
	  .unit = (unit_text),                                                                     \
	  .min = (lowest),                                                                         \
	  .max = (highest),                                                                        \
	  .fallback = (standard),                                                                  \
	  .choices = (words),                                                                      \
	  .text = (help) },

const struct setting config_settings[] = {
#define X(...) ROW(struct config, __VA_ARGS__)
	SETTINGS_TABLE(X)
#undef X
};
const uint32_t config_n_settings = ARRAY_LEN(config_settings);

const struct setting config_registry_settings[] = {
#define X(...) ROW(struct registry_config, __VA_ARGS__)
	REGISTRY_SETTINGS_TABLE(X)
#undef X
};
const uint32_t config_n_registry_settings = ARRAY_LEN(config_registry_settings);

static void set_defaults(const struct setting *settings, uint32_t n_settings,
                         struct text_arena *arena, void *object)
{
	struct err e = { 0 };

	for (uint32_t i = 0; i < n_settings; i++) {
		const struct setting *s = &settings[i];

		if (setting_is_list(s))
			setting_set_list(s, NULL, 0, arena, object);
		else if (s->fallback != NULL && setting_set(s, s->fallback, arena, object, &e) < 0)
			abort(); /* a default that its own row refuses is our bug */
	}
}

struct registry_config *config_add_registry(struct config *c)
{
	struct registry_config *rc;

	c->registries = xrealloc(c->registries, c->n_registries + 1, sizeof(*c->registries));
	rc = &c->registries[c->n_registries++];
	*rc = (struct registry_config){ 0 };
	set_defaults(config_registry_settings, config_n_registry_settings, c->arena, rc);
	return rc;
}

static bool has_every_other_host(const struct config *c)
{
	for (uint32_t i = 0; i < c->n_registries; i++) {
		if (strcmp(c->registries[i].host, "*") == 0)
			return true;
	}
	return false;
}

/* What one value says of another. */
static int check_peers(const char *name, const struct config *c, struct err *e)
{
	const int n_tls = (c->peers_tls_ca != NULL) + (c->peers_tls_cert != NULL) +
	                  (c->peers_tls_key != NULL);
	AUTO(free_str) char *where = xasprintf("%s:%u", name, c->peers_line);

	if (strcmp(c->peers_listen, "off") == 0)
		return 0;
	if (n_tls != 0 && c->peers_insecure)
		return err_set(e, EINVAL,
		               "%s: peers.tls and peers.insecure exclude each other (take one out)",
		               where);
	if (n_tls != 3 && !c->peers_insecure)
		return err_set(e, EINVAL,
		               "%s: peers.listen needs peers.tls.ca, .cert and .key (shoal pki "
		               "makes them), or peers.insecure for a trial",
		               where);
	return 0;
}

int config_parse(const char *name, const void *yaml, size_t size_bytes, struct config **ret_config,
                 struct err *e)
{
	AUTO(config_free) struct config *c = xcalloc(1, sizeof(*c));
	int r;

	c->arena = text_arena_new();
	set_defaults(config_settings, config_n_settings, c->arena, c);
	if (size_bytes > CONFIG_MAX_BYTES)
		return err_set(e, EINVAL, "%s:1: it is larger than %u bytes", name,
		               CONFIG_MAX_BYTES);
	r = config_yaml_read(name, yaml, size_bytes, c, e);
	if (r == 0)
		r = check_peers(name, c, e);
	if (r < 0)
		return r;
	if (!has_every_other_host(c))
		config_add_registry(c)->host = "*";
	*ret_config = c;
	c = NULL;
	return 0;
}

int config_load(const char *path, struct config **ret_config, struct err *e)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	AUTO(free_bytes) unsigned char *bytes = NULL;
	size_t n_bytes = 0;
	ssize_t n = 1;

	if (fd < 0)
		return err_errno(e, errno, "%s: the configuration cannot be opened", path);
	bytes = xcalloc(1, CONFIG_MAX_BYTES + 1);
	while (n > 0 && n_bytes < CONFIG_MAX_BYTES + 1) {
		n = read(fd, bytes + n_bytes, CONFIG_MAX_BYTES + 1 - n_bytes);
		if (n < 0 && errno != EINTR)
			return err_errno(e, errno, "%s: the configuration cannot be read", path);
		n_bytes += n > 0 ? (size_t)n : 0;
	}
	return config_parse(path, bytes, n_bytes, ret_config, e);
}

void config_free(struct config **config)
{
	while (*config != NULL) {
		struct config *c = *config;

		*config = c->before;
		text_arena_free(&c->arena);
		free(c->registries);
		free(c);
	}
}

static bool settings_differ(const struct setting *s, const void *a, const void *b)
{
	AUTO(free_str) char *value_a = setting_get(s, a);
	AUTO(free_str) char *value_b = setting_get(s, b);

	return strcmp(value_a, value_b) != 0;
}

static bool registries_differ(const struct config *a, const struct config *b)
{
	if (a->n_registries != b->n_registries)
		return true;
	for (uint32_t i = 0; i < a->n_registries; i++) {
		for (uint32_t j = 0; j < config_n_registry_settings; j++) {
			if (settings_differ(&config_registry_settings[j], &a->registries[i],
			                    &b->registries[i]))
				return true;
		}
	}
	return false;
}

void config_diff(const struct config *a, const struct config *b,
                 void (*fn)(void *arg, const char *setting), void *arg)
{
	for (uint32_t i = 0; i < config_n_settings; i++) {
		if (settings_differ(&config_settings[i], a, b))
			fn(arg, config_settings[i].name);
	}
	if (registries_differ(a, b))
		fn(arg, "registries");
}

bool config_is_at_once(const char *setting)
{
	static const char *const names[] = {
#define X(name) name,
		SETTINGS_AT_ONCE(X)
#undef X
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(names[i], setting) == 0)
			return true;
	return false;
}

/* The old array and the texts of both stay: fresh has them from here on. */
static void take_registries(struct config *config, struct config *fresh)
{
	struct registry_config *old = config->registries;
	const uint32_t n_old = config->n_registries;

	config->registries = fresh->registries;
	config->n_registries = fresh->n_registries;
	fresh->registries = old;
	fresh->n_registries = n_old;
	fresh->before = config->before;
	config->before = fresh;
}

void config_take(struct config *config, struct config **fresh,
                 void (*fn)(void *arg, const char *setting), void *arg)
{
	config_diff(config, *fresh, fn, arg);
	for (uint32_t i = 0; i < config_n_settings; i++) {
		const struct setting *s = &config_settings[i];

		if (config_is_at_once(s->name) && settings_differ(s, config, *fresh))
			setting_copy(s, *fresh, config->arena, config);
	}
	if (registries_differ(config, *fresh)) {
		take_registries(config, *fresh);
		*fresh = NULL;
	}
	config_free(fresh);
}
