/*
 * mount_load: the image of a mount: by the name that was said, or, at a restart, the very image
 * that was mounted.
 *
 * Knows records and the loader. All on the loop thread.
 */
#include "image_reads.h"
#include "mem.h"
#include "mount_life.h"
#include "reference.h"
#include <string.h>

/* A listed image comes back under its name; where that means another one by now, by digest. */
static char *reference_to_load(const struct mount_life *life)
{
	const struct mount_record *rec = &life->pub.rec;
	struct err ignored = { 0 };
	struct reference ref;

	if (rec->reference == NULL || !life->by_digest ||
	    reference_parse(rec->reference, &ref, &ignored) < 0)
		return xstrdup_or_null(rec->reference);
	return xasprintf("%s/%s@sha256:%s", ref.host, ref.repository, rec->digest);
}

static int load(struct mount_life *life);

static bool is_other_image(const struct mount_life *life, const struct lazy_image *image)
{
	const struct mount_record *rec = &life->pub.rec;

	return life->restoring && !life->by_digest && rec->reference != NULL &&
	       rec->digest[0] != '\0' && strcmp(rec->digest, image->digest) != 0;
}

static void on_loaded(void *arg, int r, struct lazy_image *image, const struct err *why)
{
	struct mount_life *life = arg;

	life->load = NULL;
	if (r == 0 && is_other_image(life, image)) {
		lazy_image_release(&image);
		life->by_digest = true;
		r = load(life);
		if (r == 0)
			return;
		why = &life->pub.why;
	} else if (r == 0) {
		life->pub.image = image;
		if (!life->restoring && !life->adopting)
			image_reads_begin(image);
		memcpy(life->pub.rec.digest, image->digest, sizeof(image->digest));
	}
	mount_life_loaded(life, r, why);
}

static int load(struct mount_life *life)
{
	AUTO(free_str) char *reference = reference_to_load(life);
	struct image_load_opts opts = mount_load_opts(&life->pub.rec);

	opts.reference = reference;
	opts.offline_ok = life->restoring;
	opts.done = on_loaded;
	opts.arg = life;
	return image_load_start(life->mounts->opts.loader, &opts, &life->load, &life->pub.why);
}

int mount_load_start(struct mount_life *life)
{
	life->by_digest = false;
	return load(life);
}
