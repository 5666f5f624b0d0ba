/*
 * registry_answer: a table of statuses. Knows no requests.
 */
#include "registry_answer.h"
#include <errno.h>
#include <stddef.h>

/* A proxy does not let us pass: there may be a way without, and what opens it may come. */
#define OF_PROXY 407

enum verdict verdict_of(long status)
{
	static const struct {
		long status;
		enum verdict verdict;
	} known[] = {
		{ 200, VERDICT_BODY },         { 206, VERDICT_BODY },
		{ 301, VERDICT_REDIRECT },     { 302, VERDICT_REDIRECT },
		{ 303, VERDICT_REDIRECT },     { 307, VERDICT_REDIRECT },
		{ 308, VERDICT_REDIRECT },     { 401, VERDICT_UNAUTHORIZED },
		{ 403, VERDICT_FORBIDDEN },    { 404, VERDICT_GONE },
		{ OF_PROXY, VERDICT_TROUBLE }, { 408, VERDICT_TROUBLE },
		{ 410, VERDICT_GONE },         { 425, VERDICT_TROUBLE },
		{ 429, VERDICT_BUSY },         { 503, VERDICT_BUSY },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (known[i].status == status)
			return known[i].verdict;
	if (status == 0)
		return VERDICT_NONE;
	return status >= 500 ? VERDICT_TROUBLE : VERDICT_NONSENSE;
}

bool verdict_is_stale(long status)
{
	return status == 400 || status == 401 || status == 403 || status == 404 || status == 410;
}

int verdict_error(enum verdict verdict, long status, const char *host, struct err *e)
{
	switch (verdict) {
	case VERDICT_GONE:
		return err_set(e, ENOENT, "%s does not have it (%ld: check the name)", host,
		               status);
	case VERDICT_UNAUTHORIZED:
	case VERDICT_FORBIDDEN:
		return err_set(e, EACCES,
		               "%s refuses access (%ld): check the credentials for it (registries, "
		               "docker config, --auth-file)",
		               host, status);
	case VERDICT_BUSY:
	case VERDICT_TROUBLE:
	case VERDICT_NONE:
		if (status == OF_PROXY)
			return err_set(e, EAGAIN,
			               "the proxy before %s refuses access (%ld): check its user "
			               "name and password",
			               host, status);
		return err_set(e, EAGAIN, "%s says %ld", host, status);
	case VERDICT_BODY:
	case VERDICT_REDIRECT:
	case VERDICT_NONSENSE:
		break;
	}
	return err_set(e, EPROTO, "%s gives an answer that does not fit (%ld)", host, status);
}
