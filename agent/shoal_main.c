/*
 * shoal: the command: its words and options, which command they mean, how errors are told.
 */
#include "commands.h"
#include "mem.h"
#include "render.h"
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SOCKET "/run/shoal/api.sock"

enum option_bit {
	OPTION_PREFETCH = 1 << 0,
	OPTION_AUTH_FILE = 1 << 1,
	OPTION_BOOTSTRAP = 1 << 2,
	OPTION_BLOBS = 1 << 3,
	OPTION_OFFSET = 1 << 4,
	OPTION_HOW = 1 << 5,
	OPTION_TO = 1 << 6,
	OPTION_DRY_RUN = 1 << 7,
};

struct command {
	const char *name; /* one word or two */
	const char *args;
	unsigned options;
	int min_args, max_args;
	int (*run)(struct shoal *sh);
	const char *text;
};

static const struct command commands[] = {
	{ "mount", "IMAGE DIR",
	  OPTION_PREFETCH | OPTION_AUTH_FILE | OPTION_BOOTSTRAP | OPTION_BLOBS | OPTION_HOW, 1, 2,
	  cmd_mount, "mount an image; returns when DIR can be read" },
	{ "umount", "DIR", 0, 1, 1, cmd_umount, "unmount it and take it off the list" },
	{ "ls", "", 0, 0, 0, cmd_ls, "the mounts" },
	{ "status", "", 0, 0, 0, cmd_status, "the agent at a glance; exit 0 when it is ready" },
	{ "top", "", 0, 0, 0, cmd_top, "what the agent is doing, once a second; q ends it" },
	{ "image ls", "", 0, 0, 0, cmd_image_ls, "the images that are known here" },
	{ "image inspect", "IMAGE|FILE", 0, 1, 1, cmd_image_inspect,
	  "what an image (or a bootstrap file) consists of" },
	{ "image rm", "IMAGE", 0, 1, 1, cmd_image_rm, "forget an image and its data" },
	{ "blob ls", "", 0, 0, 0, cmd_blob_ls, "blobs with origins, size, share that is here" },
	{ "chunk find", "DIGEST", 0, 1, 1, cmd_chunk_find, "where a chunk is" },
	{ "prefetch", "IMAGE|DIR", 0, 1, 1, cmd_prefetch,
	  "fetch all of it; returns when it is here and verified" },
	{ "verify", "", 0, 0, 0, cmd_verify, "hash everything in the cache again" },
	{ "peers", "", 0, 0, 0, cmd_peers, "the other agents: state, speed, bytes, faults" },
	{ "drain", "", 0, 0, 0, cmd_drain,
	  "serve peers no more; returns when none is being served" },
	{ "gc", "", OPTION_TO | OPTION_DRY_RUN, 0, 0, cmd_gc,
	  "free what nothing uses, then what was used least recently" },
	{ "explain", "PATH", OPTION_OFFSET, 1, 1, cmd_explain,
	  "where a byte of a mounted file is, and who was asked for it" },
	{ "pki init", "DIR", 0, 1, 1, cmd_pki_init,
	  "a CA for the cluster's agents: ca.pem, ca.key" },
	{ "pki node", "DIR NAME", 0, 2, 2, cmd_pki_node,
	  "a node's certificate and key from that CA" },
};

static void print_help(void)
{
	(void)fputs("Usage: shoal [--socket PATH] [--json] COMMAND ...\n\nCommands:\n", stdout);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		AUTO(free_str) char *words = xasprintf("%s %s", commands[i].name, commands[i].args);

		(void)printf("  %-26s%s\n", words, commands[i].text);
	}
	(void)fputs(
		"\nOptions:\n"
		"  --socket PATH   the agent's socket (else $SHOAL_SOCKET, else " DEFAULT_SOCKET
		")\n"
		"  --json          results and errors as one JSON document on stdout\n"
		"  --help          this text\n"
		"  --version       the version\n"
		"\nOptions of mount:\n"
		"  --prefetch          fetch the whole image in the background\n"
		"  --auth-file FILE    a docker config.json for this mount alone\n"
		"  --bootstrap FILE    mount a bootstrap file (then: DIR alone) ...\n"
		"  --blobs ORIGIN      ... whose blobs are at dir:/path,\n"
		"                      registry:HOST[:PORT]/REPOSITORY or http(s)://.../\n"
		"  --how HOW           auto, tree (FUSE) or erofs (by the kernel, where it can)\n"
		"\nOptions of gc:\n"
		"  --to BYTES      until blobs take no more (else: to the low watermark)\n"
		"  --dry-run       only say what would go\n"
		"\nOptions of explain:\n"
		"  --offset N      of the byte in the file (else 0)\n"
		"\nIMAGE is HOST[:PORT]/REPOSITORY:TAG or HOST[:PORT]/REPOSITORY@sha256:...\n"
		"Exit status: 0 done; 1 it failed, or is not so; 2 wrong usage; 3 no agent at the\n"
		"socket; 4 not found; 5 refused by the registry.\n",
		stdout);
}

int shoal_fail(const struct shoal *sh, int status, const char *why)
{
	AUTO(json_drop) json_t *document = NULL;

	if (sh->json) {
		document = json_pack("{s:{s:s, s:o, s:i}}", "error", "what", sh->what, "message",
		                     json_words(why), "exit", status);
		render_json(stdout, document);
		return status;
	}
	(void)fputs("shoal: ", stderr);
	render_clean(stderr, sh->what);
	(void)fputs(": ", stderr);
	render_clean(stderr, why);
	(void)fputc('\n', stderr);
	return status;
}

int shoal_ask(const struct shoal *sh, struct client_request *req, json_t **ret_document)
{
	struct err e = { 0 };
	int status;

	req->socket = sh->socket;
	status = client_call(req, ret_document, &e);
	if (status != SHOAL_DONE)
		return shoal_fail(sh, status, e.msg);
	if (sh->json)
		render_json(stdout, *ret_document);
	return SHOAL_DONE;
}

/* How many of the words are the command's name: 0: another command. */
static int matches(const struct command *c, char *const *words, int n_words)
{
	const char *space = strchr(c->name, ' ');
	const size_t first = space != NULL ? (size_t)(space - c->name) : strlen(c->name);

	if (n_words < 1 || strlen(words[0]) != first || strncmp(words[0], c->name, first) != 0)
		return 0;
	if (space == NULL)
		return 1;
	return n_words >= 2 && strcmp(words[1], space + 1) == 0 ? 2 : 0;
}

static void set_what(struct shoal *sh, const char *command, const char *arg)
{
	free(sh->what);
	sh->what = xasprintf("%s%s%s", command, arg != NULL ? " " : "", arg != NULL ? arg : "");
}

static int run_command(struct shoal *sh, const struct command *c, unsigned given)
{
	AUTO(free_str) char *wanted = NULL;

	set_what(sh, c->name, sh->n_args > 0 ? sh->args[0] : NULL);
	if (given & ~c->options)
		return shoal_fail(sh, SHOAL_USAGE,
		                  "an option is given that is none of this command (see shoal "
		                  "--help)");
	if (sh->n_args < c->min_args || sh->n_args > c->max_args) {
		wanted = xasprintf("expected: shoal %s %s (see shoal --help)", c->name, c->args);
		return shoal_fail(sh, SHOAL_USAGE, wanted);
	}
	return c->run(sh);
}

static int run_words(struct shoal *sh, char *const *words, int n_words, unsigned given)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		const int n = matches(&commands[i], words, n_words);

		if (n > 0) {
			sh->args = words + n;
			sh->n_args = n_words - n;
			return run_command(sh, &commands[i], given);
		}
	}
	set_what(sh, n_words > 0 ? words[0] : "no command", NULL);
	return shoal_fail(sh, SHOAL_USAGE,
	                  n_words > 0 ? "there is no such command (see shoal --help)"
	                              : "a command is expected (see shoal --help)");
}

/* @return 0; 'h', 'v'; -1 */
static int take_option(struct shoal *sh, int c, const char *value, unsigned *given)
{
	switch (c) {
	case 's':
		sh->socket = value;
		return 0;
	case 'j':
		sh->json = true;
		return 0;
	case 'p':
		sh->prefetch = true;
		*given |= OPTION_PREFETCH;
		return 0;
	case 'a':
		sh->auth_file = value;
		*given |= OPTION_AUTH_FILE;
		return 0;
	case 'B':
		sh->bootstrap = value;
		*given |= OPTION_BOOTSTRAP;
		return 0;
	case 'b':
		sh->blobs = value;
		*given |= OPTION_BLOBS;
		return 0;
	case 'w':
		sh->how = value;
		*given |= OPTION_HOW;
		return 0;
	case 't':
		sh->to = value;
		*given |= OPTION_TO;
		return 0;
	case 'n':
		sh->dry_run = true;
		*given |= OPTION_DRY_RUN;
		return 0;
	case 'o':
		sh->offset = value;
		*given |= OPTION_OFFSET;
		return 0;
	case 'h':
	case 'v':
		return c;
	default:
		return -1;
	}
}

static int parse_options(struct shoal *sh, int argc, char **argv, unsigned *given)
{
	static const struct option known[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ "prefetch", no_argument, NULL, 'p' },
		{ "auth-file", required_argument, NULL, 'a' },
		{ "bootstrap", required_argument, NULL, 'B' },
		{ "blobs", required_argument, NULL, 'b' },
		{ "how", required_argument, NULL, 'w' },
		{ "offset", required_argument, NULL, 'o' },
		{ "to", required_argument, NULL, 't' },
		{ "dry-run", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	int special = 0;
	int c;

	opterr = 0;
	// NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread yet
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		const int r = take_option(sh, c, optarg, given);

		special = special == 0 ? r : special;
	}
	return special;
}

int main(int argc, char **argv)
{
	const char *from_environment = secure_getenv("SHOAL_SOCKET");
	struct shoal sh = { .socket =
		                    from_environment != NULL ? from_environment : DEFAULT_SOCKET };
	unsigned given = 0;
	const int special = parse_options(&sh, argc, argv, &given);
	int status = SHOAL_DONE;

	if (special == 'h') {
		print_help();
	} else if (special == 'v') {
		(void)puts("shoal " SHOAL_VERSION);
	} else if (special != 0) {
		set_what(&sh, "options", NULL);
		status = shoal_fail(&sh, SHOAL_USAGE,
		                    "one is unknown or lacks its value (see shoal --help)");
	} else {
		status = run_words(&sh, argv + optind, argc - optind, given);
	}
	free(sh.what);
	return status;
}
