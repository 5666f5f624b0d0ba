/*
 * settings_table: every setting of shoald, once. The parser, its checks, --help and docs/config.md
 * are made from these rows.
 *
 * X(name, type, field, unit, min, max, default, choices, text)
 * type: TEXT, PATH (absolute), ADDRESS (IP:PORT or off), NUMBER (min..max), BOOL, CHOICE (one of
 * choices, separated by '|'), LIST (of texts). default: as it would stand in the file, NULL: none.
 */
#pragma once

#define SETTING_BYTES_MAX (UINT64_C(1) << 60)

#define SETTINGS_TABLE(X)                                                                          \
	X("state_dir", PATH, state_dir, "", 0, 0, "/var/lib/shoal", NULL,                          \
	  "Where the cache, the images' metadata, the database and the list of mounts live. One "  \
	  "agent a directory.")                                                                    \
	X("api.socket", PATH, api_socket, "", 0, 0, "/run/shoal/api.sock", NULL,                   \
	  "The unix socket of the HTTP API (0600: who can use it can mount).")                     \
	X("http.listen", ADDRESS, http_listen, "", 0, 0, "127.0.0.1:9464", NULL,                   \
	  "Where the live page, /metrics, /healthz and /readyz are served over TCP, to whoever "   \
	  "reaches it; \"off\": nowhere.")                                                         \
	X("log.level", CHOICE, log_level, "", 0, 0, "info", "error|warn|info|debug",               \
	  "What is logged.")                                                                       \
	X("cache.quota_bytes", NUMBER, cache_quota_bytes, "bytes", 0, SETTING_BYTES_MAX, "0",      \
	  NULL, "Disk space that blobs may take; 0: up to the reserve that stays free.")           \
	X("cache.reserve_bytes", NUMBER, cache_reserve_bytes, "bytes", 0, SETTING_BYTES_MAX,       \
	  "1073741824", NULL, "What stays free on the file system of the state directory.")        \
	X("cache.high_watermark_percent", NUMBER, cache_high_watermark_percent, "percent", 1, 100, \
	  "95", NULL,                                                                              \
	  "Eviction starts above this share of what blobs may take (the quota, or less where the " \
	  "reserve leaves less).")                                                                 \
	X("cache.low_watermark_percent", NUMBER, cache_low_watermark_percent, "percent", 1, 100,   \
	  "85", NULL, "Eviction stops below this share of it. Less than the high watermark.")      \
	X("cache.dedup", BOOL, cache_dedup, "", 0, 0, "true", NULL,                                \
	  "Share chunks that another image on this node has already.")                             \
	X("images.allow_unverified", BOOL, images_allow_unverified, "", 0, 0, "false", NULL,       \
	  "Mount images that carry no digests at all. Their bytes are counted and never shared.")  \
	X("mount", CHOICE, mount, "", 0, 0, "tree", "auto|tree|erofs",                             \
	  "How images are mounted: tree (FUSE); auto: by the kernel's EROFS where a trial at the " \
	  "start worked and the image allows it, else as a tree; erofs: the trial is not asked.")  \
	X("keeper.socket", PATH, keeper_socket, "", 0, 0, NULL, NULL,                              \
	  "Socket of a shoal-keeper, which holds mounts while shoald is killed or replaced; "      \
	  "none: "                                                                                 \
	  "mounts end with shoald. docs/take-over.md.")                                            \
	X("keeper.start", BOOL, keeper_start, "", 0, 0, "true", NULL,                              \
	  "Start a keeper where none answers at keeper.socket.")                                   \
	X("read.timeout_ms", NUMBER, read_timeout_ms, "ms", 100, 3600000, "30000", NULL,           \
	  "After this a blocked reader gets EIO, never earlier while a source may answer.")        \
	X("peers.listen", ADDRESS, peers_listen, "", 0, 0, "off", NULL,                            \
	  "Where other agents reach this one; \"off\": this node is alone.")                       \
	X("peers.advertise", TEXT, peers_advertise, "", 0, 0, NULL, NULL,                          \
	  "The address that other agents are told; none: the first that is not loopback.")         \
	X("peers.members", LIST, peers_members, "", 0, 0, NULL, NULL,                              \
	  "Other agents, HOST:PORT each.")                                                         \
	X("peers.dns", TEXT, peers_dns, "", 0, 0, NULL, NULL,                                      \
	  "A name whose addresses are the other agents, with port.")                               \
	X("peers.zone", TEXT, peers_zone, "", 0, 0, "", NULL,                                      \
	  "Peers of the same zone are asked first.")                                               \
	X("peers.tls.ca", PATH, peers_tls_ca, "", 0, 0, NULL, NULL, "PEM of the cluster's CA.")    \
	X("peers.tls.cert", PATH, peers_tls_cert, "", 0, 0, NULL, NULL,                            \
	  "PEM of this node's certificate.")                                                       \
	X("peers.tls.key", PATH, peers_tls_key, "", 0, 0, NULL, NULL,                              \
	  "PEM of this node's private key.")                                                       \
	X("peers.insecure", BOOL, peers_insecure, "", 0, 0, "false", NULL,                         \
	  "Plain TCP without certificates, for trials.")                                           \
	X("limits.origin_bytes_per_s", NUMBER, limits_origin_bytes_per_s, "bytes/s", 0,            \
	  SETTING_BYTES_MAX, "0", NULL,                                                            \
	  "Budget for what origins send; 0: none. Blocked readers come first.")                    \
	X("limits.upload_bytes_per_s", NUMBER, limits_upload_bytes_per_s, "bytes/s", 0,            \
	  SETTING_BYTES_MAX, "0", NULL, "Budget for what peers are sent; 0: none.")                \
	X("limits.download_bytes_per_s", NUMBER, limits_download_bytes_per_s, "bytes/s", 0,        \
	  SETTING_BYTES_MAX, "0", NULL, "Budget for what peers send; 0: none.")

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
	X("host", TEXT, host, "", 0, 0, NULL, NULL,                                                \
	  "HOST[:PORT] that this entry is about; \"*\": every other host. Must be there.")         \
	X("scheme", CHOICE, scheme, "", 0, 0, "https", "https|http", "How it is spoken to.")       \
	X("ca_file", PATH, ca_file, "", 0, 0, NULL, NULL,                                          \
	  "PEM file of the CAs to trust; none: the system's.")                                     \
	X("username", TEXT, username, "", 0, 0, NULL, NULL,                                        \
	  "With password_file: credentials for this host.")                                        \
	X("password_file", PATH, password_file, "", 0, 0, NULL, NULL,                              \
	  "Its first line is the password; read again when it changes and on a 401.")              \
	X("docker_config", PATH, docker_config, "", 0, 0, NULL, NULL,                              \
	  "A docker config.json; none: that of the user that shoald runs as.")                     \
	X("proxy", TEXT, proxy, "", 0, 0, NULL, NULL, "URL of an HTTP proxy.")                     \
	X("mirrors", LIST, mirrors, "", 0, 0, NULL, NULL,                                          \
	  "Hosts that are asked first: as their own entries say, else as this one does.")          \
	X("requests_per_s", NUMBER, requests_per_s, "requests/s", 0, 1000000, "0", NULL,           \
	  "Budget of requests to this host; 0: none.")                                             \
	X("share_metadata", CHOICE, share_metadata, "", 0, 0, "public", "public|cluster|never",    \
	  "Whose metadata (manifests, bootstraps, what is read first) peers may have: public "     \
	  "(what was obtained anonymously), cluster (all), never.")
