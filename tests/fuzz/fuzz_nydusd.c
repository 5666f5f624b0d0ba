/*
 * fuzz_nydusd: any bytes as nydusd's configuration, and as the words of its command line: refused,
 * or what they name is well-formed; no secret is left in what is shown.
 */
#include "fuzz.h"
#include "mem.h"
#include "nydusd_args.h"
#include "nydusd_config.h"
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 32

/* Does the text say it in one place alone? Then nothing else can be the cause of its being shown.
 */
static bool is_said_once(const char *text, const char *word)
{
	const char *at = strstr(text, word);

	return at != NULL && strstr(at + 1, word) == NULL;
}

static void check_config(const char *text, size_t size_bytes)
{
	AUTO(nydusd_config_clear) struct nydusd_config config = { .blobs = NULL };
	AUTO(free_str) char *shown = NULL;
	struct err e = { .code = 0 };

	if (nydusd_config_parse(text, size_bytes, &config, &e) < 0) {
		assert(e.code != 0 && e.msg[0] != '\0');
		return;
	}
	assert(config.blobs != NULL && config.backend != NULL && json_is_object(config.shown));
	assert((config.username == NULL) == (config.password == NULL));
	/* Long enough not to stand there by chance. */
	shown = json_dumps(json_object_get(config.shown, "device"), JSON_COMPACT);
	if (config.token != NULL && strlen(config.token) > 24 && shown != NULL &&
	    is_said_once(text, config.token))
		assert(strstr(shown, config.token) == NULL);
	assert((config.proxy_username == NULL) == (config.proxy_password == NULL));
	if (config.proxy_password != NULL && strlen(config.proxy_password) > 24 && shown != NULL &&
	    is_said_once(text, config.proxy_password))
		assert(strstr(shown, config.proxy_password) == NULL);
}

static void check_auth(const char *text)
{
	char *username = NULL;
	char *password = NULL;
	struct err e = { .code = 0 };

	if (nydusd_auth_parse(text, &username, &password, &e) == 0) /* either may be empty */
		assert(strchr(username, ':') == NULL && password != NULL);
	else
		assert(username == NULL && password == NULL && e.msg[0] != '\0');
	free(username);
	free(password);
}

/* Lines are words. */
static void check_args(char *text)
{
	const char *argv[WORDS_MAX] = { "nydusd" };
	struct nydusd_args args;
	struct err e = { .code = 0 };
	int argc = 1;
	char *rest = NULL;

	for (char *word = strtok_r(text, "\n", &rest); word != NULL && argc < WORDS_MAX;
	     word = strtok_r(NULL, "\n", &rest))
		argv[argc++] = word;
	if (nydusd_args_parse(argc, argv, &args, &e) < 0)
		assert(e.msg[0] != '\0');
	else
		assert(args.help || args.version || args.mode == NYDUSD_SINGLETON ||
		       args.mountpoint != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	AUTO(free_str) char *text = xcalloc(1, size_bytes + 1);

	if (size_bytes > 0)
		memcpy(text, data, size_bytes);
	check_config(text, size_bytes);
	check_auth(text);
	check_args(text);
	return 0;
}
