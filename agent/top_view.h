/*
 * top_view: the live document as lines of text, for `shoal top`.
 */
#pragma once
#include "json_util.h"
#include <stdio.h>

/** Print what is so. @param before  the document of a moment ago, for what comes a second; NULL */
void top_view(FILE *out, const json_t *document, const json_t *before);
