/*
 * read_file: see read_file.h.
 */
#include "read_file.h"
#include "mem.h"
#include "secret.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

/* As far as it goes: it may have become shorter. */
static int read_some(int fd, char *ret_text, size_t size_bytes, size_t *ret_size_bytes)
{
	size_t done_bytes = 0;
	ssize_t n = 1;

	while (done_bytes < size_bytes && n != 0) {
		n = read(fd, ret_text + done_bytes, size_bytes - done_bytes);
		if (n < 0 && errno != EINTR)
			return -errno;
		done_bytes += n > 0 ? (size_t)n : 0;
	}
	*ret_size_bytes = done_bytes;
	return 0;
}

int read_file(const char *path, int flags, size_t max_bytes, char **ret_text,
              size_t *ret_size_bytes, struct err *e)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags);
	AUTO(free_secret) char *text = NULL;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) != 0)
		return err_errno(e, errno, "%s", path);
	if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size > max_bytes)
		return err_set(e, EINVAL, "%s: not a file of at most %zu bytes", path, max_bytes);
	text = calloc(1, (size_t)st.st_size + 1);
	if (text == NULL)
		return err_set(e, ENOMEM, "%s: no memory for it", path);
	r = read_some(fd, text, (size_t)st.st_size, ret_size_bytes);
	if (r < 0)
		return err_errno(e, -r, "%s", path);
	*ret_text = text;
	text = NULL;
	return 0;
}
