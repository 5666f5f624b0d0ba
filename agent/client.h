/*
 * client: one request of the shoal command to the agent's API, over the unix socket.
 *
 * Blocks. Closing the connection (also by dying of Ctrl-C) cancels what was asked for.
 */
#pragma once
#include "err.h"
#include "json_util.h"

enum shoal_exit {
	SHOAL_DONE = 0,
	SHOAL_FAILED = 1,
	SHOAL_USAGE = 2,
	SHOAL_NO_AGENT = 3,
	SHOAL_NOT_FOUND = 4,
	SHOAL_REFUSED = 5,
};

#define SHOAL_DEFAULT_SOCKET "/run/shoal/api.sock"
/** Of the node's agent: SHOAL_SOCKET, if it is not empty, else the default. Borrowed. */
const char *client_default_socket(void);

struct client_request {
	const char *socket;
	const char *method;
	const char *path;    /* with its query */
	const json_t *body;  /* or NULL */
	uint32_t timeout_ms; /* for all of it; 0: as long as it takes */
	bool stream;         /* lines come, the last one has "done" or "error" */
	/* Each line as it comes, the last one too. NULL is fine. */
	void (*line)(void *arg, const json_t *line);
	void *arg;
	/* Looked at once a second while it waits: true: give up. NULL: never. */
	bool (*unwanted)(void *arg);
	void *unwanted_arg;
};

/**
 * @param ret_document  the (last) document, the caller's; set when SHOAL_DONE is returned
 * @return enum shoal_exit; other than SHOAL_DONE: *e says why, its code EALREADY: something is
 * on its way up or down, and what was asked for may be asked again in a moment; EAGAIN: other
 * trouble that may pass (docs/api.md)
 */
MUST_CHECK int client_call(const struct client_request *req, json_t **ret_document, struct err *e);

/** What a document of the agent's says. @return as client_call(): SHOAL_DONE, it is no error */
int client_result(const json_t *document, struct err *e);

/** PATH?KEY=VALUE, the value escaped. malloc'd */
char *client_query(const char *path, const char *key, const char *value);
