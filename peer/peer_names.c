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

struct name_list {
	char **names; /* HOST:PORT */
	uint32_t n;
};

struct resolve {
	struct peer *p;
	struct job job;
	bool is_asking; /* the desk has names and answers */
	struct name_list names;
	struct name_list fresh;  /* that count once the desk is done ... */
	bool has_fresh;          /* ... if there are any */
	struct answers *answers; /* one a name */
	struct timer timer;
};

static void resolve_after(struct job *job);

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

	for (uint32_t i = 0; i < r->names.n; i++)
		look_up(&r->answers[i], r->names.names[i]);
}

static void tell(struct peer *p, const char *name, struct answers *a)
{
	if (a->n > 0 || !a->failed)
		p->members->ops->resolved(p->members, name, (const char *const *)a->addresses,
		                          a->n);
	answers_clear(a);
}

static void begin(struct resolve *r)
{
	if (r->names.n == 0)
		return;
	r->is_asking = true;
	r->job = (struct job){ .work = resolve_work, .after = resolve_after, .prio = JOB_NORMAL };
	pool_submit(r->p->opts.desk, &r->job);
}

/* ---- names that are configured while it runs ---- */

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
		answers_clear(&r->answers[i]);
		if (!has_name(fresh, r->names.names[i]))
			members->ops->resolved(members, r->names.names[i], NULL, 0);
	}
	names_clear(&r->names);
	free(r->answers);
	r->names = *fresh;
	*fresh = (struct name_list){ .n = 0 };
	r->answers = xcalloc(r->names.n + (size_t)1, sizeof(r->answers[0]));
	timer_stop(&r->timer);
	begin(r);
	peer_work_soon(r->p);
}

static void resolve_after(struct job *job)
{
	struct resolve *r = container_of(job, struct resolve, job);
	struct peer *p = r->p;

	r->is_asking = false;
	if (p->stopping)
		return;
	if (r->has_fresh) {
		r->has_fresh = false;
		take_names(r, &r->fresh);
		return;
	}
	for (uint32_t i = 0; i < r->names.n; i++)
		tell(p, r->names.names[i], &r->answers[i]);
	timer_start(&r->timer, p->n_others > 0 ? AGAIN_MS : AGAIN_FIRST_MS);
	peer_work_soon(p);
}

static void on_timer(struct timer *t)
{
	begin(container_of(t, struct resolve, timer));
}

void peer_set_members(struct peer *p, const char *const *members, uint32_t n_members,
                      const char *dns)
{
	struct resolve *r = p->resolve;

	if (p->stopping)
		return;
	names_clear(&r->fresh);
	r->fresh = names_of(members, n_members, dns);
	r->has_fresh = r->is_asking;
	if (!r->is_asking)
		take_names(r, &r->fresh);
}

/* ---- the beginning and the end ---- */

void resolve_start(struct peer *p)
{
	struct resolve *r = xcalloc(1, sizeof(*r));

	p->resolve = r;
	r->p = p;
	r->names = names_of(p->opts.members, p->opts.n_members, p->opts.dns);
	r->answers = xcalloc(r->names.n + (size_t)1, sizeof(r->answers[0]));
	timer_init(&r->timer, p->opts.loop, on_timer);
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
	for (uint32_t i = 0; i < r->names.n; i++)
		answers_clear(&r->answers[i]);
	names_clear(&r->names);
	names_clear(&r->fresh);
	free(r->answers);
	timer_fini(&r->timer);
	free(r);
}
