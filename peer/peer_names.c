/*
 * peer_names: members are configured as HOST:PORT; what their names mean is asked again and again,
 * off the loop.
 */
#include "log.h"
#include "mem.h"
#include "peer_impl.h"
#include <netdb.h>
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

struct resolve {
	struct peer *p;
	struct job job;
	char **names;            /* HOST:PORT */
	struct answers *answers; /* one a name */
	uint32_t n_names;
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

static void look_up(struct answers *a, const char *host_port)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
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

static void resolve_work(struct job *job) /* desk */
{
	struct resolve *r = container_of(job, struct resolve, job);

	for (uint32_t i = 0; i < r->n_names; i++)
		look_up(&r->answers[i], r->names[i]);
}

static void tell(struct peer *p, const char *name, struct answers *a)
{
	if (a->n > 0 || !a->failed)
		p->members->ops->resolved(p->members, name, (const char *const *)a->addresses,
		                          a->n);
	answers_clear(a);
}

static void resolve_after(struct job *job)
{
	struct resolve *r = container_of(job, struct resolve, job);
	struct peer *p = r->p;

	if (p->stopping)
		return;
	for (uint32_t i = 0; i < r->n_names; i++)
		tell(p, r->names[i], &r->answers[i]);
	timer_start(&r->timer, p->n_others > 0 ? AGAIN_MS : AGAIN_FIRST_MS);
	peer_work_soon(p);
}

static void begin(struct resolve *r)
{
	r->job = (struct job){ .work = resolve_work, .after = resolve_after, .prio = JOB_NORMAL };
	pool_submit(r->p->opts.desk, &r->job);
}

static void on_timer(struct timer *t)
{
	begin(container_of(t, struct resolve, timer));
}

void resolve_start(struct peer *p)
{
	struct resolve *r = xcalloc(1, sizeof(*r));

	p->resolve = r;
	r->p = p;
	r->names = xcalloc(p->opts.n_members + (size_t)1, sizeof(r->names[0]));
	r->answers = xcalloc(p->opts.n_members + (size_t)1, sizeof(r->answers[0]));
	for (uint32_t i = 0; i < p->opts.n_members; i++)
		r->names[r->n_names++] = xstrdup(p->opts.members[i]);
	if (p->opts.dns != NULL)
		r->names[r->n_names++] = xstrdup(p->opts.dns);
	timer_init(&r->timer, p->opts.loop, on_timer);
	if (r->n_names > 0)
		begin(r);
}

void resolve_stop(struct peer *p)
{
	if (p->resolve != NULL)
		timer_stop(&p->resolve->timer);
}

void resolve_free(struct peer *p)
{
	struct resolve *r = p->resolve;

	p->resolve = NULL;
	if (r == NULL)
		return;
	for (uint32_t i = 0; i < r->n_names; i++) {
		free(r->names[i]);
		answers_clear(&r->answers[i]);
	}
	free(r->names);
	free(r->answers);
	timer_fini(&r->timer);
	free(r);
}
