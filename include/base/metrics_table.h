/*
 * metrics_table: every metric, once. Names and meanings are part of shoal's public interface.
 *
 * X(id, type, prometheus name, comma-separated label names, the values of each label, help)
 * type: COUNTER, GAUGE, HISTOGRAM. Values of one label are separated by commas, labels by "; ". Of
 * a metric with one label all values stand here: the page has each of its series from the start.
 */
#pragma once

#define METRICS_TABLE(X)                                                                           \
	X(READ_BYTES, COUNTER, "shoal_read_bytes_total", "source,image",                           \
	  "cache, dedup, peer, origin; the image's name, other",                                   \
	  "Bytes handed to readers, by where they were found when the reader asked. other: "       \
	  "of images beyond the first 250 that are mounted at once.")                              \
	X(READ_SECONDS, HISTOGRAM, "shoal_read_seconds", "source", "cache, dedup, peer, origin",   \
	  "How long reads took.")                                                                  \
	X(CHUNKS, COUNTER, "shoal_chunks_total", "source", "dedup, peer, origin",                  \
	  "Chunks made ready here.")                                                               \
	X(CHUNK_BYTES, COUNTER, "shoal_chunk_bytes_total", "source", "dedup, peer, origin",        \
	  "Uncompressed bytes of the chunks made ready here.")                                     \
	X(ORIGIN_RECEIVED_BYTES, COUNTER, "shoal_origin_received_bytes_total", "origin,kind",      \
	  "a host, dir; data, meta",                                                               \
	  "Bytes received from origins: chunks (data), and blob metas and indexes "                \
	  "(meta).")                                                                               \
	X(ORIGIN_UNIQUE_BYTES, COUNTER, "shoal_origin_unique_bytes_total", "", "",                 \
	  "Packed bytes of what origins sent and this node did not have: the least "               \
	  "data that they could have sent.")                                                       \
	X(ORIGIN_REQUESTS, COUNTER, "shoal_origin_requests_total", "origin,code",                  \
	  "a host; the HTTP status, 0: no answer, or cancelled before it", "Requests to origins.") \
	X(STALE_TAGS, COUNTER, "shoal_stale_tags_total", "", "",                                   \
	  "Images that were mounted by a tag as it was when the registry last answered.")          \
	X(VERIFY_FAILURES, COUNTER, "shoal_verify_failures_total", "source",                       \
	  "cache, dedup, peer, origin",                                                            \
	  "How often (not how many bytes) a chunk, or a unit of several, did not match "           \
	  "its digest when it arrived, was to be shared, or was checked in the cache. "            \
	  "peer: also metadata of an image; cache: also a chunk whose data shoal "                 \
	  "verify did not find or could not read.")                                                \
	X(DEDUP_SAVED_BYTES, COUNTER, "shoal_dedup_saved_bytes_total", "", "",                     \
	  "Uncompressed bytes that were shared with other blobs on this node instead "             \
	  "of fetched.")                                                                           \
	X(CACHE_BYTES, GAUGE, "shoal_cache_bytes", "", "",                                         \
	  "Disk space that blobs take. A shared extent counts once.")                              \
	X(CACHE_QUOTA_BYTES, GAUGE, "shoal_cache_quota_bytes", "", "",                             \
	  "Disk space that blobs may take (cache.quota_bytes); 0: all but the reserve.")           \
	X(CACHE_ROOM_BYTES, GAUGE, "shoal_cache_room_bytes", "", "",                               \
	  "Disk space that blobs may take now: the quota, or less if the file system "             \
	  "leaves less.")                                                                          \
	X(CACHE_FULL, GAUGE, "shoal_cache_full", "", "",                                           \
	  "1 while no more chunks fit on the disk and reads go through memory; "                   \
	  "otherwise 0.")                                                                          \
	X(CACHE_PINNED_BYTES, GAUGE, "shoal_cache_pinned_bytes", "", "",                           \
	  "The part of shoal_cache_bytes that pinned images take. It is never evicted.")           \
	X(CACHE_EVICTED_BYTES, COUNTER, "shoal_cache_evicted_bytes_total", "", "",                 \
	  "Disk space that eviction freed.")                                                       \
	X(PEER_RECEIVED_BYTES, COUNTER, "shoal_peer_received_bytes_total", "zone", "same, other",  \
	  "Bytes of chunks received from peers, as on the wire, by the peers' zone.")              \
	X(PEER_SENT_BYTES, COUNTER, "shoal_peer_sent_bytes_total", "zone", "same, other",          \
	  "Bytes of chunks sent to peers, as on the wire, by the peers' zone.")                    \
	X(PEER_CONTROL_BYTES, COUNTER, "shoal_peer_control_bytes_total", "direction", "in, out",   \
	  "All other bytes between peers, without the framing of TLS and TCP.")                    \
	X(LEASED_CHUNKS, COUNTER, "shoal_leased_chunks_total", "kind", "first, again",             \
	  "Chunks that this agent, as their home, let some node fetch from an origin: "            \
	  "for the first time, or again.")                                                         \
	X(PEER_FAULTS, COUNTER, "shoal_peer_faults_total", "peer,kind",                            \
	  "an id; wrong_bytes, lied",                                                              \
	  "Faults that this agent found in other agents, by their id.")                            \
	X(PEERS, GAUGE, "shoal_peers", "state", "up, draining, suspect, down, heard-of",           \
	  "How many other agents are in each state.")                                              \
	X(CERTIFICATE_END, GAUGE, "shoal_certificate_end_seconds", "", "",                         \
	  "When this node's certificate expires, in seconds since 1970; 0: it has none.")          \
	X(KEEPER, GAUGE, "shoal_keeper", "", "",                                                   \
	  "1 if a keeper holds the mounts, so that they outlive the agent; otherwise 0.")          \
	X(MOUNTS, GAUGE, "shoal_mounts", "kept", "yes, no, off",                                   \
	  "How many images are mounted, by whether a keeper holds the mount. no: there is no "     \
	  "keeper, or the kernel cannot hand mounts over: the mount ends with the agent. off: "    \
	  "keeper.socket is none.")                                                                \
	X(INSECURE, GAUGE, "shoal_insecure", "", "", "1 if peers talk without TLS; otherwise 0.")  \
	X(FETCHES_IN_FLIGHT, GAUGE, "shoal_fetches_in_flight", "", "",                             \
	  "Fetch units being fetched.")                                                            \
	X(READERS_WAITING, GAUGE, "shoal_readers_waiting", "", "",                                 \
	  "Reads that are waiting for chunks.")                                                    \
	X(UNVERIFIED_BYTES, COUNTER, "shoal_unverified_bytes_total", "", "",                       \
	  "Bytes that were served unchecked, of images without digests.")
