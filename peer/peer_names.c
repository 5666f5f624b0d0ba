/*
 * peer_names: members are configured as HOST:PORT; what their names mean is asked again and again,
 * off the loop.
 *
 * getaddrinfo() takes as long as name servers are silent, and nothing ends it. So each round has a
 * thread of its own that nobody waits for: it owns what it touches, and when it is not wanted any
 * more it ends behind the name that it is at, and frees that.
 */
#include "log.h"
#include "mem.h"
#include "peer_impl.h"
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_MS       30000
#define AGAIN_FIRST_MS 2000 /* while nobody is there */
#define ADDRESSES_MAX  1024

struct answers {
	char **addresses;
	size_t n;
	bool failed; /* a name could not be resolved: what was known of it stays */
};

struct name_list {
	char **names; /* HOST:PORT */
	uint32_t n;
};

/* One round. The thread's until it is posted, or for good when it is unwanted; then the loop's. */
struct asking {
	pthread_mutex_t lock; /* guards the two flags; never held across a question */
	bool unwanted;
	bool posted;
	struct resolve *r; /* the loop's */
	struct loop *loop;
	struct loop_call call;
	struct name_list names;
	struct answers *answers; /* one a name */
};

struct resolve {
	struct peer *p;
	struct asking *asking; /* NULL: nothing is asked now */
	struct name_list names;
	struct name_list fresh; /* that count once the round is over; zero: there is no such list */
	struct timer timer;
};

static void answers_clear(struct answers *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->addresses[i]);
	free(a->addresses);
	*a = (struct answers){ .n = 0 };
}

static void add(struct answers *a, const struct addrinfo *info)
{
	char host[NI_MAXHOST];
	char port[NI_MAXSERV];

	if (a->n == ADDRESSES_MAX)
		return;
	if (getnameinfo(info->ai_addr, info->ai_addrlen, host, sizeof(host), port, sizeof(port),
	                NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return;
	a->addresses = xrealloc(a->addresses, a->n + 1, sizeof(a->addresses[0]));
	a->addresses[a->n++] = info->ai_family == AF_INET6 ? xasprintf("[%s]:%s", host, port)
	                                                   : xasprintf("%s:%s", host, port);
}

/* @param flags  AI_NUMERICHOST: nobody is asked, and names are not known */
static void look_up(struct answers *a, const char *host_port, int flags)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags };
	AUTO(free_str) char *host = xstrdup(host_port);
	struct addrinfo *list = NULL;
	char *colon = strrchr(host, ':');
	char *name = host;

	if (colon == NULL)
		return;
	*colon = '\0';
	if (host[0] == '[' && colon[-1] == ']') {
		colon[-1] = '\0';
		name++;
	}
	if (getaddrinfo(name, colon + 1, &hints, &list) != 0) {
		a->failed = true;
		return;
	}
	for (const struct addrinfo *info = list; info != NULL; info = info->ai_next)
		add(a, info);
	freeaddrinfo(list);
}

static void names_clear(struct name_list *list)
{
	for (uint32_t i = 0; i < list->n; i++)
		free(list->names[i]);
	free(list->names);
	*list = (struct name_list){ .n = 0 };
}

static struct name_list names_of(const char *const *members, uint32_t n_members, const char *dns)
{
	struct name_list list = { .names = xcalloc(n_members + (size_t)1, sizeof(char *)) };

	for (uint32_t i = 0; i < n_members; i++)
		list.names[list.n++] = xstrdup(members[i]);
	if (dns != NULL)
		list.names[list.n++] = xstrdup(dns);
	return list;
}

static void asking_free(struct asking *a)
{
	/* Its thread has let go of it by then. */
	(void)pthread_mutex_lock(&a->lock);
	(void)pthread_mutex_unlock(&a->lock);
	for (uint32_t i = 0; i < a->names.n; i++)
		answers_clear(&a->answers[i]);
	free(a->answers);
	names_clear(&a->names);
	(void)pthread_mutex_destroy(&a->lock);
	free(a);
}

static bool is_unwanted(struct asking *a)
{
	bool unwanted;

	(void)pthread_mutex_lock(&a->lock);
	unwanted = a->unwanted;
	(void)pthread_mutex_unlock(&a->lock);
	return unwanted;
}

static void *resolver(void *arg)
{
	struct asking *a = arg;
	bool unwanted;

	for (uint32_t i = 0; i < a->names.n && !is_unwanted(a); i++)
		look_up(&a->answers[i], a->names.names[i], 0);
	(void)pthread_mutex_lock(&a->lock);
	unwanted = a->unwanted;
	a->posted = !unwanted;
	if (!unwanted) /* while it is wanted the loop is there */
		loop_post(a->loop, &a->call);
	(void)pthread_mutex_unlock(&a->lock);
	if (unwanted)
		asking_free(a);
	return NULL;
}

/* Signals are the loop's. */
static int start_thread(struct asking *a)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all;
	sigset_t before;
	int r;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, &attr, resolver, a);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attr);
	return r;
}

/* The thread that is at it, if any, ends by itself. What it has posted comes, or is freed at the
 * end. */
static void unwant(struct resolve *r)
{
	struct asking *a = r->asking;

	if (a == NULL)
		return;
	(void)pthread_mutex_lock(&a->lock);
	a->unwanted = true;
	if (!a->posted)
		r->asking = NULL;
	(void)pthread_mutex_unlock(&a->lock);
}

static void tell(struct peer *p, const char *name, const struct answers *a)
{
	if (a->n > 0 || !a->failed)
		p->members->ops->resolved(p->members, name, (const char *const *)a->addresses,
		                          a->n);
}

/* Addresses are told at once, whatever name servers do. @return the others */
static struct name_list tell_addresses(struct resolve *r)
{
	struct name_list others = { .names = xcalloc(r->names.n, sizeof(char *)) };

	for (uint32_t i = 0; i < r->names.n; i++) {
		struct answers a = { .n = 0 };

		look_up(&a, r->names.names[i], AI_NUMERICHOST);
		if (a.n > 0)
			tell(r->p, r->names.names[i], &a);
		else
			others.names[others.n++] = xstrdup(r->names.names[i]);
		answers_clear(&a);
	}
	return others;
}

static void on_answers(struct loop_call *call);

static void begin(struct resolve *r)
{
	struct name_list names;
	struct asking *a;

	if (r->names.n == 0)
		return;
	names = tell_addresses(r);
	if (names.n == 0) {
		names_clear(&names);
		return;
	}
	a = xcalloc(1, sizeof(*a));
	(void)pthread_mutex_init(&a->lock, NULL);
	a->r = r;
	a->loop = r->p->opts.loop;
	a->call.fn = on_answers;
	a->names = names;
	a->answers = xcalloc(names.n, sizeof(a->answers[0]));
	r->asking = a;
	if (start_thread(a) == 0)
		return;
	r->asking = NULL;
	asking_free(a);
	log_warn(r->p->opts.log, "cannot look up the names of peers now", "error=%s",
	         "no more threads");
	timer_start(&r->timer, AGAIN_MS);
}

/* ---- names that are configured while it runs ---- */

static bool has_name(const struct name_list *list, const char *name)
{
	for (uint32_t i = 0; i < list->n; i++)
		if (strcmp(list->names[i], name) == 0)
			return true;
	return false;
}

/* Those that are new are asked at once, the others, too: one of them may have had what went. */
static void take_names(struct resolve *r, struct name_list *fresh)
{
	struct members *members = r->p->members;

	for (uint32_t i = 0; i < r->names.n; i++) {
		if (!has_name(fresh, r->names.names[i]))
			members->ops->resolved(members, r->names.names[i], NULL, 0);
	}
	names_clear(&r->names);
	r->names = *fresh;
	*fresh = (struct name_list){ .n = 0 };
	timer_stop(&r->timer);
	begin(r);
	peer_work_soon(r->p);
}

static void on_answers(struct loop_call *call)
{
	struct asking *a = container_of(call, struct asking, call);
	struct resolve *r = a->r;
	struct peer *p = r->p;

	r->asking = NULL;
	if (p->stopping) {
		asking_free(a);
		return;
	}
	if (r->fresh.names != NULL) {
		asking_free(a);
		take_names(r, &r->fresh);
		return;
	}
	for (uint32_t i = 0; i < a->names.n; i++)
		tell(p, a->names.names[i], &a->answers[i]);
	asking_free(a);
	timer_start(&r->timer, p->n_others > 0 ? AGAIN_MS : AGAIN_FIRST_MS);
	peer_work_soon(p);
}

static void on_timer(struct timer *t)
{
	struct resolve *r = container_of(t, struct resolve, timer);

	begin(r);
	peer_work_soon(r->p);
}

void peer_set_members(struct peer *p, const char *const *members, uint32_t n_members,
                      const char *dns)
{
	struct resolve *r = p->resolve;

	if (p->stopping)
		return;
	names_clear(&r->fresh);
	r->fresh = names_of(members, n_members, dns);
	unwant(r); /* the new ones do not wait for a name server that is silent on the old ones */
	if (r->asking == NULL)
		take_names(r, &r->fresh);
}

/* ---- the beginning and the end ---- */

void resolve_start(struct peer *p)
{
	struct resolve *r = xcalloc(1, sizeof(*r));

	p->resolve = r;
	r->p = p;
	r->names = names_of(p->opts.members, p->opts.n_members, p->opts.dns);
	timer_init(&r->timer, p->opts.loop, on_timer);
	begin(r);
}

void resolve_stop(struct peer *p)
{
	if (p->resolve == NULL)
		return;
	timer_stop(&p->resolve->timer);
	unwant(p->resolve);
}

void resolve_free(struct peer *p)
{
	struct resolve *r = p->resolve;

	p->resolve = NULL;
	if (r == NULL)
		return;
	unwant(r);
	if (r->asking != NULL) /* posted, and the loop does not turn any more */
		asking_free(r->asking);
	names_clear(&r->names);
	names_clear(&r->fresh);
	timer_fini(&r->timer);
	free(r);
}
