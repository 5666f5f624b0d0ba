/*
 * image_reads: what readers of an image ask for first, kept beside the image and brought ahead the
 * next time.
 *
 * A container reads about the same at each start. Which chunks, in which order, is written down in
 * the first minute of a mount, and stands in images/<digest>/ (docs/on-disk.md). A mount made anew
 * has them brought behind all readers: by its own list or, where this node has none, by a
 * neighbour's, which is used once and not kept. A list is a hint: numbers of chunks, nothing that
 * is believed. Neighbours are asked only about images that the shelf lets them hear of
 * (image_shelf_tells()). Knows no peers.
 */
#pragma once

struct lazy_image;

/** [loop] A mount of the image was wished for, just now: bring, and write down. Once in the life of
 * the image in memory; further calls do nothing. */
void image_reads_begin(struct lazy_image *image);
