/*
 * recorder: a disk and a SQLite VFS that do what they are told, and write down every change and
 * every barrier; and a replay of that record up to a power cut.
 *
 * The model: a change is on the disk once its file was synced after it. Without that, it may be
 * there, or not, or in part (sector by sector), whatever came after it. The name of a file in a
 * directory is such a change of the directory; SQLite's files get theirs with any
 * later sync.
 */
#pragma once
#include "disk.h"
#include <stdbool.h>
#include <stdint.h>

struct recorder;

/** @param dir  the state directory; borrowed */
struct recorder *recorder_new(const char *dir);
void recorder_free(struct recorder **r);

const struct disk *recorder_disk(struct recorder *r);
const char *recorder_vfs(struct recorder *r); /* registered under this name until freed */

uint32_t recorder_n_events(const struct recorder *r);
bool recorder_is_barrier(const struct recorder *r, uint32_t event_idx);

/**
 * What the disk may hold when the power fails before event `cut`: written to `dir`, which is empty.
 * @param random  changes at each call; decides which unsynced changes are there
 */
void recorder_replay(const struct recorder *r, uint32_t cut, uint64_t *random, const char *dir);

/** A disk on which the replayed files have the identities of the recorded ones. Until the next
 * recorder_replay(). */
const struct disk *recorder_replayed_disk(struct recorder *r);
