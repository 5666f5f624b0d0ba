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
#include <stdatomic.h>

struct link;

/** To the node's agent at client_default_socket(). */
struct link *link_new(struct log *log); /* never NULL */
void link_free(struct link **link);     /* NULL is fine */

/**
 * [worker] Somebody answers when this returns. Where the node has no agent (docs/nydusd.md, "Which
 * agent"), one is started, which keeps its state in work_dir/shoal; NULL: there can be none of our
 * own. One that the node has is waited for: up to 30 s.
 * @return 0; -ECONNREFUSED with the reason
 */
MUST_CHECK int link_ensure(struct link *link, const char *work_dir, struct err *e);

/** [any thread] The front is about to end: whoever waits for an agent nobody has met gives up, and
 * whoever mounts, too. */
void link_stop_waiting(struct link *link);

/** [loop] A connection that becomes readable when the agent is gone. @return -errno: it is gone */
int link_watch(struct link *link);

/**
 * [worker] POST the wish (docs/api.md, "A mount"), with credentials if there are any.
 * @param given_up  nobody wants it any more: looked at once a second, and the agent takes it back.
 *   NULL: never
 * @param ret_found  the same is mounted there already. NULL: no matter
 * @return 0; -EAGAIN it is on its way up or down; -ECANCELED; else -errno as far as the agent's
 *   answer tells
 */
MUST_CHECK int link_mount(struct link *link, const json_t *wish, const json_t *credentials,
                          const atomic_bool *given_up, bool *ret_found, struct err *e);
/** [worker] Also from whoever uses it. Not mounted is no error. */
MUST_CHECK int link_umount(struct link *link, const char *dir, struct err *e);
/** [worker] @return 0; -ENOENT not mounted */
MUST_CHECK int link_give(struct link *link, const char *dir, const json_t *credentials,
                         struct err *e);
/** [worker] What the agent says of one mount. ret_mount: a new reference. @return 0; -ENOENT */
MUST_CHECK int link_look(struct link *link, const char *dir, json_t **ret_mount, struct err *e);

/** [worker] What readers of all of the agent's mounts wait for (docs/api.md). ret_requests: a new
 * reference to an array. */
MUST_CHECK int link_requests(struct link *link, json_t **ret_requests, struct err *e);

/** [worker] For the end of the front: if the agent is one of its own and mounts nothing any more,
 * stop it. */
void link_leave(struct link *link);
