/*
 * http_page: /metrics, /healthz and /readyz over TCP, for scrapers and probes.
 */
#pragma once
#include "agent.h"

struct http_page;

/** Listen on "IP:PORT". "off": *ret_page is NULL. */
MUST_CHECK int http_page_new(struct agent *agent, const char *listen, struct http_page **ret_page,
                             struct err *e);
/** No new requests; one that waits for the desk is answered when the desk is done. */
void http_page_free(struct http_page **page); /* after the desk; NULL is fine */
