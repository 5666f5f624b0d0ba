/*
 * share: chunks by name across blobs: what one blob here has, every other blob here has.
 *
 * A chunk is *present* in a blob when it is ready (its bytes stand in the blob's own file) or
 * referred (they stand in the file of another blob, the owner, that has it ready). A *candidate* is
 * not present, but another blob that is open has it; cas_blob_share() makes it present. Bytes are
 * hashed when they are shared: what a name promises is never believed.
 *
 * A reference is a pointer: the chunk is present while the owner has it ready. Taking the owner's
 * chunk (eviction, wrong bytes) therefore takes it from everybody who refers to it, in the one
 * transaction that clears the owner's ready bit; no other row has to change.
 *
 * Threads as in cas.h. Nothing here knows peers or networks.
 */
#pragma once
#include "cas.h"
#include "public_name.h"

/** [any] Ready or referred: cas_blob_read() has its bytes. A snapshot. chunk_idx < n_chunks. */
bool cas_blob_is_present(const struct cas_blob *blob, uint32_t chunk_idx);

/** [any] Not present, but believed ready in another blob here: worth a cas_blob_share(). */
bool cas_blob_is_candidate(const struct cas_blob *blob, uint32_t chunk_idx);

/**
 * [worker] Make a candidate present: find it in another open blob, hash its bytes, refer to it, or
 * clone or copy it. What has wrong bytes there is voided there and counted
 * (shoal_verify_failures_total{source="dedup"}).
 *
 * @return 0 present now; CAS_MISS nobody here has it (no candidate any more); CAS_FULL it would
 * have to be copied and there is no room; -EIO
 */
MUST_CHECK int cas_blob_share(struct cas_blob *blob, uint32_t chunk_idx, struct err *e);

/** [worker] The same for a chunk that is not present; ret_plain has room for its plain_size_bytes,
 * and holds them if 0 is returned. */
MUST_CHECK int cas_blob_share_into(struct cas_blob *blob, uint32_t chunk_idx, uint8_t *ret_plain,
                                   struct err *e);

/** [any] In whose file a chunk stands that is referred to. @return false: it is not */
bool cas_blob_owner_of(const struct cas_blob *blob, uint32_t chunk_idx,
                       struct cas_chunk_place *ret_place);

/** [any] How chunks are shared: "refer"; "reflink": the same at first, and cloned behind that,
 * where the file system can; or "off" (cache.dedup). */
const char *cas_share_way(const struct cas *cas);

/** [any] Blobs of whose chunks it is still being found out who has them. */
uint32_t cas_joins_running(const struct cas *cas);

/** [any] While on, nobody waits for that when he opens a blob: there are readers who wait for what
 * is here already. Until it is known, what only others here have may be fetched. At first off. */
void cas_join_behind(struct cas *cas, bool on);

/** [any] Is this one of them? What nobody is known to have may be found here yet. */
bool cas_blob_is_joining(const struct cas_blob *blob);

/** [any] An open blob in which a chunk of this name is ready; memory only, no I/O.
 * @param ret_blob  a reference, the caller's. @return 0; CAS_MISS */
MUST_CHECK int cas_find_open(struct cas *cas, const uint8_t name[PUBLIC_NAME_BYTES],
                             struct cas_blob **ret_blob, uint32_t *ret_idx);

/** [worker] As cas_find_open(), but asks the database, too, and opens the blob that it names.
 * @return 0; CAS_MISS; negative */
MUST_CHECK int cas_find_ready(struct cas *cas, const uint8_t name[PUBLIC_NAME_BYTES],
                              struct cas_blob **ret_blob, uint32_t *ret_idx, struct err *e);

/**
 * [worker] The bytes of a present chunk, checked now against their digest, or against what is kept
 * of that (digest_memo.h): for those who hand them on, again and again.
 *
 * @param ret_plain  room for the chunk's plain_size_bytes; undefined unless 0 is returned
 * @return 0; CAS_MISS not present; CAS_MISMATCH they were wrong: voided, counted
 *         (shoal_verify_failures_total{source="cache"}); -EINVAL it has no digest; -EIO
 */
MUST_CHECK int cas_blob_read_checked(struct cas_blob *blob, uint32_t chunk_idx, uint8_t *ret_plain,
                                     struct err *e);
