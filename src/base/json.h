/* JSON read by jansson 2.14, which does not take want of memory well: it drops a character of a string, calls the text wrong,
 * or spoils the heap. So what it needs is seen to be there a moment before, and it reads twice: what comes twice is what
 * stands there. */
#pragma once

#include <jansson.h>

#include "base/slice.h"

/* flags: of json_loadb. *ret is the caller's. -EBADMSG: it is none; error (may be NULL) says where. -ENOMEM. On a worker or
 * another deep stack. */
int json_parse(struct slice text, size_t flags, json_error_t *error, json_t **ret);
