/*
 * disk: the file operations on which what survives a crash depends.
 *
 * cas goes through this table for every change of a data file or of an image's directory, so that
 * a test can record them, cut the power at any barrier, or let a call fail. The real table is the
 * system calls. Functions return what the call returns: -1 with errno set. Any thread.
 */
#pragma once
#include "auto.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define FILE_ID_BYTES 16

/* Which file this is: a map of ready chunks belongs to exactly one. docs/on-disk.md, "Identity". */
struct file_identity {
	uint8_t id[FILE_ID_BYTES]; /* of the extended attribute; zeros where there are none */
	uint64_t dev;              /* st_dev: may change at a reboot ... */
	uint64_t fs_id;            /* ... where this does not (statfs), and the other way round */
	uint64_t ino;
	uint64_t btime_ns; /* 0: the file system keeps none */
	uint64_t size_bytes;
};

struct disk {
	int (*open)(const struct disk *d, int dir_fd, const char *name, int flags, mode_t mode);
	ssize_t (*pread)(const struct disk *d, int fd, void *buf, size_t size_bytes, off_t offset);
	ssize_t (*pwrite)(const struct disk *d, int fd, const void *buf, size_t size_bytes,
	                  off_t offset);
	ssize_t (*pwritev)(const struct disk *d, int fd, const struct iovec *pieces, int n_pieces,
	                   off_t offset);
	int (*truncate)(const struct disk *d, int fd, off_t size_bytes);
	int (*punch)(const struct disk *d, int fd, off_t offset,
	             off_t size_bytes); /* keeps the size */
	/* Do files in this directory share their extents when told to, from any 4 KiB on? By trial.
	 */
	bool (*can_clone)(const struct disk *d, int dir_fd);
	/* Put one file's extents at this place of another, too. The range is made of whole blocks
	 * of 4 KiB, within both files. Writes out what of it was not written yet. */
	int (*clone)(const struct disk *d, int from_fd, off_t from_offset, off_t size_bytes,
	             int to_fd, off_t to_offset);
	/* F_WRLCK: a lease for writing, which the kernel gives to whoever has the file open alone;
	 * F_UNLCK gives it back, as closing does. EAGAIN: others have it open. */
	int (*lease)(const struct disk *d, int fd, int type);
	off_t (*seek)(const struct disk *d, int fd, off_t offset,
	              int whence);                      /* SEEK_DATA, SEEK_HOLE */
	int (*sync_data)(const struct disk *d, int fd); /* fdatasync */
	int (*sync)(const struct disk *d, int fd);      /* fsync, of a file or a directory */
	int (*rename)(const struct disk *d, int from_dir_fd, const char *from, int to_dir_fd,
	              const char *to); /* never onto something that is there */
	/* Likewise, onto whatever is there: one or the other, at any moment. */
	int (*replace)(const struct disk *d, int dir_fd, const char *from, const char *to);
	int (*unlink)(const struct disk *d, int dir_fd, const char *name, int flags);
	int (*set_id)(const struct disk *d, int fd, const uint8_t id[FILE_ID_BYTES]);
	int (*identify)(const struct disk *d, int fd, struct file_identity *ret_identity);
	/* In blocks of how many bytes does its file system give room to files? */
	int (*block_bytes)(const struct disk *d, int dir_fd, uint32_t *ret_bytes);
	/* What the file system of dir_fd has left for us. */
	int (*free_bytes)(const struct disk *d, int dir_fd, uint64_t *ret_bytes);
};

/** The system calls. Static, never freed. */
const struct disk *disk_real(void);

/** Are these the same file? */
bool file_identity_equal(const struct file_identity *a, const struct file_identity *b);
