/*
 * settings: values of settings, from text and to text, by the rows of settings_table.h.
 *
 * Each value is checked here, whatever its type, so that a wrong one is refused in one place.
 * Knows nothing of where the texts come from.
 */
#include "settings.h"
#include "mem.h"
#include <errno.h>
#include <event2/util.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One piece of memory that belongs to a configuration. */
struct text_arena {
	struct text_arena *next;
	void *memory;
};

struct text_arena *text_arena_new(void)
{
	return xcalloc(1, sizeof(struct text_arena));
}

void text_arena_free(struct text_arena **arena)
{
	while (*arena != NULL) {
		struct text_arena *next = (*arena)->next;

		free((*arena)->memory);
		free(*arena);
		*arena = next;
	}
}

static void *arena_keep(struct text_arena *arena, void *memory)
{
	struct text_arena *piece = xcalloc(1, sizeof(*piece));

	piece->memory = memory;
	piece->next = arena->next;
	arena->next = piece;
	return memory;
}

const char *text_arena_add(struct text_arena *arena, const char *text)
{
	return arena_keep(arena, xstrdup(text));
}

const char *const *text_arena_add_list(struct text_arena *arena, const char *const *texts,
                                       uint32_t n_texts)
{
	const char **copy = arena_keep(arena, xcalloc((size_t)n_texts + 1, sizeof(*copy)));

	for (uint32_t i = 0; i < n_texts; i++)
		copy[i] = text_arena_add(arena, texts[i]);
	return copy;
}

static void *field_of(const struct setting *s, void *object)
{
	return (char *)object + s->offset;
}

static const void *const_field_of(const struct setting *s, const void *object)
{
	return (const char *)object + s->offset;
}

/* Digits alone: no sign, no blank, no hexadecimal, so that nothing is read as what it is not. */
static int number_parse(const struct setting *s, const char *text, uint64_t *ret_n, struct err *e)
{
	const size_t n_digits = strspn(text, "0123456789");
	uint64_t n = 0;

	if (n_digits == 0 || text[n_digits] != '\0')
		return err_set(e, EINVAL, "\"%s\" is no whole number (digits only, in %s)", text,
		               s->unit);
	errno = 0;
	n = strtoull(text, NULL, 10);
	if (errno != 0 || n < s->min || n > s->max)
		return err_set(e, EINVAL, "%s is out of range (%" PRIu64 " to %" PRIu64 " %s)",
		               text, s->min, s->max, s->unit);
	*ret_n = n;
	return 0;
}

static int number_set(const struct setting *s, const char *text, void *object, struct err *e)
{
	uint64_t n = 0;
	const int r = number_parse(s, text, &n, e);

	if (r < 0)
		return r;
	if (s->field_size_bytes == sizeof(uint32_t)) {
		const uint32_t narrow = (uint32_t)n;

		memcpy(field_of(s, object), &narrow, sizeof(narrow));
	} else {
		memcpy(field_of(s, object), &n, sizeof(n));
	}
	return 0;
}

static int bool_set(const struct setting *s, const char *text, void *object, struct err *e)
{
	const bool on = strcmp(text, "true") == 0;

	if (!on && strcmp(text, "false") != 0)
		return err_set(e, EINVAL, "\"%s\" is neither true nor false", text);
	memcpy(field_of(s, object), &on, sizeof(on));
	return 0;
}

/* Is text one of the words between the bars? */
static bool is_choice(const char *choices, const char *text)
{
	const size_t n = strlen(text);

	for (const char *c = choices; c != NULL; c = strchr(c, '|')) {
		c += *c == '|';
		if (n > 0 && strncmp(c, text, n) == 0 && (c[n] == '|' || c[n] == '\0'))
			return true;
	}
	return false;
}

static int text_check(const struct setting *s, const char *text, struct err *e)
{
	struct sockaddr_storage address;
	int address_bytes = (int)sizeof(address);

	for (const char *c = text; *c != '\0'; c++) {
		if ((unsigned char)*c < ' ')
			return err_set(e, EINVAL, "there is a control character in it");
	}
	if (s->type == SETTING_PATH && text[0] != '/')
		return err_set(e, EINVAL, "\"%s\" is no absolute path (begin it with /)", text);
	if (s->type == SETTING_CHOICE && !is_choice(s->choices, text))
		return err_set(e, EINVAL, "\"%s\" is none of %s", text, s->choices);
	if (s->type == SETTING_ADDRESS && strcmp(text, "off") != 0 &&
	    evutil_parse_sockaddr_port(text, (struct sockaddr *)&address, &address_bytes) != 0)
		return err_set(e, EINVAL,
		               "\"%s\" is no IP:PORT (such as 127.0.0.1:9464) and not off", text);
	return 0;
}

int setting_set(const struct setting *s, const char *text, struct text_arena *arena, void *object,
                struct err *e)
{
	const char *copy = NULL;
	int r;

	if (s->type == SETTING_NUMBER)
		return number_set(s, text, object, e);
	if (s->type == SETTING_BOOL)
		return bool_set(s, text, object, e);
	r = text_check(s, text, e);
	if (r < 0)
		return r;
	copy = text_arena_add(arena, text);
	memcpy(field_of(s, object), &copy, sizeof(copy));
	return 0;
}

void setting_set_list(const struct setting *s, const char *const *texts, uint32_t n_texts,
                      struct text_arena *arena, void *object)
{
	struct setting_list list = { .texts = text_arena_add_list(arena, texts, n_texts),
		                     .n_texts = n_texts };

	/* Two copies: behind n_texts the object may have other members where a struct pads. */
	memcpy(field_of(s, object), &list.texts, sizeof(list.texts));
	memcpy((char *)field_of(s, object) + offsetof(struct setting_list, n_texts), &list.n_texts,
	       sizeof(list.n_texts));
}

static void list_of(const struct setting *s, const void *object, struct setting_list *ret_list)
{
	memcpy(&ret_list->texts, const_field_of(s, object), sizeof(ret_list->texts));
	memcpy(&ret_list->n_texts,
	       (const char *)const_field_of(s, object) + offsetof(struct setting_list, n_texts),
	       sizeof(ret_list->n_texts));
}

static void text_copy(const struct setting *s, const void *from, struct text_arena *arena,
                      void *object)
{
	const char *text = NULL;

	memcpy(&text, const_field_of(s, from), sizeof(text));
	if (text != NULL)
		text = text_arena_add(arena, text);
	memcpy(field_of(s, object), &text, sizeof(text));
}

void setting_copy(const struct setting *s, const void *from, struct text_arena *arena, void *object)
{
	struct setting_list list;

	switch (s->type) {
	case SETTING_NUMBER:
	case SETTING_BOOL:
		memcpy(field_of(s, object), const_field_of(s, from), s->field_size_bytes);
		return;
	case SETTING_LIST:
		list_of(s, from, &list);
		setting_set_list(s, list.texts, list.n_texts, arena, object);
		return;
	case SETTING_TEXT:
	case SETTING_PATH:
	case SETTING_ADDRESS:
	case SETTING_CHOICE:
	default:
		text_copy(s, from, arena, object);
	}
}

static char *number_get(const struct setting *s, const void *object)
{
	uint64_t n = 0;
	uint32_t narrow = 0;

	if (s->field_size_bytes == sizeof(narrow)) {
		memcpy(&narrow, const_field_of(s, object), sizeof(narrow));
		n = narrow;
	} else {
		memcpy(&n, const_field_of(s, object), sizeof(n));
	}
	return xasprintf("%" PRIu64, n);
}

static char *list_get(const struct setting *s, const void *object)
{
	struct setting_list list;
	char *all = xstrdup("");

	list_of(s, object, &list);
	for (uint32_t i = 0; i < list.n_texts; i++) {
		char *longer = xasprintf("%s%s%s", all, i > 0 ? ", " : "", list.texts[i]);

		free(all);
		all = longer;
	}
	return all;
}

char *setting_get(const struct setting *s, const void *object)
{
	const char *text = NULL;
	bool on = false;

	switch (s->type) {
	case SETTING_NUMBER:
		return number_get(s, object);
	case SETTING_LIST:
		return list_get(s, object);
	case SETTING_BOOL:
		memcpy(&on, const_field_of(s, object), sizeof(on));
		return xstrdup(on ? "true" : "false");
	case SETTING_TEXT:
	case SETTING_PATH:
	case SETTING_ADDRESS:
	case SETTING_CHOICE:
	default:
		memcpy(&text, const_field_of(s, object), sizeof(text));
		return xstrdup(text != NULL ? text : "");
	}
}

/* "a|b" as "a, b". */
static char *listed(const char *choices)
{
	char *text = xcalloc(2 * strlen(choices) + 1, 1);
	size_t n = 0;

	for (; *choices != '\0'; choices++) {
		if (*choices == '|') {
			text[n++] = ',';
			text[n++] = ' ';
		} else {
			text[n++] = *choices;
		}
	}
	return text;
}

char *setting_values(const struct setting *s)
{
	switch (s->type) {
	case SETTING_NUMBER:
		return xasprintf("%" PRIu64 " to %" PRIu64 " %s", s->min, s->max, s->unit);
	case SETTING_CHOICE:
		return listed(s->choices);
	case SETTING_PATH:
		return xstrdup("absolute path");
	case SETTING_ADDRESS:
		return xstrdup("IP:PORT, off");
	case SETTING_BOOL:
		return xstrdup("true, false");
	case SETTING_LIST:
		return xstrdup("list of texts");
	case SETTING_TEXT:
	default:
		return xstrdup("text");
	}
}
