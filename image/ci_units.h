/*
 * ci_units: the units of a blob whose chunks are packed together (batches, zran slices).
 */
#pragma once
#include "ci.h"

/**
 * Give layout its units and members, and each chunk its place in them. The chunks are there
 * already, those that the image does not name as holes; the units are those of the index whatever
 * the holes, so that their numbers are the blob's and not the image's.
 * @return 0; -EUCLEAN; -ENOMEM
 */
MUST_CHECK int ci_units_build(const struct ci *ci, struct blob_layout *layout, struct err *e);
