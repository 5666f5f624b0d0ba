/*
 * one_thread: what a test program gets that tests/CMakeLists.txt does not list in THREAD_TESTS: it
 * fails where it starts a thread after all, as ThreadSanitizer would never see it. Also libraries
 * find this one first.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr,
                   void *(*start)(void *), void *restrict arg)
{
	(void)thread;
	(void)attr;
	(void)start;
	(void)arg;
	(void)fputs("a thread is started by a test that is not in THREAD_TESTS "
	            "(tests/CMakeLists.txt)\n",
	            stderr);
	abort();
}
