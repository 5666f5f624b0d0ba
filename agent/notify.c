/*
 * notify: systemd's readiness protocol: one datagram. Source: sd_notify(3), sd_watchdog_enabled(3).
 */
#include "notify.h"
#include "auto.h"
#include "bytes.h"
#include "mem.h"
#include "text.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void notify_manager(const char *state)
{
	const char *path = secure_getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	AUTO(close_fd) int fd = -1;

	if (path == NULL || (path[0] != '/' && path[0] != '@') ||
	    strlen(path) >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, strlen(path));
	if (path[0] == '@')
		address.sun_path[0] = '\0'; /* the abstract name space */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		(void)sendto(fd, state, strlen(state), MSG_NOSIGNAL,
		             (const struct sockaddr *)&address,
		             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
}

/* A whole number from the environment; 0: there is none. */
static uint64_t env_u64(const char *name)
{
	const char *text = secure_getenv(name);
	uint64_t n = 0;

	return text != NULL && text_number(text, UINT64_MAX, &n) ? n : 0;
}

uint64_t notify_watchdog_ms(void)
{
	const uint64_t usec = env_u64("WATCHDOG_USEC");
	const uint64_t pid = env_u64("WATCHDOG_PID"); /* it may have been meant for our parent */

	if (usec == 0 || (pid != 0 && pid != (uint64_t)getpid()))
		return 0;
	return max_u64(usec / 2000, 1);
}
