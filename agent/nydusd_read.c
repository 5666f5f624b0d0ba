/*
 * nydusd_read: see nydusd_read.h.
 */
#include "nydusd_read.h"
#include "mem.h"
#include "nydusd_config.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int nydusd_read_file(const char *path, char **ret_text, struct err *e)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	AUTO(free_str) char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) != 0)
		return err_errno(e, errno, "%s", path);
	if (!S_ISREG(st.st_mode) || st.st_size > NYDUSD_CONFIG_MAX_BYTES)
		return err_set(e, EINVAL, "%s: not a file of at most %u bytes", path,
		               NYDUSD_CONFIG_MAX_BYTES);
	text = xcalloc(1, (size_t)st.st_size + 1);
	n = pread(fd, text, (size_t)st.st_size, 0);
	if (n < 0)
		return err_errno(e, errno, "%s", path);
	*ret_text = text;
	text = NULL;
	return 0;
}
