/*
 * credentials: goes through the places where credentials may stand, the nearest first.
 *
 * Knows files and helpers. Does not know how a registry is told.
 */
#include "credentials.h"
#include "credential_helper.h"
#include "mem.h"
#include "read_file.h"
#include "secret.h"
#include <errno.h>
#include <stdbool.h>

enum { NOT_THERE = 1 };

/* @param ret_text  malloc'd, with a NUL at the end, a secret. @return 0; NOT_THERE; -EAGAIN */
static int read_secrets(const char *path, size_t max_bytes, char **ret_text, size_t *ret_size_bytes,
                        struct err *e)
{
	const int r = read_file(path, 0, max_bytes, ret_text, ret_size_bytes, e);

	if (r == -ENOENT || r == -ENOTDIR)
		return NOT_THERE;
	if (r < 0)
		e->code = EAGAIN;
	return r < 0 ? -EAGAIN : 0;
}

static int from_docker_config(const struct credentials_query *q, const char *path,
                              struct credentials *ret_credentials, struct err *e)
{
	struct docker_config_entry entry;
	AUTO(free_secret) char *text = NULL;
	size_t size_bytes;
	int r;

	r = read_secrets(path, DOCKER_CONFIG_MAX_BYTES, &text, &size_bytes, e);
	if (r != 0)
		return r;
	r = docker_config_find(text, size_bytes, q->host, q->repository, &entry, e);
	explicit_bzero(text, size_bytes);
	if (r == DOCKER_CONFIG_NONE)
		return NOT_THERE;
	if (r == 0 && entry.helper[0] == '\0') {
		*ret_credentials = entry.credentials;
		return 0;
	}
	if (r == 0)
		r = credential_helper_get(entry.helper, docker_config_server(q->host),
		                          q->helper_timeout_ms, ret_credentials, e);
	if (r < 0) {
		(void)err_wrap(e, "docker config %s", path);
		e->code = EAGAIN;
		return -EAGAIN;
	}
	return 0;
}

static int from_password_file(const struct credentials_query *q,
                              struct credentials *ret_credentials, struct err *e)
{
	AUTO(free_secret) char *text = NULL;
	size_t size_bytes;
	int r;

	r = read_secrets(q->password_file, PASSWORD_MAX_BYTES, &text, &size_bytes, e);
	if (r == NOT_THERE)
		return err_set(e, EAGAIN, "password file %s is not there", q->password_file);
	if (r < 0)
		return r;
	text[strcspn(text, "\r\n")] = '\0';
	ret_credentials->username = xstrdup(q->username);
	ret_credentials->password = xstrdup(text);
	return 0;
}

int credentials_find(const struct credentials_query *query, struct credentials *ret_credentials,
                     struct err *e)
{
	int r = NOT_THERE;

	memset(ret_credentials, 0, sizeof(*ret_credentials));
	if (query->given != NULL) {
		credentials_copy(ret_credentials, query->given);
		return 0;
	}
	/* A file that is gone is passed over: the mount lives from what else there is. */
	if (query->auth_file != NULL)
		r = from_docker_config(query, query->auth_file, ret_credentials, e);
	if (r == NOT_THERE && query->username != NULL && query->password_file != NULL)
		r = from_password_file(query, ret_credentials, e);
	if (r == NOT_THERE && query->docker_config != NULL) {
		r = from_docker_config(query, query->docker_config, ret_credentials, e);
		if (r == NOT_THERE)
			log_debug(query->log, "docker config has nothing for this registry",
			          "host=%s file=%s", query->host, LOG_Q(query->docker_config));
	}
	if (r == NOT_THERE && query->docker_config == NULL && query->default_config != NULL)
		r = from_docker_config(query, query->default_config, ret_credentials, e);
	if (r == NOT_THERE && query->to_come)
		return err_set(e, EAGAIN,
		               "the credentials for %s/%s have not been given again since the "
		               "agent's start",
		               query->host, query->repository);
	return r == NOT_THERE ? 0 : r;
}
