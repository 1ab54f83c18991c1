/* The words of a notification that a person reads: subject and first part. */
#pragma once

#include "mail/dsn.h"

/* What is known of the original, for the reader to recognise it by. */
struct dsn_about {
	const char *subject;    /* unfolded, or NULL */
	const char *message_id; /* or NULL */
};

/* The kind of the whole notification: the worst that became of a recipient. */
enum dsn_action dsn_worst(const struct dsn_input *in);
/* The field's value; ASCII. */
void dsn_subject(const struct dsn_input *in, struct buffer *out);
/* Plain text with CRLF line ends; may hold UTF-8 where addresses or answers do. returned: the original or its
 * header follows; full: all of it. */
void dsn_text(const struct dsn_input *in, const struct dsn_about *about, bool returned, bool full,
	      struct buffer *out);
