/*
 * broken_dir: see broken_dir.h. Part of a test, or a library to be loaded before others.
 */
#include "broken_dir.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>

typedef struct dirent64 *(*readdir_fn)(DIR *dir);

struct dirent64 *readdir64(DIR *dir);

static const char *_Atomic broken_path;
static atomic_int n_names; /* told of it; other threads read other directories meanwhile */

void break_dir(const char *path)
{
	broken_path = path;
	n_names = 0;
}

static readdir_fn real(void)
{
	readdir_fn fn;

	*(void **)&fn = dlsym(RTLD_NEXT, "readdir64");
	return fn;
}

static bool is_broken(DIR *dir)
{
	const char *path = broken_path != NULL ? broken_path : secure_getenv("SHOAL_BROKEN_DIR");
	struct stat broken;
	struct stat st;

	return path != NULL && stat(path, &broken) == 0 && fstat(dirfd(dir), &st) == 0 &&
	       st.st_dev == broken.st_dev && st.st_ino == broken.st_ino;
}

struct dirent64 *readdir64(DIR *dir)
{
	struct dirent64 *entry;

	if (n_names > 0 && is_broken(dir)) {
		errno = EIO;
		return NULL;
	}
	entry = real()(dir);
	n_names += entry != NULL && entry->d_name[0] != '.' && is_broken(dir);
	return entry;
}
