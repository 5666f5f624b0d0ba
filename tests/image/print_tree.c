/*
 * print_tree: the tree of a bootstrap file, one entry a line. For people and for comparing.
 */
#include "tree_lines.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int print(const struct image_opts *opts, struct err *e)
{
	AUTO(image_close) struct image *im = NULL;
	struct tree_lines tree = { 0 };
	int r = image_open(opts, &im, e);

	if (r == 0)
		r = tree_lines_read(im, &tree, e);
	for (size_t i = 0; i < tree.n; i++)
		(void)printf("%s\n", tree.lines[i].text);
	tree_lines_free(&tree);
	return r;
}

int main(int argc, char **argv)
{
	const int fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	struct image_opts opts = { 0 };
	struct stat st;
	struct err e;
	void *map;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0) {
		(void)fprintf(stderr, "usage: print_tree BOOTSTRAP\n");
		return 2;
	}
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	(void)close(fd);
	if (map == MAP_FAILED) {
		perror(argv[1]);
		return 1;
	}
	opts.data = map;
	opts.size_bytes = (uint64_t)st.st_size;
	r = print(&opts, &e);
	if (r < 0)
		(void)fprintf(stderr, "%s\n", e.msg);
	(void)munmap(map, (size_t)st.st_size);
	return r < 0;
}
