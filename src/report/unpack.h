/* Reports on the way in: the documents in a file as it lies in a mailbox or came from a colleague. A file may be the
 * XML or JSON itself, gzip or zip of it, a message with such an attachment, or a mailbox file with many messages.
 *
 * All of it comes from strangers. Unpacking stops at a size and at a ratio, so that a bomb of 40 KB stays one of 40 KB. */
#pragma once

#include "base/slice.h"

struct unpack_limits {
	uint64_t size;  /* octets of one document; 0: 64 MiB */
	unsigned ratio; /* so many times larger than its archive, beyond 1 MiB; 0: 500 */
	unsigned entries; /* of one archive; 0: 100 */
};

enum document_kind { DOCUMENT_XML, DOCUMENT_JSON };

struct unpack_found {
	/* For each document, in the order of the file. Not 0 ends it and is returned. */
	int (*document)(enum document_kind kind, struct slice text, void *context);
	/* Something that can't be read, or is none of it: the rest goes on. May be NULL. */
	void (*trouble)(const char *why, void *context);
	void *context;
};
/* On a worker or another deep stack. limits may be NULL. 0, -ENOMEM, or what document() returned. */
int report_unpack(struct slice file, const struct unpack_limits *limits, const struct unpack_found *found);
