/*
 * nydusd_own: see nydusd_own.h.
 */
#include "nydusd_own.h"
#include "mem.h"
#include "path.h"
#include "unconst.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

char *own_agent_socket(const char *work_dir)
{
	return xasprintf("%s/shoal/api.sock", work_dir);
}

/* Beside our own program, or in the sbin beside its bin; malloc'd. */
static char *shoald_path(void)
{
	AUTO(free_str) char *beside = path_beside_program("shoald");

	return access(beside, X_OK) == 0 ? xstrdup(beside) : path_beside_program("../sbin/shoald");
}

static int make_dir(const char *path, struct err *e)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return err_errno(e, errno, "%s cannot be made", path);
	return 0;
}

/* A configuration that a person has changed stays. */
static int write_config(const char *path, const char *dir, struct err *e)
{
	AUTO(free_str)
	char *text = xasprintf("# Made by nydusd: there was no agent on this node.\n"
	                       "state_dir: \"%s/state\"\n"
	                       "api: { socket: \"%s/api.sock\" }\n"
	                       "http: { listen: \"off\" }\n"
	                       "keeper: { socket: \"%s/keeper.sock\" }\n",
	                       dir, dir, dir);
	AUTO(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return errno == EEXIST ? 0 : err_errno(e, errno, "%s cannot be written", path);
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
		(void)unlink(path);
		return err_set(e, EIO, "%s cannot be written", path);
	}
	return 0;
}

/* What opens a registry for us alone stays here: whoever may look into that process, and what it
 * starts, would have it. Borrowed texts in a malloc'd list; NULL: no memory. */
static char **environment(void)
{
	static const char secret[] = "IMAGE_PULL_AUTH=";
	char **list;
	size_t n = 0;

	while (environ[n] != NULL)
		n++;
	list = calloc(n + 1, sizeof(*list));
	if (list == NULL)
		return NULL;
	n = 0;
	for (char **at = environ; *at != NULL; at++) {
		if (strncmp(*at, secret, strlen(secret)) != 0)
			list[n++] = *at;
	}
	return list;
}

/* Its words go to a file: it outlives us. */
static int spawn(const char *program, const char *config, const char *log_path, pid_t *ret_pid)
{
	char *const argv[] = { unconst(program), unconst("--config"), unconst(config), NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t usual; /* what we ignore it must not */
	sigset_t none;  /* what a worker blocks neither */
	char **env = environment();
	int r;

	if (env == NULL)
		return -ENOMEM;
	r = posix_spawn_file_actions_init(&files);
	if (r == 0)
		r = posix_spawnattr_init(&attr);
	(void)sigemptyset(&none);
	(void)sigemptyset(&usual);
	(void)sigaddset(&usual, SIGCHLD);
	(void)sigaddset(&usual, SIGPIPE);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(&attr, &usual);
	if (r == 0)
		r = posix_spawnattr_setsigmask(&attr, &none);
	if (r == 0)
		r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF |
		                                            POSIX_SPAWN_SETSIGMASK);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY,
		                                     0);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log_path,
		                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
	if (r == 0)
		r = posix_spawn(ret_pid, program, &files, &attr, argv, env);
	free(env);
	(void)posix_spawn_file_actions_destroy(&files);
	(void)posix_spawnattr_destroy(&attr);
	return -r;
}

int own_agent_start(const char *work_dir, struct log *log, pid_t *ret_pid, struct err *e)
{
	AUTO(free_str) char *dir = xasprintf("%s/shoal", work_dir);
	AUTO(free_str) char *config = xasprintf("%s/shoal.yaml", dir);
	AUTO(free_str) char *log_path = xasprintf("%s/shoald.log", dir);
	AUTO(free_str) char *program = shoald_path();
	pid_t pid = 0;
	int r = 0;

	if (strpbrk(work_dir, "\"\\\n") != NULL)
		return err_set(e, EINVAL, "an agent cannot keep its state in %s", work_dir);
	r = make_dir(work_dir, e);
	if (r == 0)
		r = make_dir(dir, e);
	if (r == 0)
		r = write_config(config, dir, e);
	if (r < 0)
		return r;
	r = spawn(program, config, log_path, &pid);
	if (r < 0)
		return err_errno(e, -r, "%s cannot be started", program);
	log_info(log, "no agent on this node: started one", "config=%s pid=%d", LOG_Q(config),
	         (int)pid);
	*ret_pid = pid;
	return 0;
}
