/*
 * path: see path.h.
 */
#include "path.h"
#include "mem.h"
#include <limits.h>
#include <string.h>
#include <unistd.h>

char *path_parent(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? xasprintf("%.*s/", (int)(slash - path), path) : xstrdup("./");
}

char *path_beside_program(const char *name)
{
	char self[PATH_MAX];
	const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	AUTO(free_str) char *parent = NULL;

	self[n > 0 ? n : 0] = '\0';
	parent = path_parent(self);
	return xasprintf("%s%s", parent, name);
}
