/*
 * path: paths as words. Nothing is looked up but where the program is that runs.
 */
#pragma once
#include "auto.h"

/**
 * The directory in which path names something, with a slash behind it: "a/b/" of "a/b/c", "/" of
 * "/a", "./" of "a".
 * @return malloc'd
 */
char *path_parent(const char *path) __attribute__((returns_nonnull, malloc));

/** A path that is relative to the directory of the program that runs. @return malloc'd */
char *path_beside_program(const char *name) __attribute__((returns_nonnull, malloc));
