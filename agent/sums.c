/*
 * sums: the counters by source, and how the live document calls them.
 */
#include "sums.h"
#include "clock.h"
#include "mem.h"

static const char *const zones[SUMS_N_ZONES] = { "same", "other" };
static const char *const leased[SUMS_N_LEASED] = { "first", "again" };

static void take(const struct metrics *m, enum metric_id id, const char *const *values, size_t n,
                 uint64_t *ret_sums)
{
	for (size_t i = 0; i < n; i++)
		ret_sums[i] = (uint64_t)metrics_sum_where(m, id, values[i]);
}

static uint64_t waited_ms(const struct metrics *m)
{
	return (metrics_sum_ns_where(m, METRIC_READ_SECONDS, fetch_found_names[FOUND_PEER]) +
	        metrics_sum_ns_where(m, METRIC_READ_SECONDS, fetch_found_names[FOUND_ORIGIN])) /
	       NS_PER_MS;
}

void sums_take(const struct metrics *m, uint64_t uptime_ms, struct sums *ret_sums)
{
	struct sums *s = ret_sums;

	s->uptime_ms = uptime_ms;
	take(m, METRIC_READ_BYTES, fetch_found_names, N_FOUND, s->read_bytes);
	take(m, METRIC_CHUNK_BYTES, fetch_found_names, N_FOUND, s->chunk_bytes);
	take(m, METRIC_VERIFY_FAILURES, fetch_found_names, N_FOUND, s->verify_failures);
	take(m, METRIC_PEER_RECEIVED_BYTES, zones, SUMS_N_ZONES, s->peer_received_bytes);
	take(m, METRIC_PEER_SENT_BYTES, zones, SUMS_N_ZONES, s->peer_sent_bytes);
	take(m, METRIC_LEASED_CHUNKS, leased, SUMS_N_LEASED, s->leased_chunks);
	s->origin_received_bytes = (uint64_t)metrics_sum(m, METRIC_ORIGIN_RECEIVED_BYTES);
	s->origin_data_bytes = (uint64_t)metrics_sum_at(m, METRIC_ORIGIN_RECEIVED_BYTES, 1, "data");
	s->origin_unique_bytes = (uint64_t)metrics_sum(m, METRIC_ORIGIN_UNIQUE_BYTES);
	s->origin_requests = (uint64_t)metrics_sum(m, METRIC_ORIGIN_REQUESTS);
	s->dedup_saved_bytes = (uint64_t)metrics_sum(m, METRIC_DEDUP_SAVED_BYTES);
	s->waited_ms = waited_ms(m);
}

static void tell(json_t *object, const char *name, const char *const *keys, size_t n,
                 const uint64_t *sums)
{
	json_t *inner = json_object();

	for (size_t i = 0; i < n; i++)
		json_set_u64(inner, keys[i], sums[i]);
	(void)json_object_set_new(object, name, inner);
}

void sums_tell(const struct sums *s, json_t *object)
{
	json_set_u64(object, "uptime_ms", s->uptime_ms);
	tell(object, "read_bytes", fetch_found_names, N_FOUND, s->read_bytes);
	tell(object, "chunk_bytes", fetch_found_names + 1, N_FOUND - 1, s->chunk_bytes + 1);
	tell(object, "verify_failures", fetch_found_names, N_FOUND, s->verify_failures);
	tell(object, "peer_received_bytes", zones, SUMS_N_ZONES, s->peer_received_bytes);
	tell(object, "peer_sent_bytes", zones, SUMS_N_ZONES, s->peer_sent_bytes);
	tell(object, "leased_chunks", leased, SUMS_N_LEASED, s->leased_chunks);
	json_set_u64(object, "origin_received_bytes", s->origin_received_bytes);
	json_set_u64(object, "origin_data_bytes", s->origin_data_bytes);
	json_set_u64(object, "origin_unique_bytes", s->origin_unique_bytes);
	json_set_u64(object, "origin_requests", s->origin_requests);
	json_set_u64(object, "dedup_saved_bytes", s->dedup_saved_bytes);
	json_set_u64(object, "waited_ms", s->waited_ms);
}
