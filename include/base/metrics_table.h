/*
 * metrics_table: every metric, once. Names and meanings are fixed by the outside face of shoal.
 *
 * X(id, type, prometheus name, comma-separated label names, help); type: COUNTER, GAUGE, HISTOGRAM
 */
#pragma once

#define METRICS_TABLE(X)                                                                           \
	X(READ_BYTES, COUNTER, "shoal_read_bytes_total", "source,image",                           \
	  "Bytes handed to readers, by where they were found when the reader asked.")              \
	X(READ_SECONDS, HISTOGRAM, "shoal_read_seconds", "source", "Time of reads.")               \
	X(CHUNKS, COUNTER, "shoal_chunks_total", "source", "Chunks made ready here.")              \
	X(CHUNK_BYTES, COUNTER, "shoal_chunk_bytes_total", "source",                               \
	  "Uncompressed bytes of the chunks made ready here.")                                     \
	X(ORIGIN_RECEIVED_BYTES, COUNTER, "shoal_origin_received_bytes_total", "origin,kind",      \
	  "Bytes of chunks (data) and of blob metas and indexes (meta) received from origins.")    \
	X(ORIGIN_UNIQUE_BYTES, COUNTER, "shoal_origin_unique_bytes_total", "",                     \
	  "Packed bytes of what origins brought and was absent here: the least that they could "   \
	  "have sent (as data).")                                                                  \
	X(ORIGIN_REQUESTS, COUNTER, "shoal_origin_requests_total", "origin,code",                  \
	  "Requests to origins by HTTP status; 0: no answer.")                                     \
	X(STALE_TAGS, COUNTER, "shoal_stale_tags_total", "",                                       \
	  "Images that were mounted as their tag meant when its registry answered last.")          \
	X(VERIFY_FAILURES, COUNTER, "shoal_verify_failures_total", "source",                       \
	  "Chunks whose digest did not match.")                                                    \
	X(DEDUP_SAVED_BYTES, COUNTER, "shoal_dedup_saved_bytes_total", "",                         \
	  "Uncompressed bytes shared with other blobs here instead of fetched.")                   \
	X(CACHE_BYTES, GAUGE, "shoal_cache_bytes", "",                                             \
	  "Disk space that blobs take, each shared extent counted once.")                          \
	X(CACHE_QUOTA_BYTES, GAUGE, "shoal_cache_quota_bytes", "",                                 \
	  "Disk space that blobs may take; 0: up to the reserve.")                                 \
	X(CACHE_FULL, GAUGE, "shoal_cache_full", "",                                               \
	  "1 while the disk takes no more chunks and reads go through memory.")                    \
	X(CACHE_PINNED_BYTES, GAUGE, "shoal_cache_pinned_bytes", "",                               \
	  "Of shoal_cache_bytes: what pinned images take, which is never evicted.")                \
	X(CACHE_EVICTED_BYTES, COUNTER, "shoal_cache_evicted_bytes_total", "",                     \
	  "Disk space that was freed by eviction.")                                                \
	X(PEER_RECEIVED_BYTES, COUNTER, "shoal_peer_received_bytes_total", "zone",                 \
	  "Chunk payload received from peers, as on the wire, by their zone.")                     \
	X(PEER_SENT_BYTES, COUNTER, "shoal_peer_sent_bytes_total", "zone",                         \
	  "Chunk payload sent to peers, as on the wire, by their zone.")                           \
	X(PEER_CONTROL_BYTES, COUNTER, "shoal_peer_control_bytes_total", "direction",              \
	  "Everything else between peers, TLS and TCP framing not counted.")                       \
	X(LEASED_CHUNKS, COUNTER, "shoal_leased_chunks_total", "kind",                             \
	  "Chunks that this agent, as their home, let somebody fetch from an origin; kind: "       \
	  "first, "                                                                                \
	  "again.")                                                                                \
	X(PEER_FAULTS, COUNTER, "shoal_peer_faults_total", "peer,kind",                            \
	  "What this agent holds against others, by their id; kind: wrong_bytes, lied.")           \
	X(PEERS, GAUGE, "shoal_peers", "state", "Other agents by state.")                          \
	X(CERTIFICATE_END, GAUGE, "shoal_certificate_end_seconds", "",                             \
	  "When this node's certificate ends, in seconds since 1970; 0: it has none.")             \
	X(KEEPER, GAUGE, "shoal_keeper", "",                                                       \
	  "1 where a keeper holds the mounts, so that they outlive the agent; else 0.")            \
	X(INSECURE, GAUGE, "shoal_insecure", "", "1 where peers talk without TLS.")                \
	X(FETCHES_IN_FLIGHT, GAUGE, "shoal_fetches_in_flight", "", "Fetch units being fetched.")   \
	X(READERS_WAITING, GAUGE, "shoal_readers_waiting", "", "Reads that wait for chunks.")      \
	X(UNVERIFIED_BYTES, COUNTER, "shoal_unverified_bytes_total", "",                           \
	  "Bytes of images without digests that were served without a check.")
