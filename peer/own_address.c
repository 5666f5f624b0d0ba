/*
 * own_address: see the header.
 */
#include "own_address.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

/* HOST of "HOST:PORT", without the brackets of v6. */
static bool host_of(const char *address, char ret_host[WIRE_ADDRESS_MAX + 1])
{
	const char *colon = strrchr(address, ':');
	size_t n;

	if (colon == NULL)
		return false;
	n = (size_t)(colon - address);
	if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
		address++;
		n -= 2;
	}
	if (n > WIRE_ADDRESS_MAX)
		return false;
	memcpy(ret_host, address, n);
	ret_host[n] = '\0';
	return true;
}

static bool is_any(const char *host)
{
	struct in6_addr v6;
	struct in_addr v4;

	if (inet_pton(AF_INET, host, &v4) == 1)
		return v4.s_addr == htonl(INADDR_ANY);
	if (inet_pton(AF_INET6, host, &v6) == 1)
		return IN6_IS_ADDR_UNSPECIFIED(&v6);
	return host[0] == '\0' || strcmp(host, "*") == 0;
}

static bool is_usable(const struct ifaddrs *i)
{
	if (i->ifa_addr == NULL || (i->ifa_flags & IFF_LOOPBACK) || !(i->ifa_flags & IFF_UP))
		return false;
	if (i->ifa_addr->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const void *)i->ifa_addr;

		return !IN6_IS_ADDR_LINKLOCAL(&in->sin6_addr);
	}
	return i->ifa_addr->sa_family == AF_INET;
}

static bool first_of_machine(char ret_host[WIRE_ADDRESS_MAX + 1])
{
	struct ifaddrs *all = NULL;
	bool found = false;

	if (getifaddrs(&all) < 0)
		return false;
	for (const struct ifaddrs *i = all; i != NULL && !found; i = i->ifa_next) {
		const socklen_t size = i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET6
		                               ? sizeof(struct sockaddr_in6)
		                               : sizeof(struct sockaddr_in);

		if (is_usable(i))
			found = getnameinfo(i->ifa_addr, size, ret_host, WIRE_ADDRESS_MAX + 1, NULL,
			                    0, NI_NUMERICHOST) == 0;
	}
	freeifaddrs(all);
	return found;
}

int own_address(const char *advertise, const char *listen, uint16_t port,
                char ret_address[WIRE_ADDRESS_MAX + 1], struct err *e)
{
	char host[WIRE_ADDRESS_MAX + 1];
	int n;

	if (advertise != NULL) {
		n = snprintf(ret_address, WIRE_ADDRESS_MAX + 1, "%s", advertise);
		return n <= WIRE_ADDRESS_MAX ? 0 : err_set(e, EINVAL, "advertise is too long");
	}
	if (!host_of(listen, host))
		return err_set(e, EINVAL, "\"%s\" is no HOST:PORT", listen);
	if (is_any(host) && !first_of_machine(host))
		return err_set(e, EADDRNOTAVAIL, /* yet: it may be starting */
		               "this machine has no address that is not loopback (set "
		               "peers.advertise)");
	n = snprintf(ret_address, WIRE_ADDRESS_MAX + 1, strchr(host, ':') ? "[%s]:%u" : "%s:%u",
	             host, port);
	return n <= WIRE_ADDRESS_MAX ? 0 : err_set(e, EINVAL, "the address is too long");
}
