/*
 * fuzz_keeper: what comes over a keeper's socket is one sound message, or is refused.
 */
#include "fuzz.h"
#include "keeper_protocol.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	struct keeper_message m;
	int fds[2];
	int fd;

	if (size_bytes == 0 || size_bytes > 2 * sizeof(m) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return 0;
	if (send(fds[0], data, size_bytes, MSG_NOSIGNAL) == (ssize_t)size_bytes &&
	    keeper_receive(fds[1], &m, &fd, MSG_DONTWAIT) == 0) {
		assert(size_bytes == sizeof(m) && fd == -1);
		assert(m.verb >= KEEPER_KEEP && m.verb < KEEPER_VERBS_END);
		assert(m.note_bytes <= KEEPER_NOTE_MAX_BYTES);
		assert(strnlen(m.key, sizeof(m.key)) < sizeof(m.key));
	}
	(void)close(fds[0]);
	(void)close(fds[1]);
	return 0;
}
