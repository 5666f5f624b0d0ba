/*
 * ask_rights: what a program may do that was started from a file: in the images of tests.
 *
 *   ask_rights            prints "RUID EUID RGID EGID EFFECTIVE-CAPABILITIES RAW", RAW: whether a
 *                         raw socket can be had
 *   ask_rights PATH       whether that can be opened for reading and writing: 0, or the errno
 *
 * Static: it needs nothing else of its image.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t effective(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	if (syscall(SYS_capget, &header, data) != 0)
		return 0;
	return (uint64_t)data[1].effective << 32 | data[0].effective;
}

int main(int argc, char **argv)
{
	uid_t uids[3];
	gid_t gids[3];
	int fd;

	if (argc > 1) {
		fd = open(argv[1], O_RDWR | O_NONBLOCK | O_CLOEXEC);
		(void)printf("%d\n", fd >= 0 ? 0 : errno);
		return 0;
	}
	if (getresuid(&uids[0], &uids[1], &uids[2]) != 0 ||
	    getresgid(&gids[0], &gids[1], &gids[2]) != 0)
		return 1;
	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	(void)printf("%u %u %u %u %llx %s\n", uids[0], uids[1], gids[0], gids[1],
	             (unsigned long long)effective(), fd >= 0 ? "raw" : "-");
	return 0;
}
