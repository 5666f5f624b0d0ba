/*
 * nydusd_link: see nydusd_link.h.
 *
 * The mutex guards which agent it is. It is not held across a call.
 */
#include "nydusd_link.h"
#include "client.h"
#include "commands.h"
#include "mem.h"
#include "mount_ended.h"
#include "mount_record.h"
#include "nydusd_ask.h"
#include "nydusd_own.h"
#include "text.h"
#include "unconst.h"
#include "unix_socket.h"
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NODE_CONFIG     "/etc/shoal/shoal.yaml" /* of the installed package */
#define NODE_WAIT_MS    30000 /* for an agent that this node has, and that nobody has met yet */
#define RESTART_WAIT_MS 5000  /* for one that answered before: whoever needs it asks again */
#define START_WAIT_MS   30000 /* one of our own ... */
#define OTHER_WAIT_MS   3000  /* ... that has ended */
#define LOOK_AGAIN_MS   20
#define UMOUNT_WAIT_MS  10000 /* for what is on its way */
#define CALL_TIMEOUT_MS 30000 /* what is not a mount */
#define MOUNT_TIMEOUT_S 25    /* ... and a mount: nydus-snapshotter waits 30 s for an answer */

struct link {
	struct log *log;
	char *node_socket;
	bool has_node_agent; /* whoever set this node up says so */
	pthread_mutex_t lock;
	char *socket; /* of the agent that answered last; or NULL */
	bool is_own;
	uint32_t mount_timeout_ms;
	atomic_bool leaving; /* the front is: nobody waits for the node's agent any longer */
};

/* A second agent beside the node's would keep its containers for good: without its configuration,
 * its cache, its peers. So what says that there is one counts, not whether it runs just now. */
static bool node_is_set_up(const char *node_socket)
{
	const char *own = secure_getenv("SHOAL_OWN_AGENT");

	if (own != NULL && strcmp(own, "no") == 0)
		return true;
	return strcmp(node_socket, SHOAL_DEFAULT_SOCKET) == 0 && access(NODE_CONFIG, F_OK) == 0;
}

/* How long the agent may wait for the registry before it says why. */
static uint32_t mount_timeout_ms(struct log *log)
{
	const char *text = secure_getenv("SHOAL_MOUNT_TIMEOUT");
	uint64_t s = 0;

	if (text == NULL || *text == '\0')
		return MOUNT_TIMEOUT_S * 1000;
	if (text_number(text, MOUNT_TIMEOUT_MAX_S, &s) && s > 0)
		return (uint32_t)s * 1000;
	log_warn(log,
	         "SHOAL_MOUNT_TIMEOUT is no whole number of seconds in its range: it has no effect",
	         "value=%s range=1-%d used=%d", LOG_Q(text), MOUNT_TIMEOUT_MAX_S, MOUNT_TIMEOUT_S);
	return MOUNT_TIMEOUT_S * 1000;
}

struct link *link_new(struct log *log)
{
	const char *socket = client_default_socket();
	struct link *link = xcalloc(1, sizeof(*link));

	link->node_socket = socket[0] == '/' ? xstrdup(socket) : absolute_path(socket);
	link->has_node_agent = node_is_set_up(link->node_socket);
	link->log = log;
	link->mount_timeout_ms = mount_timeout_ms(log);
	(void)pthread_mutex_init(&link->lock, NULL);
	return link;
}

void link_free(struct link **link)
{
	if (*link == NULL)
		return;
	(void)pthread_mutex_destroy(&(*link)->lock);
	free_str(&(*link)->node_socket);
	free_str(&(*link)->socket);
	free(*link);
	*link = NULL;
}

/* @param unless, or  end it, too; NULL: nothing does */
static bool wait_for(const char *path, uint32_t at_most_ms, const atomic_bool *unless,
                     const atomic_bool * or)
{
	const struct timespec pause = { .tv_nsec = LOOK_AGAIN_MS * 1000000L };

	for (uint32_t ms = 0; ms < at_most_ms && (unless == NULL || !atomic_load(unless)) &&
	                      (or == NULL || !atomic_load(or));
	     ms += LOOK_AGAIN_MS) {
		if (unix_is_served(path))
			return true;
		(void)nanosleep(&pause, NULL);
	}
	return unix_is_served(path);
}

static bool is_socket(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

void link_stop_waiting(struct link *link)
{
	atomic_store(&link->leaving, true);
}

/* It is being installed, upgraded or rolled out. */
static bool wait_for_node(const struct link *link, const atomic_bool *given_up)
{
	log_warn(link->log,
	         "the node's agent is away: waiting for it (if this node has none, remove its "
	         "socket)",
	         "socket=%s at_most_ms=%d", LOG_Q(link->node_socket), NODE_WAIT_MS);
	return wait_for(link->node_socket, NODE_WAIT_MS, &link->leaving, given_up);
}

/* A copy, malloc'd; NULL: none has answered yet. */
static char *socket_of(struct link *link)
{
	char *copy;

	(void)pthread_mutex_lock(&link->lock);
	copy = xstrdup_or_null(link->socket);
	(void)pthread_mutex_unlock(&link->lock);
	return copy;
}

static void use(struct link *link, const char *socket, bool is_own)
{
	(void)pthread_mutex_lock(&link->lock);
	free_str(&link->socket);
	link->socket = xstrdup(socket);
	link->is_own = is_own;
	(void)pthread_mutex_unlock(&link->lock);
}

/* One that has ended may have found another one at its start: that is waited for a little. */
static bool wait_for_start(const char *socket, pid_t pid)
{
	for (uint32_t ms = 0; ms < START_WAIT_MS && kill(pid, 0) == 0; ms += LOOK_AGAIN_MS) {
		if (wait_for(socket, LOOK_AGAIN_MS, NULL, NULL))
			return true;
	}
	return wait_for(socket, OTHER_WAIT_MS, NULL, NULL);
}

static int use_own(struct link *link, const char *work_dir, struct err *e)
{
	AUTO(free_str) char *socket = own_agent_socket(work_dir);
	struct sockaddr_un address;
	pid_t pid = 0;
	int r = 0;

	if (unix_address(socket, &address) < 0)
		return err_set(e, ENAMETOOLONG,
		               "an agent cannot listen at %s: the path of a unix socket has at "
		               "most %zu bytes",
		               socket, sizeof(address.sun_path) - 1);

	if (!unix_is_served(socket)) {
		r = own_agent_start(work_dir, link->log, &pid, e);
		if (r == 0 && !wait_for_start(socket, pid))
			r = err_set(e, ECONNREFUSED,
			            "the agent that was started does not answer at "
			            "%s (its log: %s/shoal/shoald.log)",
			            socket, work_dir);
	}
	if (r == 0)
		use(link, socket, true);
	return r;
}

/* One that is away for a moment, or that nobody has met yet. */
static bool wait_for_nodes(const struct link *link, bool was_nodes, const char *work_dir,
                           const atomic_bool *given_up)
{
	if (!was_nodes && work_dir != NULL)
		return wait_for_node(link, given_up);
	return wait_for(link->node_socket, RESTART_WAIT_MS,
	                work_dir != NULL ? &link->leaving : NULL, given_up);
}

/* The node has one, perhaps away for a moment: no other one beside it. A socket outlives its agent.
 */
static bool node_has_one(const struct link *link, const char *known)
{
	return known != NULL ? strcmp(known, link->node_socket) == 0
	                     : link->has_node_agent || is_socket(link->node_socket);
}

int link_ensure(struct link *link, const char *work_dir, const atomic_bool *given_up, struct err *e)
{
	AUTO(free_str) char *known = socket_of(link);
	const bool is_nodes = node_has_one(link, known);
	bool there = known != NULL && unix_is_served(known);

	if (there)
		return 0;
	there = unix_is_served(link->node_socket);
	if (!there && is_nodes)
		there = wait_for_nodes(link, known != NULL, work_dir, given_up);
	if (there) {
		use(link, link->node_socket, false);
		return 0;
	}
	if (work_dir != NULL && !is_nodes)
		return use_own(link, work_dir, e);
	return err_set(e, ECONNREFUSED,
	               "no agent at %s (start shoald, or name its socket in SHOAL_SOCKET%s)",
	               link->node_socket,
	               is_socket(link->node_socket) ? "; remove that file if this node has no agent"
	                                            : "");
}

int link_watch(struct link *link)
{
	AUTO(free_str) char *socket = socket_of(link);

	return socket != NULL ? unix_connect(socket) : -ENOENT;
}

/* ---- calls ---- */

static int errno_of(int status, const struct err *why)
{
	switch (status) {
	case SHOAL_DONE:
		return 0;
	case SHOAL_USAGE:
		return -EINVAL;
	case SHOAL_NOT_FOUND:
		return -ENOENT;
	case SHOAL_REFUSED:
		return -EACCES;
	case SHOAL_NO_AGENT:
		return -ECONNREFUSED;
	default:
		return why->code == EALREADY ? -EALREADY : -EIO;
	}
}

static int call(struct link *link, const char *method, const char *path, const json_t *body,
                json_t **ret_document, struct err *e)
{
	AUTO(free_str) char *socket = socket_of(link);
	const struct client_request request = { .socket =
		                                        socket != NULL ? socket : link->node_socket,
		                                .method = method,
		                                .path = path,
		                                .body = body,
		                                .timeout_ms = CALL_TIMEOUT_MS };

	return errno_of(client_call(&request, ret_document, e), e);
}

/* A mount, which may take as long as its registry does. */
struct link_call {
	struct ask *ask;
	link_done_fn *done;
	void *arg;
};

static void on_mounted(void *arg, int status, const json_t *document, const struct err *why)
{
	struct link_call call = *(struct link_call *)arg;

	free(arg);
	call.done(call.arg, errno_of(status, why),
	          json_is_true(json_object_get(document, "was_there")), why);
}

struct link_call *link_mount(struct link *link, struct loop *loop, const json_t *wish,
                             const json_t *credentials, link_done_fn *done, void *arg)
{
	AUTO(free_str) char *socket = socket_of(link);
	AUTO(free_str)
	char *path = xasprintf("/v1/mounts?timeout_ms=%" PRIu32, link->mount_timeout_ms);
	AUTO(json_drop) json_t *body = json_copy(unconst(wish));
	const struct client_request request = { .socket =
		                                        socket != NULL ? socket : link->node_socket,
		                                .method = "POST",
		                                .path = path,
		                                .body = body };
	struct link_call *call = xcalloc(1, sizeof(*call));

	if (credentials != NULL)
		(void)json_object_set(body, "credentials", unconst(credentials));
	call->done = done;
	call->arg = arg;
	call->ask = ask_start(loop, &request, on_mounted, call);
	return call;
}

void link_cancel(struct link_call **call)
{
	if (*call == NULL)
		return;
	ask_cancel(&(*call)->ask);
	free(*call);
	*call = NULL;
}

/* It may be on its way up, or down because somebody else has unmounted it. */
int link_umount(struct link *link, const char *dir, struct err *e)
{
	AUTO(free_str) char *query = client_query("/v1/mounts", "dir", dir);
	AUTO(free_str) char *path = xasprintf("%s&detach=true", query);
	const struct timespec pause = { .tv_nsec = LOOK_AGAIN_MS * 1000000L };
	int r = -EALREADY;

	for (uint32_t ms = 0; r == -EALREADY && ms < UMOUNT_WAIT_MS; ms += LOOK_AGAIN_MS) {
		AUTO(json_drop) json_t *answer = NULL;

		if (ms > 0)
			(void)nanosleep(&pause, NULL);
		r = call(link, "DELETE", path, NULL, &answer, e);
	}
	return r == -ENOENT ? 0 : r;
}

void link_note_ended(struct link *link, const char *dir)
{
	AUTO(free_str) char *socket = socket_of(link);
	struct err e = { 0 };

	if (mount_ended_note(socket != NULL ? socket : link->node_socket, dir, &e) < 0)
		log_warn(link->log,
		         "the agent cannot be told that a mount is over: it may come back",
		         "dir=%s error=%s", LOG_Q(dir), LOG_Q(e.msg));
}

int link_give(struct link *link, const char *dir, const json_t *credentials, struct err *e)
{
	AUTO(json_drop)
	json_t *body = json_pack("{s:s, s:O}", "dir", dir, "credentials", unconst(credentials));
	AUTO(json_drop) json_t *answer = NULL;

	return call(link, "PUT", "/v1/mounts/credentials", body, &answer, e);
}

int link_look(struct link *link, const char *dir, json_t **ret_mount, struct err *e)
{
	AUTO(free_str) char *path = client_query("/v1/mounts", "dir", dir);
	AUTO(json_drop) json_t *answer = NULL;
	const int r = call(link, "GET", path, NULL, &answer, e);
	json_t *mount = r == 0 ? json_array_get(json_object_get(answer, "mounts"), 0) : NULL;

	if (r == 0 && mount == NULL)
		return err_set(e, ENOENT, "the agent has no mount at %s", dir);
	if (r == 0)
		*ret_mount = json_incref(mount);
	return r;
}

int link_requests(struct link *link, const char *below, json_t **ret_requests, struct err *e)
{
	AUTO(free_str) char *path = client_query("/v1/mounts/requests", "below", below);
	AUTO(json_drop) json_t *answer = NULL;
	const int r = call(link, "GET", path, NULL, &answer, e);
	json_t *requests = json_object_get(answer, "requests");

	if (r == 0 && !json_is_array(requests))
		return err_set(e, EPROTO, "the agent's answer has no requests");
	if (r == 0)
		*ret_requests = json_incref(requests);
	return r;
}

void link_leave(struct link *link)
{
	AUTO(json_drop) json_t *mounts = NULL;
	AUTO(json_drop) json_t *status = NULL;
	struct err ignored = { 0 };
	pid_t pid;

	if (!link->is_own || call(link, "GET", "/v1/mounts", NULL, &mounts, &ignored) < 0 ||
	    json_array_size(json_object_get(mounts, "mounts")) > 0 ||
	    call(link, "GET", "/v1/status", NULL, &status, &ignored) < 0)
		return;
	pid = (pid_t)json_u64(status, "pid");
	if (pid > 1 && kill(pid, SIGTERM) == 0)
		log_info(link->log, "stopped the agent of its own", "pid=%d", (int)pid);
}
