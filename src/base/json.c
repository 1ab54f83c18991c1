#include "base/json.h"

#include <stdlib.h>

#define PARSER_ROOM 4096u

static bool is_room(struct slice text)
{
	void *volatile p = malloc(4 * text.len + PARSER_ROOM); /* compilers know that this has no effect */

	free(p);
	return p;
}

int json_parse(struct slice text, size_t flags, json_error_t *error, json_t **ret)
{
	const char *data = text.data ? text.data : "";
	json_t *o, *again;
	int r = 0;

	if (!is_room(text))
		return -ENOMEM;
	o = json_loadb(data, text.len, flags, error);
	again = json_loadb(data, text.len, flags, NULL);
	if (!o && !again)
		r = is_room(text) ? -EBADMSG : -ENOMEM;
	else if (!o || !again || !json_equal(o, again))
		r = -ENOMEM;
	json_decref(again);
	if (r < 0) {
		json_decref(o);
		return r;
	}
	*ret = o;
	return 0;
}
