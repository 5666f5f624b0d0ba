/*
 * host_names: a library to be loaded before others: names that a file gives addresses, as
 * /etc/hosts does: lines of "NAME ADDRESS", read for each question. SHOAL_HOST_NAMES is the file; a
 * name that is not in it (or has no address there any more) is asked of the real getaddrinfo().
 */
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 512

typedef int (*getaddrinfo_fn)(const char *node, const char *service, const struct addrinfo *hints,
                              struct addrinfo **ret_list);

int getaddrinfo(const char *restrict node, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict ret_list);

static getaddrinfo_fn real(void)
{
	getaddrinfo_fn fn;

	*(void **)&fn = dlsym(RTLD_NEXT, "getaddrinfo");
	return fn;
}

/* What glibc's freeaddrinfo() takes: one list behind the other. */
static void append(struct addrinfo **list, struct addrinfo *more)
{
	while (*list != NULL)
		list = &(*list)->ai_next;
	*list = more;
}

int getaddrinfo(const char *restrict node, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict ret_list)
{
	const char *path = secure_getenv("SHOAL_HOST_NAMES");
	FILE *f = path != NULL && node != NULL ? fopen(path, "re") : NULL;
	struct addrinfo *list = NULL;
	char line[LINE_MAX_BYTES];

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		char *rest = NULL;
		const char *name = strtok_r(line, " \n", &rest);
		const char *address = strtok_r(NULL, " \n", &rest);
		struct addrinfo *one = NULL;

		if (name != NULL && address != NULL && strcmp(name, node) == 0 &&
		    real()(address, service, hints, &one) == 0)
			append(&list, one);
	}
	if (f != NULL)
		(void)fclose(f);
	if (list == NULL)
		return real()(node, service, hints, ret_list);
	*ret_list = list;
	return 0;
}
