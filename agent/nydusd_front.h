/*
 * nydusd_front: what one nydusd is: its state, its mounts, and what can be done with them.
 *
 *   INIT --mounted, or taken over--> READY --start--> RUNNING
 *
 * Each mount is the agent's; the front remembers what it wished for and what opens the registry,
 * and says both again when the agent has been started anew. All of it on the loop thread; what
 * blocks runs on the pool. done: once, not from inside.
 */
#pragma once
#include "loop.h"
#include "nydusd_args.h"
#include "nydusd_config.h"
#include "nydusd_link.h"
#include "pool.h"

enum front_state { FRONT_INIT, FRONT_READY, FRONT_RUNNING, FRONT_STOPPED, N_FRONT_STATES };

struct instance {
	char *at;                    /* "/", or "/SNAPSHOT" below the mountpoint */
	char *dir;                   /* where that is */
	json_t *wish;                /* for the agent, without credentials */
	json_t *credentials;         /* a secret; NULL: none */
	json_t *shown;               /* nydusd's configuration without secrets */
	json_t *blob_ids;            /* as last known */
	char *backend;               /* its type */
	char *work_dir;              /* NULL: none */
	int64_t mounted_s;           /* wall clock */
	bool up;                     /* else on its way */
	bool busy;                   /* a worker is at it */
	bool found;                  /* the agent had it mounted before it was asked to */
	struct instance_job *coming; /* ... and brings what is wished for; else NULL */
	bool is_given_newer; /* credentials, since that worker began: it brings older ones */
	bool unsure;     /* a remount failed: the agent may have that in its place all the same */
	bool taken_over; /* from another nydusd: it may be mounted again, which changes nothing */
	struct instance *prev, *next;
};

struct front {
	const struct nydusd_args *args; /* borrowed, all of them */
	struct loop *loop;
	struct pool *pool;       /* what takes a moment */
	struct pool *mount_pool; /* what waits for an agent */
	struct log *log;
	struct link *link;
	enum front_state state;
	bool stopping;
	struct instance *instances;
	struct patience *patient; /* who waits for their turn at one of them */
	char *root;               /* where "/" is: the mountpoint */
	bool whole;     /* "/" is one image; else a directory with an image in each directory */
	bool made_root; /* by front_make_root(); false: one that was there was taken */
	struct front_watch *watch;
	void (*exit)(struct front *front); /* end the process; mounts stay */
};

typedef void front_done_fn(void *arg, int r, const struct err *why);

const char *front_state_name(enum front_state state);

/** Mount the bootstrap at "/SNAPSHOT" or "/". config: a document's text. done(-EEXIST, -EINVAL,
 * -ENOTSUP ...) */
void front_mount(struct front *front, const char *at, const char *bootstrap, const char *config,
                 front_done_fn *done, void *arg);
/** In place of what is there: readers notice nothing, and go on with what they have. Where it
 * fails, that stays, or is mounted again. As front_mount(); -ENOENT */
void front_remount(struct front *front, const char *at, const char *bootstrap, const char *config,
                   front_done_fn *done, void *arg);
void front_umount(struct front *front, const char *at, front_done_fn *done, void *arg);
/** Other credentials, "USER:PASSWORD" in base64, for one mount. */
void front_give(struct front *front, const char *at, const char *auth, front_done_fn *done,
                void *arg);
/** Make the mountpoint a directory of directories, where it is to be one. Blocks a moment. */
MUST_CHECK int front_make_root(struct front *front, struct err *e);
/** Nobody waits for an agent or asks one any more; what is mounted stays. */
void front_begin_to_end(struct front *front);
/** Everything down, for SIGTERM. done(0) */
void front_stop(struct front *front, front_done_fn *done, void *arg);
/** The same for a start that failed: what was mounted before it stays. */
void front_give_up(struct front *front, front_done_fn *done, void *arg);
void front_free_instances(struct front *front);
/** @return 0: somebody waits for something. Else as pool_idle_mark(): seen twice, each call is
 * answered. */
uint64_t front_idle_mark(const struct front *front);

/** By the place, or by the metrics' id (the same words); NULL: there is none. */
struct instance *front_find(const struct front *front, const char *at);

/* ---- the agent comes and goes (nydusd_watch.c) ---- */

struct front_watch *front_watch_new(struct front *front);
void front_watch_free(struct front_watch **watch);
/** There is an agent now: notice when it goes, and wish again when it is back. */
void front_watch_agent(struct front_watch *watch);
/** Wish everything again now: the mounts were taken over. */
void front_watch_renew(struct front_watch *watch);

/* ---- the state for the next nydusd (nydusd_state.c) ---- */

/** Without secrets. A new object. */
json_t *front_state_json(const struct front *front);
/** In place of what is known. @return 0; -EINVAL */
MUST_CHECK int front_state_take(struct front *front, const json_t *state, struct err *e);
/** Send it to the supervisor; take it from there. */
void front_send(struct front *front, front_done_fn *done, void *arg);
void front_take_over(struct front *front, front_done_fn *done, void *arg);

/* ---- one instance (nydusd_instance.c) ---- */

/** @return 0; -errno. The instance is not in the list yet. */
MUST_CHECK int instance_new(const struct front *front, const char *at, const char *bootstrap,
                            const char *config, struct instance **ret_instance, struct err *e);
void instance_free(struct instance **instance);                       /* NULL is fine */
void instance_add(struct instance **list, struct instance *instance); /* at the end */
/** {"username", "password"} of an auth text. @return 0; -EINVAL */
MUST_CHECK int instance_credentials(const char *auth, json_t **ret_credentials, struct err *e);

/* ---- what is to be done about it (nydusd_job.c) ---- */

/*
 * One thing that is to be done about a mount. What blocks for a moment a worker does, with copies;
 * the agent, which may wait for a registry, is asked on the loop:
 *
 *   BEGIN (worker) --> ASK <-- it is on its way up or down: PAUSE, credentials first (worker)
 *                       | ^--- the agent was just ending: BEGIN, once
 *                       `--> END (worker) --> after()
 *
 * Who gives it up leads from ASK and PAUSE to END at once.
 */
struct instance_job {
	struct job job;
	struct front *front;
	struct instance *instance;
	struct link *link;
	struct instance *fresh; /* what instance becomes, where it goes well; or NULL. Ours */
	json_t *wish;
	json_t *credentials;
	json_t *blob_ids; /* the result */
	char *dir;
	char *work_dir;
	bool make_dir; /* below the root */
	bool renews;   /* what is known: it may be on its way up, so credentials come first */
	bool found;    /* the result: it was mounted already */
	bool brought;  /* the agent has said that it is there now, and was not before */
	atomic_bool given_up; /* nobody wants it any more */
	atomic_bool to_go;    /* ... nor what was there before, if anything */
	struct link_call *asking;
	struct timer pause;
	bool is_pausing;
	uint32_t n_asked;
	bool is_next; /* the agent was looked for again */
	int given;    /* what giving the credentials first has come to */
	int result;
	struct err err;
	void (*after)(struct instance_job *job); /* [loop] */
	front_done_fn *done;
	void *arg;
};
struct instance_job *instance_job_new(struct front *front, struct instance *instance,
                                      front_done_fn *done, void *arg);
/** [loop] Free it, then tell who waits. */
void instance_job_end(struct instance_job *job);
/** Mount it, and learn its blobs; then after(), which ends the job. Sets instance->coming. */
void instance_job_start(struct instance_job *job, void (*after)(struct instance_job *job));
/** Nobody reads what it comes to: after() comes soon, with -ECANCELED, and the agent takes back
 * what it has begun for this job. What was there before stays, or comes up: it may be in use. */
void instance_job_give_up(struct instance_job *job);
/** It is to be unmounted: the same, and nothing stays. */
void instance_job_take_down(struct instance_job *job);
/** The front is about to end: the same for all that ask the agent, but what it has begun is left to
 * it. */
void front_stop_asking(struct front *front);
/** Nobody reads what a mount comes to that was begun with this arg. */
void front_give_up_for(struct front *front, const void *arg);
/** Wish for what is known again. instance: not busy */
void instance_renew(struct front *front, struct instance *instance, front_done_fn *done, void *arg);
/** The after() of that: keep what was learnt, and end the job. */
void instance_renewed(struct instance_job *job);
/** It opens the registry with these from now on, also while a worker is at it: what that one brings
 * is older, and they are given once more behind it. credentials: moved */
void instance_give(struct front *front, struct instance *instance, json_t *credentials,
                   front_done_fn *done, void *arg);
/** A worker was at it, and is not any more. */
void instance_rests(struct front *front, struct instance *instance);
