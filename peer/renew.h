/*
 * renew: this node's certificate while the agent runs: its files are looked at once a minute, and
 * when somebody says so. What is new, fits together and is of the same key counts for handshakes
 * from then on; anything else is said in the log, the old one stays, and the next look tries again:
 * descriptors may have been out, or its time had not come.
 *
 * On the loop thread; the files are read on the desk.
 */
#pragma once
#include "peer_impl.h"

void renew_start(struct peer *p); /* before the files are read for the first time */
void renew_look(struct peer *p);  /* now */
void renew_stop(struct peer *p);  /* no more looks; also when it was never started */
/** After the desk, which may have had a look that nobody heard the end of. Likewise. */
void renew_free(struct peer *p);
