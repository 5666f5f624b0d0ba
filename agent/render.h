/*
 * render: JSON documents as tables and lines for people.
 *
 * Texts from outside (names from images and registries) are stripped of control characters, so
 * that they cannot move a terminal's cursor.
 */
#pragma once
#include "json_util.h"
#include <stdio.h>

enum cell_kind {
	CELL_TEXT,
	CELL_COUNT,
	CELL_BYTES,   /* 12.3 MiB */
	CELL_SHARE,   /* key / of in percent */
	CELL_SECONDS, /* a duration: 3d 4h */
	CELL_WHEN,    /* seconds since 1970, local time, to the minute; 0: - */
	CELL_MOMENT,  /* ms since 1970, local time, to the ms */
	CELL_YES,     /* true: yes, false: - */
	CELL_LIST,    /* texts, joined */
	CELL_SHORT,   /* the first 12 characters: digests */
	CELL_MICROS,  /* 1.2 ms */
};

struct column {
	const char *title;
	const char *key; /* "a.b": a member of a member */
	enum cell_kind kind;
	const char *of; /* CELL_SHARE */
};

/** A heading and one line an element; nothing but a note where there is none. */
void render_table(FILE *out, const json_t *array, const struct column *columns, size_t n_columns);

/** One line a field, "title  value"; absent ones are left out. */
void render_fields(FILE *out, const json_t *object, const struct column *columns, size_t n_columns);

/** One value as a person reads it. malloc'd; "" where it is absent. */
char *render_cell(const json_t *object, const struct column *column);

/** Write text without control characters. */
void render_clean(FILE *out, const char *text);

/** The document as JSON, indented on a terminal. */
void render_json(FILE *out, const json_t *document);
