/*
 * auth_files: which docker configs mounts have brought for which repository. Paths, not contents.
 */
#include "mem.h"
#include "registry_auth.h"
#include <stdlib.h>
#include <string.h>

struct auth_file {
	char *host;
	char *repository;
	char *path;
	uint32_t n_adds;
	struct auth_file *next;
};

struct auth_files {
	struct auth_file *first; /* the latest first */
};

static void file_free(struct auth_file *file)
{
	free_str(&file->host);
	free_str(&file->repository);
	free_str(&file->path);
	free(file);
}

struct auth_files *auth_files_new(void)
{
	return xcalloc(1, sizeof(struct auth_files));
}

void auth_files_free(struct auth_files **files)
{
	if (*files == NULL)
		return;
	while ((*files)->first != NULL) {
		struct auth_file *file = (*files)->first;

		(*files)->first = file->next;
		file_free(file);
	}
	free(*files);
	*files = NULL;
}

static bool is_for(const struct auth_file *file, const char *host, const char *repository)
{
	return strcmp(file->host, host) == 0 && strcmp(file->repository, repository) == 0;
}

/* @return where the pointer to it stands; where NULL stands, if there is none */
static struct auth_file **find(struct auth_files *files, const char *host, const char *repository,
                               const char *path)
{
	struct auth_file **at = &files->first;

	while (*at != NULL && (!is_for(*at, host, repository) || strcmp((*at)->path, path) != 0))
		at = &(*at)->next;
	return at;
}

void auth_files_add(struct auth_files *files, const char *host, const char *repository,
                    const char *path)
{
	struct auth_file *file = *find(files, host, repository, path);

	if (file == NULL) {
		file = xcalloc(1, sizeof(*file));
		file->host = xstrdup(host);
		file->repository = xstrdup(repository);
		file->path = xstrdup(path);
		file->next = files->first;
		files->first = file;
	}
	file->n_adds++;
}

void auth_files_remove(struct auth_files *files, const char *host, const char *repository,
                       const char *path)
{
	struct auth_file **at = find(files, host, repository, path);
	struct auth_file *file = *at;

	if (file == NULL || --file->n_adds > 0)
		return;
	*at = file->next;
	file_free(file);
}

char **auth_files_for(const struct auth_files *files, const char *host, const char *repository,
                      uint32_t *ret_n)
{
	char **paths = NULL;
	uint32_t n = 0;

	for (const struct auth_file *file = files->first; file != NULL; file = file->next) {
		if (!is_for(file, host, repository))
			continue;
		paths = xrealloc(paths, n + 1, sizeof(*paths));
		paths[n++] = xstrdup(file->path);
	}
	*ret_n = n;
	return paths;
}
