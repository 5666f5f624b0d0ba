/*
 * absolute_path: how a directory is called in front of the agent.
 *
 * The agent compares names, so one directory must have one name. What does not exist here may
 * exist in the agent's mount namespace: then the words alone are tidied.
 */
#include "commands.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Take "//", "." and ".." out of an absolute path, in place. */
static void tidy(char *path)
{
	const char *in = path;
	char *out = path;

	while (*in == '/') {
		const size_t n = strcspn(in + 1, "/");

		if (n == 2 && strncmp(in + 1, "..", 2) == 0) {
			while (out > path && *--out != '/')
				;
		} else if (n > 0 && !(n == 1 && in[1] == '.')) {
			memmove(out, in, n + 1);
			out += n + 1;
		}
		in += n + 1;
	}
	if (out == path)
		*out++ = '/';
	*out = '\0';
}

char *absolute_path(const char *path)
{
	AUTO(free_str) char *cwd = NULL;
	AUTO(free_str) char *real_parent = NULL;
	char *whole = realpath(path, NULL);
	char *slash;

	if (whole != NULL)
		return whole;
	cwd = path[0] != '/' ? getcwd(NULL, 0) : NULL;
	if (cwd == NULL && path[0] != '/') /* where we are is gone: "mnt" is not "/mnt" */
		return xstrdup(path);
	whole = xasprintf("%s/%s", cwd != NULL ? cwd : "", path);
	tidy(whole);
	slash = strrchr(whole, '/');
	*slash = '\0';
	real_parent = realpath(slash == whole ? "/" : whole, NULL);
	*slash = '/';
	if (real_parent != NULL && strcmp(real_parent, "/") != 0) {
		char *better = xasprintf("%s%s", real_parent, slash);

		free(whole);
		whole = better;
	}
	return whole;
}
