/*
 * renew: see the header.
 */
#include "renew.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define RENEW_LOOK_MS 60000
#define N_FILES       3

/* What a file's replacement changes. */
struct trace {
	uint64_t inode;
	int64_t size_bytes;
	struct timespec changed;
};

struct renew {
	struct job job;
	struct timer timer;
	struct peer *p;
	struct tls_opts files;
	struct trace seen[N_FILES];
	bool busy;
	bool again; /* somebody asked meanwhile */
	/* the job's */
	struct tls *fresh; /* NULL: nothing is new */
	bool changed;      /* the files; else they could not be used, and are read once more */
	int result;
	struct err err;
	struct err told; /* the loop's: what the log says of files that did not change since */
};

static void trace_file(const char *path, struct trace *t)
{
	struct stat st;

	memset(t, 0, sizeof(*t));
	if (stat(path, &st) != 0)
		return;
	t->inode = st.st_ino;
	t->size_bytes = st.st_size;
	t->changed.tv_sec = st.st_mtim.tv_sec;
	t->changed.tv_nsec = st.st_mtim.tv_nsec;
}

static bool traces_equal(const struct trace *a, const struct trace *b)
{
	for (int i = 0; i < N_FILES; i++) {
		if (a[i].inode != b[i].inode || a[i].size_bytes != b[i].size_bytes ||
		    a[i].changed.tv_sec != b[i].changed.tv_sec ||
		    a[i].changed.tv_nsec != b[i].changed.tv_nsec)
			return false;
	}
	return true;
}

static void trace_files(const struct tls_opts *files, struct trace *ret_traces)
{
	trace_file(files->ca_file, &ret_traces[0]);
	trace_file(files->cert_file, &ret_traces[1]);
	trace_file(files->key_file, &ret_traces[2]);
}

/* [worker] */
static void look_work(struct job *job)
{
	struct renew *n = container_of(job, struct renew, job);
	struct trace now[N_FILES];

	trace_files(&n->files, now);
	n->changed = !traces_equal(n->seen, now);
	if (!n->changed && n->result == 0)
		return;
	memcpy(n->seen, now, sizeof(now));
	n->result = tls_new(&n->files, &n->fresh, &n->err);
	if (n->result == 0)
		n->result = tls_check(n->fresh, &n->err);
}

/* Once a minute would be too often for the same trouble. */
static void tell(struct renew *n)
{
	if (!n->changed && strcmp(n->told.msg, n->err.msg) == 0)
		return;
	n->told = n->err;
	log_warn(n->p->opts.log, "the certificate that is there now is not used", "error=%s",
	         LOG_Q(n->err.msg));
}

static void take(struct renew *n)
{
	struct peer *p = n->p;

	if (n->result == 0 && n->fresh != NULL)
		n->result = tls_replace(p->tls, n->fresh, &n->err);
	if (n->result < 0) {
		tell(n);
	} else if (n->fresh != NULL) {
		series_set(metrics_series(p->opts.metrics, METRIC_CERTIFICATE_END, NULL),
		           tls_end_s(p->tls));
		log_info(p->opts.log, "certificate renewed", "id=%s end_s=%lld", p->self_name,
		         (long long)tls_end_s(p->tls));
	}
	tls_free(&n->fresh);
}

static void begin(struct renew *n);

static void look_after(struct job *job)
{
	struct renew *n = container_of(job, struct renew, job);

	n->busy = false;
	if (n->p->stopping)
		return;
	take(n);
	if (n->again)
		begin(n);
	else
		timer_start(&n->timer, RENEW_LOOK_MS);
}

static void begin(struct renew *n)
{
	n->busy = true;
	n->again = false;
	n->job = (struct job){ .work = look_work, .after = look_after, .prio = JOB_NORMAL };
	pool_submit(n->p->opts.desk, &n->job);
}

static void on_look(struct timer *t)
{
	begin(container_of(t, struct renew, timer));
}

void renew_start(struct peer *p)
{
	struct renew *n = xcalloc(1, sizeof(*n));

	p->renew = n;
	n->p = p;
	n->files = (struct tls_opts){ .ca_file = p->opts.tls_ca,
		                      .cert_file = p->opts.tls_cert,
		                      .key_file = p->opts.tls_key };
	trace_files(&n->files, n->seen);
	timer_init(&n->timer, p->opts.loop, on_look);
	timer_start(&n->timer, RENEW_LOOK_MS);
}

void renew_look(struct peer *p)
{
	struct renew *n = p->renew;

	if (n == NULL || p->stopping)
		return;
	timer_stop(&n->timer);
	if (n->busy)
		n->again = true;
	else
		begin(n);
}

void renew_stop(struct peer *p)
{
	if (p->renew != NULL)
		timer_stop(&p->renew->timer);
}

void renew_free(struct peer *p)
{
	struct renew *n = p->renew;

	p->renew = NULL;
	if (n == NULL)
		return;
	timer_fini(&n->timer);
	tls_free(&n->fresh);
	free(n);
}
