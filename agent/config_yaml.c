/*
 * config_yaml: the tree of a YAML document against the rows of the settings table.
 *
 * libyaml's nodes, not libcyaml's schema: only the nodes still know their lines when a value is
 * held against its range or against its neighbours. The walk goes no deeper than the names in the
 * table, so neither nesting nor aliases can make it long. Knows nothing of what the values do.
 */
#include "config_yaml.h"
#include "mem.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define NAME_MAX_BYTES 128
#define LIST_TEXTS_MAX 4096U
#define SECTIONS_MAX   32 /* more than the table has */

struct section {
	char name[NAME_MAX_BYTES];
	yaml_node_t *map;
};

/* A table, the object that it fills, and what is still to be read. */
struct reader {
	const char *file;
	const char *prefix; /* of names */
	yaml_document_t *doc;
	const struct setting *settings;
	uint32_t n_settings;
	struct config *config;
	void *object;
	yaml_node_t *registries; /* or NULL */
	size_t n_sections;
	struct section sections[SECTIONS_MAX];
	struct err *e;
};

static int at(const struct reader *rd, const yaml_node_t *node, const char *name, const char *why)
{
	const bool named = name[0] != '\0';

	return err_set(rd->e, EINVAL, "%s:%zu: %s%s%s%s", rd->file, node->start_mark.line + 1,
	               named ? rd->prefix : "", name, named ? ": " : "", why);
}

/* The text of a scalar; NULL: something else, or a NUL in it. */
static const char *scalar(const yaml_node_t *node)
{
	const char *text;

	if (node == NULL || node->type != YAML_SCALAR_NODE)
		return NULL;
	text = (const char *)node->data.scalar.value;
	return strlen(text) == node->data.scalar.length ? text : NULL;
}

static bool is_null(const yaml_node_t *node)
{
	const char *text = scalar(node);

	return text != NULL && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

static int read_list(const struct reader *rd, const struct setting *s, yaml_node_t *value)
{
	AUTO(free_bytes) unsigned char *memory = NULL;
	const char **texts;
	uint32_t n_texts = 0;
	struct err why = { 0 };

	if (value->type != YAML_SEQUENCE_NODE)
		return at(rd, value, s->name, "a list is expected, such as [\"a\", \"b\"]");
	if (value->data.sequence.items.top - value->data.sequence.items.start > LIST_TEXTS_MAX)
		return at(rd, value, s->name, "the list is too long");
	memory = xcalloc(LIST_TEXTS_MAX, sizeof(*texts));
	texts = (const char **)(void *)memory;
	for (const yaml_node_item_t *item = value->data.sequence.items.start;
	     item < value->data.sequence.items.top; item++) {
		yaml_node_t *node = yaml_document_get_node(rd->doc, *item);

		texts[n_texts] = scalar(node);
		if (texts[n_texts] == NULL || texts[n_texts][0] == '\0')
			return at(rd, value, s->name, "each entry of the list must be a text");
		if (setting_check_entry(s, texts[n_texts], &why) < 0)
			return at(rd, node, s->name, why.msg);
		n_texts++;
	}
	setting_set_list(s, texts, n_texts, rd->config->arena, rd->object);
	return 0;
}

static int read_value(const struct reader *rd, const struct setting *s, yaml_node_t *value)
{
	const char *text = scalar(value);
	struct err why = { 0 };
	int r = 0;

	if (is_null(value))
		return at(rd, value, s->name,
		          "there is no value (leave the line out for the default)");
	if (setting_is_list(s)) {
		r = read_list(rd, s, value);
	} else if (text == NULL) {
		return at(rd, value, s->name, "one value is expected");
	} else if (setting_set(s, text, rd->config->arena, rd->object, &why) < 0) {
		return at(rd, value, s->name, why.msg);
	}
	if (r == 0 && strcmp(s->name, "peers.listen") == 0)
		rd->config->peers_line = (uint32_t)value->start_mark.line + 1;
	return r;
}

static const struct setting *find_setting(const struct reader *rd, const char *name)
{
	for (uint32_t i = 0; i < rd->n_settings; i++) {
		if (strcmp(rd->settings[i].name, name) == 0)
			return &rd->settings[i];
	}
	return NULL;
}

static bool is_section(const struct reader *rd, const char *name)
{
	const size_t n = strlen(name);

	for (uint32_t i = 0; i < rd->n_settings; i++) {
		if (strncmp(rd->settings[i].name, name, n) == 0 && rd->settings[i].name[n] == '.')
			return true;
	}
	return false;
}

/* Is the key of this pair also the key of an earlier one? */
static bool is_repeated(const struct reader *rd, const yaml_node_t *map,
                        const yaml_node_pair_t *pair, const char *key)
{
	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++) {
		const char *earlier = scalar(yaml_document_get_node(rd->doc, p->key));

		if (earlier != NULL && strcmp(earlier, key) == 0)
			return true;
	}
	return false;
}

static int at_most(const struct reader *rd, const yaml_node_t *node, const char *name, size_t n,
                   size_t n_max)
{
	return n < n_max ? 0 : at(rd, node, name, "there are too many of them");
}

/* One key of a mapping: name is its full, dotted name. What has keys of its own is put off. */
static int read_key(struct reader *rd, const char *name, const yaml_node_t *key, yaml_node_t *value)
{
	const struct setting *s = find_setting(rd, name);
	int r;

	if (s != NULL)
		return read_value(rd, s, value);
	if (rd->object == rd->config && strcmp(name, "registries") == 0) {
		rd->registries = value;
		return 0;
	}
	if (!is_section(rd, name))
		return at(rd, key, name,
		          "there is no such setting (docs/config.md lists them all)");
	r = at_most(rd, key, name, rd->n_sections, SECTIONS_MAX);
	if (r == 0) {
		struct section *section = &rd->sections[rd->n_sections++];

		(void)snprintf(section->name, sizeof(section->name), "%s", name);
		section->map = value;
	}
	return r;
}

/* The name of a pair's key, behind the name of its section. */
static int key_name(const struct reader *rd, const char *section, const yaml_node_t *map,
                    const yaml_node_pair_t *pair, char ret_name[NAME_MAX_BYTES])
{
	const yaml_node_t *key = yaml_document_get_node(rd->doc, pair->key);
	const char *text = scalar(key);
	int n;

	if (text == NULL)
		return at(rd, key, section, "a key must be a text");
	n = snprintf(ret_name, NAME_MAX_BYTES, "%s%s%s", section, section[0] != '\0' ? "." : "",
	             text);
	if (n < 0 || n >= NAME_MAX_BYTES)
		return at(rd, key, section, "there is no such setting (its name is too long)");
	if (is_repeated(rd, map, pair, text))
		return at(rd, key, ret_name, "it stands here a second time (take one out)");
	return 0;
}

static int read_section(struct reader *rd, const char *section, yaml_node_t *map)
{
	int r = 0;

	if (is_null(map))
		return 0; /* a section with all its lines commented out */
	if (map->type != YAML_MAPPING_NODE)
		return at(rd, map, section, "settings are expected here, as KEY: VALUE");
	for (const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
	     r == 0 && pair < map->data.mapping.pairs.top; pair++) {
		char name[NAME_MAX_BYTES] = "";

		r = key_name(rd, section, map, pair, name);
		if (r == 0)
			r = read_key(rd, name, yaml_document_get_node(rd->doc, pair->key),
			             yaml_document_get_node(rd->doc, pair->value));
	}
	return r;
}

/* The mapping and the sections in it: as many as the table names, so it ends. */
static int read_mapping(struct reader *rd, yaml_node_t *map)
{
	int r = read_section(rd, "", map);

	for (size_t i = 0; r == 0 && i < rd->n_sections; i++)
		r = read_section(rd, rd->sections[i].name, rd->sections[i].map);
	return r;
}

static int check_registry(const struct reader *rd, const yaml_node_t *node)
{
	const struct config *c = rd->config;
	const struct registry_config *rc = &c->registries[c->n_registries - 1];

	if (rc->host == NULL || rc->host[0] == '\0')
		return at(rd, node, "registries",
		          "an entry has no host (host: \"registry.example\", or \"*\")");
	if ((rc->username == NULL) != (rc->password_file == NULL))
		return at(
			rd, node, "registries",
			"username and password_file go together (or docker_config in their place)");
	for (uint32_t i = 0; i + 1 < c->n_registries; i++) {
		if (strcmp(c->registries[i].host, rc->host) == 0)
			return at(rd, node, "registries",
			          "this host has an entry already (make them one)");
	}
	return 0;
}

static int read_registry(const struct reader *rd, yaml_node_t *node)
{
	struct reader inner = { .file = rd->file,
		                .prefix = "registries.",
		                .doc = rd->doc,
		                .config = rd->config,
		                .e = rd->e };
	int r;

	if (rd->config->n_registries == CONFIG_REGISTRIES_MAX)
		return at(rd, node, "registries",
		          "there are too many entries (\"*\" is every other host)");
	if (node->type != YAML_MAPPING_NODE)
		return at(rd, node, "registries", "each entry must be settings: { host: ... }");
	inner.settings = config_registry_settings;
	inner.n_settings = config_n_registry_settings;
	inner.object = config_add_registry(rd->config);
	r = read_mapping(&inner, node);
	return r < 0 ? r : check_registry(rd, node);
}

static int read_registries(const struct reader *rd, yaml_node_t *list)
{
	int r = 0;

	if (is_null(list))
		return 0;
	if (list->type != YAML_SEQUENCE_NODE)
		return at(rd, list, "registries", "a list is expected: - { host: ... }");
	for (const yaml_node_item_t *item = list->data.sequence.items.start;
	     r == 0 && item < list->data.sequence.items.top; item++)
		r = read_registry(rd, yaml_document_get_node(rd->doc, *item));
	return r;
}

static int load_document(const char *name, yaml_parser_t *parser, yaml_document_t *ret_doc,
                         struct err *e)
{
	if (yaml_parser_load(parser, ret_doc) != 0)
		return 0;
	return err_set(e, EINVAL, "%s:%zu: not YAML: %s", name, parser->problem_mark.line + 1,
	               parser->problem != NULL ? parser->problem : "out of memory");
}

/* Behind the settings there must be nothing more. */
static int check_end(const char *name, yaml_parser_t *parser, struct err *e)
{
	yaml_document_t more;
	const yaml_node_t *root;
	int r = load_document(name, parser, &more, e);

	if (r < 0)
		return r;
	root = yaml_document_get_root_node(&more);
	if (root != NULL)
		r = err_set(e, EINVAL, "%s:%zu: a second document; one is read (take it out)", name,
		            root->start_mark.line + 1);
	yaml_document_delete(&more);
	return r;
}

/* The line is that of the section, where there is one. */
static int check_watermarks(const struct reader *rd, const yaml_node_t *root)
{
	const struct config *c = rd->config;
	const yaml_node_t *node = root;

	if (c->cache_low_watermark_percent < c->cache_high_watermark_percent)
		return 0;
	for (size_t i = 0; i < rd->n_sections; i++)
		if (strcmp(rd->sections[i].name, "cache") == 0)
			node = rd->sections[i].map;
	return at(rd, node, "cache",
	          "low_watermark_percent must be less than high_watermark_percent");
}

int config_yaml_read(const char *name, const void *yaml, size_t size_bytes, struct config *c,
                     struct err *e)
{
	yaml_parser_t parser;
	yaml_document_t doc;
	struct reader rd = { .file = name,
		             .prefix = "",
		             .doc = &doc,
		             .settings = config_settings,
		             .n_settings = config_n_settings,
		             .config = c,
		             .object = c,
		             .e = e };
	yaml_node_t *root;
	int r;

	if (yaml_parser_initialize(&parser) == 0)
		return err_set(e, ENOMEM, "%s: out of memory", name);
	yaml_parser_set_input_string(&parser, yaml, size_bytes);
	r = load_document(name, &parser, &doc, e);
	if (r == 0) {
		root = yaml_document_get_root_node(&doc);
		if (root != NULL) {
			r = read_mapping(&rd, root);
			if (r == 0)
				r = check_watermarks(&rd, root);
			if (r == 0 && rd.registries != NULL)
				r = read_registries(&rd, rd.registries);
			if (r == 0)
				r = check_end(name, &parser, e);
		}
		yaml_document_delete(&doc);
	}
	yaml_parser_delete(&parser);
	return r;
}
