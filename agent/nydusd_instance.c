/*
 * nydusd_instance: one mount of a front: from nydusd's configuration to the wish that the agent
 * understands.
 */
#include "commands.h"
#include "mem.h"
#include "mount_record.h"
#include "nydusd_front.h"
#include "path.h"
#include "reference.h"
#include "secret.h"
#include "unconst.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

/* Those of a plain server's or a directory's mount open nothing. */
static bool has_proxys(const struct nydusd_config *c)
{
	return c->proxy_username != NULL && registry_of_origin(c->blobs) != NULL;
}

static json_t *credentials_of(const struct nydusd_config *c)
{
	json_t *all = json_object();

	if (c->username != NULL) {
		json_set_text(all, "username", c->username);
		json_set_text(all, "password", c->password);
	} else {
		json_set_text(all, "token", c->token);
	}
	if (has_proxys(c)) {
		json_set_text(all, "proxy_username", c->proxy_username);
		json_set_text(all, "proxy_password", c->proxy_password);
	}
	if (json_object_size(all) == 0)
		json_drop(&all);
	return all;
}

int instance_credentials(const char *auth, json_t **ret_credentials, struct err *e)
{
	AUTO(nydusd_config_clear) struct nydusd_config c = { 0 };
	const int r = nydusd_auth_parse(auth, &c.username, &c.password, e);

	if (r == 0)
		*ret_credentials = credentials_of(&c);
	return r;
}

static json_t *wish_of(const struct nydusd_config *c, const char *bootstrap, const char *dir)
{
	json_t *wish = json_pack("{s:b}", "transient", 1);

	json_set_text(wish, "dir", dir);
	json_set_text(wish, "bootstrap", bootstrap);
	json_set_text(wish, "blobs", c->blobs);
	json_set_text(wish, "scheme", c->scheme);
	json_set_text(wish, "proxy", c->proxy);
	json_set_text(wish, "links_dir", c->work_dir);
	(void)json_object_set_new(wish, "prefetch", json_boolean(c->prefetch));
	(void)json_object_set_new(wish, "skip_verify", json_boolean(c->skip_verify));
	(void)json_object_set_new(wish, "proxy_fallback", json_boolean(c->proxy_fallback));
	(void)json_object_set_new(
		wish, "credentials_given",
		json_boolean(c->username != NULL || c->token != NULL || has_proxys(c)));
	if (json_array_size(c->ca_files) == 1) /* as any agent takes it */
		(void)json_object_set(wish, "ca_file", json_array_get(c->ca_files, 0));
	else if (c->ca_files != NULL)
		(void)json_object_set(wish, "ca_file", c->ca_files);
	return wish;
}

/* As nydusd: the environment has the word. */
static int take_environment(struct nydusd_config *c, struct err *e)
{
	const char *auth = secure_getenv("IMAGE_PULL_AUTH");

	if (auth == NULL || *auth == '\0' || strcmp(c->backend, "registry") != 0)
		return 0;
	free_secret(&c->username);
	free_secret(&c->password);
	free_secret(&c->token);
	return nydusd_auth_parse(auth, &c->username, &c->password, e) == 0
	               ? 0
	               : err_wrap(e, "IMAGE_PULL_AUTH");
}

/* Absolute, and with no symlinks: the agent stands elsewhere, and refuses "..". */
static int resolve(const char *what, const char *path, char **ret_path, struct err *e)
{
	*ret_path = realpath(path, NULL);
	return *ret_path != NULL ? 0 : err_errno(e, errno, "%s %s", what, path);
}

/* The same for what the agent can do without, or says itself what is wrong with it. */
static void settle(char **path)
{
	char *settled = *path != NULL ? absolute_path(*path) : NULL;

	if (settled == NULL)
		return;
	free_str(path);
	*path = settled;
}

static void settle_all(json_t *paths)
{
	for (size_t i = 0; i < json_array_size(paths); i++) {
		AUTO(free_str) char *path = xstrdup(json_string_value(json_array_get(paths, i)));

		settle(&path);
		(void)json_array_set_new(paths, i, json_string(path));
	}
}

static void settle_origin(char **blobs)
{
	static const char prefix[] = "dir:";
	char *dir;

	if (*blobs == NULL || strncmp(*blobs, prefix, strlen(prefix)) != 0)
		return;
	dir = xstrdup(*blobs + strlen(prefix));
	settle(&dir);
	free_str(blobs);
	*blobs = xasprintf("%s%s", prefix, dir != NULL ? dir : "");
	free_str(&dir);
}

/* As nydusd does. Where it cannot be made, the agent says so. */
static void make_dirs(const char *path)
{
	AUTO(free_str) char *parents = xstrdup(path);

	for (char *slash = strchr(parents + 1, '/'); slash != NULL;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(parents, 0755);
		*slash = '/';
	}
	(void)mkdir(path, 0755);
}

/* As the last resort only: it is in memory. */
#define RUN_DIR "/run/shoal-nydusd"

/* Where an agent of our own would have its state; nydusd's default is where it stands. Blobs in a
 * directory may be there to be read alone: then beside the API's socket. */
static char *own_dir(const struct front *front, const struct nydusd_config *c)
{
	AUTO(free_str)
	char *beside = front->args->apisock != NULL ? path_parent(front->args->apisock) : NULL;
	const char *const dirs[] = { front->args->localfs_dir, beside, "." };

	if (c->work_dir != NULL || front->args->localfs_dir == NULL)
		return absolute_path(c->work_dir != NULL ? c->work_dir : ".");
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		if (dirs[i] != NULL && access(dirs[i], W_OK) == 0)
			return absolute_path(dirs[i]);
	}
	return xstrdup(RUN_DIR);
}

int instance_new(const struct front *front, const char *at, const char *bootstrap,
                 const char *config, struct instance **ret_instance, struct err *e)
{
	AUTO(nydusd_config_clear) struct nydusd_config c = { 0 };
	AUTO(instance_free) struct instance *i = xcalloc(1, sizeof(*i));
	AUTO(free_str) char *source = NULL;
	int r = resolve("bootstrap", bootstrap, &source, e);

	if (r == 0)
		r = nydusd_config_parse(config, strlen(config), &c, e);
	if (r == 0)
		r = take_environment(&c, e);
	if (r < 0)
		return err_wrap(e, "mount %s", at);
	if (c.id_mapping)
		log_warn(front->log,
		         "\"id_mapping\" of the configuration has no effect: files belong to whom "
		         "the image says",
		         "at=%s", LOG_Q(at));
	settle(&c.work_dir);
	settle_all(c.ca_files);
	settle_origin(&c.blobs);
	if (c.work_dir != NULL)
		make_dirs(c.work_dir);
	i->at = xstrdup(at);
	i->dir = strcmp(at, "/") == 0 ? xstrdup(front->root) : xasprintf("%s%s", front->root, at);
	i->wish = wish_of(&c, source, i->dir);
	i->credentials = credentials_of(&c);
	i->shown = json_incref(c.shown);
	i->backend = xstrdup(c.backend);
	i->work_dir = own_dir(front, &c);
	i->mounted_s = (int64_t)time(NULL);
	*ret_instance = i;
	i = NULL;
	return 0;
}

void instance_free(struct instance **instance)
{
	struct instance *i = *instance;

	if (i == NULL)
		return;
	free_str(&i->at);
	free_str(&i->dir);
	free_str(&i->backend);
	free_str(&i->work_dir);
	json_drop(&i->wish);
	json_drop(&i->credentials);
	json_drop(&i->shown);
	json_drop(&i->blob_ids);
	free(i);
	*instance = NULL;
}

void instance_add(struct instance **list, struct instance *instance)
{
	assert(instance != NULL);
	DL_APPEND(*list, instance);
}
