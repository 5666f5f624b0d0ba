/*
 * settings: what a setting is, and how its value gets from text into a struct and back.
 *
 * Knows the tables' rows and texts. Knows nothing of YAML or files.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum setting_type {
	SETTING_TEXT,
	SETTING_WORD, /* printable ASCII without a blank */
	SETTING_PATH,
	SETTING_ADDRESS,   /* IP:PORT, or off */
	SETTING_IP_PORT,   /* one that others can dial */
	SETTING_HOST_PORT, /* HOST:PORT; HOST is a name or an address */
	SETTING_REGISTRY,  /* HOST[:PORT], or "*" */
	SETTING_PROXY,     /* the URL of an HTTP proxy */
	SETTING_NUMBER,
	SETTING_BOOL,
	SETTING_CHOICE,
	SETTING_REGISTRIES, /* a list of HOST[:PORT] */
	SETTING_HOST_PORTS, /* a list of HOST:PORT */
};

struct setting {
	const char *name; /* "cache.quota_bytes" */
	enum setting_type type;
	size_t offset;           /* of the field in its struct */
	size_t field_size_bytes; /* NUMBER: 4 or 8 */
	const char *unit;
	uint64_t min, max;    /* NUMBER; else max: see setting_has_length() */
	const char *fallback; /* NULL: none */
	const char *choices;
	const char *text;
};

/* A list's field: two members side by side, as mirrors and n_mirrors of struct registry_config. */
struct setting_list {
	const char *const *texts;
	uint32_t n_texts;
};

/* Strings of one configuration, freed together. */
struct text_arena;
struct text_arena *text_arena_new(void);
void text_arena_free(struct text_arena **arena); /* NULL is fine */

/**
 * Give the field of object its value from a text, checked. Not for lists.
 *
 * @return 0; -EINVAL with what is wrong and what would be right, the setting's name not included
 */
MUST_CHECK int setting_set(const struct setting *s, const char *text, struct text_arena *arena,
                           void *object, struct err *e);

bool setting_is_list(const struct setting *s);
/** Its text has s->max bytes at most. */
bool setting_has_length(const struct setting *s);

/** Is text right for one entry of this list? @return as setting_set() */
MUST_CHECK int setting_check_entry(const struct setting *s, const char *text, struct err *e);

/** As setting_set() for lists; each entry was checked. */
void setting_set_list(const struct setting *s, const char *const *texts, uint32_t n_texts,
                      struct text_arena *arena, void *object);

/** Take the value of another object of this kind; its texts are copied. */
void setting_copy(const struct setting *s, const void *from, struct text_arena *arena,
                  void *object);

/** The value as text, malloc'd; "" where there is none. */
char *setting_get(const struct setting *s, const void *object);

/** What it can be set to, for people: "0 to 100 percent"; malloc'd. */
char *setting_values(const struct setting *s);
