/*
 * cmd_pki: a cluster CA, and the certificates of its nodes. No agent takes part.
 */
#include "commands.h"
#include "mem.h"
#include "pki.h"
#include "render.h"
#include <errno.h>

/* The two files that were made. */
static int tell(const struct shoal *sh, const char *dir, const char *name)
{
	AUTO(free_str) char *cert = xasprintf("%s/%s.pem", dir, name);
	AUTO(free_str) char *key = xasprintf("%s/%s.key", dir, name);
	AUTO(json_drop) json_t *document = NULL;

	if (sh->json) {
		document =
			json_pack("{s:o, s:o}", "cert", json_words(cert), "key", json_words(key));
		render_json(stdout, document);
		return SHOAL_DONE;
	}
	render_clean(stdout, cert);
	(void)fputc('\n', stdout);
	render_clean(stdout, key);
	(void)fputc('\n', stdout);
	return SHOAL_DONE;
}

static int fail(const struct shoal *sh, struct err *e)
{
	const int status = e->code == EINVAL ? SHOAL_USAGE : SHOAL_FAILED;

	(void)err_hint(e, "is DIR right, and may files be made in it?");
	return shoal_fail(sh, e->code == ENOENT ? SHOAL_NOT_FOUND : status, e->msg);
}

int cmd_pki_init(struct shoal *sh)
{
	struct err e = { 0 };

	if (pki_make_ca(sh->args[0], PKI_CA_TIMES, &e) < 0)
		return fail(sh, &e);
	return tell(sh, sh->args[0], "ca");
}

int cmd_pki_node(struct shoal *sh)
{
	struct err e = { 0 };

	if (pki_make_node(sh->args[0], sh->args[1], PKI_NODE_TIMES, &e) < 0)
		return fail(sh, &e);
	return tell(sh, sh->args[0], sh->args[1]);
}
