/*
 * digest_memo: a table without locks.
 *
 * A slot is read and written in two parts. What comes of two threads at once is a name beside
 * another's MAC: no bytes have that, so the digest decides.
 */
#include "digest_memo.h"
#include "mem.h"
#include <assert.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES   16
#define NONCE_BYTES 12
#define TAG_BYTES   16
#define WAYS        4
#define N_BUCKETS   (DIGEST_MEMO_MAX / WAYS)

struct slot {
	_Atomic uint64_t name; /* the first bytes of a digest that was asked for */
	_Atomic uint64_t mac;  /* 0: it was asked for once */
};

struct bucket {
	struct slot slots[WAYS];
};

struct digest_memo {
	EVP_CIPHER *cipher;
	uint8_t key[KEY_BYTES];
	struct bucket buckets[N_BUCKETS];
};

struct digest_memo *digest_memo_new(void)
{
	struct digest_memo *m = xcalloc(1, sizeof(*m));

	m->cipher = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
	if (RAND_bytes(m->key, sizeof(m->key)) != 1)
		abort(); /* the system has no random numbers */
	return m;
}

void digest_memo_free(struct digest_memo **m)
{
	if (*m == NULL)
		return;
	EVP_CIPHER_free((*m)->cipher);
	free(*m);
	*m = NULL;
}

/* One nonce for all: tags stay here, so nobody can learn from two of them.
 * @return 0: there is none */
static uint64_t mac_of(const struct digest_memo *m, enum digest_alg alg, const void *data,
                       size_t size_bytes, const uint8_t digest[DIGEST_BYTES])
{
	static const uint8_t nonce[NONCE_BYTES];
	const uint8_t which = (uint8_t)alg;
	EVP_CIPHER_CTX *ctx = m->cipher != NULL ? EVP_CIPHER_CTX_new() : NULL;
	uint8_t tag[TAG_BYTES];
	uint64_t mac = 0;
	int n;

	if (ctx != NULL && size_bytes <= INT_MAX &&
	    EVP_EncryptInit_ex(ctx, m->cipher, NULL, m->key, nonce) == 1 &&
	    EVP_EncryptUpdate(ctx, NULL, &n, &which, sizeof(which)) == 1 &&
	    EVP_EncryptUpdate(ctx, NULL, &n, digest, DIGEST_BYTES) == 1 &&
	    EVP_EncryptUpdate(ctx, NULL, &n, data, (int)size_bytes) == 1 &&
	    EVP_EncryptFinal_ex(ctx, tag, &n) == 1 &&
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, sizeof(tag), tag) == 1)
		memcpy(&mac, tag, sizeof(mac));
	EVP_CIPHER_CTX_free(ctx);
	return mac;
}

static uint64_t load(const _Atomic uint64_t *at)
{
	return atomic_load_explicit(at, memory_order_relaxed);
}

static void store(_Atomic uint64_t *at, uint64_t value)
{
	atomic_store_explicit(at, value, memory_order_relaxed);
}

/* The one of that name; else an empty one; else one whatever it holds, another for each name. */
static struct slot *slot_for(struct bucket *b, uint64_t name)
{
	struct slot *free_one = &b->slots[(name >> 32) % WAYS];

	for (size_t i = 0; i < WAYS; i++) {
		const uint64_t here = load(&b->slots[i].name);

		if (here == name)
			return &b->slots[i];
		if (here == 0)
			free_one = &b->slots[i];
	}
	return free_one;
}

bool digest_memo_matches(struct digest_memo *m, enum digest_alg alg, const void *data,
                         size_t size_bytes, const uint8_t digest[DIGEST_BYTES])
{
	struct slot *slot;
	uint64_t name;
	uint64_t mac = 0;

	assert(alg < N_DIGEST_ALGS);
	memcpy(&name, digest, sizeof(name));
	slot = slot_for(&m->buckets[name % N_BUCKETS], name);
	if (load(&slot->name) == name)
		mac = mac_of(m, alg, data, size_bytes, digest);
	if (mac != 0 && load(&slot->mac) == mac)
		return true;
	if (!digest_matches(alg, data, size_bytes, digest))
		return false;
	store(&slot->mac, mac);
	store(&slot->name, name);
	return true;
}
