/*
 * recorder_replay: what the disk may hold after a power cut.
 */
#include "random.h"
#include "recorder_parts.h"
#include "unconst.h"
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_sync(const struct event *ev)
{
	return ev->kind == EV_SYNC || ev->kind == EV_SYNC_DIR;
}

/* Does `later` put `ev` on the disk? */
static bool settles(const struct recorder *r, const struct event *ev, const struct event *later)
{
	if (ev->kind != EV_CREATE && ev->kind != EV_UNLINK)
		return later->kind == EV_SYNC && later->node == ev->node;
	/* SQLite counts on what file systems with a journal do: a later sync takes names along. */
	if (r->nodes[ev->node].of_sqlite)
		return is_sync(later);
	return later->kind == EV_SYNC_DIR;
}

/* Was this change on the disk for certain when the power failed? */
static bool is_durable(const struct recorder *r, uint32_t event_idx, uint32_t cut)
{
	for (uint32_t i = event_idx + 1; i < cut; i++)
		if (settles(r, &r->events[event_idx], &r->events[i]))
			return true;
	return false;
}

static void apply_write(int fd, const struct event *ev, bool torn, uint64_t *random)
{
	for (uint64_t at = 0; at < ev->size_bytes;) {
		const uint64_t to_sector_end = SECTOR_BYTES - (ev->offset + at) % SECTOR_BYTES;
		const uint64_t n =
			ev->size_bytes - at < to_sector_end ? ev->size_bytes - at : to_sector_end;

		if (!torn || random_next(random) % 2 == 0)
			assert(pwrite(fd, ev->bytes + at, n, (off_t)(ev->offset + at)) ==
			       (ssize_t)n);
		at += n;
	}
}

static void apply_to_file(int fd, struct node *node, const struct event *ev, bool torn,
                          uint64_t *random)
{
	if (ev->kind == EV_WRITE)
		apply_write(fd, ev, torn, random);
	else if (ev->kind == EV_TRUNCATE)
		assert(ftruncate(fd, (off_t)ev->size_bytes) == 0);
	else if (ev->kind == EV_PUNCH)
		assert(disk_real()->punch(NULL, fd, (off_t)ev->offset, (off_t)ev->size_bytes) == 0);
	else if (ev->kind == EV_SET_ID)
		memcpy(node->id, ev->bytes, FILE_ID_BYTES);
}

static void apply(struct node *nodes, int *fds, const struct event *ev, const char *dir, bool torn,
                  uint64_t *random)
{
	struct node *node = NULL;

	if (ev->kind == EV_SYNC || ev->kind == EV_SYNC_DIR)
		return;
	node = &nodes[ev->node];
	if (ev->kind == EV_CREATE) {
		/* A name that another file still has: that file loses it. */
		for (uint32_t i = 0; i < NODES_MAX; i++)
			if (strcmp(nodes[i].name, ev->name) == 0)
				nodes[i].name[0] = '\0';
		(void)snprintf(node->name, NAME_BYTES, "%s", ev->name);
	} else if (ev->kind == EV_UNLINK) {
		node->name[0] = '\0';
	} else {
		apply_to_file(fds[ev->node], node, ev, torn, random);
	}
	(void)dir;
}

void recorder_replay(const struct recorder *r, uint32_t cut, uint64_t *random, const char *dir)
{
	struct recorder *mine = unconst(r);
	struct node *nodes = mine->replayed_nodes;
	/* Half of the time the kernel has written back by itself all but the latest changes. */
	const uint32_t in_doubt =
		random_next(random) % 2 == 0 ? cut : (uint32_t)(random_next(random) % DOUBT_EVENTS);
	int fds[NODES_MAX] = { 0 };

	memset(nodes, 0, sizeof(mine->replayed_nodes));
	mine->n_replayed = r->n_nodes;
	for (uint32_t i = 0; i < r->n_nodes; i++) {
		char path[256];

		(void)snprintf(path, sizeof(path), "%s/node-%u", dir, i);
		fds[i] = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
		assert(fds[i] >= 0);
	}
	for (uint32_t i = 0; i < cut; i++) {
		const bool certain = i + in_doubt < cut || is_durable(r, i, cut);
		const uint64_t fate = certain ? 1 : random_next(random) % 3;

		if (fate != 0)
			apply(nodes, fds, &r->events[i], dir, !certain && fate == 2, random);
	}
	for (uint32_t i = 0; i < r->n_nodes; i++) {
		char from[256];
		char to[256];
		struct stat st;

		assert(fstat(fds[i], &st) == 0 && close(fds[i]) == 0);
		nodes[i].ino = st.st_ino;
		(void)snprintf(from, sizeof(from), "%s/node-%u", dir, i);
		(void)snprintf(to, sizeof(to), "%s/%s", dir, nodes[i].name);
		if (nodes[i].name[0] != '\0')
			assert(rename(from, to) == 0);
		else
			assert(unlink(from) == 0);
	}
}
