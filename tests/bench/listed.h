/*
 * listed: what a list says of a tree, and how a program that reads trees gives up.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NO_FILE = -1, DIRECTORY = -2 };

struct entry {
	char *path;
	int64_t size_bytes; /* NO_FILE, DIRECTORY */
};

struct listed {
	struct entry *entries; /* n_entries > 0 */
	size_t n_entries;
};

/** Say on stderr what failed, with errno's words, and end. */
__attribute__((noreturn)) void die(const char *what);

/**
 * Read entries "SIZE PATH", a NUL behind each: SIZE "-" for what is no regular file, "d" for a
 * directory. A list without any, and one that cannot be read, end the program.
 *
 * @param files_alone  leave out what is no regular file
 * @return ended by listed_free()
 */
struct listed listed_load(const char *path, bool files_alone);
void listed_free(struct listed *l);
