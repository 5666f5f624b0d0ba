/*
 * registry_host: what is known of one server: its settings, and when it may be asked again.
 *
 * All on the loop thread. Pure but for the clock value and the metrics that it is given.
 */
#pragma once
#include "auto.h"
#include "registry.h"
#include "registry_config.h"
#include <stdint.h>

#define HOSTS_MAX 4096

struct registry_host {
	char *name;                    /* "HOST[:PORT]" */
	struct registry_config config; /* its own entry, else that of "*", else the defaults */
	bool own_entry;
	bool is_registry;       /* or a mirror; else others only lead there */
	bool ranges_ignored;    /* said once in the log */
	uint64_t not_before_ns; /* Retry-After */
	uint64_t bad_until_ns;  /* a mirror that failed: passed over until then */
	uint64_t slot_ns;       /* requests_per_s: when the next request's turn is */
	struct registry_host *next;
};

struct registry_hosts {
	const struct registry_config *configs; /* borrowed */
	uint32_t n_configs;
	uint32_t n_hosts;
	struct registry_host *first;
};
void registry_hosts_free(struct registry_hosts *hosts); /* what it holds; zeroed is fine */

/** Other entries from now on, for servers that are known, too; borrowed. Requests that run may
 * still use texts of the old ones. */
void registry_hosts_configure(struct registry_hosts *hosts, const struct registry_config *configs,
                              uint32_t n_configs);

/** A registry or a mirror, made when asked for first. @return NULL: there are HOSTS_MAX already */
struct registry_host *registry_host_get(struct registry_hosts *hosts, const char *name);

/** Likewise, of a server that a registry leads to: what "*" says of the number of requests is not
 * meant for it. */
struct registry_host *registry_host_led_to(struct registry_hosts *hosts, const char *name);

/** @return NULL: not known so far */
struct registry_host *registry_host_find(const struct registry_hosts *hosts, const char *name);

/**
 * May a request go out now? If so it takes its share of requests_per_s.
 * @return 0; else how long to wait before asking this again, ns
 */
uint64_t registry_host_admit(struct registry_host *host, uint64_t now_ns);

/** It said 429 or 503. retry_after_s < 0: it did not say how long. */
void registry_host_busy(struct registry_host *host, int64_t retry_after_s, uint64_t now_ns);

/** A request to that server is over, or was cancelled once it was sent. status 0: no answer came */
void registry_host_count(struct metrics *metrics, const char *name, long status);
