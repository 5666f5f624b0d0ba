/*
 * nydusd: a front by that name: nydusd's command line and API, the node's shoald behind it.
 *
 * It holds no mount and no data: it may be killed, and whoever reads does not notice.
 * docs/nydusd.md
 */
#include "leaving.h"
#include "mem.h"
#include "mount_record.h"
#include "nydusd_api.h"
#include "nydusd_log.h"
#include "nydusd_read.h"
#include "path.h"
#include "secret.h"
#include "signals.h"
#include "unix_socket.h"
#include <curl/curl.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define POOL_THREADS   4
#define MOUNT_THREADS  8
#define OUT_AT_MOST_MS 12000 /* a supervisor has 10 s */
#define SOCKET_LATE_MS 9000  /* the snapshotter waits 10 s for the socket, then 2 s for RUNNING */

static const char usage[] =
	"Usage: nydusd [fuse] --mountpoint DIR [--bootstrap FILE --config FILE] [--apisock PATH] "
	"...\n"
	"       nydusd singleton [--apisock PATH] ...\n"
	"\n"
	"Stands in for nydusd and lets the node's shoald do the work (at SHOAL_SOCKET, or else\n"
	"/run/shoal/api.sock). On a node without shoald it starts one beside the cache directory,\n"
	"unless SHOAL_OWN_AGENT=no.\n"
	"\n"
	"  -M, --mountpoint DIR    where to mount the image, or a directory of images\n"
	"  -B, --bootstrap FILE    the image's metadata; without it, images come through the API\n"
	"  -C, --config FILE       nydusd's configuration: backend, cache directory, credentials\n"
	"  -D, --localfs-dir DIR   the directory that has the blobs as files; instead of --config\n"
	"  -A, --apisock PATH      the unix socket of the API\n"
	"      --id ID, --supervisor PATH   for take-over by another nydusd\n"
	"      --upgrade           do not mount: wait for PUT .../takeover\n"
	"  -L, --log-file FILE     log there instead of to standard error\n"
	"  -l, --log-level LEVEL   the least severe messages that are logged\n"
	"  -V, --version\n"
	"\n"
	"Other options of nydusd are accepted and have no effect: see docs/nydusd.md\n";

struct nydusd {
	struct front front;
	struct nydusd_args args;
	struct nydusd_api *api;
	struct event *signals[3];
	struct timer late;
	struct leaving leaving;
	struct err why; /* the mount at the start failed */
	bool failed;
};

/* ---- the end ---- */

/* Calls are over first, also those that are given up: each is answered. */
static uint64_t idle_mark(const void *arg)
{
	const struct nydusd *n = arg;

	return front_idle_mark(&n->front);
}

static void leave(struct nydusd *n)
{
	leaving_begin(&n->leaving, n->front.loop, clock_real(), OUT_AT_MOST_MS, idle_mark, n);
}

static void on_stopped(void *arg, int r, const struct err *why)
{
	(void)r;
	(void)why;
	leave(arg);
}

/* What another one may be serving already is left alone. */
static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct nydusd *n = arg;

	(void)what;
	log_info(n->front.log, "stopping", "signal=%d state=%s", (int)number,
	         front_state_name(n->front.state));
	if (n->front.stopping)
		return;
	if (n->front.state == FRONT_INIT && n->front.instances == NULL) {
		front_begin_to_end(&n->front);
		leave(n);
		return;
	}
	front_stop(&n->front, on_stopped, n);
}

static void on_exit_call(struct front *front)
{
	struct nydusd *n = container_of(front, struct nydusd, front);

	if (leaving_has_begun(&n->leaving))
		return;
	front_begin_to_end(front);
	log_info(front->log, "leaving: mounts stay", "pid=%d", (int)getpid());
	leave(n);
}

/* ---- the start ---- */

static int listen_api(struct nydusd *n, struct err *e)
{
	if (n->args.apisock == NULL || n->api != NULL)
		return 0;
	return nydusd_api_listen(&n->front, n->args.apisock, &n->api, e);
}

/* Whoever started it gets its status, and nothing is left of it; what was there before stays. */
static void give_up(struct nydusd *n, const struct err *why)
{
	n->why = *why;
	n->failed = true;
	front_give_up(&n->front, on_stopped, n);
}

/* Whoever waits for the socket then has 2 s more. */
static void on_late(struct timer *t)
{
	struct nydusd *n = container_of(t, struct nydusd, late);
	struct err e = { 0 };

	if (listen_api(n, &e) < 0)
		give_up(n, &e);
}

static void on_first_mount(void *arg, int r, const struct err *why)
{
	struct nydusd *n = arg;
	struct err e = { 0 };

	timer_stop(&n->late);
	if (n->front.stopping)
		return;
	if (r < 0) {
		give_up(n, why);
		return;
	}
	n->front.state = FRONT_RUNNING;
	if (listen_api(n, &e) < 0)
		give_up(n, &e);
}

static int read_config(const struct nydusd *n, char **ret_text, struct err *e)
{
	AUTO(json_drop) json_t *config = NULL;
	AUTO(free_str) char *dir = NULL;

	if (n->args.localfs_dir == NULL)
		return nydusd_read_file(n->args.config, ret_text, e);
	dir = realpath(n->args.localfs_dir, NULL);
	if (dir == NULL)
		return err_errno(e, errno, "--localfs-dir %s", n->args.localfs_dir);
	config = json_pack("{s:{s:{s:s, s:{s:o}}}}", "device", "backend", "type", "localfs",
	                   "config", "dir", json_words(dir));
	*ret_text = json_dumps(config, JSON_COMPACT);
	return *ret_text != NULL ? 0 : err_set(e, ENOMEM, "out of memory");
}

/* The socket comes when the image can be read: until then, nobody else's is touched. */
static int start_image(struct nydusd *n, struct err *e)
{
	AUTO(free_secret) char *text = NULL;
	int r = n->args.apisock != NULL ? nydusd_api_look(n->args.apisock, e) : 0;

	if (r == 0)
		r = read_config(n, &text, e);
	if (r == 0 && !n->front.whole)
		r = front_make_root(&n->front, e);
	if (r < 0)
		return r;
	timer_init(&n->late, n->front.loop, on_late);
	timer_start(&n->late, SOCKET_LATE_MS);
	front_mount(&n->front, n->front.whole ? "/" : n->args.virtual_mountpoint, n->args.bootstrap,
	            text, on_first_mount, n);
	return 0;
}

/* Did an earlier nydusd die here? Then another way to start is about to be told. */
static bool has_died(const struct nydusd *n)
{
	/* By name: what is mounted there may be dead. */
	AUTO(free_str) char *above = path_parent(n->front.root);
	AUTO(close_fd) int fd = -1;
	struct stat st;
	struct stat parent;

	if (n->args.apisock == NULL || lstat(n->args.apisock, &st) != 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = unix_connect(n->args.apisock);
	if (fd != -ECONNREFUSED)
		return false;
	if (stat(n->front.root, &st) != 0)
		return errno == ENOTCONN;
	return stat(above, &parent) == 0 && st.st_dev != parent.st_dev;
}

static int start(struct nydusd *n, struct err *e)
{
	int r;

	if (n->args.mode == NYDUSD_FUSE && (n->args.upgrade || has_died(n))) {
		log_info(n->front.log, "waiting for take-over", "root=%s", LOG_Q(n->front.root));
		return listen_api(n, e);
	}
	if (n->args.mode == NYDUSD_FUSE && n->args.bootstrap != NULL)
		return start_image(n, e);
	n->front.state = FRONT_RUNNING;
	r = listen_api(n, e); /* nobody is answered before the loop runs */
	return r == 0 && n->args.mode == NYDUSD_FUSE ? front_make_root(&n->front, e) : r;
}

static int find_root(struct nydusd *n, struct err *e)
{
	const char *at = n->args.virtual_mountpoint;

	if (n->args.mode == NYDUSD_SINGLETON)
		return 0;
	n->front.root = realpath(n->args.mountpoint, NULL);
	/* What is mounted there is dead, until the agent is back. */
	if (n->front.root == NULL && errno == ENOTCONN && n->args.mountpoint[0] == '/')
		n->front.root = xstrdup(n->args.mountpoint);
	if (n->front.root == NULL)
		return err_errno(e, errno, "--mountpoint %s", n->args.mountpoint);
	n->front.whole = n->args.bootstrap != NULL && (at == NULL || strcmp(at, "/") == 0);
	return 0;
}

static int watch_signals(struct nydusd *n, struct err *e)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGQUIT };

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGCHLD, SIG_IGN); /* an agent that we start is nobody's to wait for */
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		n->signals[i] = evsignal_new(loop_base(n->front.loop), numbers[i], on_signal, n);
		if (n->signals[i] == NULL || event_add(n->signals[i], NULL) != 0)
			return err_set(e, ENOMEM, "signals");
	}
	return 0;
}

static int run(struct nydusd *n, struct err *e)
{
	int r = loop_new(&n->front.loop, e);

	if (r == 0)
		r = pool_new(n->front.loop, POOL_THREADS, "nydusd-work", &n->front.pool, e);
	if (r == 0)
		r = pool_new(n->front.loop, MOUNT_THREADS, "nydusd-mount", &n->front.mount_pool, e);
	if (r == 0)
		r = find_root(n, e);
	if (r == 0)
		r = watch_signals(n, e);
	if (r < 0)
		return r;
	n->front.watch = front_watch_new(&n->front);
	r = start(n, e);
	if (r < 0)
		return r;
	loop_run(n->front.loop);
	if (!n->failed)
		return 0;
	*e = n->why;
	return -e->code;
}

static void nydusd_free(struct nydusd *n)
{
	loop_end(n->front.loop); /* owners of what jobs posted are freed before it */
	timer_fini(&n->late);
	leaving_fini(&n->leaving);
	nydusd_api_free(&n->api);
	signals_end(n->signals, ARRAY_LEN(n->signals));
	pool_free(&n->front.pool);
	pool_free(&n->front.mount_pool);
	front_watch_free(&n->front.watch);
	front_free_instances(&n->front);
	link_free(&n->front.link);
	loop_free(&n->front.loop);
	free_str(&n->front.root);
	log_free(&n->front.log);
}

static void print_version(void)
{
	(void)puts("Version: \tshoal " SHOAL_VERSION "\n"
	           "Git Commit: \tshoal-" SHOAL_VERSION "\n"
	           "Build Time: \t-\n"
	           "Profile: \trelease\n"
	           "Rustc: \tnone");
}

static int make_log(struct nydusd *n, struct err *e)
{
	enum log_level level = LOG_INFO;
	int fd = STDERR_FILENO;

	if (n->args.log_level != NULL && !nydusd_log_level(n->args.log_level, &level))
		return err_set(e, EINVAL, "--log-level %s: trace, debug, info, warn or error",
		               n->args.log_level);
	if (n->args.log_file != NULL)
		fd = open(n->args.log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_errno(e, errno, "--log-file %s", n->args.log_file);
	n->front.log = log_new(fd, level);
	if (n->args.first_unknown != NULL)
		log_warn(n->front.log, "an option that is not known was passed over", "option=%s",
		         LOG_Q(n->args.first_unknown));
	return 0;
}

int main(int argc, char **argv)
{
	struct nydusd n = { .front = { .state = FRONT_INIT } };
	struct err e = { 0 };
	int r = nydusd_args_parse(argc, (const char *const *)argv, &n.args, &e);

	if (r < 0) {
		(void)fprintf(stderr, "nydusd: %s (see nydusd --help)\n", e.msg);
		return 2;
	}
	if (n.args.version || n.args.help) {
		if (n.args.version)
			print_version();
		else
			(void)fputs(usage, stdout);
		return EXIT_SUCCESS;
	}
	(void)curl_global_init(CURL_GLOBAL_DEFAULT); /* before there are threads */
	r = make_log(&n, &e);
	if (r == 0) {
		n.front.args = &n.args;
		n.front.exit = on_exit_call;
		n.front.link = link_new(n.front.log);
		r = run(&n, &e);
	}
	if (r < 0) {
		log_error(n.front.log, "cannot go on", "error=%s", LOG_Q(e.msg));
		(void)fprintf(stderr, "nydusd: %s\n", e.msg);
	}
	nydusd_free(&n);
	curl_global_cleanup();
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
