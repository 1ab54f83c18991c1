/* Failure reports (RFC 6591 as DMARC has it, RFC 9991): one message that failed, told to the domain in its From at once. Off
 * unless an administrator wants them, and never more than so many in an hour, for all domains together.
 *
 * What is told is the verdict, the client, and those header fields that name no recipient. */
#pragma once

#include "identity/dmarc_sink.h"

struct reporter;
struct failures;

int failures_new(struct failures **ret);
void failures_free(struct failures *f);
/* Sends one where the domain asks for it, or not. From any fiber; doesn't wait. */
void failure_note(struct reporter *r, const struct dmarc_note *note);
/* Does fo= ask for a report about this (RFC 9989 section 4.7)? Pure. */
bool failure_is_wanted(const struct judge_result *verdict);
/* The message, appended. Pure but for its time; check the buffer's error. */
struct failure_report {
	const char *from, *to, *hostname, *id;
	wall_t date;
	const struct dmarc_note *note;
	struct slice header; /* of the message, as it may be told */
};
void failure_report_write(const struct failure_report *f, struct buffer *out);
/* Appends the header fields that may be told: no recipients, no more than 32 KiB. */
void failure_header(const struct content *m, struct buffer *out);
