/*
 * registry_host: a short list of servers, each with its politeness. Knows no requests, but counts
 * them.
 */
#include "registry_host.h"
#include "bytes.h"
#include "clock.h"
#include "mem.h"
#include "metrics.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUSY_DEFAULT_NS (1 * NS_PER_S)

static const struct registry_config *config_of(const struct registry_hosts *hosts, const char *name)
{
	for (uint32_t i = 0; i < hosts->n_configs; i++)
		if (strcmp(hosts->configs[i].host, name) == 0)
			return &hosts->configs[i];
	return NULL;
}

static void set_config(const struct registry_hosts *hosts, struct registry_host *host)
{
	const struct registry_config *config = config_of(hosts, host->name);

	host->own_entry = config != NULL;
	if (config == NULL)
		config = config_of(hosts, "*");
	if (config != NULL)
		host->config = *config;
	else
		host->config = (struct registry_config){ .scheme = NULL };
	if (host->config.scheme == NULL)
		host->config.scheme = "https";
}

static struct registry_host *host_new(const struct registry_hosts *hosts, const char *name)
{
	struct registry_host *host = xcalloc(1, sizeof(*host));

	host->name = xstrdup(name);
	set_config(hosts, host);
	return host;
}

void registry_hosts_configure(struct registry_hosts *hosts, const struct registry_config *configs,
                              uint32_t n_configs)
{
	hosts->configs = configs;
	hosts->n_configs = n_configs;
	for (struct registry_host *host = hosts->first; host != NULL; host = host->next) {
		set_config(hosts, host);
		host->bad_until_ns = 0; /* it may be another way there */
	}
}

void registry_hosts_free(struct registry_hosts *hosts)
{
	while (hosts->first != NULL) {
		struct registry_host *host = hosts->first;

		hosts->first = host->next;
		free_str(&host->name);
		free(host);
	}
}

struct registry_host *registry_host_find(const struct registry_hosts *hosts, const char *name)
{
	struct registry_host *host = hosts->first;

	while (host != NULL && strcmp(host->name, name) != 0)
		host = host->next;
	return host;
}

struct registry_host *registry_host_led_to(struct registry_hosts *hosts, const char *name)
{
	struct registry_host *host = registry_host_find(hosts, name);

	if (host != NULL || hosts->n_hosts >= HOSTS_MAX)
		return host;
	host = host_new(hosts, name);
	host->next = hosts->first;
	hosts->first = host;
	hosts->n_hosts++;
	return host;
}

struct registry_host *registry_host_get(struct registry_hosts *hosts, const char *name)
{
	struct registry_host *host = registry_host_led_to(hosts, name);

	if (host != NULL)
		host->is_registry = true;
	return host;
}

static uint32_t requests_per_s(const struct registry_host *host)
{
	return host->is_registry || host->own_entry ? host->config.requests_per_s : 0;
}

/* A bucket of one second's requests: slot_ns may lie up to a second back. */
uint64_t registry_host_admit(struct registry_host *host, uint64_t now_ns)
{
	const uint32_t rate = requests_per_s(host);
	uint64_t step_ns;

	if (now_ns < host->not_before_ns)
		return host->not_before_ns - now_ns;
	if (rate == 0)
		return 0;
	step_ns = NS_PER_S / rate;
	if (host->slot_ns > now_ns)
		return host->slot_ns - now_ns;
	host->slot_ns = max_u64(host->slot_ns, now_ns > NS_PER_S ? now_ns - NS_PER_S : 0) + step_ns;
	return 0;
}

void registry_host_busy(struct registry_host *host, int64_t retry_after_s, uint64_t now_ns)
{
	const uint64_t wait_ns =
		retry_after_s >= 0 ? (uint64_t)retry_after_s * NS_PER_S : BUSY_DEFAULT_NS;

	host->not_before_ns = max_u64(host->not_before_ns, now_ns + wait_ns);
}

void registry_host_count(struct metrics *metrics, const char *name, long status)
{
	char code[16];

	(void)snprintf(code, sizeof(code), "%ld", status);
	metrics_add(metrics, METRIC_ORIGIN_REQUESTS, (const char *const[]){ name, code }, 1);
}
