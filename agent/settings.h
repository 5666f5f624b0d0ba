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
	SETTING_PATH,
	SETTING_ADDRESS,
	SETTING_NUMBER,
	SETTING_BOOL,
	SETTING_CHOICE,
	SETTING_LIST,
};

struct setting {
	const char *name; /* "cache.quota_bytes" */
	enum setting_type type;
	size_t offset;           /* of the field in its struct */
	size_t field_size_bytes; /* NUMBER: 4 or 8 */
	const char *unit;
	uint64_t min, max;
	const char *fallback; /* NULL: none */
	const char *choices;
	const char *text;
};

/* A LIST field: two members side by side, as mirrors and n_mirrors of struct registry_config. */
struct setting_list {
	const char *const *texts;
	uint32_t n_texts;
};

/* Strings of one configuration, freed together. */
struct text_arena;
struct text_arena *text_arena_new(void);
void text_arena_free(struct text_arena **arena); /* NULL is fine */
const char *text_arena_add(struct text_arena *arena, const char *text);
/** A copy of n texts, their array included. */
const char *const *text_arena_add_list(struct text_arena *arena, const char *const *texts,
                                       uint32_t n_texts);

/**
 * Give the field of object its value from a text, checked. Not for LIST.
 *
 * @return 0; -EINVAL with what is wrong and what would be right, the setting's name not included
 */
MUST_CHECK int setting_set(const struct setting *s, const char *text, struct text_arena *arena,
                           void *object, struct err *e);

/** As setting_set() for LIST. */
void setting_set_list(const struct setting *s, const char *const *texts, uint32_t n_texts,
                      struct text_arena *arena, void *object);

/** Take the value of another object of this kind; its texts are copied. */
void setting_copy(const struct setting *s, const void *from, struct text_arena *arena,
                  void *object);

/** The value as text, malloc'd; "" where there is none. */
char *setting_get(const struct setting *s, const void *object);

/** What it can be set to, for people: "0 to 100 percent"; malloc'd. */
char *setting_values(const struct setting *s);
