/*
 * cmd_store: what a node has: status, images, blobs, chunks.
 */
#include "commands.h"
#include "image.h"
#include "inspect_image.h"
#include "mem.h"
#include "render.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* A list: ask, then a table of its member. */
static int list(struct shoal *sh, const char *path, const char *key, const struct column *columns,
                size_t n_columns)
{
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .method = "GET", .path = path };
	const int status = shoal_ask(sh, &req, &document);

	if (status == SHOAL_DONE && !sh->json)
		render_table(stdout, json_object_get(document, key), columns, n_columns);
	return status;
}

int cmd_status(struct shoal *sh)
{
	static const struct column fields[] = {
		{ "version", "version", CELL_TEXT, NULL },
		{ "ready", "ready", CELL_YES, NULL },
		{ "pid", "pid", CELL_COUNT, NULL },
		{ "up for", "uptime_s", CELL_SECONDS, NULL },
		{ "state directory", "state_dir", CELL_TEXT, NULL },
		{ "kernel can mount", "erofs.works", CELL_YES, NULL },
		{ "because", "erofs.why", CELL_TEXT, NULL },
		{ "mounted", "mounts.mounted", CELL_COUNT, NULL },
		{ "listed but down", "mounts.down", CELL_COUNT, NULL },
		{ "cache on disk", "cache.disk_bytes", CELL_BYTES, NULL },
		{ "of it pinned", "cache.pinned_bytes", CELL_BYTES, NULL },
		{ "disk full", "cache.full", CELL_YES, NULL },
		{ "chunks are shared by", "cache.sharing", CELL_TEXT, NULL },
		{ "being joined", "cache.joins_running", CELL_COUNT, NULL },
		{ "made ready by sharing", "made_ready_bytes.dedup", CELL_BYTES, NULL },
		{ "read by readers", "read_bytes", CELL_BYTES, NULL },
		{ "made ready from origins", "made_ready_bytes.origin", CELL_BYTES, NULL },
		{ "made ready from peers", "made_ready_bytes.peer", CELL_BYTES, NULL },
		{ "received from origins", "origin_received_bytes", CELL_BYTES, NULL },
		{ "requests to origins", "origin_requests", CELL_COUNT, NULL },
		{ "peers at", "peers.listen", CELL_TEXT, NULL },
		{ "INSECURE peers", "peers.insecure", CELL_YES, NULL },
		{ "peers up", "peers.up", CELL_COUNT, NULL },
		{ "peers down", "peers.down", CELL_COUNT, NULL },
		{ "draining", "peers.draining", CELL_YES, NULL },
		{ "sent to peers", "peers.sent_bytes", CELL_BYTES, NULL },
		{ "wrong digests seen", "verify_failures", CELL_COUNT, NULL },
		{ "served unverified", "unverified_bytes", CELL_BYTES, NULL },
		{ "readers waiting", "readers_waiting", CELL_COUNT, NULL },
		{ "fetches in flight", "fetches_in_flight", CELL_COUNT, NULL },
	};
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .method = "GET", .path = "/v1/status" };
	const int status = shoal_ask(sh, &req, &document);

	if (status != SHOAL_DONE)
		return status;
	if (!sh->json)
		render_fields(stdout, document, fields, ARRAY_LEN(fields));
	return json_is_true(json_object_get(document, "ready")) ? SHOAL_DONE : SHOAL_FAILED;
}

int cmd_image_ls(struct shoal *sh)
{
	static const struct column columns[] = {
		{ "IMAGE", "name", CELL_TEXT, NULL },   { "DIGEST", "digest", CELL_SHORT, NULL },
		{ "PINNED", "pinned", CELL_YES, NULL }, { "ADDED", "added_s", CELL_WHEN, NULL },
		{ "USED", "used_s", CELL_WHEN, NULL },
	};

	return list(sh, "/v1/images", "images", columns, ARRAY_LEN(columns));
}

int cmd_image_rm(struct shoal *sh)
{
	AUTO(free_str) char *path = client_query("/v1/images", "image", sh->args[0]);
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .method = "DELETE", .path = path };

	return shoal_ask(sh, &req, &document);
}

int cmd_blob_ls(struct shoal *sh)
{
	static const struct column columns[] = {
		{ "BLOB", "key", CELL_SHORT, NULL },
		{ "HERE", "n_ready", CELL_SHARE, "n_chunks" },
		{ "CHUNKS", "n_chunks", CELL_COUNT, NULL },
		{ "SIZE", "plain_size_bytes", CELL_BYTES, NULL },
		{ "DISK", "disk_bytes", CELL_BYTES, NULL },
		{ "ORIGINS", "origins", CELL_LIST, NULL },
	};

	return list(sh, "/v1/blobs", "blobs", columns, ARRAY_LEN(columns));
}

int cmd_chunk_find(struct shoal *sh)
{
	static const struct column columns[] = {
		{ "BLOB", "blob", CELL_TEXT, NULL },
		{ "CHUNK", "chunk_idx", CELL_COUNT, NULL },
		{ "AT", "plain_offset", CELL_COUNT, NULL },
		{ "SIZE", "plain_size_bytes", CELL_COUNT, NULL },
		{ "READY", "ready", CELL_YES, NULL },
		{ "IN ANOTHER BLOB'S FILE", "referred", CELL_YES, NULL },
	};
	AUTO(free_str) char *path = NULL;
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .method = "GET" };
	int status;

	if (strspn(sh->args[0], "0123456789abcdefABCDEF:kshl") != strlen(sh->args[0]))
		return shoal_fail(sh, SHOAL_USAGE,
		                  "DIGEST is 64 hexadecimal digits (shoal explain says a chunk's)");
	path = xasprintf("/v1/chunks/%s", sh->args[0]);
	req.path = path;
	status = shoal_ask(sh, &req, &document);
	if (status == SHOAL_DONE && !sh->json)
		render_table(stdout, json_object_get(document, "places"), columns,
		             ARRAY_LEN(columns));
	return status;
}

/* ---- image inspect: a file needs no agent ---- */

static int cannot_read(const char *path, struct err *e)
{
	return err_errno(e, errno,
	                 "%s cannot be read (name a bootstrap, or an image of shoal image ls)",
	                 path);
}

static int inspect_file(const char *path, json_t **ret_document, struct err *e)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *data;
	int r;

	if (fd < 0 || fstat(fd, &st) != 0)
		return cannot_read(path, e);
	if (st.st_size == 0 || (uint64_t)st.st_size > IMAGE_BOOTSTRAP_MAX_BYTES)
		return err_set(e, ENOTSUP,
		               "%s has not the size of a bootstrap (that is image/image.boot of an "
		               "image's layer)",
		               path);
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return cannot_read(path, e);
	r = inspect_image(data, (uint64_t)st.st_size, ret_document, e);
	(void)munmap(data, (size_t)st.st_size);
	return r;
}

static void render_inspect(const json_t *document)
{
	static const struct column fields[] = {
		{ "image", "name", CELL_TEXT, NULL },
		{ "digest", "digest", CELL_TEXT, NULL },
		{ "format", "format", CELL_TEXT, NULL },
		{ "inodes", "n_inodes", CELL_COUNT, NULL },
		{ "chunks", "n_chunks", CELL_COUNT, NULL },
		{ "chunk size", "chunk_size_bytes", CELL_BYTES, NULL },
		{ "size, unpacked", "plain_bytes", CELL_BYTES, NULL },
		{ "bootstrap", "bootstrap_bytes", CELL_BYTES, NULL },
	};
	static const struct column blobs[] = {
		{ "BLOB", "blob_id", CELL_SHORT, NULL },
		{ "CHUNKS", "n_chunks", CELL_COUNT, NULL },
		{ "PACKED", "packed_size_bytes", CELL_BYTES, NULL },
		{ "UNPACKED", "plain_size_bytes", CELL_BYTES, NULL },
		{ "AS", "compressor", CELL_TEXT, NULL },
		{ "DIGESTS", "digest_alg", CELL_TEXT, NULL },
		{ "FEATURES", "features", CELL_LIST, NULL },
	};

	render_fields(stdout, document, fields, ARRAY_LEN(fields));
	(void)fputc('\n', stdout);
	render_table(stdout, json_object_get(document, "blobs"), blobs, ARRAY_LEN(blobs));
}

int cmd_image_inspect(struct shoal *sh)
{
	AUTO(free_str) char *path = client_query("/v1/images/inspect", "image", sh->args[0]);
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .method = "GET", .path = path };
	struct err e = { 0 };
	struct stat st;
	int status = SHOAL_DONE;

	if (stat(sh->args[0], &st) == 0 && S_ISREG(st.st_mode)) {
		if (inspect_file(sh->args[0], &document, &e) < 0)
			return shoal_fail(sh, SHOAL_FAILED, e.msg);
		if (sh->json)
			render_json(stdout, document);
	} else {
		status = shoal_ask(sh, &req, &document);
	}
	if (status == SHOAL_DONE && !sh->json)
		render_inspect(document);
	return status;
}
