/*
 * fuse_asked: one request of the kernel that is not answered yet, as it is shown to those who watch
 * a mount.
 */
#pragma once
#include <stdint.h>

struct fuse_asked {
	uint64_t unique;  /* the kernel's number of it; never 0 */
	uint64_t node;    /* of the tree; with the kernel's EROFS: of a blob's file */
	uint32_t opcode;  /* of linux/fuse.h: 15 is READ */
	uint64_t since_s; /* wall clock, seconds since 1970: when this process was asked */
};
