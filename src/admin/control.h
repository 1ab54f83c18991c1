/* The control socket: one request per line, a JSON object with "command"; the answer is a line per row,
 * {"row":{...}}, and then {"ok":true,...} or {"ok":false,"error":"..."}. Who may open the socket (mode 0600)
 * may do everything. */
#pragma once

#include "admin/admin.h"

#define CONTROL_LINE_MAX 16384u /* of a request */

struct control;
int control_new(struct world *w, const struct log *log, const struct endpoint *at, const struct admin_parts *parts, struct loop *loop,
		struct control **ret, char **ret_why);
int control_start(struct control *c);
void control_free(struct control *c); /* after the loop was stopped. Removes the socket. NULL is fine */
DEFINE_FREEP(struct control, control_free)
