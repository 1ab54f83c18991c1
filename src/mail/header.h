/* The header section of a message (RFC 5322 section 2.2), read but never changed.
 *
 * Two tools. A header_scanner watches a message go by in pieces of any size and knows at each moment
 * whether the header section is over and which of the fields that a mail server cares about were in it.
 * The functions on a slice walk over a header section that lies in memory.
 *
 * Both are tolerant: what is not a field (a line without a colon, a mangled name) is passed over or ends
 * the section as the rules below say; nothing here is an error. A line ends with CRLF; a bare LF is taken
 * as a line end, too, for files that were written by hand. */
#pragma once

#include "base/arena.h"
#include "base/slice.h"

struct header_field {
	struct slice name;  /* as written, without the colon */
	struct slice value; /* what follows the colon, folds and all, without the last line end */
	struct slice raw;   /* the whole field with its last line end */
};

/* Takes the next field off the front of *rest (a header section, or a message: the blank line ends it).
 * False when there is none; *rest then begins with the blank line or the body. A line that is no field
 * ends the section, except that a first line "From ..." of a mailbox file is passed over. */
bool header_next(struct slice *rest, struct header_field *ret);
/* The same up to the blank line: a line that is no field ends the section for one reader and not for another, and what
 * stands behind it is looked at, too. False at the blank line. */
bool header_next_anyhow(struct slice *rest, struct header_field *ret);
/* The first field of this name (ASCII letters folded). False when there is none. */
bool header_find(struct slice section, const char *name, struct header_field *ret);
unsigned header_count(struct slice section, const char *name);
/* Octets of the header section of a message in memory, without the blank line; all of it without one. */
size_t header_section_length(struct slice message);
/* Where the body begins: behind the blank line. */
size_t header_body_offset(struct slice message);
/* A field's value on one line: folds undone (RFC 5322 section 2.2.3), spaces at both ends and other
 * control characters gone, terminated. NULL when memory is out. */
char *header_unfold(struct arena *a, struct slice value);

/* What a message begins with, for whoever puts a field of his own in front. */
enum header_start {
	HEADER_START_UNKNOWN, /* can't be told from so few octets; never returned for HEADER_START_OCTETS of them */
	HEADER_START_FIELD,   /* a field, or the blank line of a message without any */
	HEADER_START_MAILBOX, /* the line "From somebody at some time" of a mailbox file */
	HEADER_START_TEXT,    /* neither: a body without a header */
};
#define HEADER_START_OCTETS 80 /* a field name is shorter, RFC 5322 section 2.1.1 */
enum header_start header_start(struct slice begin);

/* Which fields were there, for struct header_scanner. */
enum header_seen {
	HEADER_DATE = 1,
	HEADER_FROM = 2,
	HEADER_SENDER = 4,
	HEADER_MESSAGE_ID = 8,
	HEADER_RETURN_PATH = 16,
	HEADER_TO = 32, /* To, Cc or Bcc */
	HEADER_TLS_REQUIRED_NO = 64, /* TLS-Required: No (RFC 8689 section 3) */
	HEADER_RRVS = 128,           /* Require-Recipient-Valid-Since (RFC 7293 section 3.2) */
};

#define HEADER_NAME_WATCHED 32

struct header_scanner {
	bool done;              /* the blank line, or a line that is no field, was seen */
	unsigned seen;          /* enum header_seen */
	unsigned repeated;      /* the same bits: was there more than once */
	unsigned received;      /* number of Received fields: more than a limit is a loop (RFC 5321 section 6.3) */
	unsigned delivered_to;  /* number of Delivered-To fields (RFC 9228) */
	uint64_t octets;        /* of the header section so far, without the blank line */
	uint64_t longest_line;  /* without its line end, so far */
	int8_t priority;        /* of a field MT-Priority (RFC 6758), the first one; see has_priority */
	bool has_priority;
	/* inside */
	int state;
	uint64_t line;          /* octets of the present line */
	char last;              /* the octet before */
	unsigned name_len;
	char name[HEADER_NAME_WATCHED];
	unsigned value_len;
	char value[4];
};
void header_scanner_init(struct header_scanner *s);
/* Looks at the next piece. Cheap to call when done: it returns at once. */
void header_scanner_feed(struct header_scanner *s, struct slice piece);
/* The message is over: a header without a body (RFC 5322 section 3.5) has no blank line behind its last field. */
void header_scanner_end(struct header_scanner *s);
