/*
 * The way of a question over the desk, and back with a document or an error.
 */
#include "api.h"
#include "fake_pool.h"
#include "mem.h"
#include <errno.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
	struct loop *loop;
	struct agent agent;
	struct api api;
	struct api_call call;
	json_t *document; /* ours, too */
	int says;
	json_t *answer;
	int failed;
};

/* ---- in place of what is asked ---- */

void api_reply(struct api_call *call, json_t *document)
{
	container_of(call, struct fixture, call)->answer = document;
}

void api_fail(struct api_call *call, int r, const struct err *why)
{
	(void)why;
	container_of(call, struct fixture, call)->failed = r;
}

static int work(struct agent *agent, const json_t *params, json_t **ret_document, struct err *e)
{
	const struct fixture *f = container_of(agent, struct fixture, agent);

	(void)params;
	*ret_document = json_incref(f->document); /* as far as it has come */
	return f->says < 0 ? err_set(e, -f->says, "as the test says") : 0;
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err e;

	assert_int_equal(loop_new(&f->loop, &e), 0);
	assert_int_equal(pool_new(f->loop, 1, "desk", &f->agent.desk, &e), 0);
	f->api.agent = &f->agent;
	f->call.api = &f->api;
	f->document = json_object();
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	json_drop(&f->answer);
	json_drop(&f->document);
	pool_free(&f->agent.desk);
	loop_free(&f->loop);
	free(f);
	return 0;
}

static void what_was_asked_is_answered_with_its_document(void **state)
{
	struct fixture *f = *state;

	api_work(&f->call, work, NULL);
	assert_null(f->answer);
	fake_pool_settle(f->agent.desk);
	assert_ptr_equal(f->answer, f->document);
	assert_int_equal(f->failed, 0);
}

static void of_a_question_that_fails_no_document_is_left(void **state)
{
	struct fixture *f = *state;

	f->says = -EIO;
	api_work(&f->call, work, NULL);
	fake_pool_settle(f->agent.desk);
	assert_int_equal(f->failed, -EIO);
	assert_null(f->answer);
	assert_int_equal(f->document->refcount, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_asked_is_answered_with_its_document,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_a_question_that_fails_no_document_is_left,
		                                set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
