/*
 * nydusd_args: the command lines of nydusd, as nydus-snapshotter and people write them.
 *
 * Pure. Options stand in any order, before and behind the subcommand; those that are not known are
 * passed over (a newer snapshotter may have more).
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stdbool.h>

enum nydusd_mode {
	NYDUSD_FUSE, /* also without a subcommand */
	NYDUSD_SINGLETON,
};

struct nydusd_args { /* texts: borrowed from argv; NULL: not given */
	enum nydusd_mode mode;
	const char *apisock;
	const char *config;
	const char *id;
	const char *supervisor;
	const char *log_level;
	const char *log_file;
	const char *mountpoint;
	const char *bootstrap;
	const char *localfs_dir;
	const char *shared_dir;
	const char *virtual_mountpoint;
	const char *prefetch_files;
	const char *fscache;
	const char *backend_source;
	bool upgrade;
	bool help;
	bool version;
	const char *first_unknown; /* an option that was passed over; or NULL */
};

/** @return 0; -EINVAL with what is wrong */
MUST_CHECK int nydusd_args_parse(int argc, const char *const *argv, struct nydusd_args *ret_args,
                                 struct err *e);
