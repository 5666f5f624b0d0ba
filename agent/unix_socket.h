/*
 * unix_socket: stream sockets that have a name in the file system.
 *
 * Knows names and modes. Knows nothing of what is said over them.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stdbool.h>
#include <sys/un.h>

/** @return 0; -ENAMETOOLONG */
MUST_CHECK int unix_address(const char *path, struct sockaddr_un *ret_address);

/** Connect to who listens there, without waiting. @return a descriptor that does not block, the
 * caller's; -ENOENT, -ECONNREFUSED nobody listens; -EAGAIN somebody does, who is busy; -errno */
MUST_CHECK int unix_connect(const char *path);

/** Does somebody listen there? Who is too busy to answer at once does; a socket's file outlives its
 * owner. */
bool unix_is_served(const char *path);

/**
 * Listen there: 0600 from the first moment, in place of a socket's file that is there already.
 *
 * @param what  the setting or option that named the path, for messages
 * @return 0; -ENAMETOOLONG; -errno
 */
MUST_CHECK int unix_listen(const char *what, const char *path, int backlog, int *ret_fd,
                           struct err *e);
