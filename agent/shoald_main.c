/*
 * shoald: the agent's program: command line, signals, the order of start and end.
 */
#include "agent.h"
#include "man_text.h"
#include "mem.h"
#include "notify.h"
#include "print_docs.h"
#include "print_schema.h"
#include "signals.h"
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_USAGE = 2 };

struct options {
	const char *config;
	const char *check_config;
	const char *print_docs;
	bool help;
	bool version;
};

/* What the signals of one run need. */
struct daemon {
	struct agent agent;
	struct config *config;
	const char *config_path;
	struct log *log;
	struct event *signals[3];
	struct timer watchdog;
	uint64_t watchdog_ms; /* 0: nobody watches */
};

static const char usage[] =
	"Usage: shoald --config FILE\n"
	"       shoald --check-config FILE\n"
	"\n"
	"The node agent of shoal: mounts container images and fetches their data when it is read.\n"
	"Runs in the foreground and logs (logfmt) to stderr. SIGTERM and SIGINT stop it;\n"
	"SIGHUP makes it read the configuration again.\n"
	"\n"
	"  --config FILE        run with this configuration\n"
	"  --check-config FILE  only check it: exit status 0, or 2 with file, line and reason\n"
	"  --help               show this text\n"
	"  --version            show the version\n"
	"\n"
	"docs/config.md lists all settings.\n";

static int usage_error(const char *what)
{
	(void)fprintf(stderr, "shoald: %s (see shoald --help)\n", what);
	return -EXIT_USAGE;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option known[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check-config", required_argument, NULL, 'k' },
		{ "print-docs", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	opterr = 0;
	// NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread yet
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->config = optarg;
			break;
		case 'k':
			o->check_config = optarg;
			break;
		case 'd':
			o->print_docs = optarg;
			break;
		case 'h':
			o->help = true;
			break;
		case 'v':
			o->version = true;
			break;
		default:
			return usage_error("unknown option, or its value is missing");
		}
	}
	return optind < argc ? usage_error("there are arguments that it does not take") : 0;
}

static int print_docs(const char *what)
{
	static const struct {
		const char *what;
		void (*print)(FILE *out);
	} pages[] = {
		{ "config", print_config_doc },
		{ "metrics", print_metrics_doc },
		{ "schema", print_config_schema },
		{ "man", print_config_man },
	};

	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		if (strcmp(what, pages[i].what) == 0) {
			pages[i].print(stdout);
			return EXIT_SUCCESS;
		}
	}
	return -usage_error("--print-docs takes config, metrics, schema or man");
}

/* They would wait without a word: for long where our unit does not start it again. */
static void tell_of_waiting(const struct daemon *d)
{
	if (d->config->keeper_socket != NULL)
		log_error(d->log,
		          "readers of mounts that the keeper holds wait until shoald starts",
		          "keeper=%s", LOG_Q(d->config->keeper_socket));
}

static int load_config(const char *path, struct config **ret_config)
{
	struct err e = { 0 };

	if (config_load(path, ret_config, &e) == 0)
		return EXIT_SUCCESS;
	(void)fprintf(stderr, "shoald: %s\n", e.msg);
	return EXIT_USAGE;
}

static enum log_level level_of(const struct config *config)
{
	for (int level = 0; level < N_LOG_LEVELS; level++) {
		if (strcmp(log_level_name((enum log_level)level), config->log_level) == 0)
			return (enum log_level)level;
	}
	return LOG_INFO;
}

/* ---- events ---- */

static void on_stop(evutil_socket_t signal_number, short what, void *arg)
{
	struct daemon *d = arg;

	(void)signal_number;
	(void)what;
	notify_manager("STOPPING=1");
	agent_stop(&d->agent);
}

static void on_changed(void *arg, const char *setting)
{
	struct daemon *d = arg;

	if (d->agent.peer == NULL && strncmp(setting, "peers.", 6) == 0 &&
	    config_is_at_once(setting))
		log_warn(d->log, "a changed setting means nothing while peers.listen is off",
		         "setting=%s", setting);
	else if (config_is_at_once(setting))
		log_info(d->log, "a changed setting counts from now on", "setting=%s", setting);
	else
		log_warn(d->log, "a changed setting needs a restart", "setting=%s", setting);
}

/* The loop must not wait for whoever would write into a pipe. At the start that is nobody's harm.
 */
static int check_is_file(const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return err_errno(e, errno, "%s: the configuration cannot be opened", path);
	return S_ISREG(st.st_mode) ? 0 : err_set(e, EINVAL, "%s: it is not a regular file", path);
}

/* The parts borrow the texts of the old configuration: it takes over what is new. */
static void on_reload(evutil_socket_t signal_number, short what, void *arg)
{
	struct daemon *d = arg;
	AUTO(config_free) struct config *fresh = NULL;
	struct err e = { 0 };

	(void)signal_number;
	(void)what;
	if (check_is_file(d->config_path, &e) < 0 || config_load(d->config_path, &fresh, &e) < 0) {
		log_error(d->log, "the configuration is wrong: the old one stays", "error=%s",
		          LOG_Q(e.msg));
		return;
	}
	log_set_level(d->log, level_of(fresh));
	config_take(d->config, &fresh, on_changed, d);
	agent_config_changed(&d->agent);
	agent_look_at_certificate(&d->agent);
	log_info(d->log, "configuration read again", "log_level=%s", d->config->log_level);
}

static void on_ready(struct agent *agent)
{
	const struct daemon *d = container_of(agent, struct daemon, agent);

	log_info(d->log, "ready", "version=%s socket=%s http=%s", SHOAL_VERSION,
	         LOG_Q(d->config->api_socket), LOG_Q(d->config->http_listen));
	notify_manager("READY=1");
}

/* From the loop: it is the loop's turning that is told. */
static void on_watchdog(struct timer *t)
{
	struct daemon *d = container_of(t, struct daemon, watchdog);

	notify_manager("WATCHDOG=1");
	timer_start(&d->watchdog, d->watchdog_ms);
}

static void start_watchdog(struct daemon *d)
{
	timer_init(&d->watchdog, d->agent.loop, on_watchdog);
	d->watchdog_ms = notify_watchdog_ms();
	if (d->watchdog_ms > 0)
		timer_start(&d->watchdog, d->watchdog_ms);
}

static int watch_signals(struct daemon *d)
{
	static const struct {
		int number;
		event_callback_fn fn;
	} handlers[] = { { SIGTERM, on_stop }, { SIGINT, on_stop }, { SIGHUP, on_reload } };

	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_LEN(handlers); i++) {
		d->signals[i] = evsignal_new(loop_base(d->agent.loop), handlers[i].number,
		                             handlers[i].fn, d);
		if (d->signals[i] == NULL || event_add(d->signals[i], NULL) != 0)
			return -1;
	}
	return 0;
}

/* Each blob is an open file. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void daemon_free(struct daemon *d)
{
	signals_end(d->signals, ARRAY_LEN(d->signals));
	timer_fini(&d->watchdog);
	agent_free(&d->agent);
	config_free(&d->config);
	log_free(&d->log);
}

static int run(struct daemon *d)
{
	struct err e = { 0 };

	d->log = log_new(STDERR_FILENO, level_of(d->config));
	raise_file_limit();
	d->agent.ready = on_ready;
	if (agent_start(&d->agent, d->config, d->log, &e) < 0) {
		log_error(d->log, "cannot start", "error=%s", LOG_Q(e.msg));
		tell_of_waiting(d);
		/* A setting that cannot be, a database of a newer version: they stay so. */
		return e.code == EINVAL || e.code == ENOTSUP ? EXIT_USAGE : EXIT_FAILURE;
	}
	if (watch_signals(d) < 0) {
		log_error(d->log, "cannot start", "error=%s", "signals");
		return EXIT_FAILURE;
	}
	start_watchdog(d);
	loop_run(d->agent.loop);
	log_info(d->log, "stopped", "pid=%d", (int)getpid());
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct options o = { 0 };
	struct daemon d = { 0 };
	int status = -parse_options(argc, argv, &o);

	if (status != 0)
		return status;
	if (o.help || o.version) {
		(void)fputs(o.help ? usage : "shoald " SHOAL_VERSION "\n", stdout);
		return EXIT_SUCCESS;
	}
	if (o.print_docs != NULL)
		return print_docs(o.print_docs);
	if ((o.config == NULL) == (o.check_config == NULL))
		return -usage_error("either --config or --check-config must be given");
	d.config_path = o.config != NULL ? o.config : o.check_config;
	status = load_config(d.config_path, &d.config);
	if (status == EXIT_SUCCESS && o.config != NULL)
		status = run(&d);
	else if (o.config != NULL)
		(void)fputs("shoald: it does not start: if a keeper holds mounts, their readers "
		            "wait until it does\n",
		            stderr);
	daemon_free(&d);
	return status;
}
