/*
 * hostile_shoald: an agent that holds certificates, keys and digests of the cluster, and
 * misbehaves.
 *
 * All of shoald, linked with these functions in front of the real ones (the linker's --wrap). What
 * it does wrong is one word in the environment, SHOAL_HOSTILE:
 *   flip     the first and every thousandth byte of each chunk that it serves has a wrong bit, and
 *            is packed after that, if at all: only the digest tells. It says "spoilt a chunk"
 *   lie      it tells what it has, and has nothing when it is asked
 *   slow     each chunk that it serves takes it three seconds
 *   silent   it promises chunks (GRANT) and sends none
 *   sit      it takes leases and asks no origin
 *   oversize its messages are followed by a frame that claims 4 GiB
 *   unasked  its messages are followed by answers to requests that nobody made
 *   meta     the metadata that it gives has a wrong bit
 *   guess    it asks for chunks with a proof that is wrong, as who does not know their digests
 *   forge    it grants chunks with a proof that is wrong, as who does not have them
 *   remove   it has seen that an image may be removed, and does so once somebody has opened the
 * fifo SHOAL_HOSTILE_GATE, and closed it again
 */
#include "conn.h"
#include "image_store.h"
#include "mem.h"
#include "origin.h"
#include "packed.h"
#include "proof.h"
#include "share.h"
#include "wire.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLIP_EVERY_BYTES 1000
#define SLOW_MS          3000

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c): the linker wants these names */

static bool is_hostile(const char *how)
{
	const char *word = secure_getenv("SHOAL_HOSTILE");

	return word != NULL && strcmp(word, how) == 0;
}

/* ---- chunks ---- */

/* From the first byte on: no chunk is small enough to be right. */
static void flip(uint8_t *bytes, uint32_t size_bytes)
{
	for (uint32_t i = 0; i < size_bytes; i += FLIP_EVERY_BYTES)
		bytes[i] ^= 0x10;
	(void)fputs("spoilt a chunk\n", stderr);
}

int __real_cas_blob_read_checked(struct cas_blob *blob, uint32_t chunk_idx, uint8_t *ret_plain,
                                 struct err *e);
int __wrap_cas_blob_read_checked(struct cas_blob *blob, uint32_t chunk_idx, uint8_t *ret_plain,
                                 struct err *e);

int __wrap_cas_blob_read_checked(struct cas_blob *blob, uint32_t chunk_idx, uint8_t *ret_plain,
                                 struct err *e)
{
	const uint32_t size_bytes = cas_blob_layout(blob)->chunks[chunk_idx].plain_size_bytes;
	int r;

	if (is_hostile("lie"))
		return CAS_MISS;
	if (is_hostile("slow"))
		(void)poll(NULL, 0, SLOW_MS);
	r = __real_cas_blob_read_checked(blob, chunk_idx, ret_plain, e);
	if (r == 0 && is_hostile("flip"))
		flip(ret_plain, size_bytes);
	return r;
}

uint32_t __real_packed_get(struct packed *p, const struct wire_id *name, uint8_t *out,
                           uint32_t room_bytes, enum compressor *ret_form);
uint32_t __wrap_packed_get(struct packed *p, const struct wire_id *name, uint8_t *out,
                           uint32_t room_bytes, enum compressor *ret_form);

uint32_t __wrap_packed_get(struct packed *p, const struct wire_id *name, uint8_t *out,
                           uint32_t room_bytes, enum compressor *ret_form)
{
	uint32_t n = 0;

	if (!is_hostile("lie") && !is_hostile("slow") && !is_hostile("flip"))
		n = __real_packed_get(p, name, out, room_bytes, ret_form);
	return n;
}

void __real_stream_put_chunks(struct conn_stream *s, const struct wire_chunk_item *items,
                              uint32_t n_items, uint8_t *bytes);
void __wrap_stream_put_chunks(struct conn_stream *s, const struct wire_chunk_item *items,
                              uint32_t n_items, uint8_t *bytes);

void __wrap_stream_put_chunks(struct conn_stream *s, const struct wire_chunk_item *items,
                              uint32_t n_items, uint8_t *bytes)
{
	if (is_hostile("silent"))
		free(bytes);
	else
		__real_stream_put_chunks(s, items, n_items, bytes);
}

void __real_stream_put_meta(struct conn_stream *s, const struct wire_meta *meta, uint8_t *bytes,
                            uint32_t size_bytes);
void __wrap_stream_put_meta(struct conn_stream *s, const struct wire_meta *meta, uint8_t *bytes,
                            uint32_t size_bytes);

void __wrap_stream_put_meta(struct conn_stream *s, const struct wire_meta *meta, uint8_t *bytes,
                            uint32_t size_bytes)
{
	if (is_hostile("meta"))
		bytes[size_bytes / 2] ^= 0x10;
	__real_stream_put_meta(s, meta, bytes, size_bytes);
}

/* ---- proofs ---- */

void __real_proof_of_get(const struct proof_binding *b, bool asker_is_here,
                         const uint8_t key[PROOF_KEY_BYTES], const struct wire_get *get,
                         uint8_t ret_proof[WIRE_MAC_BYTES]);
void __wrap_proof_of_get(const struct proof_binding *b, bool asker_is_here,
                         const uint8_t key[PROOF_KEY_BYTES], const struct wire_get *get,
                         uint8_t ret_proof[WIRE_MAC_BYTES]);

void __wrap_proof_of_get(const struct proof_binding *b, bool asker_is_here,
                         const uint8_t key[PROOF_KEY_BYTES], const struct wire_get *get,
                         uint8_t ret_proof[WIRE_MAC_BYTES])
{
	__real_proof_of_get(b, asker_is_here, key, get, ret_proof);
	if (asker_is_here && is_hostile("guess"))
		ret_proof[0] ^= 0x10;
}

void __real_proof_of_grant(const struct proof_binding *b, bool asker_is_here,
                           const uint8_t key[PROOF_KEY_BYTES], const uint8_t proof[WIRE_MAC_BYTES],
                           uint8_t ret_mac[WIRE_MAC_BYTES]);
void __wrap_proof_of_grant(const struct proof_binding *b, bool asker_is_here,
                           const uint8_t key[PROOF_KEY_BYTES], const uint8_t proof[WIRE_MAC_BYTES],
                           uint8_t ret_mac[WIRE_MAC_BYTES]);

void __wrap_proof_of_grant(const struct proof_binding *b, bool asker_is_here,
                           const uint8_t key[PROOF_KEY_BYTES], const uint8_t proof[WIRE_MAC_BYTES],
                           uint8_t ret_mac[WIRE_MAC_BYTES])
{
	__real_proof_of_grant(b, asker_is_here, key, proof, ret_mac);
	if (!asker_is_here && is_hostile("forge"))
		ret_mac[0] ^= 0x10;
}

/* ---- leases ---- */

static int get_nothing(struct source *s, const struct unit_run *run, const struct source_events *ev,
                       void *arg, struct source_req **ret_req, struct err *e)
{
	(void)s;
	(void)run;
	(void)ev;
	(void)arg;
	(void)e;
	*ret_req = xcalloc(1, 1);
	return 0;
}

static void cancel_nothing(struct source_req *req)
{
	free(req);
}

static bool distrust_nothing(struct source *s, const struct unit_run *run, uint32_t unit_idx,
                             uint32_t giver)
{
	(void)giver;
	(void)s;
	(void)run;
	(void)unit_idx;
	return false;
}

static const struct source_ops nothing_ops = {
	.name = "origin", .get = get_nothing, .cancel = cancel_nothing, .distrust = distrust_nothing
};

int __real_origin_source_new(const struct origin_source_opts *opts, struct source **ret_source,
                             struct err *e);
int __wrap_origin_source_new(const struct origin_source_opts *opts, struct source **ret_source,
                             struct err *e);

/* The source is the real one, for manifests and blob metas; only its units never come. */
int __wrap_origin_source_new(const struct origin_source_opts *opts, struct source **ret_source,
                             struct err *e)
{
	const int r = __real_origin_source_new(opts, ret_source, e);

	if (r == 0 && is_hostile("sit"))
		(*ret_source)->ops = &nothing_ops;
	return r;
}

/* ---- frames ---- */

void __real_wire_encode(const struct wire_msg *msg, struct wire_buf *buf);
void __wrap_wire_encode(const struct wire_msg *msg, struct wire_buf *buf);

void __wrap_wire_encode(const struct wire_msg *msg, struct wire_buf *buf)
{
	static const uint8_t too_much[WIRE_PREFIX_BYTES] = { 0xff, 0xff, 0xff, 0xff,
		                                             0xff, 0xff, 0xff, 0xff };
	static const struct wire_msg unasked = {
		.type = WIRE_END, .u.end = { .req = 0x7fffff00, .status = WIRE_DONE }
	};
	/* Not among the hellos, and not between a header and its payload. */
	const bool may = msg->type != WIRE_HELLO && msg->type != WIRE_HELLO_ACK &&
	                 msg->payload_size_bytes == 0;

	__real_wire_encode(msg, buf);
	if (may && is_hostile("oversize"))
		wire_buf_append(buf, too_much, sizeof(too_much));
	if (may && is_hostile("unasked"))
		__real_wire_encode(&unasked, buf);
}

/* ---- images ---- */

static void pass_gate(void)
{
	const char *gate = secure_getenv("SHOAL_HOSTILE_GATE");
	AUTO(close_fd) int fd = gate != NULL ? open(gate, O_RDONLY | O_CLOEXEC) : -1;
	char byte;

	while (fd >= 0 && read(fd, &byte, 1) > 0)
		;
}

int __real_image_store_remove(struct cas *cas, const char *digest, struct err *e);
int __wrap_image_store_remove(struct cas *cas, const char *digest, struct err *e);

int __wrap_image_store_remove(struct cas *cas, const char *digest, struct err *e)
{
	if (is_hostile("remove"))
		pass_gate();
	return __real_image_store_remove(cas, digest, e);
}

/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c) */
