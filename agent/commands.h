/*
 * commands: what `shoal COMMAND` does, one function a command.
 */
#pragma once
#include "client.h"

/* One run of the shoal command. */
struct shoal {
	const char *socket;
	bool json;
	bool prefetch;
	const char *auth_file;
	const char *bootstrap;
	const char *blobs;
	const char *how;
	const char *offset;
	const char *to;
	const char *list;
	const char *timeout_s;
	bool dry_run;
	bool help;
	bool version;
	const char *print_docs;
	char *const *args; /* behind the command's words */
	int n_args;
	char *what; /* for messages: the command and its first argument */
};

/* Each returns enum shoal_exit, and has printed its result or its error. */
int cmd_mount(struct shoal *sh);
int cmd_umount(struct shoal *sh);
int cmd_ls(struct shoal *sh);
int cmd_status(struct shoal *sh);
int cmd_image_ls(struct shoal *sh);
int cmd_image_inspect(struct shoal *sh);
int cmd_image_rm(struct shoal *sh);
int cmd_blob_ls(struct shoal *sh);
int cmd_chunk_find(struct shoal *sh);
int cmd_prefetch(struct shoal *sh);
int cmd_pin(struct shoal *sh);
int cmd_unpin(struct shoal *sh);
int cmd_verify(struct shoal *sh);
int cmd_gc(struct shoal *sh);
int cmd_explain(struct shoal *sh);
int cmd_top(struct shoal *sh);
int cmd_peers(struct shoal *sh);
int cmd_drain(struct shoal *sh);
int cmd_pki_init(struct shoal *sh);
int cmd_pki_node(struct shoal *sh);

/* ---- what they share (shoal_main.c) ---- */

/* Why some texts cannot be told to the agent, which takes JSON. */
#define SHOAL_NO_UTF8 "a name or path is no UTF-8 text (give it a name that is)"

/** Print "shoal: WHAT: WHY", or the error document. @return status */
int shoal_fail(const struct shoal *sh, int status, const char *why);

/**
 * Ask the agent. An error is printed; with --json the document, too.
 * @param ret_document  set when SHOAL_DONE is returned
 */
MUST_CHECK int shoal_ask(const struct shoal *sh, struct client_request *req, json_t **ret_document);

/** Absolute, without links where it exists; a dead mount is named by its parent. As it is, which
 * the agent refuses, if it is relative to a directory that is gone. malloc'd */
char *absolute_path(const char *path);
