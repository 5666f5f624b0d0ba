/*
 * settings: values of settings, from text and to text, by the rows of settings_table.h.
 *
 * Each value is checked here, whatever its type, so that a wrong one is refused in one place.
 * Knows nothing of where the texts come from.
 */
#include "settings.h"
#include "mem.h"
#include "text.h"
#include <arpa/inet.h>
#include <errno.h>
#include <event2/util.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOST_PORT_MAX_BYTES 256

/* One piece of memory that belongs to a configuration. */
struct text_arena {
	struct text_arena *next;
	void *memory;
};

struct text_arena *text_arena_new(void)
{
	return xcalloc(1, sizeof(struct text_arena));
}

void text_arena_free(struct text_arena **arena)
{
	while (*arena != NULL) {
		struct text_arena *next = (*arena)->next;

		free((*arena)->memory);
		free(*arena);
		*arena = next;
	}
}

static void *arena_keep(struct text_arena *arena, void *memory)
{
	struct text_arena *piece = xcalloc(1, sizeof(*piece));

	piece->memory = memory;
	piece->next = arena->next;
	arena->next = piece;
	return memory;
}

static const char *text_arena_add(struct text_arena *arena, const char *text)
{
	return arena_keep(arena, xstrdup(text));
}

/* A copy of n texts, their array included. */
static const char *const *text_arena_add_list(struct text_arena *arena, const char *const *texts,
                                              uint32_t n_texts)
{
	const char **copy = arena_keep(arena, xcalloc((size_t)n_texts + 1, sizeof(*copy)));

	for (uint32_t i = 0; i < n_texts; i++)
		copy[i] = text_arena_add(arena, texts[i]);
	return copy;
}

static void *field_of(const struct setting *s, void *object)
{
	return (char *)object + s->offset;
}

static const void *const_field_of(const struct setting *s, const void *object)
{
	return (const char *)object + s->offset;
}

static int number_parse(const struct setting *s, const char *text, uint64_t *ret_n, struct err *e)
{
	uint64_t n = 0;

	if (!text_is_digits(text))
		return err_set(e, EINVAL, "\"%s\" is no whole number (digits only, in %s)", text,
		               s->unit);
	if (!text_number(text, s->max, &n) || n < s->min)
		return err_set(e, EINVAL, "%s is out of range (%" PRIu64 " to %" PRIu64 " %s)",
		               text, s->min, s->max, s->unit);
	*ret_n = n;
	return 0;
}

static int number_set(const struct setting *s, const char *text, void *object, struct err *e)
{
	uint64_t n = 0;
	const int r = number_parse(s, text, &n, e);

	if (r < 0)
		return r;
	if (s->field_size_bytes == sizeof(uint32_t)) {
		const uint32_t narrow = (uint32_t)n;

		memcpy(field_of(s, object), &narrow, sizeof(narrow));
	} else {
		memcpy(field_of(s, object), &n, sizeof(n));
	}
	return 0;
}

static int bool_set(const struct setting *s, const char *text, void *object, struct err *e)
{
	const bool on = strcmp(text, "true") == 0;

	if (!on && strcmp(text, "false") != 0)
		return err_set(e, EINVAL, "\"%s\" is neither true nor false", text);
	memcpy(field_of(s, object), &on, sizeof(on));
	return 0;
}

/* Is text one of the words between the bars? */
static bool is_choice(const char *choices, const char *text)
{
	const size_t n = strlen(text);

	for (const char *c = choices; c != NULL; c = strchr(c, '|')) {
		c += *c == '|';
		if (n > 0 && strncmp(c, text, n) == 0 && (c[n] == '|' || c[n] == '\0'))
			return true;
	}
	return false;
}

/* libevent takes an address without a port, too, and says that it is 0: any that is free.
 * @param ret_is_any  the address stands for all of the node's */
static bool is_ip_port(const char *text, bool *ret_is_any)
{
	const char *colon = strrchr(text, ':');
	uint64_t port;
	struct sockaddr_storage address = { 0 };
	int address_bytes = (int)sizeof(address);
	const struct sockaddr_in6 *v6 = (const void *)&address;
	const struct sockaddr_in *v4 = (const void *)&address;

	/* It also passes over what stands behind the port's digits. */
	if (colon == NULL || !text_number(colon + 1, UINT16_MAX, &port) ||
	    evutil_parse_sockaddr_port(text, (struct sockaddr *)&address, &address_bytes) != 0)
		return false;
	if (address.ss_family == AF_INET6) {
		*ret_is_any = IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);
		return v6->sin6_port != 0;
	}
	*ret_is_any = v4->sin_addr.s_addr == htonl(INADDR_ANY);
	return v4->sin_port != 0;
}

/* An IPv6 address stands in brackets, or the port could not be told from it; nothing else does.
 * What is behind its % names an interface.
 * @return where the host ends; NULL: it is none */
static const char *host_end(const char *text)
{
	const char *end = text + strcspn(text, "] \t\r\n/");
	char address[INET6_ADDRSTRLEN] = "";
	struct in6_addr parsed;
	size_t n;

	if (text[0] != '[')
		return text + strcspn(text, ":[] \t\r\n/");
	n = strcspn(text + 1, "%]");
	if (*end != ']' || n >= sizeof(address) || end[-1] == '%')
		return NULL;
	memcpy(address, text + 1, n);
	return inet_pton(AF_INET6, address, &parsed) == 1 ? end + 1 : NULL;
}

/* @return where HOST or HOST:PORT ends; NULL: text does not begin with one */
static const char *host_port_end(const char *text, bool *ret_has_port)
{
	const char *end = host_end(text);
	char digits[] = "65535";
	size_t n_digits;
	uint64_t port = 0;

	*ret_has_port = false;
	if (end == NULL || end == text || *end != ':')
		return end != text ? end : NULL;
	n_digits = strspn(++end, "0123456789");
	if (n_digits == 0 || n_digits >= sizeof(digits))
		return NULL;
	memcpy(digits, end, n_digits);
	digits[n_digits] = '\0';
	*ret_has_port = true;
	return text_number(digits, UINT16_MAX, &port) && port > 0 ? end + n_digits : NULL;
}

static bool is_host(const char *text, bool port_needed)
{
	bool has_port = false;
	const char *end = host_port_end(text, &has_port);

	return end != NULL && *end == '\0' && (has_port || !port_needed) &&
	       strlen(text) < HOST_PORT_MAX_BYTES;
}

/* [http[s]://][USER:PASSWORD@]HOST[:PORT]; "" is none. */
static bool is_proxy(const char *text)
{
	const char *scheme_end = strstr(text, "://");
	const char *host = scheme_end != NULL ? scheme_end + 3 : text;
	const char *at = strrchr(host, '@');
	const char *end;
	bool has_port;

	if (scheme_end != NULL && strncasecmp(text, "http://", 7) != 0 &&
	    strncasecmp(text, "https://", 8) != 0)
		return false;
	end = host_port_end(at != NULL ? at + 1 : host, &has_port);
	return text[0] == '\0' ||
	       (strpbrk(text, " \t") == NULL && end != NULL && (*end == '\0' || *end == '/'));
}

/* Peers are told it, and take nothing else: printable ASCII without a blank. */
static bool is_word(const char *text)
{
	while (*text > ' ' && *text < 0x7f)
		text++;
	return *text == '\0';
}

/* What others are told: they dial it as it is. */
static int own_address_check(const char *text, struct err *e)
{
	bool is_any = false;

	if (is_ip_port(text, &is_any) && !is_any)
		return 0;
	return err_set(e, EINVAL,
	               "\"%s\" is no IP:PORT that others can reach (such as 10.0.0.6:9465)", text);
}

static int host_port_check(const char *text, struct err *e)
{
	return is_host(text, true) && is_word(text)
	               ? 0
	               : err_set(e, EINVAL, "\"%s\" is no HOST:PORT (such as 10.0.0.6:9465)", text);
}

/* A registry's. What is in front of an @ is not for a message: it may hold a password. */
static int registry_check(const char *text, bool may_be_all, struct err *e)
{
	if ((may_be_all && strcmp(text, "*") == 0) ||
	    (is_host(text, false) && is_word(text) && strpbrk(text, "@*") == NULL))
		return 0;
	return err_set(e, EINVAL, "\"%s\" is none: %s",
	               strchr(text, '@') == NULL ? text : "(not shown)",
	               may_be_all ? "host must be HOST[:PORT] or \"*\""
	                          : "a mirror must be HOST[:PORT], without http:// or a path");
}

/* The text is not for a message: it may hold a password. */
static int proxy_check(const char *text, struct err *e)
{
	return is_proxy(text) ? 0
	                      : err_set(e, EINVAL,
	                                "it is no URL of an HTTP proxy (such as "
	                                "http://proxy.example:3128)");
}

bool setting_has_length(const struct setting *s)
{
	return s->max != 0 &&
	       (s->type == SETTING_TEXT || s->type == SETTING_WORD || s->type == SETTING_PATH);
}

static int address_check(const struct setting *s, const char *text, struct err *e)
{
	if (s->type == SETTING_IP_PORT)
		return own_address_check(text, e);
	if (s->type == SETTING_REGISTRY)
		return registry_check(text, true, e);
	if (s->type == SETTING_PROXY)
		return proxy_check(text, e);
	return s->type == SETTING_HOST_PORT ? host_port_check(text, e) : 0;
}

static int text_check(const struct setting *s, const char *text, struct err *e)
{
	bool is_any; /* that is listened at */

	if (text_has_control(text))
		return err_set(e, EINVAL, "there is a control character in it");
	if (s->type == SETTING_WORD && !is_word(text))
		return err_set(e, EINVAL,
		               "\"%s\" has a blank or a character that is not ASCII (such as "
		               "rack-1)",
		               text);
	if (s->type == SETTING_PATH && text[0] != '/')
		return err_set(e, EINVAL, "\"%s\" is no absolute path (begin it with /)", text);
	if (s->type == SETTING_CHOICE && !is_choice(s->choices, text))
		return err_set(e, EINVAL, "\"%s\" is none of %s", text, s->choices);
	if (s->type == SETTING_ADDRESS && strcmp(text, "off") != 0 && !is_ip_port(text, &is_any))
		return err_set(e, EINVAL,
		               "\"%s\" is no IP:PORT (such as 127.0.0.1:9464) and not off", text);
	if (setting_has_length(s) && strlen(text) > s->max)
		return err_set(e, EINVAL, "it is longer than %" PRIu64 " bytes", s->max);
	return address_check(s, text, e);
}

int setting_set(const struct setting *s, const char *text, struct text_arena *arena, void *object,
                struct err *e)
{
	const char *copy = NULL;
	int r;

	if (s->type == SETTING_NUMBER)
		return number_set(s, text, object, e);
	if (s->type == SETTING_BOOL)
		return bool_set(s, text, object, e);
	r = text_check(s, text, e);
	if (r < 0)
		return r;
	copy = text_arena_add(arena, text);
	memcpy(field_of(s, object), &copy, sizeof(copy));
	return 0;
}

bool setting_is_list(const struct setting *s)
{
	return s->type == SETTING_REGISTRIES || s->type == SETTING_HOST_PORTS;
}

int setting_check_entry(const struct setting *s, const char *text, struct err *e)
{
	return s->type == SETTING_HOST_PORTS ? host_port_check(text, e)
	                                     : registry_check(text, false, e);
}

void setting_set_list(const struct setting *s, const char *const *texts, uint32_t n_texts,
                      struct text_arena *arena, void *object)
{
	struct setting_list list = { .texts = text_arena_add_list(arena, texts, n_texts),
		                     .n_texts = n_texts };

	/* Two copies: behind n_texts the object may have other members where a struct pads. */
	memcpy(field_of(s, object), &list.texts, sizeof(list.texts));
	memcpy((char *)field_of(s, object) + offsetof(struct setting_list, n_texts), &list.n_texts,
	       sizeof(list.n_texts));
}

static void list_of(const struct setting *s, const void *object, struct setting_list *ret_list)
{
	memcpy(&ret_list->texts, const_field_of(s, object), sizeof(ret_list->texts));
	memcpy(&ret_list->n_texts,
	       (const char *)const_field_of(s, object) + offsetof(struct setting_list, n_texts),
	       sizeof(ret_list->n_texts));
}

static void text_copy(const struct setting *s, const void *from, struct text_arena *arena,
                      void *object)
{
	const char *text = NULL;

	memcpy(&text, const_field_of(s, from), sizeof(text));
	if (text != NULL)
		text = text_arena_add(arena, text);
	memcpy(field_of(s, object), &text, sizeof(text));
}

void setting_copy(const struct setting *s, const void *from, struct text_arena *arena, void *object)
{
	struct setting_list list;

	switch (s->type) {
	case SETTING_NUMBER:
	case SETTING_BOOL:
		memcpy(field_of(s, object), const_field_of(s, from), s->field_size_bytes);
		return;
	case SETTING_REGISTRIES:
	case SETTING_HOST_PORTS:
		list_of(s, from, &list);
		setting_set_list(s, list.texts, list.n_texts, arena, object);
		return;
	case SETTING_TEXT:
	case SETTING_WORD:
	case SETTING_PATH:
	case SETTING_ADDRESS:
	case SETTING_IP_PORT:
	case SETTING_HOST_PORT:
	case SETTING_REGISTRY:
	case SETTING_PROXY:
	case SETTING_CHOICE:
	default:
		text_copy(s, from, arena, object);
	}
}

static char *number_get(const struct setting *s, const void *object)
{
	uint64_t n = 0;
	uint32_t narrow = 0;

	if (s->field_size_bytes == sizeof(narrow)) {
		memcpy(&narrow, const_field_of(s, object), sizeof(narrow));
		n = narrow;
	} else {
		memcpy(&n, const_field_of(s, object), sizeof(n));
	}
	return xasprintf("%" PRIu64, n);
}

static char *list_get(const struct setting *s, const void *object)
{
	struct setting_list list;
	char *all = xstrdup("");

	list_of(s, object, &list);
	for (uint32_t i = 0; i < list.n_texts; i++) {
		char *longer = xasprintf("%s%s%s", all, i > 0 ? ", " : "", list.texts[i]);

		free(all);
		all = longer;
	}
	return all;
}

char *setting_get(const struct setting *s, const void *object)
{
	const char *text = NULL;
	bool on = false;

	switch (s->type) {
	case SETTING_NUMBER:
		return number_get(s, object);
	case SETTING_REGISTRIES:
	case SETTING_HOST_PORTS:
		return list_get(s, object);
	case SETTING_BOOL:
		memcpy(&on, const_field_of(s, object), sizeof(on));
		return xstrdup(on ? "true" : "false");
	case SETTING_TEXT:
	case SETTING_WORD:
	case SETTING_PATH:
	case SETTING_ADDRESS:
	case SETTING_IP_PORT:
	case SETTING_HOST_PORT:
	case SETTING_REGISTRY:
	case SETTING_PROXY:
	case SETTING_CHOICE:
	default:
		memcpy(&text, const_field_of(s, object), sizeof(text));
		return xstrdup(text != NULL ? text : "");
	}
}

/* "a|b" as "a, b". */
static char *listed(const char *choices)
{
	char *text = xcalloc(2 * strlen(choices) + 1, 1);
	size_t n = 0;

	for (; *choices != '\0'; choices++) {
		if (*choices == '|') {
			text[n++] = ',';
			text[n++] = ' ';
		} else {
			text[n++] = *choices;
		}
	}
	return text;
}

char *setting_values(const struct setting *s)
{
	switch (s->type) {
	case SETTING_NUMBER:
		return xasprintf("%" PRIu64 " to %" PRIu64 " %s", s->min, s->max, s->unit);
	case SETTING_CHOICE:
		return listed(s->choices);
	case SETTING_PATH:
		return s->max != 0 ? xasprintf("absolute path of at most %" PRIu64 " bytes", s->max)
		                   : xstrdup("absolute path");
	case SETTING_ADDRESS:
		return xstrdup("IP:PORT, off");
	case SETTING_BOOL:
		return xstrdup("true, false");
	case SETTING_IP_PORT:
		return xstrdup("IP:PORT");
	case SETTING_HOST_PORT:
		return xstrdup("HOST:PORT");
	case SETTING_REGISTRY:
		return xstrdup("HOST[:PORT], \"*\"");
	case SETTING_REGISTRIES:
		return xstrdup("list of HOST[:PORT]");
	case SETTING_PROXY:
		return xstrdup("URL (http, https)");
	case SETTING_HOST_PORTS:
		return xstrdup("list of HOST:PORT");
	case SETTING_WORD:
		return xasprintf("at most %" PRIu64 " characters, ASCII, no blanks", s->max);
	case SETTING_TEXT:
	default:
		return s->max != 0 ? xasprintf("text of at most %" PRIu64 " bytes", s->max)
		                   : xstrdup("text");
	}
}
