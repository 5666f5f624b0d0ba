/*
 * nydusd_link: the way from the front to the node's agent, and an agent of its own where the node
 * has none.
 *
 * Everything marked [worker] blocks. What is found once is kept; where it stops answering it is
 * looked for again.
 */
#pragma once
#include "auto.h"
#include "json_util.h"
#include "log.h"
#include "loop.h"
#include <stdatomic.h>

struct link;

/** To the node's agent at client_default_socket(). */
struct link *link_new(struct log *log); /* never NULL */
void link_free(struct link **link);     /* NULL is fine */

/**
 * [worker] Somebody answers when this returns. Where the node has no agent (docs/nydusd.md, "Which
 * agent"), one is started, which keeps its state in work_dir/shoal; NULL: there can be none of our
 * own. One that the node has is waited for: up to 30 s.
 * @param given_up  it becomes true: nobody waits any more; NULL: it never does
 * @return 0; -ECONNREFUSED with the reason
 */
MUST_CHECK int link_ensure(struct link *link, const char *work_dir, const atomic_bool *given_up,
                           struct err *e);

/** [any thread] The front is about to end: whoever waits for an agent nobody has met gives up. */
void link_stop_waiting(struct link *link);

/** [any thread] A connection that becomes readable when the agent is gone. @return -errno: it is
 * gone */
int link_watch(struct link *link);

struct link_call;
/* found: the same was mounted there already. r: 0; -EALREADY something is on its way up or down
 * there; -ECONNREFUSED; else -errno as far as the agent's answer tells */
typedef void link_done_fn(void *arg, int r, bool found, const struct err *why);
/**
 * [loop] POST the wish (docs/api.md, "A mount"), with credentials if there are any.
 * @return never NULL; done follows, once, not from inside, and the call is gone then
 */
struct link_call *link_mount(struct link *link, struct loop *loop, const json_t *wish,
                             const json_t *credentials, link_done_fn *done, void *arg);
/** [loop] Nobody wants it any more: no done follows, and the agent takes it back. NULL is fine. */
void link_cancel(struct link_call **call);
/** [worker] Also from whoever uses it. Not mounted is no error. */
MUST_CHECK int link_umount(struct link *link, const char *dir, struct err *e);
/** [worker] The agent is away, and nobody will want this mount back: it is told when it starts. */
void link_note_ended(struct link *link, const char *dir);
/** [worker] @return 0; -ENOENT not mounted */
MUST_CHECK int link_give(struct link *link, const char *dir, const json_t *credentials,
                         struct err *e);
/** [worker] What the agent says of one mount. ret_mount: a new reference. @return 0; -ENOENT */
MUST_CHECK int link_look(struct link *link, const char *dir, json_t **ret_mount, struct err *e);

/** [worker] What readers of the agent's mounts at and below that directory wait for (docs/api.md).
 * ret_requests: a new reference to an array. */
MUST_CHECK int link_requests(struct link *link, const char *below, json_t **ret_requests,
                             struct err *e);

/** [worker] For the end of the front: if the agent is one of its own and mounts nothing any more,
 * stop it. */
void link_leave(struct link *link);
