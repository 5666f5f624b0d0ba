/*
 * nydusd_proxy: a proxy's URL without what is secret of it, and that apart.
 *
 * Pure; hostile input.
 */
#pragma once
#include "auto.h"
#include "err.h"

/**
 * "http://USER:PASSWORD@HOST:PORT", with or without a scheme, percent-encoded as in any URL.
 *
 * @param ret_url  malloc'd, as the two below: without user name and password
 * @param ret_username  NULL where the URL has none, with the password; else both are secrets, which
 *   may be empty
 * @return 0; -EINVAL a NUL in them: the message does not hold the URL
 */
MUST_CHECK int nydusd_proxy_split(const char *url, char **ret_url, char **ret_username,
                                  char **ret_password, struct err *e);
