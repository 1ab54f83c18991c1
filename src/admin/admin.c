#include "admin/admin.h"

#include <stdio.h>
#include <stdlib.h>

#include "admin/control.h"
#include "admin/http.h"

struct admin {
	struct admin_parts parts;
	struct control *control;
	struct http *http; /* NULL: not asked for */
};

int admin_socket_path(const struct admin_config *config, const char *spool_path, struct endpoint *ret)
{
	struct endpoint at = { .kind = ENDPOINT_UNIX };
	int n;

	if (config->socket)
		n = snprintf(at.path, sizeof(at.path), "%s", config->socket);
	else
		n = snprintf(at.path, sizeof(at.path), "%s/control.sock", spool_path);
	if (n < 0 || (size_t) n >= sizeof(at.path))
		return -ENAMETOOLONG;
	*ret = at;
	return 0;
}

int admin_new(struct world *w, const struct log *log, const struct admin_config *config, const struct admin_parts *parts,
	      struct loop *loop, struct admin **ret, char **ret_why)
{
	_cleanup_(admin_freep) struct admin *a = calloc(1, sizeof(*a));
	struct endpoint at;
	int r;

	if (!a)
		return -ENOMEM;
	a->parts = *parts;
	r = admin_socket_path(config, parts->spool_path, &at);
	if (r < 0) {
		*ret_why = strdup("the path of the control socket is longer than 107 bytes; set admin.socket to a shorter one");
		return r;
	}
	r = control_new(w, log, &at, &a->parts, loop, &a->control, ret_why);
	if (r < 0)
		return r;
	if (config->listen.kind == ENDPOINT_IP) {
		r = http_new(log, &config->listen, &a->parts, loop, &a->http, ret_why);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(a);
	return 0;
}

int admin_start(struct admin *a)
{
	return control_start(a->control);
}

void admin_stop(struct admin *a)
{
	if (a->http)
		http_free(TAKE_PTR(a->http));
}

void admin_free(struct admin *a)
{
	if (!a)
		return;
	admin_stop(a);
	control_free(a->control);
	free(a);
}
