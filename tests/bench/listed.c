/*
 * listed: the list of a tree's entries, and the end of the program. Knows no tree.
 */
#include "listed.h"
#include "mem.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void die(const char *what)
{
	(void)fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
	              strerrordesc_np(errno));
	_exit(1);
}

static int64_t size_of(const char *text)
{
	if (text[0] == '-')
		return NO_FILE;
	return text[0] == 'd' ? DIRECTORY : strtoll(text, NULL, 10);
}

struct listed listed_load(const char *path, bool files_alone)
{
	struct listed l = { 0 };
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t room_bytes = 0;
	size_t room = 0;

	if (f == NULL)
		die(path);
	while (getdelim(&text, &room_bytes, '\0', f) > 0) {
		char *space = strchr(text, ' ');

		if (space == NULL || (files_alone && size_of(text) < 0))
			continue;
		if (l.n_entries == room) {
			room = room == 0 ? 1024 : room * 2;
			l.entries = xrealloc(l.entries, room, sizeof(l.entries[0]));
		}
		l.entries[l.n_entries++] = (struct entry){
			.path = xstrdup(space + 1),
			.size_bytes = size_of(text),
		};
	}
	free(text);
	(void)fclose(f);
	if (l.n_entries == 0)
		die("the list is empty");
	return l;
}

void listed_free(struct listed *l)
{
	for (size_t i = 0; i < l->n_entries; i++)
		free_str(&l->entries[i].path);
	free(l->entries);
	*l = (struct listed){ 0 };
}
