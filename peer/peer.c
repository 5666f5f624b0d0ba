/*
 * peer: the object: its parts, its one round of work, and what people see of it.
 */
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "peer_impl.h"
#include "renew.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SWEEP_NS         (10 * NS_PER_S)
#define TICK_MAX_MS      1000
#define TICK_MAX_BUSY_MS 25              /* while others are waited for: lateness is measured */
#define LATE_MIN_NS      (5 * NS_PER_MS) /* that is no lateness of the loop's */

void wire_id_text(const struct wire_id *id, char ret_text[PEER_NAME_BYTES])
{
	for (uint32_t i = 0; i < WIRE_ID_BYTES; i++)
		(void)snprintf(ret_text + (size_t)2 * i, 3, "%02x", id->b[i]);
}

/* ---- work ---- */

static uint64_t calm_now_ns(const struct clock *clock)
{
	const struct patience *patience =
		(const struct patience *)(const void *)((const char *)clock -
	                                                offsetof(struct patience, clock));

	const uint64_t ns = clock_now_ns(patience->real) - patience->lag_ns;

	if (ns > *patience->last_ns)
		*patience->last_ns = ns;
	return *patience->last_ns;
}

static void patience_init(struct peer *p, const struct clock *real)
{
	struct patience *patience = &p->patience;

	patience->last_ns = &p->patience_last_ns;
	patience->clock = (struct clock){ .now_ns = calm_now_ns, .wall_ms = real->wall_ms };
	patience->real = real;
}

static void measure_lag(struct peer *p)
{
	const uint64_t now = peer_now_ns(p);

	if (p->armed_ns != 0 && now > p->armed_ns + LATE_MIN_NS)
		p->patience.lag_ns += now - p->armed_ns;
	p->armed_ns = 0;
}

static void arm(struct peer *p, uint64_t due_ns, bool busy)
{
	const uint64_t now = peer_now_ns(p);
	uint64_t wait_ms = busy ? TICK_MAX_BUSY_MS : TICK_MAX_MS;

	if (due_ns <= now)
		wait_ms = 1;
	else if ((due_ns - now) / NS_PER_MS < wait_ms)
		wait_ms = (due_ns - now) / NS_PER_MS + 1;
	p->armed_ns = now + wait_ms * NS_PER_MS;
	timer_start(&p->timer, wait_ms);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static bool is_idle(const struct peer *p)
{
	return p->serves == NULL && p->meta_serves == NULL && !source_has_leases(p);
}

static void sweep(struct peer *p)
{
	const uint64_t now = peer_now_ns(p);

	if (now < p->sweep_ns)
		return;
	p->sweep_ns = now + SWEEP_NS;
	known_sweep(p->known);
}

static void work(struct loop_call *call)
{
	struct peer *p = container_of(call, struct peer, work);
	uint64_t home_ns;
	uint64_t due_ns;

	measure_lag(p);
	p->work_posted = false;
	links_members_work(p);
	ready_work(p);
	source_work(p);
	zone_work(p);
	home_work(p);
	serve_work(p);
	meta_work(p);
	meta_asks_work(p);
	sweep(p);
	if (p->draining && p->drained != NULL && is_idle(p)) {
		void (*drained)(void *arg) = p->drained;

		p->drained = NULL;
		drained(p->drained_arg);
	}
	if (p->stopping)
		return;
	home_ns = home_due_ns(p);
	due_ns = earlier(p->members->ops->tick(p->members), home_ns);
	due_ns = earlier(due_ns, earlier(source_due_ns(p), serve_due_ns(p)));
	due_ns = earlier(due_ns, zone_due_ns(p));
	due_ns = earlier(due_ns, packed_expire(p->packed, peer_now_ns(p)));
	due_ns = earlier(due_ns, earlier(meta_due_ns(p), meta_asks_due_ns(p)));
	due_ns = earlier(due_ns, earlier(links_due_ns(p), adverts_due_ns(p->adverts)));
	arm(p, due_ns, p->reqs != NULL || home_ns != UINT64_MAX);
}

void peer_work_soon(struct peer *p)
{
	if (p->work_posted)
		return;
	p->work_posted = true;
	loop_post(p->opts.loop, &p->work);
}

static void on_timer(struct timer *t)
{
	peer_work_soon(container_of(t, struct peer, timer));
}

/* ---- making it ---- */

static void on_known(void *arg, struct known *k)
{
	struct peer *p = arg;

	ready_on_known(p, k);
	source_on_known(p, k);
	peer_work_soon(p);
}

static int identify(struct peer *p, struct err *e)
{
	const struct tls_opts tls = { .ca_file = p->opts.tls_ca,
		                      .cert_file = p->opts.tls_cert,
		                      .key_file = p->opts.tls_key };
	struct err why;
	int r;

	if (p->opts.insecure) {
		r = tls_insecure_id(p->opts.state_dir, &p->self.self.id, e);
	} else {
		renew_start(p);
		r = tls_new(&tls, &p->tls, e);
		if (r == 0) {
			p->self.self.id = tls_own_id(p->tls);
			series_set(metrics_series(p->opts.metrics, METRIC_CERTIFICATE_END, NULL),
			           tls_end_s(p->tls));
		}
		if (r == 0 && tls_check(p->tls, &why) < 0)
			log_error(p->opts.log,
			          "no other agent will take this node's certificate; it reads from "
			          "registries alone",
			          "error=%s cert=%s ca=%s", LOG_Q(why.msg), LOG_Q(tls.cert_file),
			          LOG_Q(tls.ca_file));
	}
	if (r < 0)
		return r;
	wire_id_text(&p->self.self.id, p->self_name);
	if (getrandom(&p->self.self.generation, sizeof(p->self.self.generation), 0) < 0)
		return err_errno(e, errno, "no random bytes");
	p->self.min_version = WIRE_VERSION_OLDEST;
	p->self.max_version = WIRE_VERSION;
	(void)snprintf(p->self.self.zone, sizeof(p->self.self.zone), "%s", p->opts.zone);
	(void)snprintf(p->self.agent, sizeof(p->self.agent), "shoal %s", SHOAL_VERSION);
	return 0;
}

static void look_up_series(struct peer *p)
{
	static const char *const zones[] = { "same", "other" };
	static const char *const directions[] = { "in", "out" };
	static const char *const kinds[] = { "first", "again" };

	for (int i = 0; i < 2; i++) {
		struct metrics *m = p->opts.metrics;

		p->received[i] = metrics_series(m, METRIC_PEER_RECEIVED_BYTES, &zones[i]);
		p->sent[i] = metrics_series(m, METRIC_PEER_SENT_BYTES, &zones[i]);
		p->control[i] = metrics_series(m, METRIC_PEER_CONTROL_BYTES, &directions[i]);
		p->leased[i] = metrics_series(m, METRIC_LEASED_CHUNKS, &kinds[i]);
	}
	series_set(metrics_series(p->opts.metrics, METRIC_INSECURE, NULL), p->opts.insecure);
}

static void make_parts(struct peer *p)
{
	const struct known_table_opts known = { .pool = p->opts.pool, .made = on_known, .arg = p };
	const struct members_opts members = { .clock = p->opts.clock,
		                              .self = &p->self.self,
		                              .seed = p->self.self.generation };
	const struct home_opts home = { .clock = &p->patience.clock,
		                        .placement = p->placement,
		                        .self = p->self.self.id };
	const struct adverts_opts adverts = { .clock = p->opts.clock,
		                              .placement = p->placement,
		                              .self = p->self.self.id };

	p->known = known_table_new(&known);
	p->members = members_mesh_new(&members);
	p->home = home_new(&home);
	p->holders = holders_new(&p->patience.clock, &p->self.self.id);
	p->adverts = adverts_new(&adverts);
}

static void say_hello(const struct peer *p)
{
	log_info(p->opts.log, "peers", "id=%s listen=%s advertise=%s zone=%s tls=%s", p->self_name,
	         p->opts.listen, p->self.self.address, LOG_Q(p->opts.zone),
	         p->opts.insecure ? "no" : "yes");
	if (p->opts.insecure)
		log_warn(p->opts.log, "peers talk in plain text, without certificates",
		         "why=\"peers.insecure is set\"");
}

int peer_new(const struct peer_opts *opts, struct peer **ret_peer, struct err *e)
{
	AUTO(peer_free) struct peer *p = xcalloc(1, sizeof(*p));
	int r;

	p->opts = *opts;
	if (p->opts.zone == NULL)
		p->opts.zone = "";
	patience_init(p, opts->clock);
	p->source.ops = &peer_source_ops;
	p->meta_source.ops = &peer_meta_ops;
	p->work.fn = work;
	p->next_token = 1;
	p->next_self_req = 1;
	p->packs = true;
	p->upload.bytes_per_s = opts->upload_bytes_per_s;
	split_rate_set(&p->download, opts->download_bytes_per_s);
	(void)pthread_mutex_init(&p->ready_lock, NULL);
	p->placement = placement_new();
	p->packed = packed_new();
	timer_init(&p->timer, opts->loop, on_timer);
	ready_init(p);
	look_up_series(p);
	r = identify(p, e);
	if (r == 0)
		r = links_listen(p, e);
	if (r < 0)
		return err_wrap(e, "peers");
	make_parts(p);
	say_hello(p);
	resolve_start(p);
	peer_work_soon(p);
	*ret_peer = p;
	p = NULL;
	return 0;
}

void peer_stop(struct peer *p)
{
	if (p->stopping)
		return;
	p->stopping = true;
	timer_stop(&p->timer);
	renew_stop(p);
	resolve_stop(p);
	links_stop(p);
}

void peer_free(struct peer **peer)
{
	struct peer *p = *peer;

	*peer = NULL;
	if (p == NULL)
		return;
	renew_free(p);
	resolve_free(p);
	meta_asks_fini(p); /* while their connections are there */
	source_fini(p);    /* the same */
	links_abort(p);
	serves_free(p);
	meta_fini(p);
	ready_fini(p);
	packed_free(&p->packed);
	adverts_free(&p->adverts);
	holders_free(&p->holders);
	home_free(&p->home);
	members_free(&p->members);
	known_table_free(&p->known);
	placement_free(&p->placement);
	tls_free(&p->tls);
	timer_fini(&p->timer);
	(void)pthread_mutex_destroy(&p->ready_lock);
	free(p->traffic);
	free(p);
}

void peer_blame(struct peer *p, const struct wire_id *id, uint64_t size_bytes,
                enum holders_fault fault)
{
	char name[PEER_NAME_BYTES];
	const char *labels[] = { name, fault == HOLDERS_LIED ? "lied" : "wrong_bytes" };

	assert(fault == HOLDERS_LIED || fault == HOLDERS_WRONG_BYTES);
	wire_id_text(id, name);
	metrics_add(p->opts.metrics, METRIC_PEER_FAULTS, labels, 1);
	holders_fault(p->holders, id, size_bytes, fault);
	source_distrusts(p);
}

void peer_set_budgets(struct peer *p, uint64_t upload_bytes_per_s, uint64_t download_bytes_per_s)
{
	p->upload.bytes_per_s = upload_bytes_per_s;
	split_rate_set(&p->download, download_bytes_per_s);
	peer_work_soon(p);
}

void peer_look_at_certificate(struct peer *p)
{
	renew_look(p);
}

struct source *peer_source(struct peer *p)
{
	return &p->source;
}

struct meta_source *peer_meta_source(struct peer *p)
{
	return &p->meta_source;
}

/* ---- for people ---- */

void peer_drain(struct peer *p, void (*done)(void *arg), void *arg)
{
	const struct wire_msg drain = { .type = WIRE_DRAIN };
	struct link *l;

	p->drained = done;
	p->drained_arg = arg;
	if (!p->draining) {
		p->draining = true;
		p->self.draining = true;
		for (l = p->links; l != NULL; l = l->next) {
			if (l->open)
				conn_send(l->conn, &drain);
		}
		log_info(p->opts.log, "draining", "id=%s", p->self_name);
	}
	peer_work_soon(p);
}

void peer_drain_forget(struct peer *p)
{
	p->drained = NULL;
}

bool peer_is_draining(const struct peer *p)
{
	return p->draining;
}

static void count_leases(struct peer *p)
{
	struct home_stats stats;
	uint64_t now[2];

	home_stats(p->home, &stats);
	now[0] = stats.n_leased_first;
	now[1] = stats.n_leased_again;
	for (int i = 0; i < 2; i++) {
		series_add(p->leased[i], (int64_t)(now[i] - p->leased_counted[i]));
		p->leased_counted[i] = now[i];
	}
}

void peer_count_bytes(struct peer *p)
{
	for (struct link *l = p->links; l != NULL; l = l->next)
		link_count(l);
	count_leases(p);
}

void peer_count(struct peer *p)
{
	uint32_t n[N_MEMBER_STATES] = { 0 };
	struct member *list = xcalloc(MEMBERS_MAX, sizeof(*list));
	size_t n_members = p->members->ops->list(p->members, list, MEMBERS_MAX);

	if (n_members > MEMBERS_MAX)
		n_members = MEMBERS_MAX;
	for (size_t i = 0; i < n_members; i++)
		n[list[i].state]++;
	free(list);
	for (enum member_state s = 0; s < N_MEMBER_STATES; s++) {
		const char *name = member_state_name(s);

		if (s != MEMBER_SELF)
			series_set(metrics_series(p->opts.metrics, METRIC_PEERS, &name), n[s]);
	}
	peer_count_bytes(p);
}

static void add_holding(struct peer *p, const struct wire_id *id, struct peer_info *info)
{
	const uint64_t now = peer_calm_ns(p); /* as holders count it */
	struct holders_peer h = { .first_byte_p95_ns = 0 };
	uint64_t until_ns;

	holders_peer(p->holders, id, &h);
	info->first_byte_us = h.first_byte_p95_ns / 1000;
	info->rate_bytes_per_s = h.rate_bytes_per_s;
	info->n_failed = h.n_faults[HOLDERS_FAILED];
	info->n_missed = h.n_faults[HOLDERS_MISSED];
	info->n_lied = h.n_faults[HOLDERS_LIED];
	info->n_wrong_bytes = h.n_faults[HOLDERS_WRONG_BYTES];
	until_ns = h.distrusted_until_ns > h.broken_until_ns ? h.distrusted_until_ns
	                                                     : h.broken_until_ns;
	info->paused_ms = until_ns > now ? (until_ns - now) / NS_PER_MS : 0;
}

static void add_traffic(const struct peer *p, const struct wire_id *id, struct peer_info *info)
{
	for (uint32_t i = 0; i < p->n_traffic; i++) {
		if (!id_equal(&p->traffic[i].id, id))
			continue;
		info->received_bytes = p->traffic[i].received_bytes;
		info->sent_bytes = p->traffic[i].sent_bytes;
	}
}

static void tell_one(struct peer *p, const struct member *m,
                     void (*fn)(void *arg, const struct peer_info *info), void *arg)
{
	struct peer_info info = { .state = member_state_name(m->state),
		                  .zone = m->zone,
		                  .address = m->n_addresses > 0 ? m->addresses[0] : "" };
	const struct link *l = link_to(p, &m->id);

	wire_id_text(&m->id, info.name);
	if (m->state == MEMBER_SELF)
		info.address = p->self.self.address;
	if (l != NULL)
		info.rtt_us = conn_counts(l->conn)->rtt_ns / 1000;
	add_holding(p, &m->id, &info);
	add_traffic(p, &m->id, &info);
	fn(arg, &info);
}

void peer_list(struct peer *p, void (*fn)(void *arg, const struct peer_info *info), void *arg)
{
	struct member *list = xcalloc(MEMBERS_MAX, sizeof(*list));
	size_t n;

	peer_count(p);
	n = p->members->ops->list(p->members, list, MEMBERS_MAX);
	for (size_t i = 0; i < n && i < MEMBERS_MAX; i++)
		tell_one(p, &list[i], fn, arg);
	free(list);
}

const char *peer_self_name(const struct peer *p)
{
	return p->self_name;
}

uint16_t peer_port(const struct peer *p)
{
	return listener_port(p->listener);
}
