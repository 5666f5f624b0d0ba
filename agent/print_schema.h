/*
 * print_schema: the settings as a JSON schema, for the chart's values and for editors.
 */
#pragma once
#include <stdio.h>

/**
 * An object with one property a setting, nested as in the file; "registries" is an array. Texts,
 * defaults and bounds are the table's; what this version refuses is left out.
 */
void print_config_schema(FILE *out);
