/*
 * nydusd_args: see nydusd_args.h. Source: facts of nydusd 2.4's command line, in docs/nydusd.md.
 */
#include "nydusd_args.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>

enum kind {
	KIND_TEXT,
	KIND_SWITCH,
	KIND_PASSED_OVER, /* with a value, and without a meaning here */
	KIND_SWITCH_PASSED_OVER,
};

static const struct option_row {
	const char *name;
	char letter; /* 0: none */
	enum kind kind;
	size_t offset;
} rows[] = {
	{ "apisock", 'A', KIND_TEXT, offsetof(struct nydusd_args, apisock) },
	{ "config", 'C', KIND_TEXT, offsetof(struct nydusd_args, config) },
	{ "id", 0, KIND_TEXT, offsetof(struct nydusd_args, id) },
	{ "supervisor", 0, KIND_TEXT, offsetof(struct nydusd_args, supervisor) },
	{ "upgrade", 0, KIND_SWITCH, offsetof(struct nydusd_args, upgrade) },
	{ "log-level", 'l', KIND_TEXT, offsetof(struct nydusd_args, log_level) },
	{ "log-file", 'L', KIND_TEXT, offsetof(struct nydusd_args, log_file) },
	{ "mountpoint", 'M', KIND_TEXT, offsetof(struct nydusd_args, mountpoint) },
	{ "bootstrap", 'B', KIND_TEXT, offsetof(struct nydusd_args, bootstrap) },
	{ "localfs-dir", 'D', KIND_TEXT, offsetof(struct nydusd_args, localfs_dir) },
	{ "shared-dir", 's', KIND_TEXT, offsetof(struct nydusd_args, shared_dir) },
	{ "virtual-mountpoint", 'm', KIND_TEXT, offsetof(struct nydusd_args, virtual_mountpoint) },
	{ "prefetch-files", 'P', KIND_TEXT, offsetof(struct nydusd_args, prefetch_files) },
	{ "fscache", 'F', KIND_TEXT, offsetof(struct nydusd_args, fscache) },
	{ "backend-source", 0, KIND_TEXT, offsetof(struct nydusd_args, backend_source) },
	{ "help", 'h', KIND_SWITCH, offsetof(struct nydusd_args, help) },
	{ "version", 'V', KIND_SWITCH, offsetof(struct nydusd_args, version) },
	{ "log-rotation-size", 0, KIND_PASSED_OVER, 0 },
	{ "rlimit-nofile", 0, KIND_PASSED_OVER, 0 },
	{ "thread-num", 0, KIND_PASSED_OVER, 0 },
	{ "fuse-threads", 't', KIND_PASSED_OVER, 0 },
	{ "failover-policy", 0, KIND_PASSED_OVER, 0 },
	{ "fscache-tag", 0, KIND_PASSED_OVER, 0 },
	{ "fscache-threads", 0, KIND_PASSED_OVER, 0 },
	{ "dedup-db", 0, KIND_PASSED_OVER, 0 },
	{ "writable", 'W', KIND_SWITCH_PASSED_OVER, 0 },
};

static const struct option_row *find_long(const char *name, size_t n)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (strlen(rows[i].name) == n && strncmp(rows[i].name, name, n) == 0)
			return &rows[i];
	}
	return NULL;
}

static const struct option_row *find_letter(char letter)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (rows[i].letter != 0 && rows[i].letter == letter)
			return &rows[i];
	}
	return NULL;
}

/* "--name", "--name=value", "-x", "-xvalue". @param ret_value  inside the word; NULL: not there */
static const struct option_row *find_row(const char *word, const char **ret_value)
{
	const char *equals = strchr(word, '=');

	*ret_value = NULL;
	if (word[1] != '-') {
		if (word[1] != '\0' && word[2] != '\0')
			*ret_value = word + 2;
		return find_letter(word[1]);
	}
	if (equals != NULL)
		*ret_value = equals + 1;
	return find_long(word + 2, equals != NULL ? (size_t)(equals - word) - 2 : strlen(word + 2));
}

static void set(struct nydusd_args *args, const struct option_row *row, const char *value)
{
	if (row->kind == KIND_SWITCH)
		*(bool *)(void *)((char *)args + row->offset) = true;
	else if (row->kind == KIND_TEXT)
		*(const char **)(void *)((char *)args + row->offset) = value;
}

/* @return how many words it took; -EINVAL */
static int take_option(int n_left, const char *const *words, struct nydusd_args *args,
                       struct err *e)
{
	const char *value = NULL;
	const struct option_row *row = find_row(words[0], &value);

	if (row == NULL) {
		if (args->first_unknown == NULL)
			args->first_unknown = words[0];
		/* What does not look like an option is taken for its value. */
		return value == NULL && n_left > 1 && words[1][0] != '-' ? 2 : 1;
	}
	if (row->kind == KIND_SWITCH || row->kind == KIND_SWITCH_PASSED_OVER) {
		set(args, row, NULL);
		return 1;
	}
	if (value == NULL && n_left < 2)
		return err_set(e, EINVAL, "%.100s: its value is missing", words[0]);
	set(args, row, value != NULL ? value : words[1]);
	return value != NULL ? 1 : 2;
}

static int take_subcommand(const char *word, struct nydusd_args *args, struct err *e)
{
	if (strcmp(word, "fuse") == 0)
		args->mode = NYDUSD_FUSE;
	else if (strcmp(word, "singleton") == 0)
		args->mode = NYDUSD_SINGLETON;
	else
		return err_set(e, EINVAL,
		               "%.100s: shoal's nydusd has the subcommands fuse and "
		               "singleton",
		               word);
	return 1;
}

static int check(const struct nydusd_args *args, struct err *e)
{
	if (args->help || args->version)
		return 0;
	if ((args->id == NULL) != (args->supervisor == NULL))
		return err_set(e, EINVAL, "--id and --supervisor go together");
	if (args->shared_dir != NULL)
		return err_set(e, EINVAL, "--shared-dir: shoal serves images alone");
	if (args->mode == NYDUSD_SINGLETON && args->fscache != NULL)
		return err_set(
			e, EINVAL,
			"--fscache: kernels no longer have it (fs_driver = \"fusedev\"; with "
			"\"mount: auto\" in shoal.yaml the kernel's EROFS reads the image)");
	if (args->mode == NYDUSD_SINGLETON)
		return 0;
	if (args->mountpoint == NULL)
		return err_set(e, EINVAL, "--mountpoint is missing");
	if (args->config != NULL && args->localfs_dir != NULL)
		return err_set(e, EINVAL, "either --config or --localfs-dir");
	if (args->bootstrap != NULL && args->config == NULL && args->localfs_dir == NULL)
		return err_set(e, EINVAL,
		               "--bootstrap: where are its blobs? (--config, or "
		               "--localfs-dir)");
	return 0;
}

int nydusd_args_parse(int argc, const char *const *argv, struct nydusd_args *ret_args,
                      struct err *e)
{
	struct nydusd_args args = { .mode = NYDUSD_FUSE };
	int at = 1;
	int r = 0;

	while (at < argc && r >= 0) {
		r = argv[at][0] == '-' ? take_option(argc - at, &argv[at], &args, e)
		                       : take_subcommand(argv[at], &args, e);
		at += r;
	}
	if (r >= 0)
		r = check(&args, e);
	if (r >= 0)
		*ret_args = args;
	return r < 0 ? r : 0;
}
