/* Replies of an SMTP server, both ways: those we give and those we get.
 *
 * What we give is a struct reply: code, enhanced code, text; the writer adds the enhanced code to each
 * line (RFC 2034 section 3) and splits long texts. What we get is parsed into the same struct and cleaned of
 * control characters; a reply of a peer is hostile input like any other. */
#pragma once

#include "base/arena.h"

struct reply {
	int code;            /* 200..599 */
	int enhanced[3];     /* {0,0,0}: none (greeting, EHLO, 3xx) */
	const char *text;    /* without the codes; '\n' separates lines */
};

#define REPLY_OK(r) ((r)->code / 100 == 2)
#define REPLY_TEMPORARY(r) ((r)->code / 100 == 4)
#define REPLY_PERMANENT(r) ((r)->code / 100 == 5)

#define REPLY_LINE_MAX 512      /* RFC 5321 section 4.5.3.1.5, with CRLF: what we send */
#define REPLY_LINE_ACCEPT 4096  /* what we take from a peer before we call it broken */
#define REPLY_LINES_MAX 128

/* Appends the wire form to out (one or several lines with CRLF). Control characters become spaces. */
struct buffer;
void reply_format(const struct reply *r, struct buffer *out);
/* "550 5.1.1 text" on one line, for logs, events and DSNs; lines are joined by " / ". In the arena; NULL when
 * memory is out. */
char *reply_to_line(const struct reply *r, struct arena *a);

/* Collects the lines of a peer's reply. */
struct reply_parser {
	struct arena *arena;
	struct reply reply;
	unsigned lines;
	bool done;
	bool code_will_do; /* from the caller: text for which there is no memory is left out, and what follows it */
	bool text_lost;
	char *text; /* what reply.text will be; grows by doubling */
	size_t text_len, text_capacity;
};
void reply_parser_init(struct reply_parser *p, struct arena *a);
/* One line without its CRLF. 1 when the reply is complete (p->reply holds it), 0 for more to come,
 * -EPROTO when it is not an SMTP reply, -E2BIG when there are too many lines, -ENOMEM. */
int reply_parser_line(struct reply_parser *p, struct slice line);
