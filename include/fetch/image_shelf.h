/*
 * image_shelf: what this node gives other agents of the images it has: a meta_shelf.
 *
 * An image is given under the name HOST/REPOSITORY that it is known by here, and only if its
 * registry gave it without credentials, or the registry's entry says share_metadata: cluster.
 * Knows the image store and the configuration; knows neither peers nor the wire.
 */
#pragma once
#include "cas.h"
#include "meta_source.h"
#include "registry_config.h"

struct image_shelf_opts {
	struct cas *cas;                       /* borrowed, both */
	const struct registry_config *configs; /* with all strings */
	uint32_t n_configs;
};

struct meta_shelf *image_shelf_new(const struct image_shelf_opts *opts); /* never NULL */
/** [any] Other entries from now on. The old ones stay readable as long as the shelf: borrowed, too.
 */
void image_shelf_configure(struct meta_shelf *shelf, const struct registry_config *configs,
                           uint32_t n_configs);
/** [any] May neighbours hear that this node has, or wants, the image of that name? By the rule
 * above.
 * @param is_public  its registry gave it without credentials */
bool image_shelf_tells(struct meta_shelf *shelf, const char *name, bool is_public);
/** Nothing may be open any more. NULL is fine. */
void image_shelf_free(struct meta_shelf **shelf);
