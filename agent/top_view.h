/*
 * top_view: the live document as lines of text, for `shoal top`.
 */
#pragma once
#include "json_util.h"
#include <stdio.h>

/** Print what is so.
 * @param before  the document of a moment ago, for what comes a second; NULL
 * @param columns  that there are; 0: as many as it takes */
void top_view(FILE *out, const json_t *document, const json_t *before, int columns);
