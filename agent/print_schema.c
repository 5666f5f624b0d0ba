/*
 * print_schema: the rows of the settings' table, turned into JSON schema (draft 7).
 */
#include "print_schema.h"
#include "config.h"
#include "json_util.h"
#include "mem.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* JSON has no integers above 2^53 that every reader keeps; such a bound is no bound in practice. */
#define JSON_INTEGER_MAX (UINT64_C(1) << 53)

#define HOST_PORT_PATTERN ":[0-9]+$"

static json_t *choices_of(const char *choices)
{
	json_t *list = json_array();

	while (*choices != '\0') {
		const size_t n = strcspn(choices, "|");

		(void)json_array_append_new(list, json_stringn(choices, n));
		choices += n + (choices[n] == '|');
	}
	return list;
}

static json_t *fallback_of(const struct setting *s)
{
	if (s->type == SETTING_NUMBER)
		return json_integer((json_int_t)strtoull(s->fallback, NULL, 10));
	if (s->type == SETTING_BOOL)
		return json_boolean(strcmp(s->fallback, "true") == 0);
	return json_string(s->fallback);
}

static void add_type(json_t *p, const struct setting *s)
{
	static const char *const names[] = {
		[SETTING_TEXT] = "string",      [SETTING_WORD] = "string",
		[SETTING_PATH] = "string",      [SETTING_ADDRESS] = "string",
		[SETTING_HOST_PORT] = "string", [SETTING_NUMBER] = "integer",
		[SETTING_BOOL] = "boolean",     [SETTING_CHOICE] = "string",
		[SETTING_REGISTRIES] = "array", [SETTING_HOST_PORTS] = "array",
		[SETTING_IP_PORT] = "string",   [SETTING_REGISTRY] = "string",
		[SETTING_PROXY] = "string",
	};

	(void)json_object_set_new(p, "type", json_string(names[s->type]));
	if (s->type == SETTING_PATH)
		(void)json_object_set_new(p, "pattern", json_string("^/"));
	if (s->type == SETTING_ADDRESS)
		(void)json_object_set_new(p, "pattern", json_string("^off$|:[0-9]+$"));
	if (s->type == SETTING_CHOICE)
		(void)json_object_set_new(p, "enum", choices_of(s->choices));
	if (s->type == SETTING_HOST_PORT || s->type == SETTING_IP_PORT)
		(void)json_object_set_new(p, "pattern", json_string(HOST_PORT_PATTERN));
	if (s->type == SETTING_REGISTRIES)
		(void)json_object_set_new(p, "items", json_pack("{s:s}", "type", "string"));
	if (s->type == SETTING_HOST_PORTS)
		(void)json_object_set_new(
			p, "items",
			json_pack("{s:s, s:s}", "type", "string", "pattern", HOST_PORT_PATTERN));
	if (s->type == SETTING_WORD)
		(void)json_object_set_new(p, "pattern", json_string("^[!-~]*$"));
	if (setting_has_length(s))
		(void)json_object_set_new(p, "maxLength", json_integer((json_int_t)s->max));
	if (s->type == SETTING_NUMBER) {
		(void)json_object_set_new(p, "minimum", json_integer((json_int_t)s->min));
		if (s->max <= JSON_INTEGER_MAX)
			(void)json_object_set_new(p, "maximum", json_integer((json_int_t)s->max));
	}
}

static json_t *property_of(const struct setting *s)
{
	json_t *p = json_object();
	AUTO(free_str)
	char *text = xasprintf("%s%s%s", s->text, s->unit[0] != '\0' ? " Unit: " : "", s->unit);

	(void)json_object_set_new(p, "description", json_string(text));
	add_type(p, s);
	if (s->fallback != NULL)
		(void)json_object_set_new(p, "default", fallback_of(s));
	return p;
}

static json_t *object_schema(void)
{
	return json_pack("{s:s, s:b, s:{}}", "type", "object", "additionalProperties", 0,
	                 "properties");
}

/* The schema of the object that stands under the first n bytes of a name. Borrowed. */
static json_t *child_of(json_t *schema, const char *name, size_t n)
{
	json_t *properties = json_object_get(schema, "properties");
	AUTO(free_str) char *key = xasprintf("%.*s", (int)n, name);

	if (json_object_get(properties, key) == NULL)
		(void)json_object_set_new(properties, key, object_schema());
	return json_object_get(properties, key);
}

static json_t *settings_schema(const struct setting *settings, uint32_t n_settings)
{
	json_t *root = object_schema();

	for (uint32_t i = 0; i < n_settings; i++) {
		const char *name = settings[i].name;
		json_t *at = root;

		for (const char *dot = strchr(name, '.'); dot != NULL; dot = strchr(name, '.')) {
			at = child_of(at, name, (size_t)(dot - name));
			name = dot + 1;
		}
		(void)json_object_set_new(json_object_get(at, "properties"), name,
		                          property_of(&settings[i]));
	}
	return root;
}

void print_config_schema(FILE *out)
{
	AUTO(json_drop) json_t *root = settings_schema(config_settings, config_n_settings);
	json_t *entry = settings_schema(config_registry_settings, config_n_registry_settings);

	(void)json_object_set_new(entry, "required", json_pack("[s]", "host"));
	(void)json_object_set_new(json_object_get(root, "properties"), "registries",
	                          json_pack("{s:s, s:s, s:o}", "description",
	                                    "One entry a registry host.", "type", "array", "items",
	                                    entry));
	(void)json_dumpf(root, out, JSON_INDENT(2));
	(void)fputc('\n', out);
}
