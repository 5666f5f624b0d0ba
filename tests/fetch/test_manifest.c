/*
 * test_manifest: what a manifest or an index leads to, and what is refused with which words.
 */
#include "manifest.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEX_A           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B           "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HEX_C           "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define DESC(hex, size) "\"digest\":\"sha256:" hex "\",\"size\":" #size
#define BLOB            "{\"mediaType\":\"application/vnd.oci.image.layer.nydus.blob.v1\"," DESC(HEX_A, 7) "}"
#define GZIP            "\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\","
#define BOOT_OF(version)                                                                           \
	"{" GZIP DESC(HEX_B, 9) ",\"annotations\":{"                                               \
				"\"containerd.io/snapshot/nydus-bootstrap\":\"true\","             \
				"\"containerd.io/snapshot/nydus-fs-version\":\"" version "\"}}"
#define PLAIN          "{" GZIP DESC(HEX_C, 5) "}"
#define IMAGE(layers)  "{\"schemaVersion\":2,\"layers\":[" layers "]}"
#define INDEX(entries) "{\"schemaVersion\":2,\"manifests\":[" entries "]}"
#define ENTRY(hex, arch, rest)                                                                     \
	"{" DESC(hex, 3) ",\"platform\":{\"os\":\"linux\",\"architecture\":\"" arch "\"" rest "}}"
#define NYDUS ",\"os.features\":[\"nydus.remoteimage.v1\"]"

static const struct platform amd64 = { "linux", "amd64", "" };
static const struct platform arm64 = { "linux", "arm64", "v8" };
static const struct platform arm = { "linux", "arm", "v7" };

static struct manifest parsed(const char *json, const struct platform *platform)
{
	struct manifest m = { .kind = MANIFEST_IMAGE };
	struct err e = { .code = 0 };

	if (manifest_parse(json, strlen(json), platform, &m, &e) != 0)
		fail_msg("%s", e.msg);
	return m;
}

static void refused(const char *json, int code, const char *why)
{
	struct manifest m = { .kind = MANIFEST_IMAGE };
	struct err e = { .code = 0 };

	assert_int_equal(manifest_parse(json, strlen(json), &amd64, &m, &e), -code);
	if (strstr(e.msg, why) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", e.msg, why);
}

static void the_layer_that_says_so_is_the_bootstrap(void **state)
{
	const struct manifest m = parsed(IMAGE(BLOB "," BOOT_OF("6") "," PLAIN), &amd64);

	(void)state;
	assert_int_equal(m.kind, MANIFEST_IMAGE);
	assert_string_equal(m.next_digest, HEX_B);
	assert_int_equal(m.next_size_bytes, 9);
}

static void else_it_is_the_last_layer_where_others_are_nydus_blobs(void **state)
{
	const struct manifest m = parsed(IMAGE(BLOB "," BLOB "," PLAIN), &amd64);

	(void)state;
	assert_string_equal(m.next_digest, HEX_C);
}

static void an_ordinary_image_is_refused_with_a_way_to_convert_it(void **state)
{
	(void)state;
	refused(IMAGE(PLAIN "," PLAIN), ENOTSUP, "ordinary OCI image");
	refused(IMAGE(PLAIN "," PLAIN), ENOTSUP, "nydusify convert");
	refused(IMAGE(""), ENOTSUP, "ordinary OCI image");
	refused(IMAGE(BLOB), ENOTSUP, "ordinary OCI image");
	refused("{\"artifactType\":\"text/x\",\"layers\":[" PLAIN "]}", ENOTSUP, "artifact");
}

static void nydus_v3_is_refused_by_name(void **state)
{
	(void)state;
	refused(IMAGE(BLOB "," BOOT_OF("7")), ENOTSUP, "nydus v3");
}

static void of_an_index_this_platform_is_chosen_and_a_nydus_variant_first(void **state)
{
	(void)state;
	assert_string_equal(
		parsed(INDEX(ENTRY(HEX_A, "arm64", "") "," ENTRY(HEX_B, "amd64", "")), &amd64)
			.next_digest,
		HEX_B);
	assert_string_equal(parsed(INDEX(ENTRY(HEX_A, "amd64", "") "," ENTRY(
					   HEX_B, "amd64", NYDUS) "," ENTRY(HEX_C, "arm64", NYDUS)),
	                           &amd64)
	                            .next_digest,
	                    HEX_B);
	assert_string_equal(
		parsed(INDEX(ENTRY(HEX_A, "amd64", "") ",{" DESC(
			       HEX_B,
			       3) ",\"artifactType\":"
	                          "\"application/vnd.nydus.image.manifest.v1+json\",\"platform\":{"
	                          "\"os\":\"linux\",\"architecture\":\"amd64\"}}"),
	               &amd64)
			.next_digest,
		HEX_B);
	assert_int_equal(parsed(INDEX(ENTRY(HEX_A, "amd64", "")), &amd64).kind, MANIFEST_INDEX);
}

static void the_variant_of_this_machine_or_the_next_lower_is_chosen(void **state)
{
	(void)state;
	assert_string_equal(parsed(INDEX(ENTRY(HEX_A, "arm64", "") "," ENTRY(
					   HEX_B, "arm64", ",\"variant\":\"v8\"")),
	                           &arm64)
	                            .next_digest,
	                    HEX_B);
	assert_string_equal(parsed(INDEX(ENTRY(HEX_A, "arm", ",\"variant\":\"v5\"") "," ENTRY(
					   HEX_B, "arm",
					   ",\"variant\":\"v6\"") "," ENTRY(HEX_C, "arm",
	                                                                    ",\"variant\":\"v8\"")),
	                           &arm)
	                            .next_digest,
	                    HEX_B);
	assert_string_equal(
		parsed(INDEX(ENTRY(HEX_A, "arm", ",\"variant\":\"v\"") "," ENTRY(HEX_B, "arm", "")),
	               &arm)
			.next_digest,
		HEX_B);
}

static void an_index_without_this_platform_says_what_it_has(void **state)
{
	(void)state;
	refused(INDEX(ENTRY(HEX_A, "arm64", ",\"variant\":\"v8\"")), ENOTSUP, "linux/arm64/v8");
	refused(INDEX(""), ENOTSUP, "none");
}

static void broken_json_and_broken_descriptors_are_refused(void **state)
{
	(void)state;
	refused("", EUCLEAN, "not a manifest");
	refused("<html>", EUCLEAN, "not a manifest");
	refused("[]", EUCLEAN, "neither");
	refused("{}", EUCLEAN, "neither");
	refused("{\"layers\":[],\"layers\":[]}", EUCLEAN, "not a manifest");
	refused("{\"layers\":[],\"manifests\":[]}", EUCLEAN, "not both");
	refused("{\"layers\":{}}", EUCLEAN, "neither");
	refused(IMAGE("1,2"), ENOTSUP, "ordinary");
	refused(IMAGE(BLOB ",{}"), EUCLEAN, "size");
	refused(IMAGE(BLOB ",{" DESC(HEX_A, -1) "}"), EUCLEAN, "size");
	refused(IMAGE(BLOB ",{" DESC(HEX_A, 2e3) "}"), EUCLEAN, "size");
	refused(IMAGE(BLOB ",{" DESC(HEX_A, 1073741825) "}"), EMSGSIZE, "bootstrap layer");
	refused(IMAGE(BLOB ",{\"size\":1,\"digest\":\"sha256:xyz\"}"), EUCLEAN, "digest");
	refused(IMAGE(BLOB ",{\"size\":1,\"digest\":\"sha512:xyz\"}"), ENOTSUP, "SHA-512");
	refused("{\"schemaVersion\":1,\"fsLayers\":[]}", ENOTSUP, "schema 1");
	refused(INDEX("{\"size\":1}"), EUCLEAN, "digest");
}

static void more_bytes_than_a_manifest_may_have_are_not_read(void **state)
{
	char *big = malloc(MANIFEST_MAX_BYTES + 1);
	struct manifest m;
	struct err e;

	(void)state;
	assert_non_null(big);
	memset(big, ' ', MANIFEST_MAX_BYTES + 1);
	assert_int_equal(manifest_parse(big, MANIFEST_MAX_BYTES + 1, &amd64, &m, &e), -EMSGSIZE);
	free(big);
}

static void this_machine_has_a_platform(void **state)
{
	(void)state;
	assert_string_equal(platform_here().os, "linux");
	assert_true(strlen(platform_here().arch) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_layer_that_says_so_is_the_bootstrap),
		cmocka_unit_test(else_it_is_the_last_layer_where_others_are_nydus_blobs),
		cmocka_unit_test(an_ordinary_image_is_refused_with_a_way_to_convert_it),
		cmocka_unit_test(nydus_v3_is_refused_by_name),
		cmocka_unit_test(of_an_index_this_platform_is_chosen_and_a_nydus_variant_first),
		cmocka_unit_test(the_variant_of_this_machine_or_the_next_lower_is_chosen),
		cmocka_unit_test(an_index_without_this_platform_says_what_it_has),
		cmocka_unit_test(broken_json_and_broken_descriptors_are_refused),
		cmocka_unit_test(more_bytes_than_a_manifest_may_have_are_not_read),
		cmocka_unit_test(this_machine_has_a_platform),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
