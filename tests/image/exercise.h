/*
 * exercise: ask a bootstrap everything that can be asked of one, and hold each answer against what
 * the header promises. Whatever the bytes: an error or a right answer; bounded work.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/** Aborts when a promise is broken. @return how many calls found a fault (-EUCLEAN) */
unsigned exercise_image(const uint8_t *data, size_t size_bytes);
