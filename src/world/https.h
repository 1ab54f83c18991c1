/* A form that is posted by HTTPS, to a server of the house or of a provider whose address the configuration names, and the
 * answer. By libcurl, which blocks: on a worker (world_offload), never in a fiber. */
#pragma once

#include "base/buffer.h"
#include "world/world.h"

#define HTTPS_WHY 256

struct https_post {
	const char *url;       /* https://... */
	struct slice form;     /* application/x-www-form-urlencoded */
	const char *user, *password; /* HTTP Basic (RFC 7617); NULL: none; password NULL: empty */
	const char *ca_file;   /* NULL: the system's */
	usec_t timeout;        /* of all of it */
	size_t most;           /* octets of an answer */
	struct buffer answer;  /* out; may hold secrets, and is the caller's to free */
	long status;           /* out: of HTTP; 0: it didn't come to that */
	char why[HTTPS_WHY];   /* out, when it failed */
};
/* 0: it answers, with whatever status; -EAGAIN: no answer, *p says why; -ENOMEM. */
int https_post(struct https_post *p);
/* Adds a name and its value to a form, escaped. */
void https_form_add(struct buffer *form, const char *name, struct slice value);

/* libcurl is needed, and no longer; they nest. -ENOMEM. */
int https_begin(void);
void https_end(void);
