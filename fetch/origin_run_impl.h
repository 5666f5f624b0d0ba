/*
 * origin_run_impl: a run that asks origins, for its two files. Private to origin_run*.c.
 *
 * All of it on the loop thread.
 */
#pragma once
#include "origin_run.h"
#include "unit_cutter.h"

struct candidate {
	struct origin_addr addr;
	uint32_t rank; /* the smaller, the earlier */
};

struct source_req {
	struct source_req *prev, *next; /* of s->runs */
	struct origin_source *s;
	const struct unit_run *run; /* borrowed */
	struct source_events ev;
	void *arg;
	char key[BLOB_ID_MAX + 16]; /* of the target */
	struct unit_cutter cutter;
	struct candidate candidates[CAS_ORIGINS_MAX];
	uint32_t n_candidates;
	uint32_t candidate_idx; /* the one that is being asked */
	struct origin_asked *asked;
	bool delivers;       /* it has delivered a unit */
	bool trouble;        /* some origin may have it another time */
	int gone_code;       /* ENOENT; EACCES or EPERM: some origin refuses it */
	bool has_strikes;    /* the one that is being asked, for a unit of these */
	uint64_t body_bytes; /* came, from all origins */
	bool in_unit;        /* a cancel from inside unit() frees it behind that */
	bool cancelled;
	struct err why;
	/* ---- of its first unit: what a slice before it has, too (origin_run_heads.c) ---- */
	struct slice_head head; /* that is waited for, while the cutter is headless ... */
	uint32_t head_unit;     /* ... by this unit */
	uint8_t *head_bytes;    /* it has come */
	uint64_t head_late_ns;  /* a reader is blocked on head_unit, and waits until then; else 0 */
	struct origin_asked *head_asked; /* for the head alone ... */
	uint8_t *head_part;              /* of which this came */
	uint32_t head_part_bytes;
	uint64_t patience_ns; /* the time that the run has got for a question; 0: no deadline */
	uint64_t late_ns;     /* the deadline of what is asked for after a wait for a head; or 0 */
	bool whole;           /* no heads any more: the one that was waited for did not come */
	bool only_head;       /* all but the head is here */
};

static inline uint64_t origin_run_now_ns(const struct origin_source *s)
{
	return clock_now_ns(s->opts.clock);
}

/* Whom it asks now. */
static inline const char *origin_run_origin(const struct source_req *req)
{
	return req->candidates[req->candidate_idx].addr.text;
}

/* ---- origin_run.c ---- */

/** A unit is whole: hand it to the asker, and its end to those that wait for that as a head.
 *
 * @param bytes  malloc'd, the asker's from now on
 * @return false: the run was cancelled meanwhile; the caller frees it */
bool origin_run_hand_out(void *arg, uint32_t unit_idx, uint8_t *bytes);
/** What is to be asked of the origin whose turn it is; who gets the answer is to be added. */
struct origin_ask origin_run_ask_for(struct source_req *req, uint64_t offset, uint64_t size_bytes);
/** Ask for what is missing, from the idx-th origin on. Runs that hoped for what this one asked for
 * before look again. The run may be gone afterwards. */
void origin_run_ask_again(struct source_req *req, uint32_t idx);
/** End it, and tell the asker. @param r  as in source_events.end */
void origin_run_finish(struct source_req *req, int r);
/** End it, and tell nobody. Its own question to an origin is over already. */
void origin_run_free(struct source_req *req);

/* ---- origin_run_heads.c ---- */

/** Runs that wait for a head look for it, in a later turn of the loop. */
void heads_look(struct origin_source *s);
/** A unit came: keep its end, the head of the next one, and give it to runs that wait for it.
 *
 * @param bytes  the whole unit as the origin packs it; borrowed */
void head_keep(struct source_req *req, uint32_t unit_idx, const uint8_t *bytes);
/** The run is about to ask an origin for this range: take the head out of the range where it is
 * here (then it is used) or on its way (then it is waited for). */
void head_leave_out(struct source_req *req, uint64_t *offset, uint64_t *size_bytes);
/** Forget what the run has of its head, and stop asking for it. */
void head_drop(struct source_req *req);
