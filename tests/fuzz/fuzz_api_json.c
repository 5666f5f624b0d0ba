/*
 * fuzz_api_json: any bytes as the body of a mount request or as a record on disk: refused, or a
 * record that reads the same when it is written out.
 */
#include "fuzz.h"
#include "mount_record.h"
#include "text.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	AUTO(json_drop) json_t *body = NULL;
	AUTO(json_drop) json_t *written = NULL;
	AUTO(json_drop) json_t *written_again = NULL;
	AUTO(mount_record_clear) struct mount_record rec = { .dir = NULL };
	AUTO(mount_record_clear) struct mount_record again = { .dir = NULL };
	struct err e = { .code = 0 };

	if (json_parse_object((const char *)data, size_bytes, &body, &e) < 0)
		return 0;
	if (mount_record_parse(body, true, &rec, &e) < 0)
		return 0;
	assert(path_is_plain(rec.dir) && mount_record_image(&rec) != NULL);
	written = mount_record_json(&rec);
	assert(mount_record_parse(written, true, &again, &e) == 0);
	assert(same_text(rec.reference, again.reference) &&
	       same_text(rec.bootstrap, again.bootstrap) && same_text(rec.blobs, again.blobs));
	written_again = mount_record_json(&again);
	assert(json_equal(written, written_again));
	return 0;
}
