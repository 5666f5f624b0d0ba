/*
 * mount_table: see mount_table.h.
 */
#include "mount_table.h"
#include "mem.h"
#include <mntent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OWN_MOUNTS "/proc/self/mounts"
/* The node's, also from a pod that shares its processes: where it does not, its own again. */
#define NODE_MOUNTS "/proc/1/mounts"
/* An overlay of 500 layers with long names; what is longer is cut, and not recognised. */
#define MOUNT_LINE_BYTES (256U << 10)

/* Call fn with each entry, in order of mounting, until it returns true. @return did it? */
static bool look(const char *table, bool (*fn)(const struct mntent *entry, void *arg), void *arg)
{
	FILE *mounts = setmntent(table, "re");
	AUTO(free_str) char *line = xcalloc(1, MOUNT_LINE_BYTES);
	struct mntent entry;
	bool found = false;

	if (mounts == NULL)
		return false;
	while (!found && getmntent_r(mounts, &entry, line, MOUNT_LINE_BYTES) != NULL)
		found = fn(&entry, arg);
	(void)endmntent(mounts);
	return found;
}

static bool is_below(const char *path, const char *dir)
{
	const size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && path[n] == '/';
}

/* ---- EROFS ---- */

struct wanted {
	const char *dir;
	const char *images_dir;
	bool is_ours;
};

static bool see_erofs(const struct mntent *entry, void *arg)
{
	struct wanted *wanted = arg;

	if (strcmp(entry->mnt_dir, wanted->dir) == 0)
		wanted->is_ours = strcmp(entry->mnt_type, "erofs") == 0 &&
		                  is_below(entry->mnt_fsname, wanted->images_dir);
	return false; /* the last one counts */
}

bool mount_table_has_erofs(const char *dir, const char *images_dir)
{
	struct wanted wanted = { .dir = dir, .images_dir = images_dir };

	(void)look(OWN_MOUNTS, see_erofs, &wanted);
	return wanted.is_ours;
}

/* ---- any ---- */

struct search {
	bool (*is_it)(const char *dir, void *arg);
	void *arg;
	char *found;
};

static bool see_any(const struct mntent *entry, void *arg)
{
	struct search *search = arg;

	if (search->is_it(entry->mnt_dir, search->arg))
		search->found = xstrdup(entry->mnt_dir);
	return search->found != NULL;
}

char *mount_table_find(bool (*is_it)(const char *dir, void *arg), void *arg)
{
	struct search search = { .is_it = is_it, .arg = arg };

	(void)look(OWN_MOUNTS, see_any, &search);
	return search.found;
}

/* ---- overlays ---- */

/* Skip an option, or a name of its list when in_list. A backslash escapes what follows. */
static const char *end_of(const char *text, bool in_list)
{
	while (*text != '\0' && *text != ',' && !(in_list && *text == ':'))
		text += text[0] == '\\' && text[1] != '\0' ? 2 : 1;
	return text;
}

/* Is the name [text, end) dir, or below it? */
static bool names_dir(const char *text, const char *end, const char *dir)
{
	while (text < end && *dir != '\0') {
		if (*text == '\\' && text + 1 < end)
			text++;
		if (*text++ != *dir++)
			return false;
	}
	return *dir == '\0' && (text == end || *text == '/');
}

static bool list_names_dir(const char *list, const char *dir)
{
	for (;;) {
		const char *end = end_of(list, true);

		if (names_dir(list, end, dir))
			return true;
		if (*end != ':')
			return false;
		list = end + 1;
	}
}

/* The value of an option that lists lower directories; NULL: it is another option. */
static const char *lower_list(const char *option)
{
	static const char *const keys[] = { "lowerdir=", "lowerdir+=", "datadir+=" };

	for (uint32_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (strncmp(option, keys[i], strlen(keys[i])) == 0)
			return option + strlen(keys[i]);
	}
	return NULL;
}

bool overlay_names_lower(const char *options, const char *dir)
{
	while (*options != '\0') {
		const char *list = lower_list(options);

		if (list != NULL && list_names_dir(list, dir))
			return true;
		options = end_of(options, false);
		options += *options == ',';
	}
	return false;
}

static bool see_lower(const struct mntent *entry, void *arg)
{
	const struct wanted *wanted = arg;

	return strcmp(entry->mnt_type, "overlay") == 0 &&
	       overlay_names_lower(entry->mnt_opts, wanted->dir);
}

bool mount_table_is_lower(const char *dir)
{
	struct wanted wanted = { .dir = dir };

	return look(OWN_MOUNTS, see_lower, &wanted) || look(NODE_MOUNTS, see_lower, &wanted);
}
