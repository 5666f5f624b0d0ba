/*
 * pull_others: what a pull does when the registry does not answer: neighbours, and what a tag meant
 * here last. All of it belongs to the loop thread.
 */
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "neighbours.h"
#include "pull_impl.h"
#include <errno.h>
#include <string.h>

/* Is there something else to do when the registry does not answer? */
bool pull_is_hasty(const struct pull *op)
{
	return !op->others_done && (op->env.neighbours != NULL || op->known[0] != '\0');
}

void pull_tell_stale(struct pull *op)
{
	AUTO(free_str) char *name = reference_text(&op->ref);

	series_add(metrics_series(op->env.metrics, METRIC_STALE_TAGS, NULL), 1);
	log_warn(op->env.log, "the registry does not answer: the tag is taken as it was here last",
	         "image=%s digest=sha256:%s why=%s", LOG_Q(name), op->known, LOG_Q(op->err.msg));
}

/* It did not answer soon. Neighbours, again and again; else it is waited for to the deadline. */
static enum state without_registry(struct pull *op, enum meta_kind kind)
{
	AUTO(free_str) char *name = reference_text(&op->ref);
	const bool is_tag = kind == META_MANIFEST && op->want[0] == '\0';

	if (is_tag && op->known[0] != '\0') {
		pull_tell_stale(op);
		if (op->known_is_here)
			return pull_found(op, op->known);
		memcpy(op->want, op->known, DIGEST_TEXT_BYTES);
	} else if (is_tag) {
		log_warn(op->env.log,
		         "the registry does not answer, and the tag was never known here: it is "
		         "asked on",
		         "image=%s why=%s", LOG_Q(name), LOG_Q(op->err.msg));
	}
	op->others_for = kind;
	op->others_asked = false;
	if ((!is_tag || op->want[0] != '\0') && op->env.neighbours != NULL)
		return OTHERS;
	op->others_done = true;
	return pull_again(op);
}

/* A request for bytes came to nothing. */
enum state pull_registry_failed(struct pull *op, enum meta_kind kind, int r, const struct err *why)
{
	const struct buffer *came = kind == META_MANIFEST ? &op->manifest_bytes : &op->layer_bytes;

	op->err = *why;
	op->registry_gives = op->registry_gives || came->size_bytes > 0;
	return r == -EAGAIN && pull_is_hasty(op) ? without_registry(op, kind) : pull_failed(op);
}

/* op->err is set. Wrong bytes of a neighbour: another one may do better. */
enum state pull_was_wrong(struct pull *op, enum meta_kind kind)
{
	if (op->giver == 0 || op->err.code != EBADMSG)
		return pull_failed(op);
	op->env.neighbours->ops->distrust(op->env.neighbours, op->giver);
	op->giver = 0;
	op->others_for = kind;
	if (op->n_wrong++ < NEIGHBOURS_WRONG_MAX)
		return OTHERS;
	op->others_asked = true;
	op->others_done = true;
	return kind == META_MANIFEST ? MANIFEST : LAYER;
}

static enum state take(struct pull *op, const struct meta_got *got)
{
	const bool is_manifest = op->others_for == META_MANIFEST;
	struct buffer *into = is_manifest ? &op->manifest_bytes : &op->layer_bytes;

	buffer_clear(into);
	*into = (struct buffer){ .data = got->bytes,
		                 .size_bytes = got->size_bytes,
		                 .capacity_bytes = got->size_bytes,
		                 .max_bytes = got->size_bytes };
	op->giver = got->giver;
	op->told[0] = '\0';
	op->got.anonymous =
		got->is_public && (op->got.anonymous || op->got.from != PULLED_FROM_OTHERS);
	op->got.from = PULLED_FROM_OTHERS;
	return is_manifest ? CHECK : KEEP;
}

static void on_others(void *arg, int r, const struct meta_got *got)
{
	struct pull *op = arg;
	enum state next = op->others_for == META_MANIFEST ? MANIFEST : LAYER;

	op->others = NULL;
	if (r == META_FOUND) {
		next = take(op, got);
	} else {
		AUTO(free_str) char *name = reference_text(&op->ref);

		op->others_asked = true;
		op->others_done = op->others_done || op->registry_gives;
		op->n_rounds++;
		op->others_said = r == META_WITHHELD
		                          ? "a neighbour has it, and may not give it (its registry "
		                            "asks for credentials; see share_metadata)"
		                          : "no neighbour has it";
		log_warn(op->env.log, "neighbours cannot stand in for the registry: it is asked on",
		         "image=%s why=%s", LOG_Q(name), LOG_Q(op->others_said));
	}
	pull_run(op, next);
}

enum state pull_enter_others(struct pull *op)
{
	struct meta_source *s = op->env.neighbours;
	const bool is_manifest = op->others_for == META_MANIFEST;
	AUTO(free_str)
	char *key = neighbours_key(&op->ref, is_manifest ? op->want : op->got.digest);
	const struct meta_want want = { .kind = op->others_for,
		                        .key = key,
		                        .max_bytes = is_manifest ? MANIFEST_MAX_BYTES
		                                                 : op->manifest.next_size_bytes,
		                        .deadline_ns = op->opts.deadline_ns };

	op->others = s->ops->get(s, &want, on_others, op);
	return OTHERS;
}
