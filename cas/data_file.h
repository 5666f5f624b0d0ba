/*
 * data_file: one blob's sparse file: open it if it is the one that the database means, else make it
 * anew; and say which ready chunks have no data in it. Knows no rows.
 */
#pragma once
#include "bitmap.h"
#include "disk.h"
#include "err.h"
#include "layout.h"
#include "log.h"
#include <stdbool.h>

#define DATA_FILE_NAME_BYTES 128

/** "<key>.blob.data" */
void data_file_name(const char *key, char ret_name[DATA_FILE_NAME_BYTES]);

/** What a chunk takes on the disk, as far as it alone tells: a last block is its own where chunks
 * begin at blocks. */
uint64_t data_file_takes(const struct chunk_rec *c);

/** How many bytes between two chunks can be written with them, and take no block that the two do
 * not take anyway? Padding goes up to 4 KiB, and blocks of the file system may be smaller. */
uint32_t data_file_pad(const struct disk *disk, int dir_fd);

struct data_file_opts {
	const struct disk *disk;
	int dir_fd;
	const char *key;
	uint64_t size_bytes;
	const struct file_identity *known; /* data_file_open_known() alone */
};

/** [worker] Open the file if it is the known one. @return 0; 1 it is missing, another, or
 * cannot be read; -errno */
MUST_CHECK int data_file_open_known(const struct data_file_opts *opts, int *ret_fd,
                                    struct file_identity *ret_identity, struct err *e);

/** [worker] Make it anew, in place of whatever has its name. @return 0; -errno */
MUST_CHECK int data_file_make(const struct data_file_opts *opts, int *ret_fd,
                              struct file_identity *ret_identity, struct err *e);

/**
 * Put into ret_void every chunk of `ready` without data in the file (holes, or behind its end), and
 * those before it that a cut inside their last block can have spoilt.
 * @return how many; -errno
 */
MUST_CHECK int64_t data_file_missing(const struct disk *disk, int fd, const struct blob_layout *l,
                                     const struct bitmap *ready, struct bitmap *ret_void,
                                     struct err *e);

/** Is some byte of [offset, offset + size_bytes) in a hole or behind the end? */
bool data_file_has_hole(const struct disk *disk, int fd, uint64_t offset, uint64_t size_bytes);

/** Has somebody cut it short? ret_found_bytes: to what. */
bool data_file_is_short(const struct disk *disk, int fd, uint64_t size_bytes,
                        uint64_t *ret_found_bytes);

/** Grow it back to its size: who reads it without us (the kernel) gets no error for its end then.
 * No chunk that data_file_missing() tells of may be ready any more: what was cut off is zeros then.
 * @param found_bytes  it had at least those when that was looked at: it is left as it is where it
 *   was cut again since
 * @return it has its size */
bool data_file_grow_back(const struct disk *disk, int fd, uint64_t found_bytes,
                         uint64_t size_bytes);

/** pread until all is there. @return 0; -ENODATA the file ends before; -errno. No *e: the hot path
 */
int data_file_read(const struct disk *disk, int fd, uint64_t offset, uint64_t size_bytes,
                   uint8_t *ret_bytes);
