/*
 * share_map: see the header. Knows names and blobs; knows neither files nor rows.
 */
#include "share_map.h"
#include "blob.h"
#include "bytes.h"
#include "mem.h"
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define N_SHARDS      64U
#define BUCKETS_FIRST 64U

struct share_entry {
	uint8_t name[PUBLIC_NAME_BYTES];
	struct share_entry *next;
	struct cas_blob *blob; /* NULL: not in the map */
};

struct shard {
	pthread_mutex_t mutex; /* guards all below, and the entries of these names */
	struct share_entry **buckets;
	uint32_t n_buckets; /* a power of two */
	uint32_t n_entries;
};

struct share_map {
	uint64_t seed; /* odd: nobody outside knows which names meet in a bucket */
	struct shard shards[N_SHARDS];
};

struct share_map *share_map_new(void)
{
	struct share_map *m = xcalloc(1, sizeof(*m));

	if (getrandom(&m->seed, sizeof(m->seed), GRND_NONBLOCK) != (ssize_t)sizeof(m->seed))
		m->seed = UINT64_C(0x9e3779b97f4a7c15);
	m->seed |= 1;
	for (uint32_t i = 0; i < N_SHARDS; i++) {
		(void)pthread_mutex_init(&m->shards[i].mutex, NULL);
		m->shards[i].n_buckets = BUCKETS_FIRST;
		m->shards[i].buckets = xcalloc(BUCKETS_FIRST, sizeof(struct share_entry *));
	}
	return m;
}

void share_map_free(struct share_map **m)
{
	if (*m == NULL)
		return;
	for (uint32_t i = 0; i < N_SHARDS; i++) {
		(void)pthread_mutex_destroy(&(*m)->shards[i].mutex);
		free((*m)->shards[i].buckets);
	}
	free(*m);
	*m = NULL;
}

static struct shard *shard_of(struct share_map *m, const uint8_t *name)
{
	return &m->shards[name[0] % N_SHARDS];
}

static struct share_entry **bucket_of(const struct share_map *m, const struct shard *s,
                                      const uint8_t *name)
{
	const uint64_t mixed = (le64(name) ^ le64(name + 8)) * m->seed;

	return &s->buckets[(mixed >> 32) & (s->n_buckets - 1)];
}

/* With the shard's mutex held. Without memory the chains grow longer, no more. */
static void grow(struct share_map *m, struct shard *s)
{
	struct shard wider = *s;

	if (s->n_entries < s->n_buckets || s->n_buckets > UINT32_MAX / 4)
		return;
	wider.n_buckets = s->n_buckets * 2;
	wider.buckets = calloc(wider.n_buckets, sizeof(struct share_entry *));
	if (wider.buckets == NULL)
		return;
	for (uint32_t i = 0; i < s->n_buckets; i++) {
		struct share_entry *entry = s->buckets[i];

		while (entry != NULL) {
			struct share_entry *next = entry->next;
			struct share_entry **to = bucket_of(m, &wider, entry->name);

			entry->next = *to;
			*to = entry;
			entry = next;
		}
	}
	free(s->buckets);
	s->buckets = wider.buckets;
	s->n_buckets = wider.n_buckets;
}

static bool is_in(const struct share_entry *chain, const uint8_t *name, const struct cas_blob *blob)
{
	while (chain != NULL &&
	       (chain->blob != blob || memcmp(chain->name, name, PUBLIC_NAME_BYTES) != 0))
		chain = chain->next;
	return chain != NULL;
}

static void put_in(struct share_map *m, struct cas_blob *blob, struct share_entry *entry,
                   const uint8_t *name)
{
	struct shard *s = shard_of(m, name);
	struct share_entry **bucket;

	(void)pthread_mutex_lock(&s->mutex);
	grow(m, s);
	bucket = bucket_of(m, s, name);
	if (entry->blob == NULL && !is_in(*bucket, name, blob)) {
		memcpy(entry->name, name, PUBLIC_NAME_BYTES);
		entry->blob = blob;
		entry->next = *bucket;
		*bucket = entry;
		s->n_entries++;
	}
	(void)pthread_mutex_unlock(&s->mutex);
}

/* The array, made by whoever comes first. */
static struct share_entry *entries_of(struct cas_blob *blob, uint32_t n_chunks)
{
	struct share_entry *entries = atomic_load(&blob->entries);
	struct share_entry *mine;

	if (entries != NULL)
		return entries;
	mine = calloc((size_t)n_chunks + 1, sizeof(*mine));
	if (mine == NULL || atomic_compare_exchange_strong(&blob->entries, &entries, mine))
		return mine;
	free(mine);
	return entries;
}

int share_map_add(struct share_map *m, struct cas_blob *blob, struct err *e)
{
	const struct blob_layout *l = blob_layout(blob);
	struct share_entry *entries = entries_of(blob, l->n_chunks);
	struct public_namer *namer;

	if (entries == NULL)
		return err_set(e, ENOMEM, "names of %" PRIu32 " chunks: out of memory",
		               l->n_chunks);
	namer = public_namer_new();
	for (uint32_t i = 0; i < l->n_chunks; i++) {
		const struct chunk_rec *c = &l->chunks[i];
		uint8_t name[PUBLIC_NAME_BYTES];

		if (c->plain_size_bytes == 0 || !(c->flags & CHUNK_HAS_DIGEST))
			continue;
		public_name(namer, l->digest_alg, c->digest, c->plain_size_bytes, name);
		put_in(m, blob, &entries[i], name);
	}
	public_namer_free(&namer);
	return 0;
}

static void take_out(struct share_map *m, struct share_entry *entry)
{
	struct shard *s = shard_of(m, entry->name);
	struct share_entry **at;

	(void)pthread_mutex_lock(&s->mutex);
	at = bucket_of(m, s, entry->name);
	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	s->n_entries--;
	(void)pthread_mutex_unlock(&s->mutex);
}

void share_map_remove(struct share_map *m, struct cas_blob *blob)
{
	struct share_entry *entries = atomic_load(&blob->entries);

	for (uint32_t i = 0; entries != NULL && i < blob_layout(blob)->n_chunks; i++)
		if (entries[i].blob != NULL)
			take_out(m, &entries[i]);
	atomic_store(&blob->entries, NULL);
	free(entries);
}

void share_map_each(struct share_map *m, const uint8_t name[PUBLIC_NAME_BYTES],
                    bool (*fn)(void *arg, struct cas_blob *blob, uint32_t chunk_idx), void *arg)
{
	struct shard *s = shard_of(m, name);

	(void)pthread_mutex_lock(&s->mutex);
	for (const struct share_entry *entry = *bucket_of(m, s, name); entry != NULL;
	     entry = entry->next) {
		const struct share_entry *first;

		if (memcmp(entry->name, name, PUBLIC_NAME_BYTES) != 0)
			continue;
		first = atomic_load_explicit(&entry->blob->entries, memory_order_relaxed);
		if (!fn(arg, entry->blob, (uint32_t)(entry - first)))
			break;
	}
	(void)pthread_mutex_unlock(&s->mutex);
}

bool share_map_name(const struct cas_blob *blob, uint32_t chunk_idx,
                    uint8_t ret_name[PUBLIC_NAME_BYTES])
{
	const struct share_entry *entries = atomic_load(&blob->entries);
	const struct blob_layout *l = blob_layout(blob);
	const struct chunk_rec *c = &l->chunks[chunk_idx];
	struct public_namer *namer;

	if (entries == NULL || !(c->flags & CHUNK_HAS_DIGEST))
		return false;
	namer = public_namer_new();
	public_name(namer, l->digest_alg, c->digest, c->plain_size_bytes, ret_name);
	public_namer_free(&namer);
	return true;
}

void share_map_each_of(struct share_map *m, const struct cas_blob *blob, uint32_t chunk_idx,
                       bool (*fn)(void *arg, struct cas_blob *blob, uint32_t chunk_idx), void *arg)
{
	uint8_t name[PUBLIC_NAME_BYTES];

	if (share_map_name(blob, chunk_idx, name))
		share_map_each(m, name, fn, arg);
}
