/*
 * api_pins: images that stay: named, listed, let go. Each is a question to cas, asked on the desk.
 * Fetching what is missing of them is api_prefetch.c's.
 */
#include "api.h"
#include "mem.h"
#include "pins.h"
#include "reference.h"
#include <errno.h>

static int add_name(void *arg, const char *name)
{
	json_t *pins = arg;

	(void)json_array_append_new(pins, json_pack("{s:o}", "name", json_words(name)));
	return 0;
}

static int list(struct agent *agent, const json_t *params, json_t **ret_document, struct err *e)
{
	json_t *pins = json_array();
	const int r = pins_list(agent->cas, add_name, pins, e);

	(void)params;
	*ret_document = json_pack("{s:o}", "pins", pins);
	return r;
}

void api_pins_list(struct api_call *call)
{
	api_work(call, list, NULL);
}

static int set(struct agent *agent, const json_t *params, json_t **ret_document, struct err *e)
{
	const bool pinned = json_is_true(json_object_get(params, "pinned"));
	const char *image = NULL;
	struct reference ref;
	int r = json_get_text(params, "image", &image, e);

	if (r == 0 && image == NULL)
		r = err_set(e, EINVAL, "an image must be named (as HOST[:PORT]/REPOSITORY:TAG)");
	if (r == 0)
		r = reference_parse(image, &ref, e);
	if (r < 0)
		return r;
	AUTO(free_str) char *name = reference_text(&ref);

	r = pins_set(agent->cas, name, pinned, e);
	if (r < 0)
		return r;
	if (r == CAS_MISS && !pinned)
		return err_set(e, ENOENT, "it is not pinned (see shoal image ls)");
	*ret_document = json_pack("{s:s, s:b, s:b}", "name", name, "pinned", pinned, "was",
	                          r == CAS_MISS ? pinned : !pinned);
	return 0;
}

static json_t *wish(const json_t *from, bool pinned)
{
	return json_pack("{s:O?, s:b}", "image", json_object_get(from, "image"), "pinned", pinned);
}

static json_t *add_params(const struct api_call *call)
{
	return wish(call->body, true);
}

void api_pins_add(struct api_call *call)
{
	api_work_behind(call, set, add_params);
}

static json_t *remove_params(const struct api_call *call)
{
	return wish(call->query, false);
}

void api_pins_remove(struct api_call *call)
{
	api_work_behind(call, set, remove_params);
}
