/*
 * source_impl: a question to the peers, in parts. Private to source*.c.
 *
 *   source_req   a run of units               what the engine asked
 *     seek       the part in one segment      whom to ask, and what is left; where there are
 *                                             zones, a second one for what the own zone has not
 *       get      a GET to one holder
 *       ask      the ASK to the home, while it is open
 *
 * Positions of a seek are wanted until they were delivered or leased; lost ones are wanted, but
 * nobody has them and nobody brings them. Callbacks of connections only note what they heard and
 * mark the request; source_work() takes the next step.
 */
#pragma once
#include "order.h"
#include "peer_impl.h"

#define SEEK_HOMES_MAX 3U /* are tried */
#define SEEK_BUSY_MAX  8U /* are watched */

struct get {
	struct get *prev, *next;
	struct seek *s;
	struct wire_id node;
	struct link *link; /* it ends before that does */
	uint32_t req;
	struct wire_set set;    /* of the seek's positions: still expected from it */
	struct wire_set missed; /* it said that these do not come */
	uint32_t n_asked;
	uint64_t size_bytes;
	uint64_t wire_bytes; /* the same, packed as at the origin */
	uint64_t began_ns, first_ns;
	uint64_t patience_ns; /* silence after which another is asked as well */
	uint64_t hedge_ns;    /* then; and it is asked for a sign of life */
	uint64_t probed_ns;   /* when, by the real clock; 0: not */
	uint64_t dead_ns;     /* without one, it is given up then */
	uint64_t stuck_ns;    /* and then in any case but one: it is behind what comes for others */
	uint64_t line_ns;     /* so long it may be, since it began */
	uint64_t began_bytes; /* that had come by its connection when it began ... */
	uint64_t sent_ns;     /* ... then, by the real clock */
	uint64_t line_bytes;  /* that had come by its connection when it was watched anew, ... */
	uint64_t watched_ns;  /* ... then */
	uint64_t left_bytes;  /* of size_bytes: not come by this question yet */
	/* Granted, a reader's: its turn is over once readers' chunks on its link are more. */
	uint64_t turn_bytes;
	bool turn_over; /* it was when looked at, since its last chunk */
	bool wait;      /* it is to come there first: only its life is watched */
	bool hedged;
	bool reader; /* it was asked for a reader */
	bool granted;
	bool by_names;
	uint16_t pos_of[WIRE_LIST_MAX]; /* by_names: the seek's positions */
	uint8_t key[PROOF_KEY_BYTES];
	uint8_t proof[WIRE_MAC_BYTES];
};

/* Who is not to be asked. */
struct avoid {
	struct wire_id node;
	enum wire_avoid_why why;
};

/* Who could not be asked when it was to be. */
struct seek_busy {
	struct wire_id node;
	uint64_t since_ns; /* then first, by the patient clock */
	uint64_t said_ns;  /* it said so then first, that it is busy; 0: it is not connected */
};

struct seek {
	struct source_req *req;
	uint32_t segment_idx;
	bool beyond;             /* the zone: it asks the cluster's home (source_zone.c) */
	struct wire_set want;    /* not delivered, not leased */
	struct wire_set lost;    /* of want: no way is left */
	struct wire_set put_off; /* of want: its unit begins in another segment (source_unit.c) */
	struct wire_set chained; /* goes the way of the lead, a chunk of another segment ... */
	const struct seek *lead; /* ... which this seek looks for ... */
	uint16_t lead_pos;
	bool held_back; /* ... which is not known yet */
	struct get *gets;
	struct avoid avoid[WIRE_AVOID_MAX];
	uint32_t n_avoid;
	struct wire_set missed;    /* what those avoided for WIRE_AVOID_MISSED have not */
	struct wire_set named;     /* the home said whom to ask for it, or to wait for */
	struct wire_set hurried;   /* a reader is blocked on it now: of want, perhaps */
	struct wire_set awaited;   /* ... or was, and was told then */
	struct wire_set unwatched; /* ... and the home is to be asked, where it was not */
	struct wire_set paused; /* of want: whoever is to be asked is busy, or not connected now */
	struct wire_set home_paused; /* the same, of the ask_home */
	uint64_t pause_ns;           /* until then */
	/* source_vain.c */
	uint64_t vain_ns;    /* since then a reader had nothing of it, but waits; 0: it does not */
	uint64_t told_bytes; /* the progress that a home told last */
	uint64_t queue_ns;   /* since then nobody is to bring some of it; 0: somebody is */
	struct seek_busy busy[SEEK_BUSY_MAX]; /* holders; nothing came since */
	uint32_t n_busy;
	uint32_t n_asks;
	struct wire_id failed_homes[SEEK_HOMES_MAX]; /* the next in rank are asked */
	uint32_t n_failed_homes;
	bool settle;
	struct wire_id elsewhere; /* views differ: the home, as the one that was asked sees it */
	bool is_elsewhere;        /* it decides; where it cannot be asked, the next in rank */
	/* Who is to bring it did not even show that it knows the digests, and the home has said
	 * nothing of it since. */
	struct wire_set stalled;
	/* the ASK */
	bool ask_open;
	bool ask_settles; /* with WIRE_ASK_SETTLE */
	struct wire_id ask_home;
	struct conn *ask_conn; /* NULL: this node itself */
	uint32_t ask_req;
	struct wire_set asked;
	uint64_t asked_ns;
	uint64_t ask_sent_ns; /* the same by the real clock */
	bool ask_answered;
	uint64_t ask_began_bytes; /* that had come by its connection then */
	uint64_t ask_line_ns;     /* so long its answer may be behind others */
	uint64_t ask_look_ns;     /* it answered, or lives: when it is looked at next */
	uint64_t ask_ping_ns; /* and when it was asked for a sign of life, by the real clock; 0: not
	                       */
	bool ask_reader;      /* it said that a reader is blocked on it */
};

struct source_req {
	struct source_req *prev, *next;
	struct peer *p;
	const struct unit_run *run;
	struct source_events ev;
	void *arg;
	struct known *known;
	struct seek *seeks;
	uint32_t n_seeks;
	bool dirty;
	uint32_t early_unit; /* a reader was blocked on it before this began; UINT32_MAX: none */
	uint64_t wait_bytes; /* told by wait() */
	/* source_vain.c: the time of its reader */
	uint64_t time_ns;      /* all that it has; 0: no reader is blocked on it */
	uint64_t time_from_ns; /* so much of it is over: since then, by the patient clock */
	uint64_t bytes_ns;     /* when bytes came last, of a chunk that is not whole yet */
	uint32_t watched;      /* the chunk that it waits for, as far as is known */
	/* source_budget.c */
	bool admitted;
	uint64_t admit_ns;       /* when to ask again; 0: not asked yet */
	uint64_t taken_bytes;    /* from the budget */
	bool taken_urgent;       /* ... by a reader */
	uint64_t received_bytes; /* from peers, as on the wire */
};

/* How long a home or a holder is waited for without a sign of life, at least. */
static inline uint64_t source_silent_ns(bool reader)
{
	return (reader ? 500U : 2000U) * NS_PER_MS;
}

/* ... and while it lives, but neither answers nor brings anything. */
static inline uint64_t source_stuck_ns(bool reader)
{
	return (reader ? 2000U : 6000U) * NS_PER_MS;
}

/* The home of a question: the zone's, and the cluster's for what goes beyond it. */
static inline enum place_level source_level(const struct peer *p, bool beyond)
{
	return placement_has_zones(p->placement) && !beyond ? PLACE_ZONE : PLACE_CLUSTER;
}

static inline const struct segment *seek_segment(const struct seek *s)
{
	return segments_at(s->req->known->segments, s->segment_idx);
}
static inline uint32_t seek_chunk(const struct seek *s, uint16_t pos)
{
	return segments_chunk(s->req->known->segments, s->segment_idx, pos);
}
/** The part of its segment, set empty. */
struct wire_part seek_part(const struct seek *s, const struct wire_set *set);

/** The seek of a segment, in the zone or beyond it. NULL: there is none. */
struct seek *source_seek(const struct source_req *req, uint32_t segment_idx, bool beyond);
void source_dirty(struct source_req *req);
/** To the asker. bytes are moved. */
void source_deliver(struct seek *s, uint16_t pos, struct chunk_bytes bytes, uint32_t giver);
void source_note(struct source_req *req, const char *format, ...) PRINTF_LIKE(2, 3);

/* What is slower than that is of no use to a reader. */
#define SLOW_BYTES_PER_S 8192U

/** Until its deadline, as homes and holders are told it: at least 1, at most a minute. */
uint32_t source_ms_left(const struct source_req *req);

/* ---- source_budget.c ---- */

bool budget_admits(struct source_req *req); /* may it begin? */
uint64_t budget_due_ns(const struct source_req *req);
void budget_settle(struct source_req *req); /* it ends */

/* ---- source_seek.c ---- */

void seek_step(struct seek *s);
bool seek_is_settled(const struct seek *s);
bool seek_has_only_put_off(const struct seek *s); /* nothing else is left or open */
void seek_stop(struct seek *s);                   /* cancel all that is open */
void seek_expire(struct seek *s);                 /* the same; its reader's time is over */
/** Is it avoided, for whatever reason? */
bool seek_avoids(const struct seek *s, const struct wire_id *node);
/** Because it failed, or is not trusted (noted so then)? */
bool seek_shuns(struct seek *s, const struct wire_id *node);
void seek_avoid(struct seek *s, const struct wire_id *node, enum wire_avoid_why why);
/** node said that it has not set. */
void seek_avoid_missed(struct seek *s, const struct wire_id *node, const struct wire_set *set);
/** set is asked of ask_home again in a while, not of anybody else meanwhile. 0: the shortest pause
 */
void seek_pause_home(struct seek *s, const struct wire_set *set, uint32_t ms);
/** ... of a holder: that said that it is busy (said), or is not connected. */
void seek_pause(struct seek *s, const struct wire_set *set, uint32_t ms,
                const struct wire_id *holder, bool said);
struct wire_set seek_paused(const struct seek *s); /* all of it */
/** Asked of some holder (hedged: also of slow ones), and not given up. */
struct wire_set seek_in_gets(const struct seek *s, bool hedged);
/** Asked of those who are to receive it first (wait), or of those who have it. */
struct wire_set seek_asked_of(const struct seek *s, bool wait);
/** Wanted and not lost, without what goes the way of other segments for now. */
struct wire_set seek_own(const struct seek *s);
/** Wanted, not with a worker, and nobody is asked for it but the home. */
struct wire_set seek_open(const struct seek *s);
/** What others were asked for is expected from node alone. */
void seek_take_from_others(struct seek *s, const struct wire_set *set, const struct wire_id *node);
void seek_on_items(struct seek *s, const struct wire_answer_item *items, uint32_t n_items);
void seek_on_ask_end(struct seek *s, enum wire_status status, uint32_t retry_ms);
uint64_t seek_due_ns(const struct seek *s);
/** Positions that came, or are another's business now. */
void seek_settle(struct seek *s, const struct wire_set *set);

/* ---- source_ask.c ---- */

/** Ask the home for todo, or who stands in for it. One that is busy, or connects, is asked later.
 * @return false: nobody is left to be asked */
bool ask_home(struct seek *s, const struct wire_set *todo);
/** What is waited for elsewhere, too: only who is asked tells when that comes to nothing. */
struct wire_set ask_wanted(const struct seek *s, const struct wire_set *todo);
/** Of what is waited for elsewhere and a reader is blocked on: what no home was asked for. Only a
 * home knows whether who is to bring it still does. */
struct wire_set ask_unwatched(const struct seek *s);
/** Is it open as a prefetch's, and a reader is blocked on some of it now? */
bool ask_is_hurried(const struct seek *s);
void ask_close(struct seek *s); /* cancelled, if it is open */
/** As a home it does not know, or will not say: another one decides. */
void ask_home_failed(struct seek *s, const struct wire_id *home);

/** A reader asked it again and again: it is not asked for a while. */
void ask_was_vain(const struct seek *s);
/** Something came of its words. */
void ask_was_useful(const struct seek *s);
/** It brings its reader nothing: the next in rank is asked, and it is not for a while. */
void ask_pass_by(struct seek *s, uint64_t vain_ns);

/* ---- source_vain.c: what a blocked reader has of peers, and how long it goes without ---- */

/** As time passes: who brings nothing is passed by. */
void vain_look(struct seek *s);
/** After its step: is there still something that it goes without? */
void vain_settle(struct seek *s);
uint64_t vain_due_ns(const struct seek *s); /* by the patient clock */
/** Is a holder busy (said: it says so) or not connected for too long? Then it is passed by. */
bool vain_is_busy(struct seek *s, const struct wire_id *node, bool said);
void vain_passed_on(struct seek *s);                     /* somebody else is to bring it now */
void vain_came(struct seek *s);                          /* a lease did */
void vain_comes(struct seek *s, uint16_t pos);           /* a chunk does: it is wanted until now */
void vain_bytes(struct seek *s, bool waited);            /* a part of a chunk came, by a get */
void vain_told(struct seek *s, uint64_t progress_bytes); /* by a home, of who is waited for */
/** A chunk came, and the time of its question was moved by that: what of it counts for a reader. */
void vain_delivered(struct source_req *req, uint32_t chunk_idx);
/** Has the reader no time for peers any more? The rest is the origin's. Also before it begins. */
bool vain_is_over(struct source_req *req);
void vain_watch(struct source_req *req);             /* it has begun: what its reader waits for */
uint64_t vain_over_ns(const struct source_req *req); /* by the patient clock */
uint64_t vain_most_ns(const struct source_req *req); /* that it may take; 0: no reader waits */

/* ---- source_get.c ---- */

enum get_outcome {
	GET_ASKED,
	GET_LATER, /* it is busy, or its connection is being made: it is to be asked again */
	GET_NEVER, /* it is not there any more, or goes */
};
enum get_outcome get_start(struct seek *s, const struct wire_id *node, const struct wire_set *set,
                           bool wait);
/** As get_start(); what cannot be asked is paused, or its node avoided. */
void get_or_pause(struct seek *s, const struct wire_id *node, const struct wire_set *set,
                  bool wait);
/** What is hurried and was asked for as a prefetch is asked for once more, as a reader's: that
 * overtakes, and whatever comes first counts. */
void gets_hurry(struct seek *s);
void get_stop(struct get *g); /* cancelled; frees it */
/** Its reader's time is over: a fault of who brings nothing, and is in no line. Frees it. */
void get_expire(struct get *g);
void get_watch(struct get *g); /* look after it, as time passes; may free it */
/** Why a node has no connection that takes requests now. */
enum get_outcome source_unreached(struct peer *p, const struct wire_id *node);

/* ---- source_watch.c ---- */

void ask_watch(struct seek *s);               /* is the home silent? */
uint64_t ask_silent_ns(const struct seek *s); /* when it is, by the patient clock */

/* ---- source_line.c ---- */

/** So long a question may be behind others on its connection: whoever else may have it, and the
 * origin, are to have some of its time. */
uint64_t line_longest_ns(const struct source_req *req);
/** So long c is waited for without a sign of life. */
uint64_t line_patience_ns(const struct source_req *req, const struct conn *c);
/** On a line that many share it may be late, and brings something all the same, since it began. */
bool line_brings(const struct get *g);
/** Does its connection bring as much as the slowest line that is of use, since it was watched
 * anew? Bytes that trickle are no progress, and of who failed before none that will not be here in
 * time. */
bool line_moves(const struct get *g);
/** Is what c was asked at sent_ns (by the real clock; from_ns by the patient one, when from_bytes
 * had come by it) behind what it brings meanwhile? How much this question asks for does not matter:
 * what is said first is little. A ping behind the question tells: its answer comes after that of
 * the question. */
bool line_is_behind(const struct source_req *req, const struct conn *c, uint64_t sent_ns,
                    uint64_t from_bytes, uint64_t from_ns);

/* ---- source_turn.c ---- */

void turn_granted(struct get *g);                         /* once, when its GRANT came */
void turn_came(struct get *g, uint32_t plain_size_bytes); /* a chunk of it did */
void turn_end(struct get *g);
/** Note whether its turn is over: its holder could have answered, or sent a chunk, and did not. */
void turn_look(struct get *g);

/* ---- source_unit.c ---- */

/** Positions of a unit's chunks in the segment of s. */
struct wire_set unit_in_segment(const struct seek *s, const struct unit_rec *u);
/** Bytes that the largest unit of these has at the origin. */
uint32_t unit_largest_bytes(const struct seek *s, const struct wire_set *set);
/** Those of set whose unit begins in the segment of s: the home there knows who leases it. */
struct wire_set unit_begun_here(const struct seek *s, const struct wire_set *set);
/** Those of set whose unit begins in another segment that is still being looked for. */
struct wire_set unit_put_off(struct seek *s, const struct wire_set *set);
/** Units of set that begin in an earlier segment with a chunk that is here: nobody would ask for a
 * lease of them there. They count as beginning here. */
void unit_adopt(const struct seek *s, const struct wire_set *set, struct wire_set *units);
/** Find what goes the way of a chunk of another segment. Once, when the seeks are all there. */
void unit_chain(struct source_req *req);
/** What is to be held back in the next step. @return anything is not held back any more */
bool unit_hold_back(struct source_req *req);
/** set of s comes to node, from where it is waited for: what is chained to it, too. */
void unit_chain_follow(struct seek *s, const struct wire_set *set, const struct wire_id *node);
/** Units that begin with one of set are had from node, as they come there: so are their chunks in
 * other segments that were put off. */
void unit_follow(struct seek *s, const struct wire_set *set, const struct wire_id *node);

/* ---- source_zone.c ---- */

/** The seek of the same segment beyond the zone. NULL: there is none, or s is that. */
struct seek *seek_beyond(const struct seek *s);
/** A lease of the zone's home: what it covers is asked of the cluster's home. */
void zone_cross(struct seek *s, const struct wire_answer_item *item);
/** Bytes came for a question beyond the zone, or a word that it goes on (1). Any seek. */
void zone_progress(const struct seek *s, uint32_t more_bytes);
struct lease_held;
/** ... for a lease of the cluster's home. */
void zone_lease_progress(struct peer *p, const struct lease_held *beyond, uint32_t more_bytes);
/** req ends, and not because somebody ended it: what it could not find beyond has failed. */
void zone_lost(const struct source_req *req);
/** A lease of the cluster's home has failed, and so have those of the zone's that it was for. */
void zone_failed(struct peer *p, const struct lease_held *beyond);

/* ---- source_lease.c ---- */

/* Chunks of leased units in another segment than their first one. */
struct lease_more {
	struct wire_id list;
	struct wire_set set;
};

struct lease_held {
	struct lease_held *prev, *next;
	bool crossing;       /* the zone home's; what it covers is being looked for beyond */
	bool moved;          /* ... and something came of that which its home was not told yet */
	bool beyond;         /* the cluster home's, where there are zones */
	uint64_t token;      /* this node's */
	uint64_t home_token; /* the home's */
	struct wire_id home;
	struct known *known;
	uint32_t segment_idx;
	struct cas_blob *blob;
	struct wire_set set;
	struct lease_more *more;
	uint32_t n_more;
	uint32_t n_open; /* ranges with the engine */
	bool failed;
	uint64_t progress_bytes;
	uint64_t began_ns;
	uint64_t first_ns, last_ns; /* when bytes of it came from the origin; 0: none yet */
	uint64_t come_bytes;        /* in between */
	uint64_t kept_ns;           /* it began, or brought something last */
	uint64_t longest_ns;        /* from one of these to the next */
	uint64_t told_ns;           /* progress, to the home */
};

/** One that is open once, listed. */
struct lease_held *lease_new(struct seek *s, const struct wire_answer_item *item);
/** The next row of units that a set of its positions covers, from *pos on. @return false: none */
bool lease_next_range(struct seek *s, const struct wire_set *set, uint32_t *pos,
                      struct source_lease *ret_range);
/** Is the chunk at pos of a list one that it brings? */
bool lease_covers(const struct lease_held *held, const struct wire_id *list, uint16_t pos);
void lease_cover_more(struct lease_held *held, const struct wire_id *list,
                      const struct wire_set *set);
struct wire_set lease_left(const struct lease_held *held); /* of its set: not here yet */
/** Is one open that the home gave that s asks? It gives one of a list at a time, and so many in
 * all: what is in the queue there waits for the origin. */
bool lease_is_open(const struct seek *s);
bool lease_speaks_of(const struct lease_held *held, const struct wire_id *list);
/** What a reader of this node has to wait for the origin, by what its own leases took: without a
 * sign of progress; and until something has come, of units of at most so many bytes there. */
uint32_t lease_patience_ms(const struct peer *p);
uint32_t lease_usual_ms(const struct peer *p, uint32_t unit_bytes);
void lease_renew(struct peer *p, struct lease_held *held); /* tell its progress */
void lease_end(struct peer *p, struct lease_held *held);
void leases_free(struct peer *p); /* homes are told nothing */

void lease_take(struct seek *s, const struct wire_answer_item *item);
void source_lease_progress(struct source *source, uint64_t token, uint32_t more_bytes);
void source_lease_end(struct source *source, uint64_t token, bool ok);
