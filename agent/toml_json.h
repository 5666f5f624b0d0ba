/*
 * toml_json: a TOML document as the JSON object that says the same, for nydusd's configurations.
 *
 * Pure; hostile input. All of TOML 1.0 that a configuration uses; refused, with the line: dates,
 * texts of several lines, inf and nan. More is accepted than TOML allows in one thing: a table may
 * be opened twice.
 */
#pragma once
#include "json_util.h"

/** @return 0; -EINVAL with line and reason */
MUST_CHECK int toml_parse_object(const char *text, size_t size_bytes, json_t **ret_object,
                                 struct err *e);
