/*
 * settings_table: every setting of shoald, once. The parser, its checks, --help and docs/config.md
 * are made from these rows.
 *
 * X(name, type, field, unit, min, max, default, choices, text)
 * type: TEXT, WORD (printable ASCII without a blank) and PATH (absolute), all of max bytes at most
 * where max is not 0; ADDRESS (IP:PORT or off), IP_PORT (that others can dial), HOST_PORT, NUMBER
 * (min..max), BOOL, CHOICE (one of choices, separated by '|'), HOST_PORTS (a list of HOST_PORT),
 * REGISTRY (HOST[:PORT] or "*"), REGISTRIES (a list, without "*"), PROXY (its URL). default: as it
 * would stand in the file, NULL: none.
 */
#pragma once

#define SETTING_BYTES_MAX  (UINT64_C(1) << 60)
#define SETTING_SOCKET_MAX 107 /* bytes of a unix socket's path, and ... */
#define SETTING_KEEPER_MAX 103 /* ... of the keeper's, which comes to be as PATH.new */

#define SETTINGS_TABLE(X)                                                                          \
	X("state_dir", PATH, state_dir, "", 0, 0, "/var/lib/shoal", NULL,                          \
	  "The directory with the cache, the images' metadata, the database and the "              \
	  "list of mounts. Each agent needs its own.")                                             \
	X("api.socket", PATH, api_socket, "", 0, SETTING_SOCKET_MAX, "/run/shoal/api.sock", NULL,  \
	  "The unix socket of the HTTP API. Its mode is 0600: whoever can use it can "             \
	  "mount.")                                                                                \
	X("http.listen", ADDRESS, http_listen, "", 0, 0, "127.0.0.1:9464", NULL,                   \
	  "The TCP address of the live page, /metrics, /healthz and /readyz, without a "           \
	  "password; \"off\": none.")                                                              \
	X("log.level", CHOICE, log_level, "", 0, 0, "info", "error|warn|info|debug",               \
	  "The least severe messages that are logged.")                                            \
	X("cache.quota_bytes", NUMBER, cache_quota_bytes, "bytes", 0, SETTING_BYTES_MAX, "0",      \
	  NULL, "Disk space that blobs may take; 0: all but the reserve.")                         \
	X("cache.reserve_bytes", NUMBER, cache_reserve_bytes, "bytes", 0, SETTING_BYTES_MAX,       \
	  "1073741824", NULL,                                                                      \
	  "Space that is kept free on the file system of the state directory.")                    \
	X("cache.high_watermark_percent", NUMBER, cache_high_watermark_percent, "percent", 1, 100, \
	  "95", NULL,                                                                              \
	  "Eviction starts when blobs take more than this share of what they may take "            \
	  "(the quota, or less if the reserve leaves less).")                                      \
	X("cache.low_watermark_percent", NUMBER, cache_low_watermark_percent, "percent", 1, 100,   \
	  "85", NULL, "Eviction stops below this share. Must be less than the high watermark.")    \
	X("cache.dedup", BOOL, cache_dedup, "", 0, 0, "true", NULL,                                \
	  "Share chunks that another image on this node already has.")                             \
	X("images.allow_unverified", BOOL, images_allow_unverified, "", 0, 0, "false", NULL,       \
	  "Also mount images that have no digests at all. Their bytes are counted, and "           \
	  "never shared.")                                                                         \
	X("mount", CHOICE, mount, "", 0, 0, "tree", "auto|tree|erofs",                             \
	  "How images are mounted. tree: by FUSE; auto: by the kernel's EROFS if a "               \
	  "trial at the start worked and the image allows it, otherwise as a tree; "               \
	  "erofs: the same without the trial.")                                                    \
	X("keeper.socket", PATH, keeper_socket, "", 0, SETTING_KEEPER_MAX, NULL, NULL,             \
	  "The socket of a shoal-keeper, which holds the mounts while shoald is killed "           \
	  "or replaced; none: mounts end with shoald. See docs/take-over.md.")                     \
	X("keeper.start", BOOL, keeper_start, "", 0, 0, "true", NULL,                              \
	  "Start a keeper if none answers at keeper.socket.")                                      \
	X("read.timeout_ms", NUMBER, read_timeout_ms, "ms", 100, 3600000, "30000", NULL,           \
	  "How long a read waits before it fails with EIO, as long as a source may "               \
	  "still answer. While its bytes arrive slowly it waits longer, at most ten "              \
	  "times this.")                                                                           \
	X("peers.listen", ADDRESS, peers_listen, "", 0, 0, "off", NULL,                            \
	  "The address at which other agents reach this one; \"off\": this node has no "           \
	  "peers.")                                                                                \
	X("peers.advertise", IP_PORT, peers_advertise, "", 0, 0, NULL, NULL,                       \
	  "The address that other agents are told; none: the node's first one that is "            \
	  "not loopback.")                                                                         \
	X("peers.members", HOST_PORTS, peers_members, "", 0, 0, NULL, NULL,                        \
	  "Addresses of other agents; one is enough to meet all.")                                 \
	X("peers.dns", HOST_PORT, peers_dns, "", 0, 0, NULL, NULL,                                 \
	  "A DNS name that has the addresses of the other agents, and their port.")                \
	X("peers.zone", WORD, peers_zone, "", 0, 63, "", NULL,                                     \
	  "The name of this node's zone. Peers of the same zone are asked first.")                 \
	X("peers.tls.ca", PATH, peers_tls_ca, "", 0, 0, NULL, NULL,                                \
	  "PEM file with the cluster's CA.")                                                       \
	X("peers.tls.cert", PATH, peers_tls_cert, "", 0, 0, NULL, NULL,                            \
	  "PEM file with this node's certificate.")                                                \
	X("peers.tls.key", PATH, peers_tls_key, "", 0, 0, NULL, NULL,                              \
	  "PEM file with this node's private key.")                                                \
	X("peers.insecure", BOOL, peers_insecure, "", 0, 0, "false", NULL,                         \
	  "Use plain TCP without certificates. For trials only.")                                  \
	X("limits.origin_bytes_per_s", NUMBER, limits_origin_bytes_per_s, "bytes/s", 0,            \
	  SETTING_BYTES_MAX, "0", NULL,                                                            \
	  "Limit for what registries and other origins send; 0: none. Blocked readers "            \
	  "come first.")                                                                           \
	X("limits.upload_bytes_per_s", NUMBER, limits_upload_bytes_per_s, "bytes/s", 0,            \
	  SETTING_BYTES_MAX, "0", NULL, "Limit for what this node sends to peers; 0: none.")       \
	X("limits.download_bytes_per_s", NUMBER, limits_download_bytes_per_s, "bytes/s", 0,        \
	  SETTING_BYTES_MAX, "0", NULL, "Limit for what peers send to this node; 0: none.")

/* What counts at once when the file is read again (SIGHUP); everything else needs a restart. The
 * agent acts on these in agent_config_changed(), shoald_main.c on log.level. */
#define SETTINGS_AT_ONCE(X)                                                                        \
	X("log.level")                                                                             \
	X("registries")                                                                            \
	X("cache.quota_bytes")                                                                     \
	X("cache.reserve_bytes")                                                                   \
	X("cache.high_watermark_percent")                                                          \
	X("cache.low_watermark_percent")                                                           \
	X("images.allow_unverified")                                                               \
	X("mount")                                                                                 \
	X("read.timeout_ms")                                                                       \
	X("peers.members")                                                                         \
	X("peers.dns")                                                                             \
	X("limits.origin_bytes_per_s")                                                             \
	X("limits.upload_bytes_per_s")                                                             \
	X("limits.download_bytes_per_s")

/* The keys of one entry of `registries`. */
#define REGISTRY_SETTINGS_TABLE(X)                                                                 \
	X("host", REGISTRY, host, "", 0, 0, NULL, NULL,                                            \
	  "HOST[:PORT] that this entry is for; \"*\": all hosts without an entry. "                \
	  "Required.")                                                                             \
	X("scheme", CHOICE, scheme, "", 0, 0, "https", "https|http", "The protocol to use.")       \
	X("ca_file", PATH, ca_file, "", 0, 0, NULL, NULL,                                          \
	  "PEM file with the CAs to trust; none: the system's.")                                   \
	X("username", TEXT, username, "", 0, 0, NULL, NULL,                                        \
	  "User name for this host; needs password_file.")                                         \
	X("password_file", PATH, password_file, "", 0, 0, NULL, NULL,                              \
	  "A file whose first line is the password; read again when it changes and on "            \
	  "a 401.")                                                                                \
	X("docker_config", PATH, docker_config, "", 0, 0, NULL, NULL,                              \
	  "A docker config.json with credentials; none: that of the user that shoald "             \
	  "runs as.")                                                                              \
	X("proxy", PROXY, proxy, "", 0, 0, NULL, NULL, "URL of an HTTP proxy for this host.")      \
	X("mirrors", REGISTRIES, mirrors, "", 0, 0, NULL, NULL,                                    \
	  "Hosts to ask first. A mirror without an entry of its own uses this entry's "            \
	  "settings.")                                                                             \
	X("requests_per_s", NUMBER, requests_per_s, "requests/s", 0, 1000000, "0", NULL,           \
	  "Limit for the requests to this host; 0: none.")                                         \
	X("share_metadata", CHOICE, share_metadata, "", 0, 0, "public", "public|cluster|never",    \
	  "Which images' metadata (manifests, bootstraps, lists of first reads) peers "            \
	  "may have. public: only of images that were obtained anonymously; cluster: "             \
	  "of all; never: of none.")
