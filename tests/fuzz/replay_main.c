/*
 * replay_main: run a fuzz target once on each file given, or in the directories given.
 */
#include "fuzz.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = NULL;
	struct stat st;
	int r = 1;

	if (f != NULL && fstat(fileno(f), &st) == 0) {
		const size_t size_bytes = (size_t)st.st_size;

		data = malloc(size_bytes + 1);
		if (data != NULL && fread(data, 1, size_bytes, f) == size_bytes) {
			(void)LLVMFuzzerTestOneInput(data, size_bytes);
			r = 0;
		}
	}
	if (r != 0)
		perror(path);
	free(data);
	if (f != NULL)
		(void)fclose(f);
	return r;
}

static int replay_dir(const char *dir, unsigned *n_files)
{
	DIR *d = opendir(dir);
	const struct dirent *entry;
	int r = 0;

	if (d == NULL) {
		perror(dir);
		return 1;
	}
	while (r == 0 && (entry = readdir(d)) != NULL) {
		char path[4096];

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		r = replay_file(path);
		(*n_files)++;
	}
	(void)closedir(d);
	return r;
}

int main(int argc, char **argv)
{
	unsigned n_files = 0;
	int r = 0;

	for (int i = 1; i < argc && r == 0; i++) {
		struct stat st;

		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode)) {
			r = replay_dir(argv[i], &n_files);
		} else {
			r = replay_file(argv[i]);
			n_files++;
		}
	}
	(void)printf("%u inputs replayed\n", n_files);
	return r != 0 || n_files == 0;
}
