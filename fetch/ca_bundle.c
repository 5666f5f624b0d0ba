/*
 * ca_bundle: see ca_bundle.h.
 */
#include "ca_bundle.h"
#include "mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct bundle {
	char *pem; /* with a NUL behind it */
	size_t size_bytes;
};

static bool read_whole(int fd, char *ret_bytes, size_t size_bytes)
{
	size_t done = 0;

	while (done < size_bytes) {
		const ssize_t n = read(fd, ret_bytes + done, size_bytes - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

/* Nothing but a regular file: a fifo would hold the loop for ever. */
static bool add_file(struct bundle *b, const char *path)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	const size_t begin = b->size_bytes;
	struct stat st;
	size_t n;

	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < 0 ||
	    (uint64_t)st.st_size + begin >= CA_BUNDLE_MAX_BYTES)
		return false;
	n = (size_t)st.st_size;
	b->pem = xrealloc(b->pem, begin + n + 2, 1);
	if (!read_whole(fd, b->pem + begin, n))
		return false;
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
