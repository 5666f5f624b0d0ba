/*
 * hooks: see the header. Who runs a hook is counted before it looks whether they are on; who turns
 * them off looks at the count afterwards: so one of the two sees the other.
 */
#include "hooks.h"
#include "state.h"

void hooks_init(struct hooks *h)
{
	(void)pthread_mutex_init(&h->lock, NULL);
	(void)pthread_cond_init(&h->none, NULL);
}

void hooks_fini(struct hooks *h)
{
	(void)pthread_cond_destroy(&h->none);
	(void)pthread_mutex_destroy(&h->lock);
}

void hooks_on(struct hooks *h, const struct cas_hooks *to)
{
	h->to = *to;
	atomic_store(&h->is_on, true);
}

void hooks_off(struct hooks *h)
{
	atomic_store(&h->is_on, false);
	(void)pthread_mutex_lock(&h->lock);
	while (atomic_load(&h->n_running) > 0)
		(void)pthread_cond_wait(&h->none, &h->lock);
	(void)pthread_mutex_unlock(&h->lock);
}

static void leave(struct hooks *h)
{
	if (atomic_fetch_sub(&h->n_running, 1) > 1 || atomic_load(&h->is_on))
		return;
	(void)pthread_mutex_lock(&h->lock);
	(void)pthread_cond_broadcast(&h->none);
	(void)pthread_mutex_unlock(&h->lock);
}

void hooks_ready(struct hooks *h, struct cas_blob *blob, uint32_t chunk_idx)
{
	atomic_fetch_add(&h->n_running, 1);
	if (atomic_load(&h->is_on) && h->to.on_ready != NULL)
		h->to.on_ready(h->to.arg, blob, chunk_idx);
	leave(h);
}

void hooks_gone(struct hooks *h, struct cas_blob *blob, uint32_t chunk_idx)
{
	atomic_fetch_add(&h->n_running, 1);
	if (atomic_load(&h->is_on) && h->to.on_gone != NULL)
		h->to.on_gone(h->to.arg, blob, chunk_idx);
	leave(h);
}

void cas_hooks_on(struct cas *cas, const struct cas_hooks *hooks)
{
	hooks_on(&cas->hooks, hooks);
}

void cas_hooks_off(struct cas *cas)
{
	if (cas != NULL)
		hooks_off(&cas->hooks);
}
