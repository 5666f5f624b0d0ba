/*
 * config: what shoald was told in its configuration file.
 *
 * Every key of settings_table.h, checked; unknown keys, values out of range and settings that this
 * version cannot honour are errors with file and line. Knows nothing of what the values do.
 */
#pragma once
#include "registry_config.h"
#include "settings.h"
#include <stdio.h>

#define CONFIG_MAX_BYTES      (1U << 20)
#define CONFIG_REGISTRIES_MAX 256

struct config {
	const char *state_dir;
	const char *api_socket;
	const char *http_listen;
	const char *log_level;
	uint64_t cache_quota_bytes;
	uint64_t cache_reserve_bytes;
	uint32_t cache_high_watermark_percent;
	uint32_t cache_low_watermark_percent;
	bool cache_dedup;
	bool images_allow_unverified;
	const char *mount;
	const char *keeper_socket;
	bool keeper_start;
	uint64_t read_timeout_ms;
	const char *peers_listen;
	uint32_t peers_line; /* of the file, where peers.listen stands; 0: nowhere */
	const char *peers_advertise;
	const char *const *peers_members;
	uint32_t n_peers_members;
	const char *peers_dns;
	const char *peers_zone;
	const char *peers_tls_ca;
	const char *peers_tls_cert;
	const char *peers_tls_key;
	bool peers_insecure;
	uint64_t limits_origin_bytes_per_s;
	uint64_t limits_upload_bytes_per_s;
	uint64_t limits_download_bytes_per_s;
	struct registry_config *registries; /* one for "*" is always among them */
	uint32_t n_registries;
	struct text_arena *arena; /* all strings */
	struct config *before;    /* whose texts may still be in use: see config_take() */
};

/* The rows of the tables. */
extern const struct setting config_settings[];
extern const uint32_t config_n_settings;
extern const struct setting config_registry_settings[];
extern const uint32_t config_n_registry_settings;

/** @return 0; -EINVAL "FILE:LINE: reason"; -ENOENT, -EACCES, -EIO the file cannot be read */
MUST_CHECK int config_load(const char *path, struct config **ret_config, struct err *e);

/** As config_load() from memory. name: how messages call the file. */
MUST_CHECK int config_parse(const char *name, const void *yaml, size_t size_bytes,
                            struct config **ret_config, struct err *e);

void config_free(struct config **config); /* NULL is fine */

/** Does it count at once when the file is read again, without a restart? */
bool config_is_at_once(const char *setting);

/**
 * Take over from a configuration that was read again whatever counts at once, and tell what differs
 * as config_diff() does.
 *
 * @param config  its texts, and the array of registries, stay where they are: they are in use
 * @param fresh  NULL on return: it was freed, or is kept by config
 */
void config_take(struct config *config, struct config **fresh,
                 void (*fn)(void *arg, const char *setting), void *arg);

/** Call fn with the name of each setting that differs ("registries" for any of theirs). */
void config_diff(const struct config *a, const struct config *b,
                 void (*fn)(void *arg, const char *setting), void *arg);
