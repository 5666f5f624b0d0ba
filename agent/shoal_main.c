/*
 * shoal: the command: its words and options, which command they mean, how errors are told.
 */
#include "command_docs.h"
#include "command_table.h"
#include "mem.h"
#include "render.h"
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

int shoal_fail(const struct shoal *sh, int status, const char *why)
{
	AUTO(json_drop) json_t *document = NULL;

	if (sh->json) {
		document = json_pack("{s:{s:o, s:o, s:i}}", "error", "what", json_words(sh->what),
		                     "message", json_words(why), "exit", status);
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
	/* A script's "$UNSET" is neither the directory that it is in, nor whatever else. */
	for (int i = 0; i < sh->n_args; i++)
		if (sh->args[i][0] == '\0')
			return shoal_fail(sh, SHOAL_USAGE, "a word is empty (see shoal --help)");
	return c->run(sh);
}

static int run_words(struct shoal *sh, char *const *words, int n_words, unsigned given)
{
	for (size_t i = 0; i < shoal_n_commands; i++) {
		const int n = matches(&shoal_commands[i], words, n_words);

		if (n > 0) {
			sh->args = words + n;
			sh->n_args = n_words - n;
			return run_command(sh, &shoal_commands[i], given);
		}
	}
	set_what(sh, n_words > 0 ? words[0] : "no command", NULL);
	return shoal_fail(sh, SHOAL_USAGE,
	                  n_words > 0 ? "there is no such command (see shoal --help)"
	                              : "a command is expected (see shoal --help)");
}

#define OPTIONS_MAX 32
#define PRINT_DOCS  1000

static void take_option(struct shoal *sh, const struct command_option *o, const char *value,
                        unsigned *given)
{
	char *field = (char *)sh + o->field;

	if (o->arg != NULL)
		*(const char **)(void *)field = value;
	else
		*(bool *)(void *)field = true;
	*given |= o->bit;
}

/* @return 0; -1: one is unknown or lacks its value: an empty one is none */
static int parse_options(struct shoal *sh, int argc, char **argv, unsigned *given)
{
	struct option known[OPTIONS_MAX] = { 0 };
	int r = 0;
	int c;

	assert(shoal_n_options + 2 <= OPTIONS_MAX);
	for (size_t i = 0; i < shoal_n_options; i++)
		known[i] = (struct option){ shoal_options[i].name,
			                    shoal_options[i].arg != NULL ? required_argument
			                                                 : no_argument,
			                    NULL, (int)i };
	known[shoal_n_options] =
		(struct option){ "print-docs", required_argument, NULL, PRINT_DOCS };
	opterr = 0;
	// NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread yet
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (c == PRINT_DOCS)
			sh->print_docs = optarg;
		else if (c >= 0 && (size_t)c < shoal_n_options &&
		         (optarg == NULL || optarg[0] != '\0'))
			take_option(sh, &shoal_options[c], optarg, given);
		else
			r = -1;
	}
	return r;
}

static int print_docs(struct shoal *sh)
{
	static const struct {
		const char *what;
		void (*print)(FILE *out);
	} pages[] = {
		{ "commands", print_command_page },
		{ "man", print_command_man },
		{ "words", print_command_words },
	};

	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		if (strcmp(sh->print_docs, pages[i].what) == 0) {
			pages[i].print(stdout);
			return SHOAL_DONE;
		}
	}
	set_what(sh, "--print-docs", NULL);
	return shoal_fail(sh, SHOAL_USAGE,
	                  "it takes commands, man or words (as in: shoal --print-docs man)");
}

/* A list that ends where the disk was full must not pass for the whole one. On stderr whatever
 * --json says: stdout is what does not work. */
static int check_output(struct shoal *sh, int status)
{
	errno = EIO;
	if (fflush(stdout) == 0 && ferror(stdout) == 0)
		return status;
	(void)fputs("shoal: ", stderr);
	render_clean(stderr, sh->what != NULL ? sh->what : "output");
	(void)fprintf(stderr,
	              ": what it found could not be written: %s (look at where stdout leads)\n",
	              strerrordesc_np(errno));
	return status == SHOAL_DONE ? SHOAL_FAILED : status;
}

int main(int argc, char **argv)
{
	struct shoal sh = { .socket = client_default_socket() };
	unsigned given = 0;
	int status = parse_options(&sh, argc, argv, &given);

	if (status < 0) {
		set_what(&sh, "options", NULL);
		status = shoal_fail(&sh, SHOAL_USAGE,
		                    "one is unknown or lacks its value (see shoal --help)");
	} else if (sh.help) {
		print_command_help(stdout);
	} else if (sh.version) {
		(void)puts("shoal " SHOAL_VERSION);
	} else if (sh.print_docs != NULL) {
		status = print_docs(&sh);
	} else {
		status = run_words(&sh, argv + optind, argc - optind, given);
	}
	status = check_output(&sh, status);
	free(sh.what);
	return status;
}
