/*
 * print_tree: the tree of a bootstrap file, one entry a line. For people and for comparing.
 */
#include "tree_lines.h"
#include <stdio.h>
#include <stdlib.h>

static int read_file(const char *path, uint8_t **ret_bytes, size_t *ret_size_bytes)
{
	FILE *f = fopen(path, "rb");
	size_t room = 1 << 20;
	size_t n = 0;
	uint8_t *bytes = malloc(room);

	while (f != NULL && bytes != NULL && !feof(f) && !ferror(f)) {
		if (n == room) {
			uint8_t *more = realloc(bytes, room *= 2);

			if (more == NULL)
				break;
			bytes = more;
		}
		n += fread(bytes + n, 1, room - n, f);
	}
	if (f == NULL || bytes == NULL || ferror(f)) {
		perror(path);
		free(bytes);
		if (f != NULL)
			(void)fclose(f);
		return 1;
	}
	(void)fclose(f);
	*ret_bytes = bytes;
	*ret_size_bytes = n;
	return 0;
}

int main(int argc, char **argv)
{
	AUTO(image_close) struct image *im = NULL;
	struct image_opts opts = { 0 };
	struct tree_lines tree = { 0 };
	uint8_t *bytes = NULL;
	struct err e;
	int r;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: print_tree BOOTSTRAP\n");
		return 2;
	}
	if (read_file(argv[1], &bytes, &opts.size_bytes) != 0)
		return 1;
	opts.data = bytes;
	r = image_open(&opts, &im, &e);
	if (r == 0)
		r = tree_lines_read(im, &tree, &e);
	for (size_t i = 0; i < tree.n; i++)
		(void)printf("%s\n", tree.lines[i].text);
	if (r < 0)
		(void)fprintf(stderr, "%s\n", e.msg);
	tree_lines_free(&tree);
	image_close(&im);
	free(bytes);
	return r < 0;
}
