/*
 * pki: the certificates of a cluster: a CA of its own, and one certificate a node.
 *
 * Knows OpenSSL and files; needs no agent and no network. ECDSA with P-256, X.509 version 3. They
 * are valid from a day before they are made, so that clocks may differ. Nothing is overwritten;
 * keys are 0600. Blocks: not on a loop thread.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stdint.h>

#define PKI_NAME_MAX 63 /* letters, digits, '.', '-', '_' */

/* Seconds from now; negative: before. */
struct pki_times {
	int64_t not_before_s;
	int64_t not_after_s;
};
#define PKI_CA_TIMES   ((struct pki_times){ -86400, INT64_C(10) * 365 * 86400 })
#define PKI_NODE_TIMES ((struct pki_times){ -86400, INT64_C(2) * 365 * 86400 })

/** DIR/ca.pem and DIR/ca.key. DIR is made (0700) where there is none.
 * @return 0; -EEXIST one of the files is there; -errno */
MUST_CHECK int pki_make_ca(const char *dir, struct pki_times times, struct err *e);

/** DIR/NAME.pem and DIR/NAME.key, signed by the CA in DIR; not longer valid than the CA. ca.pem may
 * hold certificates of other CAs, too: the one of ca.key counts. Where NAME.key alone is there, the
 * certificate is of that key: the node stays who it is.
 * @return 0; -EINVAL name; -ENOENT no CA there; -EEXIST NAME.pem is there; -errno */
MUST_CHECK int pki_make_node(const char *dir, const char *name, struct pki_times times,
                             struct err *e);
