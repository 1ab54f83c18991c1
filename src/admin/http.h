/* The HTTP API (libmicrohttpd), read-only:
 *
 *	GET /api/status  /api/queue[?sender=&recipient=&site=&id=&limit=]  /api/queue/summary  /api/sites
 *	GET /api/trace/ID
 *	GET /metrics        for Prometheus
 *
 * The library's own thread reads requests; each is carried out by a fiber of the admin loop while its
 * connection is suspended, so that neither waits for the other. */
#pragma once

#include "admin/admin.h"

struct http;
/* Binds. On failure *ret_why is a sentence (on the heap). */
int http_new(const struct log *log, const struct endpoint *at, const struct admin_parts *parts, struct loop *loop, struct http **ret,
	     char **ret_why);
/* Takes no more requests, waits for those under way, ends the thread. The loop must still run. NULL is fine. */
void http_free(struct http *h);
DEFINE_FREEP(struct http, http_free)
