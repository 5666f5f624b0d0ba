/*
 * manifest_index: which entry of an image index is for this machine, a nydus variant first.
 *
 * Knows platforms and the two marks of nydus variants; whether the entry really is a nydus image
 * shows when it is fetched.
 */
#include "manifest_json.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NYDUS_OS_FEATURE "nydus.remoteimage.v1"
#define NYDUS_ARTIFACT   "application/vnd.nydus.image.manifest.v1+json"
#define OFFERS_BYTES     160

#if defined(__x86_64__)
#define HERE_ARCH    "amd64"
#define HERE_VARIANT ""
#elif defined(__aarch64__)
#define HERE_ARCH    "arm64"
#define HERE_VARIANT "v8"
#elif defined(__arm__)
#define HERE_ARCH    "arm"
#define HERE_VARIANT "v7"
#elif defined(__riscv)
#define HERE_ARCH    "riscv64"
#define HERE_VARIANT ""
#elif defined(__s390x__)
#define HERE_ARCH    "s390x"
#define HERE_VARIANT ""
#elif defined(__powerpc64__)
#define HERE_ARCH    "ppc64le"
#define HERE_VARIANT ""
#else
#error "name this architecture as Go does"
#endif

struct platform platform_here(void)
{
	return (struct platform){ .os = "linux", .arch = HERE_ARCH, .variant = HERE_VARIANT };
}

static bool is_nydus(const json_t *entry)
{
	const json_t *features = json_object_get(json_object_get(entry, "platform"), "os.features");

	if (strcmp(json_text(entry, "artifactType"), NYDUS_ARTIFACT) == 0)
		return true;
	for (size_t i = 0; i < json_array_size(features); i++) {
		const char *feature = json_string_value(json_array_get(features, i));

		if (feature != NULL && strcmp(feature, NYDUS_OS_FEATURE) == 0)
			return true;
	}
	return false;
}

/* Variants are "v" and one digit where they order, and a machine runs those below its own. The
 * exact one is best, then the next lower, then none said, then (where this machine's own variant
 * is not known) any. 0: not for this machine. */
static int rank_variant(const char *here, const char *variant)
{
	if (strcmp(here, variant) == 0)
		return 20;
	if (variant[0] == '\0')
		return 2;
	if (here[0] == '\0')
		return 1;
	if (here[0] != 'v' || variant[0] != 'v' || strlen(variant) != 2 || variant[1] > here[1])
		return 0;
	return variant[1] >= '1' ? 2 + variant[1] - '0' : 0;
}

/* 0: not for this machine; else the more the better. */
static int rank(const json_t *entry, const struct platform *platform)
{
	const json_t *of = json_object_get(entry, "platform");
	const int nydus = is_nydus(entry) ? 100 : 0;
	int variant = 0;

	if (!json_is_object(entry))
		return 0;
	if (!json_is_object(of))
		return nydus + 1;
	if (strcmp(json_text(of, "os"), platform->os) != 0 ||
	    strcmp(json_text(of, "architecture"), platform->arch) != 0)
		return 0;
	variant = rank_variant(platform->variant, json_text(of, "variant"));
	return variant > 0 ? nydus + 1 + variant : 0;
}

/* "linux/amd64, linux/arm64/v8", for the message. */
static void list_offers(const json_t *entries, char ret_text[OFFERS_BYTES])
{
	size_t used = 0;

	ret_text[0] = '\0';
	for (size_t i = 0; i < json_array_size(entries) && used < OFFERS_BYTES; i++) {
		const json_t *of = json_object_get(json_array_get(entries, i), "platform");
		const char *variant = json_text(of, "variant");

		used += (size_t)snprintf(ret_text + used, OFFERS_BYTES - used,
		                         "%s%.20s/%.20s%s%.20s", i > 0 ? ", " : "",
		                         json_text(of, "os"), json_text(of, "architecture"),
		                         variant[0] != '\0' ? "/" : "", variant);
	}
}

int manifest_index_choose(const json_t *entries, const struct platform *platform,
                          struct manifest *ret_manifest, struct err *e)
{
	const json_t *best = NULL;
	char offers[OFFERS_BYTES];
	int best_rank = 0;

	for (size_t i = 0; i < json_array_size(entries); i++) {
		const json_t *entry = json_array_get(entries, i);
		const int entry_rank = rank(entry, platform);

		if (entry_rank > best_rank) {
			best = entry;
			best_rank = entry_rank;
		}
	}
	if (best == NULL) {
		list_offers(entries, offers);
		return err_set(e, ENOTSUP, "the index has no image for %s/%s (it has: %s)",
		               platform->os, platform->arch, offers[0] != '\0' ? offers : "none");
	}
	return descriptor_parse(best, "manifest of this platform", MANIFEST_MAX_BYTES, ret_manifest,
	                        e);
}
