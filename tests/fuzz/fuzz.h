/*
 * fuzz: what every fuzz target defines. Source: LLVM libFuzzer's interface.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
