/*
 * The front's mounts when two things happen to one of them at once: the agent that goes, wishes
 * for it, credentials. What the agent says comes from a link that does what it is told.
 */
#include "fake_pool.h"
#include "mem.h"
#include "nydusd_front.h"
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BOOTSTRAP       "/dev/null" /* what is in it is the agent's business */
#define OTHER_BOOTSTRAP "/dev/zero"
/* "old:x" and "new:x" */
#define OLD_AUTH "b2xkOng="
#define NEW_AUTH "bmV3Ong="
#define CONFIG                                                                                     \
	"{\"device\":{\"backend\":{\"type\":\"registry\",\"config\":{\"host\":\"r.example\","      \
	"\"repo\":\"edge\",\"auth\":\"" OLD_AUTH "\"}}}}"

/* In place of nydusd_link.c. */
struct link {
	int mount_says; /* from now on */
	bool is_silent;
	bool is_dead;
	bool found;                /* it says of a mount */
	struct front *hangs_up_on; /* whoever wished, as the answer comes; or NULL ... */
	const void
		*hangs_up_late; /* ... who wished, while the agent is asked what it has; or NULL */
	struct front *front;
	uint32_t n_asked;
	uint32_t n_unmounted;
	uint32_t n_unmounts_max; /* the agent dies then; 0: it does not */
	int unmount_says;        /* else, where it is not 0 */
	uint32_t n_noted;
	uint32_t n_mounted;
	uint32_t n_replaced;
	char given_to_a[16]; /* the user name that counts for "/a" */
};

int link_ensure(struct link *link, const char *work_dir, const atomic_bool *given_up, struct err *e)
{
	(void)link;
	(void)work_dir;
	(void)given_up;
	(void)e;
	return 0;
}

void link_stop_waiting(struct link *link)
{
	(void)link;
}

int link_watch(struct link *link)
{
	return link->is_dead ? -ECONNREFUSED : eventfd(0, EFD_CLOEXEC);
}

static void take(struct link *link, const char *dir, const json_t *credentials)
{
	const char *name = strrchr(dir, '/');

	if (credentials != NULL && name != NULL && strcmp(name, "/a") == 0)
		(void)snprintf(link->given_to_a, sizeof(link->given_to_a), "%s",
		               json_str(credentials, "username"));
}

int link_give(struct link *link, const char *dir, const json_t *credentials, struct err *e)
{
	(void)e;
	take(link, dir, credentials);
	return 0;
}

/* Answered by the loop, unless the link is silent. */
struct link_call {
	struct timer timer;
	struct link *link;
	int r;
	link_done_fn *done;
	void *arg;
};

void link_cancel(struct link_call **call)
{
	if (*call == NULL)
		return;
	timer_fini(&(*call)->timer);
	free(*call);
	*call = NULL;
}

static void on_mount_answered(struct timer *t)
{
	struct link_call *call = container_of(t, struct link_call, timer);
	const struct link_call copy = *call;
	const struct instance_job *j = copy.arg;
	struct err e = { 0 };

	if (copy.link->hangs_up_on != NULL)
		front_give_up_for(copy.link->hangs_up_on, j->arg);
	link_cancel(&call);
	if (copy.r < 0)
		(void)err_set(&e, -copy.r, "as the test says");
	copy.done(copy.arg, copy.r, copy.link->found, &e);
}

struct link_call *link_mount(struct link *link, struct loop *loop, const json_t *wish,
                             const json_t *credentials, link_done_fn *done, void *arg)
{
	struct link_call *call = xcalloc(1, sizeof(*call));

	*call = (struct link_call){ .link = link, .r = link->mount_says, .done = done, .arg = arg };
	timer_init(&call->timer, loop, on_mount_answered);
	link->n_asked++;
	if (link->is_silent)
		return call;
	timer_start(&call->timer, 0);
	if (call->r < 0)
		return call;
	link->n_mounted++;
	link->n_replaced += json_is_true(json_object_get(wish, "replace"));
	take(link, json_str(wish, "dir"), credentials);
	return call;
}

int link_umount(struct link *link, const char *dir, struct err *e)
{
	if (link->n_unmounts_max > 0 && link->n_unmounted == link->n_unmounts_max)
		return err_set(e, ECONNREFUSED, "%s: it is gone", dir);
	if (link->unmount_says < 0)
		return err_set(e, -link->unmount_says, "%s: as the test says", dir);
	link->n_unmounted++;
	return 0;
}

void link_note_ended(struct link *link, const char *dir)
{
	(void)dir;
	link->n_noted++;
}

int link_look(struct link *link, const char *dir, json_t **ret_mount, struct err *e)
{
	(void)ret_mount;
	if (link->hangs_up_late != NULL)
		front_give_up_for(link->front, link->hangs_up_late);
	return err_set(e, ENOENT, "%s", dir);
}

void link_leave(struct link *link)
{
	(void)link;
}

struct fixture {
	struct front front;
	struct nydusd_args args;
	struct link link;
	char root[32];
	uint32_t n_done;
	int result;
};

static void on_done(void *arg, int r, const struct err *why)
{
	struct fixture *f = arg;

	(void)why;
	f->n_done++;
	f->result = r;
}

/* Turns for timers that are due, too. */
static void turn(struct fixture *f)
{
	for (uint32_t i = 0; i < 8; i++)
		(void)event_base_loop(loop_base(f->front.loop), EVLOOP_NONBLOCK);
}

static void settle(struct fixture *f)
{
	do
		turn(f);
	while (fake_pool_settle(f->front.pool) + fake_pool_settle(f->front.mount_pool) > 0);
}

/* Turns of the loop, timers and all, until so many jobs about mounts wait. */
static void wait_for_jobs(struct fixture *f, uint32_t n)
{
	while (fake_pool_n_waiting(f->front.mount_pool) < n)
		(void)event_base_loop(loop_base(f->front.loop), EVLOOP_ONCE);
}

static void wait_for_done(struct fixture *f)
{
	while (f->n_done == 0) {
		(void)event_base_loop(loop_base(f->front.loop), EVLOOP_ONCE);
		settle(f);
	}
}

/* The one that is due next, to its end. */
static void run_one(struct fixture *f)
{
	assert_int_equal(fake_pool_run_one(f->front.mount_pool), 1);
	turn(f);
}

static void mount_it(struct fixture *f, const char *at)
{
	front_mount(&f->front, at, BOOTSTRAP, CONFIG, on_done, f);
	settle(f);
	assert_int_equal(f->n_done, 1);
	assert_int_equal(f->result, 0);
	f->n_done = 0;
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err e;

	(void)snprintf(f->root, sizeof(f->root), "/tmp/front.XXXXXX");
	assert_non_null(mkdtemp(f->root));
	f->front.args = &f->args;
	assert_int_equal(loop_new(&f->front.loop, &e), 0);
	assert_int_equal(pool_new(f->front.loop, 1, "work", &f->front.pool, &e), 0);
	assert_int_equal(pool_new(f->front.loop, 1, "mount", &f->front.mount_pool, &e), 0);
	f->front.log = log_new(-1, LOG_ERROR);
	f->front.link = &f->link;
	f->link.front = &f->front;
	f->front.root = f->root;
	f->front.watch = front_watch_new(&f->front);
	mount_it(f, "/a");
	mount_it(f, "/b");
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	AUTO(free_str) char *a = xasprintf("%s/a", f->root);
	AUTO(free_str) char *b = xasprintf("%s/b", f->root);

	front_watch_free(&f->front.watch);
	pool_free(&f->front.pool);
	pool_free(&f->front.mount_pool);
	front_free_instances(&f->front);
	loop_free(&f->front.loop);
	log_free(&f->front.log);
	(void)rmdir(a);
	(void)rmdir(b);
	assert_int_equal(rmdir(f->root), 0);
	free(f);
	return 0;
}

/* The agent took the new image, died before it said so, and the next one has it. */
static void a_mount_that_cannot_be_confirmed_is_renewed_behind_the_others(void **state)
{
	struct fixture *f = *state;
	struct instance *a = front_find(&f->front, "/a");

	f->link.mount_says = -EIO;
	front_remount(&f->front, "/a", OTHER_BOOTSTRAP, CONFIG, on_done, f);
	wait_for_jobs(f, 1);
	run_one(f);
	assert_int_equal(f->result, -EIO);
	front_watch_renew(f->front.watch); /* b, as a is being confirmed */
	assert_int_equal(fake_pool_n_waiting(f->front.mount_pool), 2);
	run_one(f);
	f->link.mount_says = 0;
	f->link.n_mounted = 0;
	settle(f);
	assert_int_equal(f->link.n_mounted, 3); /* b, and then both */
	assert_int_equal(f->link.n_replaced, 1);
	assert_false(a->unsure);
}

static void a_mount_that_is_being_renewed_can_be_unmounted(void **state)
{
	struct fixture *f = *state;
	const uint32_t n_mounted = f->link.n_mounted;

	front_watch_renew(f->front.watch);
	front_umount(&f->front, "/a", on_done, f);
	(void)event_base_loop(loop_base(f->front.loop), EVLOOP_ONCE);
	wait_for_done(f);
	assert_int_equal(f->result, 0);
	assert_null(front_find(&f->front, "/a"));
	assert_int_equal(f->link.n_mounted, n_mounted + 1); /* b */
}

/* Many that wait for their registries take no thread, and none of them keeps another one back. */
static void those_that_wait_hold_up_nobody_and_can_be_given_up(void **state)
{
	struct fixture *f = *state;
	const uint32_t n_waiting = 50;
	AUTO(free_str) char *good = xasprintf("%s/good", f->root);

	f->link.is_silent = true;
	for (uint32_t i = 0; i < n_waiting; i++) {
		char at[16];

		(void)snprintf(at, sizeof(at), "/w%" PRIu32, i);
		front_mount(&f->front, at, BOOTSTRAP, CONFIG, on_done, f);
	}
	assert_int_equal(fake_pool_n_waiting(f->front.mount_pool), n_waiting);
	settle(f);
	assert_int_equal(f->link.n_asked, 2 + n_waiting);
	f->link.is_silent = false;
	mount_it(f, "/good");
	instance_job_take_down(front_find(&f->front, "/w1")->coming);
	wait_for_done(f);
	assert_int_equal(f->result, -ECANCELED);
	assert_null(front_find(&f->front, "/w1"));
	assert_int_equal(f->link.n_unmounted, 1);
	front_give_up_for(&f->front, f); /* whoever wished for all the others hangs up */
	settle(f);
	assert_null(front_find(&f->front, "/w2"));
	assert_int_equal(f->link.n_unmounted, 1); /* the agent takes back what it has begun */
	assert_non_null(front_find(&f->front, "/good"));
	assert_int_equal(rmdir(good), 0);
}

/* Whoever wished for "/c" hangs up as the agent says that. @return how often it was unmounted */
static uint32_t hang_up_at(struct fixture *f, int says, bool found)
{
	f->link.mount_says = says;
	f->link.found = found;
	f->link.hangs_up_on = &f->front;
	f->link.n_unmounted = 0;
	f->n_done = 0;
	front_mount(&f->front, "/c", BOOTSTRAP, CONFIG, on_done, f);
	settle(f);
	wait_for_done(f);
	assert_int_equal(f->result, -ECANCELED);
	assert_null(front_find(&f->front, "/c"));
	return f->link.n_unmounted;
}

/* It is in use, or on its way up from the agent's list: nobody has said that it is to go. */
static void a_hang_up_takes_down_what_it_brought_and_nothing_else(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(hang_up_at(f, 0, false), 1);
	assert_int_equal(hang_up_at(f, 0, true), 0);
	assert_int_equal(hang_up_at(f, -EALREADY, false), 0);
}

/* The agent has said that it is mounted, and nobody has been told: whoever asks anew finds nothing.
 */
static void a_hang_up_behind_the_agents_answer_takes_it_down_too(void **state)
{
	struct fixture *f = *state;
	AUTO(free_str) char *dir = xasprintf("%s/c", f->root);

	f->link.hangs_up_late = f;
	front_mount(&f->front, "/c", BOOTSTRAP, CONFIG, on_done, f);
	settle(f);
	assert_int_equal(f->n_done, 1);
	assert_int_equal(f->result, -ECANCELED);
	assert_null(front_find(&f->front, "/c"));
	assert_int_equal(f->link.n_unmounted, 1);
	f->n_done = 0;
	f->link.hangs_up_late = NULL;
	mount_it(f, "/c");
	assert_int_equal(rmdir(dir), 0);
}

/* What was known before is asked for again for nobody: nobody who hangs up ends it. */
static void a_hang_up_ends_no_renewal_and_no_remount_that_is_done(void **state)
{
	struct fixture *f = *state;

	f->link.hangs_up_late = f;
	front_remount(&f->front, "/a", OTHER_BOOTSTRAP, CONFIG, on_done, f);
	settle(f);
	wait_for_done(f);
	assert_int_equal(f->result, 0);
	front_watch_renew(f->front.watch);
	f->link.hangs_up_late = f->front.watch;
	settle(f);
	assert_non_null(front_find(&f->front, "/a"));
	assert_non_null(front_find(&f->front, "/b"));
	assert_int_equal(f->link.n_unmounted, 0);
}

/* The agent takes back what it has begun to replace, which it is told in earnest. */
static void a_remount_whose_caller_hangs_up_is_confirmed(void **state)
{
	struct fixture *f = *state;
	const struct instance *a = front_find(&f->front, "/a");

	f->link.is_silent = true;
	front_remount(&f->front, "/a", OTHER_BOOTSTRAP, CONFIG, on_done, f);
	wait_for_jobs(f, 1);
	run_one(f);
	f->link.is_silent = false;
	f->link.n_mounted = 0;
	front_give_up_for(&f->front, f);
	wait_for_done(f);
	settle(f);
	assert_int_equal(f->result, -ECANCELED);
	assert_string_equal(json_str(a->wish, "bootstrap"), BOOTSTRAP);
	assert_int_equal(f->link.n_mounted, 1);
	assert_false(a->busy);
}

static void a_remount_that_waits_for_its_turn_ends_with_its_caller(void **state)
{
	struct fixture *f = *state;

	f->link.is_silent = true;
	front_watch_renew(f->front.watch);
	settle(f);
	assert_true(front_find(&f->front, "/a")->busy);
	front_remount(&f->front, "/a", OTHER_BOOTSTRAP, CONFIG, on_done, f);
	turn(f);
	assert_int_equal(f->n_done, 0);
	front_give_up_for(&f->front, f);
	wait_for_done(f);
	assert_int_equal(f->result, -ECANCELED);
	f->n_done = 0;
	front_stop(&f->front, on_done, f);
	wait_for_done(f);
}

/* Of what it unmounted itself it knows that; of the rest it finds notes when it is back. */
static void an_agent_that_dies_at_the_end_is_left_notes(void **state)
{
	struct fixture *f = *state;

	f->link.n_unmounts_max = 1;
	front_stop(&f->front, on_done, f);
	wait_for_done(f);
	assert_int_equal(f->link.n_unmounted, 1);
	assert_int_equal(f->link.n_noted, 1);
}

static void stop_it(struct fixture *f)
{
	f->n_done = 0;
	f->link.n_noted = 0;
	front_stop(&f->front, on_done, f);
	wait_for_done(f);
}

/* It would not come back after the agent's next start: who reads it would have it no more. Of one
 * that died in the middle of its answer nobody knows. */
static void of_what_the_agent_keeps_no_note_says_that_it_ended(void **state)
{
	struct fixture *f = *state;

	f->link.unmount_says = -EIO;
	stop_it(f);
	assert_int_equal(f->link.n_noted, 0);
	f->link.is_dead = true;
	stop_it(f);
	assert_int_equal(f->link.n_noted, 2);
}

static void of_credentials_those_that_came_last_count(void **state)
{
	struct fixture *f = *state;
	const struct instance *a = front_find(&f->front, "/a");

	front_remount(&f->front, "/a", OTHER_BOOTSTRAP, CONFIG, on_done, f);
	wait_for_jobs(f, 1);
	front_give(&f->front, "/a", NEW_AUTH, on_done, f);
	settle(f);
	assert_int_equal(f->n_done, 2);
	assert_string_equal(json_str(a->wish, "bootstrap"), OTHER_BOOTSTRAP);
	assert_string_equal(json_str(a->credentials, "username"), "new");
	assert_string_equal(f->link.given_to_a, "new");
	front_watch_renew(f->front.watch);
	front_give(&f->front, "/a", OLD_AUTH, on_done, f);
	settle(f);
	assert_string_equal(f->link.given_to_a, "old");
}

static void the_next_one_knows_of_what_a_mount_is_not_sure(void **state)
{
	struct fixture *f = *state;
	struct err e;
	json_t *known;
	json_t *older;

	front_find(&f->front, "/a")->unsure = true;
	known = front_state_json(&f->front);
	assert_int_equal(front_state_take(&f->front, known, &e), 0);
	assert_true(front_find(&f->front, "/a")->unsure);
	assert_false(front_find(&f->front, "/b")->unsure);
	/* As those wrote it that did not know the word. */
	older = json_deep_copy(known);
	(void)json_object_del(json_array_get(json_object_get(older, "mounts"), 0), "unsure");
	assert_int_equal(front_state_take(&f->front, older, &e), 0);
	assert_false(front_find(&f->front, "/a")->unsure);
	json_decref(known);
	json_decref(older);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_mount_that_cannot_be_confirmed_is_renewed_behind_the_others),
		TEST(a_mount_that_is_being_renewed_can_be_unmounted),
		TEST(those_that_wait_hold_up_nobody_and_can_be_given_up),
		TEST(a_hang_up_takes_down_what_it_brought_and_nothing_else),
		TEST(a_hang_up_behind_the_agents_answer_takes_it_down_too),
		TEST(a_hang_up_ends_no_renewal_and_no_remount_that_is_done),
		TEST(a_remount_whose_caller_hangs_up_is_confirmed),
		TEST(a_remount_that_waits_for_its_turn_ends_with_its_caller),
		TEST(an_agent_that_dies_at_the_end_is_left_notes),
		TEST(of_what_the_agent_keeps_no_note_says_that_it_ended),
		TEST(of_credentials_those_that_came_last_count),
		TEST(the_next_one_knows_of_what_a_mount_is_not_sure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
