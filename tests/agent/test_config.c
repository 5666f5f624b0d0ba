/*
 * The configuration: each key, each range, and where an error is said to be.
 */
#include "config.h"
#include "mem.h"
#include "settings.h"
#include "settings_table.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int parse(const char *yaml, struct config **ret_config, struct err *e)
{
	return config_parse("f.yaml", yaml, strlen(yaml), ret_config, e);
}

static void must_fail(const char *yaml, const char *message)
{
	AUTO(config_free) struct config *c = NULL;
	struct err e = { 0 };

	if (parse(yaml, &c, &e) != -EINVAL || strstr(e.msg, message) == NULL)
		fail_msg("%s\n-> \"%s\", expected \"%s\"", yaml, e.msg, message);
	assert_null(c);
}

static void must_not_show(const char *yaml, const char *secret)
{
	AUTO(config_free) struct config *c = NULL;
	struct err e = { 0 };

	assert_int_equal(parse(yaml, &c, &e), -EINVAL);
	assert_null(strstr(e.msg, secret));
}

static struct config *must_parse(const char *yaml)
{
	struct config *c = NULL;
	struct err e = { 0 };

	if (parse(yaml, &c, &e) != 0)
		fail_msg("%s\n-> %s", yaml, e.msg);
	return c;
}

static void an_empty_file_gives_the_defaults(void **state)
{
	AUTO(config_free) struct config *c = must_parse("");

	(void)state;
	assert_string_equal(c->state_dir, "/var/lib/shoal");
	assert_string_equal(c->api_socket, "/run/shoal/api.sock");
	assert_string_equal(c->http_listen, "127.0.0.1:9464");
	assert_string_equal(c->log_level, "info");
	assert_int_equal(c->cache_quota_bytes, 0);
	assert_int_equal(c->cache_reserve_bytes, 1073741824);
	assert_int_equal(c->cache_high_watermark_percent, 95);
	assert_int_equal(c->cache_low_watermark_percent, 85);
	assert_true(c->cache_dedup);
	assert_false(c->images_allow_unverified);
	assert_int_equal(c->read_timeout_ms, 30000);
	assert_string_equal(c->peers_listen, "off");
	assert_int_equal(c->n_peers_members, 0);
	assert_int_equal(c->n_registries, 1);
	assert_string_equal(c->registries[0].host, "*");
	assert_string_equal(c->registries[0].scheme, "https");
}

/* "a.b.c" with a value as nested YAML. */
static char *nested(const char *name, const char *value)
{
	char *yaml = xstrdup("");
	unsigned depth = 0;

	for (;;) {
		const size_t n = strcspn(name, ".");
		char *longer =
			xasprintf("%s%*s%.*s:%s%s\n", yaml, (int)(2 * depth), "", (int)n, name,
		                  name[n] == '.' ? "" : " ", name[n] == '.' ? "" : value);

		free(yaml);
		yaml = longer;
		if (name[n] == '\0')
			return yaml;
		name += n + 1;
		depth++;
	}
}

static void every_key_takes_its_default(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < config_n_settings; i++) {
		const struct setting *s = &config_settings[i];
		AUTO(free_str)
		char *value = xasprintf(
			s->type == SETTING_TEXT || s->type == SETTING_WORD ? "\"%s\"" : "%s",
			s->fallback != NULL ? s->fallback : "");
		AUTO(free_str) char *yaml = nested(s->name, value);
		AUTO(config_free) struct config *c = NULL;
		AUTO(free_str) char *got = NULL;

		if (s->fallback == NULL)
			continue;
		c = must_parse(yaml);
		got = setting_get(s, c);
		assert_string_equal(got, s->fallback);
	}
}

static void every_number_is_held_against_its_range(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < config_n_settings; i++) {
		const struct setting *s = &config_settings[i];
		const char *const wrong[] = { "-5",
			                      "1e3",
			                      "0x10",
			                      "1.5",
			                      "99999999999999999999",
			                      "2305843009213693952",
			                      "many",
			                      "\" 1\"",
			                      "1 2" };

		for (size_t k = 0; k < ARRAY_LEN(wrong) && s->type == SETTING_NUMBER; k++) {
			AUTO(free_str) char *yaml = nested(s->name, wrong[k]);

			must_fail(yaml, s->name);
		}
	}
	must_fail("read: { timeout_ms: 99 }", "99 is out of range (100 to 3600000 ms)");
	must_fail("read: { timeout_ms: 3600001 }", "out of range");
}

static void values_reach_their_fields(void **state)
{
	AUTO(config_free)
	struct config *c = must_parse(
		"state_dir: /s\napi: { socket: /a.sock }\nhttp: { listen: \"[::1]:9\" }\n"
		"log: { level: debug }\ncache: { quota_bytes: 5000000000, reserve_bytes: 7, dedup: "
		"false }\nimages: { allow_unverified: true }\nread: { timeout_ms: 100 }\n");

	(void)state;
	assert_string_equal(c->state_dir, "/s");
	assert_string_equal(c->api_socket, "/a.sock");
	assert_string_equal(c->http_listen, "[::1]:9");
	assert_string_equal(c->log_level, "debug");
	assert_int_equal(c->cache_quota_bytes, 5000000000);
	assert_int_equal(c->cache_reserve_bytes, 7);
	assert_false(c->cache_dedup);
	assert_true(c->images_allow_unverified);
	assert_int_equal(c->read_timeout_ms, 100);
}

static void an_error_names_file_and_line(void **state)
{
	(void)state;
	must_fail("log:\n  level: info\ncache:\n  quota_bytes: 1\n  qouta_bytes: 2\n",
	          "f.yaml:5: cache.qouta_bytes: there is no such setting");
	must_fail("\n\nread:\n  timeout_ms: -1\n", "f.yaml:4: read.timeout_ms");
	must_fail("log: { level: info }\nfrob: 1\n", "f.yaml:2: frob: there is no such setting");
	must_fail("log:\n  level: loud\n", "f.yaml:2: log.level: \"loud\" is none of error|warn");
	must_fail("log: {\n", "f.yaml:2: not YAML");
	must_fail("a: 1\n\tb: 2\n", "f.yaml:2: not YAML");
	must_fail("registries:\n  - { host: a }\n  - host: b\n    shceme: http\n",
	          "f.yaml:4: registries.shceme: there is no such setting");
}

static void what_stands_twice_is_refused(void **state)
{
	(void)state;
	must_fail("log: { level: info }\nlog: { level: info }\n",
	          "f.yaml:2: log: it stands here a second time");
	must_fail("log: { level: info, level: warn }", "a second time");
	must_fail("registries: [ { host: a }, { host: a } ]", "has an entry already");
	must_fail("log: { level: info }\n---\nlog: { level: info }\n", "a second document");
}

static void forms_that_are_wrong_are_refused(void **state)
{
	(void)state;
	must_fail("- a\n", "f.yaml:1: settings are expected here");
	must_fail("log: info\n", "log: settings are expected here");
	must_fail("log: { level: [info] }\n", "log.level: one value is expected");
	must_fail("log: { level: }\n", "log.level: there is no value");
	must_fail("log: { level: \"\" }\n", "is none of");
	must_fail("state_dir: relative/path\n", "is no absolute path");
	must_fail("state_dir: \"/a\\nb\"\n", "control character");
	must_fail("state_dir: \"/a\\x7fb\"\n", "control character");
	must_fail("state_dir: \"/a\\u009bb\"\n", "control character");
	must_fail("state_dir: \"/a\\0b\"\n", "one value is expected");
	must_fail("http: { listen: \"localhost\" }\n", "is no IP:PORT");
	must_fail("http: { listen: \"127.0.0.1:99999\" }\n", "is no IP:PORT");
	must_fail("images: { allow_unverified: yes }\n", "neither true nor false");
	must_fail("? [a]\n: 1\n", "a key must be a text");
	must_fail("log.level: info\nlog: { level.x: info }\n", "log.level.x: there is no such");
	must_fail("registries: { host: a }\n", "a list is expected");
	must_fail("registries: [ a ]\n", "each entry must be settings");
	must_fail("registries: [ {} ]\n", "an entry has no host");
	must_fail("registries: [ { host: \"a/b\" } ]\n", "host must be HOST[:PORT]");
	must_fail("registries: [ { host: a, mirrors: b } ]\n", "a list is expected");
	must_fail("registries: [ { host: a, mirrors: [[b]] } ]\n", "must be a text");
	must_fail("registries: [ { host: a, username: u } ]\n", "go together");
	must_fail("registries: [ { host: a, scheme: ftp } ]\n", "none of https|http");
	must_fail("log: { level: info }\ncache: { high_watermark_percent: 85 }\n",
	          "f.yaml:2: cache: low_watermark_percent must be less");
	must_fail("cache: { low_watermark_percent: 99 }\n", "low_watermark_percent must be less");
	must_fail("cache: { high_watermark_percent: 101 }\n", "out of range");
	must_fail("registries: [ { host: a, requests_per_s: 1000001 } ]\n", "out of range");
}

static void hosts_and_proxies_of_registries_that_cannot_be_asked_are_refused(void **state)
{
	static const char *const wrong_hosts[] = { "h:",    "h:x", "h:0",        "h:70000", "h:1 ",
		                                   "h:1/r", ":1",  "http://h",   "[::1",    "[x]:1",
		                                   "::1",   "u@h", "u:secret@h", "*.h" };
	static const char *const wrong_proxies[] = { "x y",          "http://",
		                                     "http://p:0",   "http://p:99999",
		                                     "http://p:x",   "ftp://p",
		                                     "socks5://p:1", "u:secret@:1" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong_hosts); i++) {
		AUTO(free_str)
		char *host = xasprintf("registries:\n  - host: \"%s\"\n", wrong_hosts[i]);
		AUTO(free_str)
		char *mirror = xasprintf("registries:\n  - host: a\n    mirrors: [m, \"%s\"]\n",
		                         wrong_hosts[i]);

		must_fail(host, "f.yaml:2: registries.host: ");
		must_fail(host, "must be HOST[:PORT] or \"*\"");
		must_fail(mirror, "f.yaml:3: registries.mirrors: ");
		must_not_show(host, "secret");
		must_not_show(mirror, "secret");
	}
	must_fail("registries: [ { host: a, mirrors: [\"*\"] } ]\n", "must be HOST[:PORT]");
	for (size_t i = 0; i < ARRAY_LEN(wrong_proxies); i++) {
		AUTO(free_str)
		char *yaml = xasprintf("registries:\n  - host: a\n    proxy: \"%s\"\n",
		                       wrong_proxies[i]);

		must_fail(yaml, "f.yaml:3: registries.proxy: it is no URL of an HTTP proxy");
		must_not_show(yaml, "secret");
	}
}

static void hosts_and_proxies_of_registries_have_many_forms(void **state)
{
	static const char *const hosts[] = { "*",     "h",        "h:5000",    "my_registry:1",
		                             "[::1]", "[::1]:80", "H.Example", "10.0.0.1:65535" };
	static const char *const proxies[] = { "",
		                               "p",
		                               "p:3128",
		                               "http://p",
		                               "https://u:p%40ss@p:1",
		                               "HTTP://p:1/",
		                               "http://[fd00::1]:3128",
		                               "http://\xe2\x80\xa6" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		AUTO(free_str)
		char *yaml = xasprintf("registries: [ { host: \"%s\" } ]", hosts[i]);
		AUTO(config_free) struct config *c = must_parse(yaml);

		assert_string_equal(c->registries[0].host, hosts[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(proxies); i++) {
		AUTO(free_str)
		char *yaml = xasprintf("registries: [ { host: a, proxy: \"%s\" } ]", proxies[i]);
		AUTO(config_free) struct config *c = must_parse(yaml);

		assert_string_equal(c->registries[0].proxy, proxies[i]);
	}
}

/* A sanitizer sees it: each text ends where its memory does, as YAML's do not. */
static void a_text_is_looked_at_as_far_as_it_goes(void **state)
{
	static const struct {
		const char *text;
		bool is_proxy, is_host;
	} cases[] = { { "", true, false },           { "p", true, true },
		      { "p:", false, false },        { "http://", false, false },
		      { "http://u@", false, false }, { "[", false, false },
		      { "[::1]", true, true },       { "[::1", false, false } };
	const struct setting proxy = { .name = "proxy", .type = SETTING_PROXY };
	const struct setting mirrors = { .name = "mirrors", .type = SETTING_REGISTRIES };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO(free_str) char *text = xstrdup(cases[i].text);
		AUTO(text_arena_free) struct text_arena *arena = text_arena_new();
		const char *value = NULL;
		struct err e = { 0 };

		assert_int_equal(setting_set(&proxy, text, arena, &value, &e),
		                 cases[i].is_proxy ? 0 : -EINVAL);
		assert_int_equal(setting_check_entry(&mirrors, text, &e),
		                 cases[i].is_host ? 0 : -EINVAL);
	}
}

static void peers_need_certificates_or_a_word_that_they_have_none(void **state)
{
	(void)state;
	must_fail("log: { level: info }\npeers: { listen: \"0.0.0.0:9465\" }\n",
	          "f.yaml:2: peers.listen needs");
	must_fail("peers: { listen: \"0.0.0.0:9465\", tls: { ca: /p/ca.pem, cert: /p/c } }\n",
	          "peers.listen needs");
	must_fail("peers: { listen: \"0.0.0.0:9465\", insecure: true, "
	          "tls: { ca: /a, cert: /b, key: /c } }\n",
	          "exclude each other");
}

static void an_address_without_a_port_is_refused_with_its_line(void **state)
{
	static const char *const wrong[] = { "127.0.0.1",     "[::1]",    "::1",   "127.0.0.1:0",
		                             "127.0.0.1:",    "[::1]:",   ":9464", "127.0.0.1:80 ",
		                             "127.0.0.1:80x", "[::1]:+80" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		AUTO(free_str)
		char *http = xasprintf("log:\nhttp:\n  listen: \"%s\"\n", wrong[i]);
		AUTO(free_str)
		char *peers = xasprintf("peers:\n  insecure: true\n  listen: \"%s\"\n", wrong[i]);
		AUTO(free_str)
		char *said = xasprintf(".listen: \"%s\" is no IP:PORT", wrong[i]);

		must_fail(http, "f.yaml:3: http.listen: ");
		must_fail(http, said);
		must_fail(peers, "f.yaml:3: peers.listen: ");
	}
}

static void what_is_wrong_with_peers_is_told_with_its_line_whether_they_are_on_or_not(void **state)
{
	static const char *const wrong[] = { "a",      "a:99999", ":1",    "a:",     "a:b",
		                             "::1",    "a b:1",   "[::1]", "a:1:2",  "http://a:1",
		                             "[]:1",   "[a]:1",   "a]:1",  "[::1:1", "[::1%a/b]:1",
		                             "[%a]:1", "[::1%]:1" };

	AUTO(config_free) struct config *config = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		AUTO(free_str)
		char *text =
			xasprintf("peers:\n  members:\n    - \"a:1\"\n    - \"%s\"\n", wrong[i]);
		AUTO(free_str)
		char *said = xasprintf("f.yaml:4: peers.members: \"%s\" is no HOST:PORT", wrong[i]);

		must_fail(text, said);
	}
	must_fail("peers:\n  dns: \"a\"\n", "f.yaml:2: peers.dns: \"a\" is no HOST:PORT");
	must_fail("peers:\n\n  advertise: \":1\"\n", "f.yaml:3: peers.advertise: ");
	must_fail("peers:\n  zone: "
	          "0123456789012345678901234567890123456789012345678901234567890123\n",
	          "f.yaml:2: peers.zone: it is longer than 63 bytes");
	must_fail("peers:\n  zone: \"rack 1\"",
	          "f.yaml:2: peers.zone: \"rack 1\" has a blank or a character that is not ASCII");
	must_fail("peers:\n  listen: \"off\"\n  zone: Z\xc3\xbcrich", "f.yaml:3: peers.zone");
	must_fail("peers: { advertise: \"z\xc3\xbcrich:9465\" }", "peers.advertise");
	config = must_parse("peers: { zone: \"rack-1/a.b\" }");
	assert_string_equal(config->peers_zone, "rack-1/a.b");
	must_fail("peers:\n\n  advertise: \"node.example:9465\"\n", "f.yaml:3: peers.advertise: ");
	must_fail("peers:\n\n  advertise: \"0.0.0.0:9465\"\n", "f.yaml:3: peers.advertise: ");
	must_fail("peers:\n\n  advertise: \"[0::0]:9465\"\n", "f.yaml:3: peers.advertise: ");
	must_fail("peers:\n\n  advertise: \"[::]:9465\"\n", "f.yaml:3: peers.advertise: ");
	must_fail("peers:\n  listen: \"0.0.0.0:9465\"\n  insecure: true\n  advertise: a\n",
	          "f.yaml:4: peers.advertise: ");
}

/* An address of a unix socket has no more room. */
static void sockets_with_a_name_that_is_too_long_are_refused(void **state)
{
	AUTO(free_str) char *path = xasprintf("/%0106d", 0);
	AUTO(free_str) char *fits = xasprintf("api: { socket: %s }\n", path);
	AUTO(free_str) char *long_api = xasprintf("api: { socket: %s0 }\n", path);
	AUTO(free_str) char *long_keeper = xasprintf("keeper:\n  socket: %s\n", path);
	AUTO(config_free) struct config *c = must_parse(fits);

	(void)state;
	assert_string_equal(c->api_socket, path);
	must_fail(long_api, "f.yaml:1: api.socket: it is longer than 107 bytes");
	must_fail(long_keeper, "f.yaml:2: keeper.socket: it is longer than 103 bytes");
}

static void names_and_addresses_of_peers_are_taken(void **state)
{
	AUTO(config_free)
	struct config *c = must_parse(
		"peers: { members: [\"[::1]:9465\", \"a.example:1\", "
		"\"10.0.0.6:65535\", \"[fe80::1%eth0]:1\"], dns: \"d:1\", listen: \"[::]:9465\", "
		"insecure: true, advertise: \"[fd00::1]:9465\" }\n");

	(void)state;
	assert_int_equal(c->n_peers_members, 4);
	assert_string_equal(c->peers_members[0], "[::1]:9465");
	assert_string_equal(c->peers_advertise, "[fd00::1]:9465");
}

static void registries_are_read_with_all_their_keys(void **state)
{
	AUTO(config_free)
	struct config *c = must_parse(
		"registries:\n"
		"  - { host: \"127.0.0.1:5000\", scheme: http }\n"
		"  - { host: r.example, ca_file: /p/ca.pem, username: u, password_file: /p/pw,\n"
		"      docker_config: /p/config.json, proxy: \"http://p:3128\",\n"
		"      mirrors: [\"m1\", \"m2:5000\"], requests_per_s: 7, share_metadata: cluster "
		"}\n");
	const struct registry_config *rc = &c->registries[1];

	(void)state;
	assert_int_equal(c->n_registries, 3);
	assert_string_equal(c->registries[0].scheme, "http");
	assert_string_equal(rc->ca_file, "/p/ca.pem");
	assert_string_equal(rc->username, "u");
	assert_string_equal(rc->password_file, "/p/pw");
	assert_string_equal(rc->docker_config, "/p/config.json");
	assert_string_equal(rc->proxy, "http://p:3128");
	assert_int_equal(rc->n_mirrors, 2);
	assert_string_equal(rc->mirrors[1], "m2:5000");
	assert_int_equal(rc->requests_per_s, 7);
	assert_string_equal(rc->share_metadata, "cluster");
	assert_string_equal(c->registries[2].host, "*");
	assert_string_equal(c->registries[2].share_metadata, "public");
}

static void an_own_entry_for_every_other_host_stays(void **state)
{
	AUTO(config_free)
	struct config *c = must_parse("registries: [ { host: \"*\", scheme: http } ]");

	(void)state;
	assert_int_equal(c->n_registries, 1);
	assert_string_equal(c->registries[0].scheme, "http");
}

static void a_section_without_lines_is_fine(void **state)
{
	AUTO(config_free) struct config *c = must_parse("log:\ncache:\n  # quota_bytes: 1\n");

	(void)state;
	assert_string_equal(c->log_level, "info");
}

static void json_is_yaml(void **state)
{
	AUTO(config_free)
	struct config *c = must_parse(
		"{\"cache\": {\"reserve_bytes\": 0}, \"registries\": [{\"host\": \"a\"}]}");

	(void)state;
	assert_int_equal(c->cache_reserve_bytes, 0);
	assert_int_equal(c->n_registries, 2);
}

static void a_file_that_is_too_long_is_refused(void **state)
{
	AUTO(free_str) char *yaml = xcalloc(1, CONFIG_MAX_BYTES + 2);

	(void)state;
	memset(yaml, '\n', CONFIG_MAX_BYTES + 1);
	must_fail(yaml, "larger than");
}

static void a_file_that_is_not_there_is_named(void **state)
{
	AUTO(config_free) struct config *c = NULL;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(config_load("/nonexistent/shoal.yaml", &c, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/nonexistent/shoal.yaml"));
}

static void collect(void *arg, const char *setting)
{
	char **all = arg;
	char *longer = xasprintf("%s%s ", *all, setting);

	free(*all);
	*all = longer;
}

static void a_changed_setting_is_named(void **state)
{
	AUTO(config_free) struct config *a = must_parse("log: { level: info }");
	AUTO(config_free)
	struct config *b = must_parse("log: { level: debug }\ncache: { quota_bytes: 9 }\n"
	                              "registries: [ { host: \"*\", mirrors: [m] } ]");
	AUTO(free_str) char *changed = xstrdup("");

	(void)state;
	config_diff(a, a, collect, &changed);
	assert_string_equal(changed, "");
	config_diff(a, b, collect, &changed);
	assert_string_equal(changed, "log.level cache.quota_bytes registries ");
}

static void what_counts_at_once_is_taken_and_the_rest_is_told(void **state)
{
	AUTO(config_free)
	struct config *running = must_parse("peers: { members: [\"a:1\"], dns: \"d:3\" }\n"
	                                    "registries: [ { host: a, proxy: u } ]");
	struct config *fresh = must_parse("log: { level: debug }\nmount: auto\n"
	                                  "cache: { quota_bytes: 9, dedup: false }\n"
	                                  "read: { timeout_ms: 500 }\n"
	                                  "peers: { members: [\"a:1\", \"b:2\"] }\n"
	                                  "registries: [ { host: b, mirrors: [m] } ]");
	const char *old_text = running->registries[0].proxy;
	AUTO(free_str) char *changed = xstrdup("");

	(void)state;
	config_take(running, &fresh, collect, &changed);
	assert_null(fresh);
	assert_string_equal(changed, "log.level cache.quota_bytes cache.dedup mount "
	                             "read.timeout_ms peers.members peers.dns registries ");
	assert_string_equal(running->log_level, "debug");
	assert_string_equal(running->mount, "auto");
	assert_int_equal(running->cache_quota_bytes, 9);
	assert_true(running->cache_dedup); /* not before a restart */
	assert_int_equal(running->read_timeout_ms, 500);
	assert_int_equal(running->n_peers_members, 2);
	assert_string_equal(running->peers_members[1], "b:2");
	assert_null(running->peers_dns);
	assert_string_equal(running->registries[0].host, "b");
	assert_string_equal(running->registries[0].mirrors[0], "m");
	assert_string_equal(old_text, "u"); /* somebody may use it still */
	fresh = must_parse("log: { level: debug }\nmount: auto\ncache: { quota_bytes: 9 }\n"
	                   "read: { timeout_ms: 500 }\n"
	                   "peers: { members: [\"a:1\", \"b:2\"] }\n"
	                   "registries: [ { host: b, mirrors: [m] } ]");
	free_str(&changed);
	changed = xstrdup("");
	config_take(running, &fresh, collect, &changed);
	assert_null(fresh);
	assert_string_equal(changed, "");
}

static void every_setting_that_counts_at_once_is_one(void **state)
{
	static const char *const names[] = {
#define X(name) name,
		SETTINGS_AT_ONCE(X)
#undef X
	};
	uint32_t n = 1; /* registries */

	(void)state;
	for (uint32_t i = 0; i < config_n_settings; i++)
		n += config_is_at_once(config_settings[i].name);
	assert_int_equal(n, ARRAY_LEN(names));
	assert_false(config_is_at_once("state_dir"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_file_gives_the_defaults),
		cmocka_unit_test(what_counts_at_once_is_taken_and_the_rest_is_told),
		cmocka_unit_test(every_setting_that_counts_at_once_is_one),
		cmocka_unit_test(every_key_takes_its_default),
		cmocka_unit_test(every_number_is_held_against_its_range),
		cmocka_unit_test(values_reach_their_fields),
		cmocka_unit_test(an_error_names_file_and_line),
		cmocka_unit_test(what_stands_twice_is_refused),
		cmocka_unit_test(forms_that_are_wrong_are_refused),
		cmocka_unit_test(hosts_and_proxies_of_registries_that_cannot_be_asked_are_refused),
		cmocka_unit_test(hosts_and_proxies_of_registries_have_many_forms),
		cmocka_unit_test(a_text_is_looked_at_as_far_as_it_goes),
		cmocka_unit_test(peers_need_certificates_or_a_word_that_they_have_none),
		cmocka_unit_test(an_address_without_a_port_is_refused_with_its_line),
		cmocka_unit_test(
			what_is_wrong_with_peers_is_told_with_its_line_whether_they_are_on_or_not),
		cmocka_unit_test(sockets_with_a_name_that_is_too_long_are_refused),
		cmocka_unit_test(names_and_addresses_of_peers_are_taken),
		cmocka_unit_test(registries_are_read_with_all_their_keys),
		cmocka_unit_test(an_own_entry_for_every_other_host_stays),
		cmocka_unit_test(a_section_without_lines_is_fine),
		cmocka_unit_test(json_is_yaml),
		cmocka_unit_test(a_file_that_is_too_long_is_refused),
		cmocka_unit_test(a_file_that_is_not_there_is_named),
		cmocka_unit_test(a_changed_setting_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
