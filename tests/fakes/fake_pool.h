/*
 * fake_pool: pool.h without threads: jobs wait until the test says so.
 *
 * Add ../fakes/fake_pool.c to the test's SOURCES: its pool_new(), pool_submit() and pool_free() are
 * linked in place of base's. One thread, the test's own, does all.
 *
 *   r = pool_new(loop, 4, "work", &pool, &e);   (loop may be NULL)
 *   ... the code under test calls pool_submit() ...
 *   assert_int_equal(fake_pool_drain(pool), 1);  one job's work has run
 *
 * With a loop, after is posted to it as by the real pool: fake_pool_settle() turns both until
 * neither has anything to do. Without a loop, after runs inside fake_pool_drain().
 */
#pragma once
#include "pool.h"
#include <stdint.h>

/** Run the jobs that are waiting, and those that they submit, readers first. @return how many */
uint32_t fake_pool_drain(struct pool *pool);

/** Run the one job that is due next. @return 0: there is none */
uint32_t fake_pool_run_one(struct pool *pool);

/** How many jobs wait. */
uint32_t fake_pool_n_waiting(const struct pool *pool);

/**
 * Jobs, calls posted to the loop and what libevent has ready now (no waiting for time or network),
 * until all is still. @return how many jobs ran
 */
uint32_t fake_pool_settle(struct pool *pool);
