/*
 * ca_bundle: see ca_bundle.h.
 */
#include "ca_bundle.h"
#include "mem.h"
#include "read_file.h"
#include <stdbool.h>
#include <string.h>

struct bundle {
	char *pem; /* with a NUL behind it */
	size_t size_bytes;
};

static bool add_file(struct bundle *b, const char *path)
{
	const size_t begin = b->size_bytes;
	AUTO(free_str) char *text = NULL;
	size_t n = 0;
	struct err e;

	/* With the end of its last line. */
	if (begin >= CA_BUNDLE_MAX_BYTES ||
	    read_file(path, 0, CA_BUNDLE_MAX_BYTES - begin - 1, &text, &n, &e) < 0)
		return false;
	b->pem = xrealloc(b->pem, begin + n + 2, 1);
	memcpy(b->pem + begin, text, n);
	b->pem[begin + n] = '\n'; /* the last line need not end */
	b->pem[begin + n + 1] = '\0';
	b->size_bytes = begin + n + 1;
	return strstr(b->pem + begin, "CERTIFICATE-----") != NULL;
}

char *ca_bundle_read(const char *paths, size_t *ret_size_bytes, char **ret_bad)
{
	struct bundle b = { .pem = NULL };

	while (*paths != '\0') {
		const size_t n = strcspn(paths, "\n");
		AUTO(free_str) char *path = xasprintf("%.*s", (int)n, paths);

		if (!add_file(&b, path)) {
			free_str(&b.pem);
			*ret_bad = path;
			path = NULL;
			return NULL;
		}
		paths += n + (paths[n] == '\n');
	}
	*ret_size_bytes = b.size_bytes;
	return b.pem;
}
