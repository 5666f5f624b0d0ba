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
	{ "umount", "DIR", 0, 1, 1, cmd_umount, "unmount DIR and take it off the list" },
	{ "ls", "", 0, 0, 0, cmd_ls, "list the mounts" },
	{ "status", "", 0, 0, 0, cmd_status,
	  "show the agent at a glance; exit status 0 if it is ready" },
	{ "top", "", 0, 0, 0, cmd_top, "show live what the agent does; q ends it" },
	{ "image ls", "", 0, 0, 0, cmd_image_ls, "list the images that this node knows" },
	{ "image inspect", "IMAGE|FILE", 0, 1, 1, cmd_image_inspect,
	  "show what an image, or a bootstrap file, consists of" },
	{ "image rm", "IMAGE", 0, 1, 1, cmd_image_rm, "forget an image and its data" },
	{ "blob ls", "", 0, 0, 0, cmd_blob_ls, "list blobs: origins, size, how much is here" },
	{ "chunk find", "DIGEST", 0, 1, 1, cmd_chunk_find, "show where a chunk is" },
	{ "prefetch", "IMAGE|DIR", 0, 1, 1, cmd_prefetch,
	  "fetch a whole image; returns when all is here and verified" },
	{ "pin", "IMAGE", OPTION_LIST, 0, 1, cmd_pin, "fetch a whole image and never evict it" },
	{ "unpin", "IMAGE", 0, 1, 1, cmd_unpin, "let an image be evicted again" },
	{ "verify", "", 0, 0, 0, cmd_verify,
	  "hash everything in the cache again, to find what is wrong" },
	{ "peers", "", 0, 0, 0, cmd_peers, "list the other agents: state, speed, bytes, faults" },
	{ "drain", "", OPTION_TIMEOUT, 0, 0, cmd_drain,
	  "stop serving peers; returns when none is being served" },
	{ "gc", "", OPTION_TO | OPTION_DRY_RUN, 0, 0, cmd_gc,
	  "free space: what nothing uses, then what was used least recently" },
	{ "explain", "PATH", OPTION_OFFSET, 1, 1, cmd_explain,
	  "show where a byte of a mounted file is, and who was asked for it" },
	{ "pki init", "DIR", 0, 1, 1, cmd_pki_init,
	  "make a CA for the cluster's agents: ca.pem, ca.key" },
	{ "pki node", "DIR NAME", 0, 2, 2, cmd_pki_node,
	  "make a node's certificate and key from that CA; if DIR has NAME.key but no "
	  "certificate, for that key" },
};
const size_t shoal_n_commands = ARRAY_LEN(shoal_commands);

#define FIELD(name) offsetof(struct shoal, name)

const struct command_option shoal_options[] = {
	{ "socket", "PATH", 0, FIELD(socket),
	  "the agent's socket (else $SHOAL_SOCKET, else " SHOAL_DEFAULT_SOCKET ")" },
	{ "json", NULL, 0, FIELD(json), "print results and errors as one JSON document on stdout" },
	{ "help", NULL, 0, FIELD(help), "show this text" },
	{ "version", NULL, 0, FIELD(version), "show the version" },
	{ "prefetch", NULL, OPTION_PREFETCH, FIELD(prefetch),
	  "fetch the whole image in the background; on a terminal with a progress bar "
	  "(Ctrl-C ends only the bar)" },
	{ "auth-file", "FILE", OPTION_AUTH_FILE, FIELD(auth_file),
	  "a docker config.json for this mount only" },
	{ "bootstrap", "FILE", OPTION_BOOTSTRAP, FIELD(bootstrap),
	  "mount a bootstrap file (then give only DIR) ..." },
	{ "blobs", "ORIGIN", OPTION_BLOBS, FIELD(blobs),
	  "... whose blobs are at dir:/path, registry:HOST[:PORT]/REPOSITORY or http(s)://.../" },
	{ "how", "HOW", OPTION_HOW, FIELD(how),
	  "auto, tree (FUSE) or erofs (by the kernel, if possible)" },
	{ "to", "BYTES", OPTION_TO, FIELD(to),
	  "free space until blobs take this much (default: the low watermark)" },
	{ "list", "FILE", OPTION_LIST, FIELD(list),
	  "instead of IMAGE: pin the images in FILE, one per line, and unpin all others" },
	{ "dry-run", NULL, OPTION_DRY_RUN, FIELD(dry_run), "only say what would be removed" },
	{ "timeout", "SECONDS", OPTION_TIMEOUT, FIELD(timeout_s),
	  "wait at most this long (then exit status 1; draining goes on)" },
	{ "offset", "N", OPTION_OFFSET, FIELD(offset),
	  "offset of the byte in the file (default 0)" },
};
const size_t shoal_n_options = ARRAY_LEN(shoal_options);

const char shoal_image_text[] =
	"IMAGE is HOST[:PORT]/REPOSITORY:TAG or HOST[:PORT]/REPOSITORY@sha256:...";

const char *const shoal_exit_texts[] = {
	"done",      "it failed, or the answer is no", "wrong usage", "no agent at the socket",
	"not found", "refused by the registry",        NULL,
};
