/*
 * command_table: the rows.
 */
#include "command_table.h"
#include "mem.h"

enum option_bit {
	OPTION_PREFETCH = 1 << 0,
	OPTION_AUTH_FILE = 1 << 1,
	OPTION_BOOTSTRAP = 1 << 2,
	OPTION_BLOBS = 1 << 3,
	OPTION_OFFSET = 1 << 4,
	OPTION_HOW = 1 << 5,
	OPTION_TO = 1 << 6,
	OPTION_DRY_RUN = 1 << 7,
	OPTION_LIST = 1 << 8,
	OPTION_TIMEOUT = 1 << 9,
};

const struct command shoal_commands[] = {
	{ "mount", "IMAGE DIR",
	  OPTION_PREFETCH | OPTION_AUTH_FILE | OPTION_BOOTSTRAP | OPTION_BLOBS | OPTION_HOW, 1, 2,
	  cmd_mount, "mount an image; returns when DIR can be read" },
	{ "umount", "DIR", 0, 1, 1, cmd_umount, "unmount it and take it off the list" },
	{ "ls", "", 0, 0, 0, cmd_ls, "the mounts" },
	{ "status", "", 0, 0, 0, cmd_status, "the agent at a glance; exit 0 when it is ready" },
	{ "top", "", 0, 0, 0, cmd_top, "what the agent is doing, once a second; q ends it" },
	{ "image ls", "", 0, 0, 0, cmd_image_ls, "the images that are known here" },
	{ "image inspect", "IMAGE|FILE", 0, 1, 1, cmd_image_inspect,
	  "what an image (or a bootstrap file) consists of" },
	{ "image rm", "IMAGE", 0, 1, 1, cmd_image_rm, "forget an image and its data" },
	{ "blob ls", "", 0, 0, 0, cmd_blob_ls, "blobs with origins, size, share that is here" },
	{ "chunk find", "DIGEST", 0, 1, 1, cmd_chunk_find, "where a chunk is" },
	{ "prefetch", "IMAGE|DIR", 0, 1, 1, cmd_prefetch,
	  "fetch all of it; returns when it is here and verified" },
	{ "pin", "IMAGE", OPTION_LIST, 0, 1, cmd_pin,
	  "keep an image whole: fetch all of it, and never evict it" },
	{ "unpin", "IMAGE", 0, 1, 1, cmd_unpin, "let it go: it may be evicted again" },
	{ "verify", "", 0, 0, 0, cmd_verify, "hash everything in the cache again" },
	{ "peers", "", 0, 0, 0, cmd_peers, "the other agents: state, speed, bytes, faults" },
	{ "drain", "", OPTION_TIMEOUT, 0, 0, cmd_drain,
	  "serve peers no more; returns when none is being served" },
	{ "gc", "", OPTION_TO | OPTION_DRY_RUN, 0, 0, cmd_gc,
	  "free what nothing uses, then what was used least recently" },
	{ "explain", "PATH", OPTION_OFFSET, 1, 1, cmd_explain,
	  "where a byte of a mounted file is, and who was asked for it" },
	{ "pki init", "DIR", 0, 1, 1, cmd_pki_init,
	  "a CA for the cluster's agents: ca.pem, ca.key" },
	{ "pki node", "DIR NAME", 0, 2, 2, cmd_pki_node,
	  "a node's certificate and key from that CA; where DIR has NAME.key alone, the "
	  "certificate is of that key" },
};
const size_t shoal_n_commands = ARRAY_LEN(shoal_commands);

#define FIELD(name) offsetof(struct shoal, name)

const struct command_option shoal_options[] = {
	{ "socket", "PATH", 0, FIELD(socket),
	  "the agent's socket (else $SHOAL_SOCKET, else " SHOAL_DEFAULT_SOCKET ")" },
	{ "json", NULL, 0, FIELD(json), "results and errors as one JSON document on stdout" },
	{ "help", NULL, 0, FIELD(help), "this text" },
	{ "version", NULL, 0, FIELD(version), "the version" },
	{ "prefetch", NULL, OPTION_PREFETCH, FIELD(prefetch),
	  "fetch the whole image in the background; on a terminal with a bar, which Ctrl-C ends "
	  "alone" },
	{ "auth-file", "FILE", OPTION_AUTH_FILE, FIELD(auth_file),
	  "a docker config.json for this mount alone" },
	{ "bootstrap", "FILE", OPTION_BOOTSTRAP, FIELD(bootstrap),
	  "mount a bootstrap file (then: DIR alone) ..." },
	{ "blobs", "ORIGIN", OPTION_BLOBS, FIELD(blobs),
	  "... whose blobs are at dir:/path, registry:HOST[:PORT]/REPOSITORY or http(s)://.../" },
	{ "how", "HOW", OPTION_HOW, FIELD(how),
	  "auto, tree (FUSE) or erofs (by the kernel, where it can)" },
	{ "to", "BYTES", OPTION_TO, FIELD(to),
	  "until blobs take no more (else: to the low watermark)" },
	{ "list", "FILE", OPTION_LIST, FIELD(list),
	  "instead of IMAGE: those that stand in FILE, one a line, and no others" },
	{ "dry-run", NULL, OPTION_DRY_RUN, FIELD(dry_run), "only say what would go" },
	{ "timeout", "SECONDS", OPTION_TIMEOUT, FIELD(timeout_s),
	  "wait no longer for those that are being served (exit 1); it drains on" },
	{ "offset", "N", OPTION_OFFSET, FIELD(offset), "of the byte in the file (else 0)" },
};
const size_t shoal_n_options = ARRAY_LEN(shoal_options);

const char shoal_image_text[] =
	"IMAGE is HOST[:PORT]/REPOSITORY:TAG or HOST[:PORT]/REPOSITORY@sha256:...";

const char *const shoal_exit_texts[] = {
	"done",        "it failed, or what was asked is not so",
	"wrong usage", "no agent at the socket",
	"not found",   "refused by the registry",
	NULL,
};
