/*
 * test_registry_proxy: a proxy of a mount's that wants a name and a password, at a real server,
 * which is the registry as well.
 */
#include "mem.h"
#include "ways_world.h"
#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void give_proxys(struct net *n, const char *owner, const char *password)
{
	const struct registry_scope scope = scope_of(n, owner);
	struct credentials c = { .proxy_username = xstrdup("me"),
		                 .proxy_password = xstrdup(password),
		                 .for_proxy_alone = true };

	registry_give_credentials(n->registry, &scope, &c);
	credentials_wipe(&c);
}

static char *own_proxy(const struct net *n)
{
	return xasprintf("http://%s", n->host);
}

static void a_proxy_hears_what_opens_it_and_nobody_else_does(void **state)
{
	struct net *n = *state;
	AUTO(free_str) char *proxy = own_proxy(n);

	net_faults(n, "{\"proxy_auth\":\"me:ses@me :1\"}");
	hint(n, "/a", "http", proxy);
	assert_int_equal(ask(n), -EAGAIN);
	give_proxys(n, "/a", "other");
	assert_int_equal(ask(n), -EAGAIN);
	give_proxys(n, "/a", "ses@me :1");
	assert_int_equal(ask(n), 0);
	registry_give_credentials(n->registry,
	                          &(struct registry_scope){ n->alias, "team/app", "/a" },
	                          NULL); /* they are here */
	assert_int_equal(ask(n), 0);
	hint(n, "/b", "http", proxy); /* without */
	assert_int_equal(ask(n), 0);
	forget(n, "/a");
	assert_int_equal(ask(n), -EAGAIN);
	forget(n, "/b");
	hint(n, "/direct", "http", NULL);
	give_proxys(n, "/direct", "ses@me :1");
	(void)net_n_requests(n);
	assert_int_equal(ask(n), 0);
	assert_int_equal(net_count(n, "/v2/", "proxy_auth", ""), 1);
}

/* The registry is opened by what opens it without a proxy. */
static void what_opens_a_proxy_opens_no_registry_and_bars_none(void **state)
{
	struct net *n = *state;
	AUTO(free_str) char *proxy = own_proxy(n);
	AUTO(free_str) char *file = net_path(n, "auth.json");
	AUTO(free_str)
	char *text = xasprintf("{\"auths\":{\"%s\":{\"auth\":\"dXNlcjpzZWNyZXQ=\"}}}",
	                       n->alias); /* user:secret */
	const struct registry_scope scope = scope_of(n, "/a");
	struct credentials both = { .username = xstrdup("user"),
		                    .password = xstrdup("secret"),
		                    .proxy_username = xstrdup("me"),
		                    .proxy_password = xstrdup("p") };

	net_write(n, "auth.json", text, strlen(text));
	net_faults(n, "{\"proxy_auth\":\"me:p\",\"auth\":\"basic\"}");
	hint(n, "/a", "http", proxy);
	give_proxys(n, "/a", "p");
	assert_int_equal(ask(n), -EACCES);
	registry_hint(
		n->registry, &scope,
		&(struct registry_hints){ .scheme = "http", .proxy = proxy, .auth_file = file });
	assert_int_equal(ask(n), 0);
	hint(n, "/a", "http", proxy);
	registry_give_credentials(n->registry, &scope, &both);
	assert_int_equal(ask(n), 0);
	net_faults(n, "{\"proxy_auth\":\"me:p\",\"auth\":\"bearer\"}"); /* the token, too */
	assert_int_equal(ask(n), 0);
	credentials_wipe(&both);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, ways_setup, net_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_proxy_hears_what_opens_it_and_nobody_else_does),
		TEST(what_opens_a_proxy_opens_no_registry_and_bars_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
