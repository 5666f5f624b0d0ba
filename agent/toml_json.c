/*
 * toml_json: see toml_json.h. What is nested is bounded, a key's parts, too. Source: TOML v1.0.0.
 */
#include "toml_json.h"
#include "mem.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PARTS_MAX   16 /* of a key */
#define DEPTH_MAX   16 /* of values in values */
#define WORD_MAX    64 /* of a number, or of true and false */
#define TEXT_MAX    65536
#define BARE        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
#define WORD_LETTER BARE "+.:"

struct parser {
	const char *p, *end;
	uint32_t line;
	struct err *e;
};

struct key {
	uint32_t n;
	char *parts[PARTS_MAX];
};

static void key_clear(struct key *key)
{
	for (uint32_t i = 0; i < key->n; i++)
		free_str(&key->parts[i]);
	key->n = 0;
}

static int fault(const struct parser *t, const char *what)
{
	return err_set(t->e, EINVAL, "TOML, line %" PRIu32 ": %s", t->line, what);
}

static bool at(const struct parser *t, char c)
{
	return t->p < t->end && *t->p == c;
}

static bool take(struct parser *t, char c)
{
	const bool is = at(t, c);

	t->p += is;
	return is;
}

static void skip_blanks(struct parser *t)
{
	while (at(t, ' ') || at(t, '\t'))
		t->p++;
	if (!at(t, '#'))
		return;
	while (t->p < t->end && *t->p != '\n')
		t->p++;
}

/* @return false: something else stands there */
static bool take_newline(struct parser *t)
{
	const char *before = t->p;

	(void)take(t, '\r');
	if (take(t, '\n')) {
		t->line++;
		return true;
	}
	t->p = before;
	return false;
}

static void skip_lines(struct parser *t)
{
	do
		skip_blanks(t);
	while (take_newline(t));
}

/* ---- texts ---- */

static size_t put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xC0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xE0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3F));
		out[2] = (char)(0x80 | (c & 0x3F));
		return 3;
	}
	out[0] = (char)(0xF0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3F));
	out[2] = (char)(0x80 | (c >> 6 & 0x3F));
	out[3] = (char)(0x80 | (c & 0x3F));
	return 4;
}

/* XXXX or XXXXXXXX. @return 0: it is none, or U+0000 */
static uint32_t take_code_point(struct parser *t, uint32_t n_digits)
{
	static const char digits[] = "0123456789abcdef";
	uint32_t c = 0;

	for (uint32_t i = 0; i < n_digits; i++) {
		const char *digit =
			t->p < t->end && *t->p != '\0' ? strchr(digits, *t->p | 0x20) : NULL;

		if (digit == NULL || c > 0x10FFFF)
			return 0;
		c = c << 4 | (uint32_t)(digit - digits);
		t->p++;
	}
	return c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF) ? 0 : c;
}

/* Behind the backslash. @return how many bytes came of it; 0: it is none */
static size_t take_escape(struct parser *t, char *out)
{
	static const char names[] = "btnfr\"\\";
	static const char values[] = "\b\t\n\f\r\"\\";
	const char *name;
	uint32_t c;

	if (t->p >= t->end)
		return 0;
	if (at(t, 'u') || at(t, 'U')) {
		const uint32_t n_digits = *t->p++ == 'u' ? 4 : 8;

		c = take_code_point(t, n_digits);
		return c != 0 ? put_utf8(out, c) : 0;
	}
	name = *t->p != '\0' ? strchr(names, *t->p++) : NULL;
	if (name == NULL)
		return 0;
	out[0] = values[name - names];
	return 1;
}

/* As far as the text goes: more will not come of it. */
static size_t room_of(const struct parser *t, char quote)
{
	const char *p = t->p;

	while (p < t->end && *p != quote && *p != '\n')
		p += *p == '\\' && quote == '"' && p + 1 < t->end ? 2 : 1;
	return (size_t)(p - t->p) + 1;
}

/* @param ret_text  malloc'd */
static int parse_text(struct parser *t, char **ret_text)
{
	const char quote = *t->p++;
	AUTO(free_str) char *text = NULL;
	size_t n = 0;

	if (at(t, quote) && t->p + 1 < t->end && t->p[1] == quote)
		return fault(t, "texts of several lines are not understood");
	text = xcalloc(1, room_of(t, quote));
	while (t->p < t->end && *t->p != quote) {
		const char c = *t->p++;
		size_t n_escaped = 0;

		if (c == '\n' || c == '\0' || n >= TEXT_MAX)
			return fault(t, "a text does not end");
		if (c == '\\' && quote == '"') {
			n_escaped = take_escape(t, text + n);
			if (n_escaped == 0)
				return fault(t, "what follows this backslash is not known");
			n += n_escaped;
		} else {
			text[n++] = c;
		}
	}
	if (!take(t, quote))
		return fault(t, "a text does not end");
	*ret_text = text;
	text = NULL;
	return 0;
}

/* ---- keys ---- */

static int parse_part(struct parser *t, char **ret_part)
{
	size_t n = 0;

	if (at(t, '"') || at(t, '\''))
		return parse_text(t, ret_part);
	while (t->p + n < t->end && t->p[n] != '\0' && strchr(BARE, t->p[n]) != NULL)
		n++;
	if (n == 0)
		return fault(t, "a key is expected");
	*ret_part = xasprintf("%.*s", (int)n, t->p);
	t->p += n;
	return 0;
}

static int parse_key(struct parser *t, struct key *ret_key)
{
	do {
		int r;

		skip_blanks(t);
		if (ret_key->n == PARTS_MAX)
			return fault(t, "a key has too many parts");
		r = parse_part(t, &ret_key->parts[ret_key->n]);
		if (r < 0)
			return r;
		ret_key->n++;
		skip_blanks(t);
	} while (take(t, '.'));
	return 0;
}

/* The table that the first n parts lead to, from here; it is made where it is not there. Borrowed.
 * @return NULL: something else has that name */
static json_t *enter(json_t *table, const struct key *key, uint32_t n)
{
	for (uint32_t i = 0; i < n && table != NULL; i++) {
		json_t *next = json_object_get(table, key->parts[i]);

		if (json_is_array(next) && json_array_size(next) > 0)
			next = json_array_get(next, json_array_size(next) - 1);
		else if (next == NULL &&
		         json_object_set_new(table, key->parts[i], json_object()) == 0)
			next = json_object_get(table, key->parts[i]);
		table = json_is_object(next) ? next : NULL;
	}
	return table;
}

/* Where a value is to go. */
struct slot {
	json_t *table; /* borrowed */
	char *name;
};

static void slot_clear(struct slot *slot)
{
	free_str(&slot->name);
	slot->table = NULL;
}

/* KEY = */
static int parse_slot(struct parser *t, json_t *table, struct slot *ret_slot)
{
	AUTO(key_clear) struct key key = { 0 };
	int r = parse_key(t, &key);

	if (r == 0 && !take(t, '='))
		r = fault(t, "= is expected");
	if (r < 0)
		return r;
	table = enter(table, &key, key.n - 1);
	if (table == NULL || json_object_get(table, key.parts[key.n - 1]) != NULL)
		return fault(t, "this key is there already");
	slot_clear(ret_slot);
	*ret_slot = (struct slot){ .table = table, .name = xstrdup(key.parts[key.n - 1]) };
	return 0;
}

/* ---- values ---- */

static int parse_number(const struct parser *t, char *word, json_t **ret_value)
{
	static const char prefixes[] = "xob";
	static const int bases[] = { 16, 8, 2 };
	const char *prefix = word[0] == '0' && word[1] != '\0' ? strchr(prefixes, word[1]) : NULL;
	const int base = prefix != NULL ? bases[prefix - prefixes] : 10;
	const char *digits = prefix != NULL ? word + 2 : word;
	char *end = NULL;
	json_int_t n;
	double d;

	errno = 0;
	n = strtoll(digits, &end, base);
	if (errno == 0 && end != digits && *end == '\0') {
		*ret_value = json_integer(n);
		return 0;
	}
	d = strtod(word, &end);
	if (prefix != NULL || end == word || *end != '\0' || !isfinite(d))
		return fault(t, "this value is not understood");
	*ret_value = json_real(d);
	return 0;
}

/* true, false, or a number, whose underscores mean nothing. */
static int parse_word(struct parser *t, json_t **ret_value)
{
	char word[WORD_MAX + 1] = "";
	size_t n = 0;

	while (t->p < t->end && *t->p != '\0' && strchr(WORD_LETTER, *t->p) != NULL &&
	       n < WORD_MAX) {
		if (*t->p != '_')
			word[n++] = *t->p;
		t->p++;
	}
	if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0) {
		*ret_value = json_boolean(word[0] == 't');
		return 0;
	}
	return parse_number(t, word, ret_value);
}

static int parse_scalar(struct parser *t, json_t **ret_value)
{
	AUTO(free_str) char *text = NULL;
	int r;

	if (!at(t, '"') && !at(t, '\''))
		return parse_word(t, ret_value);
	r = parse_text(t, &text);
	if (r < 0)
		return r;
	*ret_value = json_string(text);
	return *ret_value != NULL ? 0 : fault(t, "this text is no UTF-8");
}

/* The arrays and inline tables that are open, each in the one before it. */
struct nest {
	uint32_t n;
	struct level {
		json_t *container; /* borrowed */
		struct slot slot;  /* of the value that comes next, in a table */
		uint32_t n_items;
	} levels[DEPTH_MAX];
};

static void nest_clear(struct nest *nest)
{
	for (uint32_t i = 0; i < DEPTH_MAX; i++)
		slot_clear(&nest->levels[i].slot);
}

/* @param value  moved; NULL: memory is out */
static int put(struct parser *t, const struct nest *nest, const struct slot *outer, json_t *value)
{
	const struct level *top = nest->n > 0 ? &nest->levels[nest->n - 1] : NULL;
	const struct slot *slot = top != NULL ? &top->slot : outer;
	const int r = top != NULL && json_is_array(top->container)
	                      ? json_array_append_new(top->container, value)
	                      : json_object_set_new(slot->table, slot->name, value);

	return r == 0 ? 0 : fault(t, "this key is no UTF-8");
}

/* A whole value, or the beginning of one that holds others. */
static int begin_value(struct parser *t, struct nest *nest, const struct slot *outer)
{
	json_t *value = NULL;
	int r = 0;

	skip_blanks(t);
	if (!at(t, '[') && !at(t, '{')) {
		r = parse_scalar(t, &value);
		return r == 0 ? put(t, nest, outer, value) : r;
	}
	if (nest->n == DEPTH_MAX)
		return fault(t, "values are nested too deep");
	value = *t->p++ == '[' ? json_array() : json_object();
	r = put(t, nest, outer, value);
	if (r == 0) {
		struct level *level = &nest->levels[nest->n++];

		level->container = value;
		level->n_items = 0;
	}
	return r;
}

/* The next item of the innermost, or its end. */
static int parse_item(struct parser *t, struct nest *nest, const struct slot *outer)
{
	struct level *top = &nest->levels[nest->n - 1];
	const bool is_array = json_is_array(top->container);
	void (*const skip)(struct parser * t) = is_array ? skip_lines : skip_blanks;
	bool ends;
	int r = 0;

	skip(t);
	ends = take(t, is_array ? ']' : '}');
	if (!ends && top->n_items++ > 0) {
		if (!take(t, ','))
			return fault(t, "an array, or a table between braces, does not end");
		skip(t);
		ends = take(t, is_array ? ']' : '}');
	}
	if (ends) {
		nest->n--;
		return 0;
	}
	if (!is_array)
		r = parse_slot(t, top->container, &top->slot);
	return r == 0 ? begin_value(t, nest, outer) : r;
}

/* KEY = VALUE */
static int parse_pair(struct parser *t, json_t *table)
{
	AUTO(slot_clear) struct slot slot = { 0 };
	AUTO(nest_clear) struct nest nest = { 0 };
	int r = parse_slot(t, table, &slot);

	if (r == 0)
		r = begin_value(t, &nest, &slot);
	while (r == 0 && nest.n > 0)
		r = parse_item(t, &nest, &slot);
	return r;
}

/* ---- the document ---- */

/* [KEY], or [[KEY]]: one more table of that array. @return the table that pairs go into; NULL */
static json_t *open_table(json_t *root, const struct key *key, bool is_one_more)
{
	json_t *above = is_one_more ? enter(root, key, key->n - 1) : NULL;
	json_t *array;

	if (!is_one_more)
		return enter(root, key, key->n);
	if (above == NULL)
		return NULL;
	array = json_object_get(above, key->parts[key->n - 1]);
	if (array == NULL && json_object_set_new(above, key->parts[key->n - 1], json_array()) == 0)
		array = json_object_get(above, key->parts[key->n - 1]);
	if (!json_is_array(array) || json_array_append_new(array, json_object()) != 0)
		return NULL;
	return json_array_get(array, json_array_size(array) - 1);
}

static int parse_header(struct parser *t, json_t *root, json_t **ret_table)
{
	AUTO(key_clear) struct key key = { 0 };
	bool is_one_more;
	int r;

	t->p++;
	is_one_more = take(t, '[');
	r = parse_key(t, &key);
	if (r < 0)
		return r;
	if (!take(t, ']') || (is_one_more && !take(t, ']')))
		return fault(t, "] is expected");
	*ret_table = open_table(root, &key, is_one_more);
	return *ret_table != NULL ? 0 : fault(t, "this table's name is something else's");
}

int toml_parse_object(const char *text, size_t size_bytes, json_t **ret_object, struct err *e)
{
	struct parser t = { .p = text, .end = text + size_bytes, .line = 1, .e = e };
	AUTO(json_drop) json_t *root = json_object();
	json_t *table = root;

	for (skip_lines(&t); t.p < t.end; skip_lines(&t)) {
		const int r = at(&t, '[') ? parse_header(&t, root, &table) : parse_pair(&t, table);

		if (r < 0)
			return r;
		skip_blanks(&t);
		if (t.p < t.end && !take_newline(&t))
			return fault(&t, "something stands behind the value");
	}
	*ret_object = root;
	root = NULL;
	return 0;
}
