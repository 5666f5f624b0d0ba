/*
 * wire_samples: one message of each type, with something in every field.
 */
#pragma once
#include "wire.h"

#define SAMPLE_LIST_CHUNKS 9

/** @param big  as large as the limits allow. What it borrows is static. */
void wire_sample(enum wire_type type, bool big, struct wire_msg *ret_msg);
