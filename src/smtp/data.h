/* The content behind DATA: undoing dot-stuffing and finding its end, against smuggling.
 *
 * The only end is CR LF "." CR LF, or "." CR LF as the very first octets (RFC 5321 section 4.1.1.4). Neither
 * a bare CR or LF nor two CRs before the LF make a line end: such content is noted as defective and read on
 * to the real end, so that the session can answer 550 5.5.2 with nothing of it left over to be taken for
 * commands. A leading dot is removed behind a real CRLF only.
 *
 * data_parser is the pure state machine: octets in, runs of content out, which are views of the input.
 * smtp_copy_data drives it from a stream into a sink. */
#pragma once

#include "world/stream.h"

enum content_defect {
	CONTENT_BARE_CR = 1,
	CONTENT_BARE_LF = 2,
	CONTENT_NUL = 4,
};
/* "a bare LF", "a bare CR", "a NUL": the first defect, for replies and logs. Static text. */
const char *content_defect_name(unsigned defects);

struct data_parser {
	uint8_t state;
	unsigned defects;       /* enum content_defect */
	uint64_t defect_offset; /* where in the content the first one is */
	uint64_t octets;        /* of content so far, dots removed, the last CRLF included */
	uint64_t received;      /* octets taken from the wire, dots and end included */
	bool eight_bit;         /* some octet is above 127 */
	uint8_t tail_len;
	char tail[8];           /* the last octets from the wire */
};

enum data_event {
	DATA_MORE, /* the input is used up and there is no end yet */
	DATA_RUN,  /* *ret is a run of content: a view of the input or of static text */
	DATA_END,  /* the end was found; *in begins behind it */
};
void data_parser_init(struct data_parser *p);
/* Takes from the front of *in. Call it until it returns something other than DATA_RUN. */
enum data_event data_parser_next(struct data_parser *p, struct slice *in, struct slice *ret);
/* The octets so far end with a lone dot on what a careless client may hold for a line of its own: it may be
 * waiting for our reply. Never a reason to accept anything. */
bool data_parser_looks_ended(const struct data_parser *p);

/* Where content goes. A non-zero (negative) return is kept; the rest is read and dropped. */
struct content_sink {
	int (*write)(void *context, struct slice data);
	void *context;
};

/* The numbers are filled with zeros for the defaults. */
struct content_limits {
	uint64_t max_octets; /* of content; 0: none */
	uint64_t max_drain;  /* octets read and dropped after the message was lost already; 0: as max_octets,
			      * and at least 1 MiB */
	usec_t idle_timeout; /* between two blocks; 0: 3 minutes, RFC 5321 section 4.5.3.2.5 */
	usec_t deadline;     /* of all of it, absolute; 0: none */
	unsigned tolerated;  /* enum content_defect: these alone are no reason to refuse; the end is found as strictly as ever */
	usec_t grace;        /* defective content that looks ended: pause after which we answer; 0: 5 s */
};

/* The deadline of the next wait for content: the earlier of the idle time-out and the deadline of all. */
usec_t content_deadline(const struct content_limits *limits);
/* stream_fill for content: -ECONNRESET at the end of the stream. A fast sender must not hold the thread: every
 * now and then the other fibers run. fills: counts, from 0 for each message. */
ssize_t content_fill(struct stream *s, usec_t deadline, unsigned *fills);
/* Octets that are still read, and dropped, once a message is lost. */
uint64_t content_drain(const struct content_limits *limits);

struct content_result {
	bool ended;             /* the end was read: the session may go on. Else close it after the reply */
	unsigned defects;       /* enum content_defect */
	uint64_t defect_offset;
	uint64_t octets;
	bool eight_bit;
};

/* Copies to the real end. *ret is always filled. 0: all of it went to the sink. Otherwise the worst of
 *   -EBADMSG    the content is defective (550 5.5.2), or defective in a tolerated way and without its end
 *   -E2BIG      it is larger than max_octets (552 5.3.4)
 *   what the sink returned
 * and with ret->ended false, when the end was not reached (max_drain passed, or the grace, these errors too),
 *   -ETIMEDOUT, -ECANCELED, -ECONNRESET (the client went away) and others of stream_fill. */
int smtp_copy_data(struct stream *s, const struct content_sink *sink, const struct content_limits *limits,
		   struct content_result *ret);
