/*
 * json_util: the checks that every JSON text from outside goes through.
 *
 * Knows jansson. Knows nothing of what the members mean.
 */
#include "json_util.h"
#include "mem.h"
#include "text.h"
#include "unconst.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void json_drop(json_t **json)
{
	json_decref(*json);
	*json = NULL;
}

/* Length of the UTF-8 sequence that starts here, by its first byte; 1 for what starts none. */
static size_t utf8_bytes(unsigned char first)
{
	if (first >= 0xf0)
		return 4;
	if (first >= 0xe0)
		return 3;
	return first >= 0xc0 ? 2 : 1;
}

json_t *json_words(const char *text)
{
	static const char replacement[] = "\xef\xbf\xbd";
	AUTO(free_str) char *clean = NULL;
	size_t n_clean = 0;
	json_t *json;

	if (text == NULL)
		return json_null();
	json = json_string(text);
	if (json != NULL)
		return json;
	clean = xcalloc(strlen(text) + 1, sizeof(replacement));
	while (*text != '\0') {
		const size_t n = strnlen(text, utf8_bytes((unsigned char)*text));
		AUTO(json_drop) json_t *one = json_stringn(text, n);

		if (one != NULL) {
			memcpy(clean + n_clean, text, n);
			n_clean += n;
			text += n;
		} else {
			memcpy(clean + n_clean, replacement, sizeof(replacement) - 1);
			n_clean += sizeof(replacement) - 1;
			text++;
		}
	}
	return json_stringn(clean, n_clean);
}

/* jansson's own words quote what stands there, and that may be half a password. */
static const char *what_is_wrong(const json_error_t *why)
{
	switch ((unsigned)json_error_code(why)) {
	case json_error_premature_end_of_input:
		return "it ends too early";
	case json_error_end_of_input_expected:
		return "something follows it";
	case json_error_duplicate_key:
		return "a key is there twice";
	case json_error_stack_overflow:
		return "nested too deeply";
	case json_error_numeric_overflow:
		return "a number is too large";
	case json_error_invalid_utf8:
	case json_error_null_character:
	case json_error_null_byte_in_key:
		return "a text that is no UTF-8, or holds NUL";
	default:
		return "this is not how JSON goes on";
	}
}

int json_parse_object(const char *text, size_t size_bytes, json_t **ret_object, struct err *e)
{
	json_error_t why;
	AUTO(json_drop) json_t *json = json_loadb(text, size_bytes, JSON_REJECT_DUPLICATES, &why);

	if (json == NULL)
		return err_set(e, EINVAL, "not JSON: line %d, column %d: %s", why.line, why.column,
		               what_is_wrong(&why));
	if (!json_is_object(json))
		return err_set(e, EINVAL, "a JSON object is expected");
	*ret_object = json;
	json = NULL;
	return 0;
}

int json_check_keys(const json_t *object, const char *const *keys, size_t n_keys, struct err *e)
{
	json_t *o = unconst(object); /* jansson's iterators leave it alone */

	for (void *i = json_object_iter(o); i != NULL; i = json_object_iter_next(o, i)) {
		const char *key = json_object_iter_key(i);
		bool known = false;

		for (size_t k = 0; k < n_keys; k++)
			known = known || strcmp(keys[k], key) == 0;
		if (!known)
			return err_set(e, EINVAL, "there is no member \"%.64s\" here", key);
	}
	return 0;
}

static int get_text(const json_t *object, const char *key, size_t min_bytes, size_t max_bytes,
                    const char **ret_text, struct err *e)
{
	const json_t *value = json_object_get(object, key);
	const char *text = json_string_value(value);

	if (value == NULL || json_is_null(value)) {
		*ret_text = NULL;
		return 0;
	}
	if (text == NULL)
		return err_set(e, EINVAL, "\"%s\" must be a string", key);
	if (json_string_length(value) < min_bytes || json_string_length(value) > max_bytes)
		return err_set(e, EINVAL, "\"%s\" must have %zu to %zu bytes", key, min_bytes,
		               max_bytes);
	if (strlen(text) != json_string_length(value) || text_has_control(text))
		return err_set(e, EINVAL, "\"%s\" holds control characters", key);
	*ret_text = text;
	return 0;
}

int json_get_text(const json_t *object, const char *key, const char **ret_text, struct err *e)
{
	return get_text(object, key, 1, JSON_TEXT_MAX_BYTES - 1, ret_text, e);
}

int json_get_secret(const json_t *object, const char *key, bool may_be_empty, const char **ret_text,
                    struct err *e)
{
	return get_text(object, key, may_be_empty ? 0 : 1, JSON_SECRET_MAX_BYTES, ret_text, e);
}

int json_get_bool(const json_t *object, const char *key, bool *ret_on, struct err *e)
{
	const json_t *value = json_object_get(object, key);

	if (value != NULL && !json_is_boolean(value))
		return err_set(e, EINVAL, "\"%s\" must be true or false", key);
	*ret_on = json_is_true(value);
	return 0;
}

uint64_t json_u64(const json_t *object, const char *key)
{
	const json_int_t n = json_integer_value(json_object_get(object, key));

	return n > 0 ? (uint64_t)n : 0;
}

const char *json_str(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

void json_set_u64(json_t *object, const char *key, uint64_t n)
{
	(void)json_object_set_new(object, key, json_integer((json_int_t)n));
}

void json_set_text(json_t *object, const char *key, const char *text)
{
	if (text != NULL)
		(void)json_object_set_new(object, key, json_words(text));
}
