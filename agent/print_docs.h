/*
 * print_docs: docs/config.md and docs/metrics.md from the tables that the program itself uses.
 */
#pragma once
#include <stdio.h>

void print_config_doc(FILE *out);
void print_metrics_doc(FILE *out);
