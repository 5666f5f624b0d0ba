/*
 * inspect_image: what a bootstrap says of itself, as a document. Pure; blocks on page faults alone.
 */
#pragma once
#include "err.h"
#include <jansson.h>
#include <stdint.h>

/** @param data  the bootstrap's bytes, hostile. @return 0; as image_open() */
int inspect_image(const uint8_t *data, uint64_t size_bytes, json_t **ret_document, struct err *e);
