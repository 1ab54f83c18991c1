#include "admin/making.h"

#include <stdlib.h>

#include "base/utf8.h"

#define ROOM 4096u

struct making making_object(void)
{
	json_t *o = json_object();

	return (struct making) { .json = o, .error = o ? 0 : -ENOMEM };
}

struct making making_list(void)
{
	json_t *list = json_array();

	return (struct making) { .json = list, .error = list ? 0 : -ENOMEM };
}

void making_done(struct making *m)
{
	json_decref(m->json);
	*m = (struct making) { 0 };
}

/* Takes value over; NULL: there was no memory for it. */
static void set(struct making *o, const char *key, json_t *value)
{
	if (json_object_set_new(o->json, key, value) < 0)
		o->error = -ENOMEM;
}

static void append(struct making *list, json_t *value)
{
	if (json_array_append_new(list->json, value) < 0)
		list->error = -ENOMEM;
}

/* What is not UTF-8 is escaped. */
static json_t *text_value(const char *text)
{
	struct slice s = slice_from(text);
	char escaped[512];

	return json_string(utf8_valid(s) ? text : slice_escape(s, escaped, sizeof(escaped)));
}

void json_set_text(struct making *o, const char *key, const char *text)
{
	if (text)
		set(o, key, text_value(text));
}

void json_set_number(struct making *o, const char *key, uint64_t n)
{
	set(o, key, json_integer((json_int_t) MIN(n, (uint64_t) INT64_MAX)));
}

void json_set_bool(struct making *o, const char *key, bool yes)
{
	set(o, key, json_boolean(yes));
}

void json_set_time(struct making *o, const char *key, wall_t t)
{
	char text[32];

	if (t)
		set(o, key, json_string(wall_format_rfc3339(t, text, sizeof(text))));
}

static void inherit(struct making *m, const struct making *child)
{
	if (child->error < 0)
		m->error = child->error;
}

void json_put(struct making *o, const char *key, struct making *child)
{
	inherit(o, child);
	set(o, key, TAKE_PTR(child->json));
}

void json_append(struct making *list, struct making *child)
{
	inherit(list, child);
	append(list, TAKE_PTR(child->json));
}

void json_append_text(struct making *list, const char *text)
{
	append(list, text_value(text));
}

/* Does it stand somewhere in the text, in quotes? */
static bool is_quoted(struct slice text, const char *s, size_t len)
{
	const char *end = text.data + text.len, *at = text.data;

	while ((at = memmem(at, (size_t) (end - at), s, len))) {
		if (at > text.data && at[-1] == '"' && at + len < end && at[len] == '"')
			return true;
		if (++at >= end)
			break;
	}
	return false;
}

static bool all_quoted(struct slice text, const json_t *o)
{
	const char *key;
	json_t *value;

	if (json_is_string(o))
		return is_quoted(text, json_string_value(o), json_string_length(o));
	for (size_t i = 0; i < json_array_size(o); i++)
		if (!all_quoted(text, json_array_get(o, i)))
			return false;
	json_object_foreach((json_t *) (uintptr_t) o, key, value)
		if (!is_quoted(text, key, strlen(key)) || !all_quoted(text, value))
			return false;
	return true;
}

/* jansson 2.14 drops a character of a string when there is no memory for it, and says nothing: "a@example.or" is not
 * whom somebody wanted to remove. Where nothing is escaped, each string must be found again; else a second reading has
 * to give the same. */
static bool is_faithful(struct slice text, const json_t *o)
{
	json_t *again;
	bool same;

	if (!memchr(text.data, '\\', text.len))
		return all_quoted(text, o);
	again = json_loadb(text.data, text.len, 0, NULL);
	same = again && json_equal(o, again);
	json_decref(again);
	return same;
}

static bool is_room(size_t size)
{
	void *volatile p = malloc(size); /* compilers know that this has no effect */

	free(p);
	return p;
}

int json_read(struct slice text, json_t **ret)
{
	json_error_t error = { 0 }; /* its code stays 0 where an object could not be made */
	enum json_error_code code;
	json_t *o;

	/* In the middle of a string it takes want of memory for a mistake of its own, and ends the process. What was there
	 * a moment ago is there for it. */
	if (!is_room(4 * text.len + ROOM))
		return -ENOMEM;
	o = json_loadb(text.data, text.len, 0, &error);
	code = json_error_code(&error);
	if (!o)
		return code == json_error_out_of_memory || code == json_error_unknown ? -ENOMEM : -EBADMSG;
	if (!is_faithful(text, o)) {
		json_decref(o);
		return -ENOMEM;
	}
	*ret = o;
	return 0;
}

static int write_piece(const char *data, size_t len, void *out)
{
	buffer_append(out, data, len);
	return 0;
}

/* Not by json_dumps: of jansson 2.14 it leaves a key out when there is no memory for it. The buffer remembers that. */
int making_write(struct making *m, struct buffer *out)
{
	int r = m->error;

	if (r >= 0 && json_dump_callback(m->json, write_piece, out, JSON_COMPACT) < 0)
		r = -ENOMEM;
	making_done(m);
	return r < 0 ? r : buffer_error(out);
}

int making_take(struct making *m, json_t **ret)
{
	int r = m->error;

	if (r >= 0)
		*ret = TAKE_PTR(m->json);
	making_done(m);
	return r;
}
