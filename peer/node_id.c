/*
 * node_id: the random id of a node that has no certificate, kept in its state directory.
 */
#include "hex.h"
#include "mem.h"
#include "tls.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "node-id"

static int read_id(int fd, struct wire_id *ret_id)
{
	char text[2 * WIRE_ID_BYTES + 1];
	const ssize_t n = read(fd, text, sizeof(text));

	if (n != (ssize_t)sizeof(text) || text[sizeof(text) - 1] != '\n')
		return -EINVAL;
	text[sizeof(text) - 1] = '\0';
	return hex_decode(text, sizeof(ret_id->b), ret_id->b) ? 0 : -EINVAL;
}

/* Written aside, synced and renamed: the id is whole, or not there. */
static int write_id(const char *path, const struct wire_id *id, struct err *e)
{
	AUTO(free_str) char *temp = xasprintf("%s.new", path);
	AUTO(close_fd) int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char text[2 * WIRE_ID_BYTES + 1];

	hex_encode(id->b, sizeof(id->b), text);
	text[sizeof(text) - 1] = '\n';
	if (fd < 0 || write(fd, text, sizeof(text)) != (ssize_t)sizeof(text) || fsync(fd) != 0 ||
	    rename(temp, path) != 0)
		return err_errno(e, errno, "%s", path);
	return 0;
}

int tls_insecure_id(const char *state_dir, struct wire_id *ret_id, struct err *e)
{
	AUTO(free_str) char *path = xasprintf("%s/" FILE_NAME, state_dir);
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct wire_id id;
	int r;

	if (fd < 0 && errno != ENOENT)
		return err_errno(e, errno, "%s", path);
	if (fd >= 0 && read_id(fd, ret_id) == 0)
		return 0; /* a file that is not an id is made anew */
	if (RAND_bytes(id.b, sizeof(id.b)) != 1)
		return err_set(e, EIO, "no random bytes for the node's id");
	r = write_id(path, &id, e);
	if (r == 0)
		*ret_id = id;
	return r;
}
