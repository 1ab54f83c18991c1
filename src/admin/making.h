/* JSON that is being made: an object or a list with its members.
 *
 *	making_object    empty
 *	json_set_...     members, of whatever kind; json_put and json_append take others that were made, too
 *	making_take      the whole, or -ENOMEM
 *
 * Like a buffer's, its error sticks until somebody asks: an answer in which a member is missing for want of memory
 * would be a lie. */
#pragma once

#include <jansson.h>

#include "base/buffer.h"
#include "base/time.h"

struct making {
	json_t *json; /* NULL: there was no memory for it, or it was taken */
	int error;    /* 0 or -ENOMEM */
};
struct making making_object(void);
struct making making_list(void);
void making_done(struct making *m);
#define _cleanup_making_ _cleanup_(making_done)

void json_set_text(struct making *o, const char *key, const char *text); /* left out when NULL; not UTF-8: escaped */
void json_set_number(struct making *o, const char *key, uint64_t n);
void json_set_bool(struct making *o, const char *key, bool yes);
void json_set_time(struct making *o, const char *key, wall_t t); /* RFC 3339; left out when 0 */
/* Take the child over, with its error. */
void json_put(struct making *o, const char *key, struct making *child);
void json_append(struct making *list, struct making *child);
void json_append_text(struct making *list, const char *text);
/* Reads text as json_loadb does. -ENOMEM; -EBADMSG: it is none; or, rarely, there was no memory either, which jansson does
 * not tell apart everywhere. */
int json_read(struct slice text, json_t **ret);
/* 0 and the whole, which the caller frees, or -ENOMEM. Nothing is left in m. */
int making_take(struct making *m, json_t **ret);
/* The same as text on one line, appended to out. */
int making_write(struct making *m, struct buffer *out);
