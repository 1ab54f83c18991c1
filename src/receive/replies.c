#include "receive/replies.h"

#include <stdio.h>

#include "base/utf8.h"

#define SHOWN_MAX 300 /* octets of a filled-in part, so that the line stays below REPLY_LINE_MAX */
#define TEXT_MAX 400u /* octets of a text of the configuration */

static const struct reply replies[REPLY_COUNT] = {
	[REPLY_DONE] = { 250, { 2, 0, 0 }, "OK" },
	[REPLY_SENDER_OK] = { 250, { 2, 1, 0 }, "Sender OK" },
	[REPLY_RECIPIENT_OK] = { 250, { 2, 1, 5 }, "Recipient OK" },
	[REPLY_START_DATA] = { 354, { 0, 0, 0 }, "Go ahead, and end with a dot on a line of its own" },
	[REPLY_CHUNK_OK] = { 250, { 2, 0, 0 }, "%1 octets received" },
	[REPLY_ACCEPTED] = { 250, { 2, 0, 0 }, "OK, queued as %1" },
	[REPLY_START_TLS] = { 220, { 2, 0, 0 }, "Ready to start TLS" },
	[REPLY_VRFY] = { 252, { 2, 0, 0 }, "Addresses are not verified here; send a message and it will be tried" },
	[REPLY_HELP] = { 214, { 2, 0, 0 }, "This is Yizhan, a mail transfer agent. Questions go to <postmaster>. Commands:\n%1" },
	[REPLY_VERIFIED] = { 250, { 2, 1, 5 }, "<%1>" },
	[REPLY_PRIORITY_LOWERED] = { 250, { 2, 3, 6 }, "%1 is the priority of this message; a higher one is not given to you" },
	[REPLY_XFORWARDED] = { 250, { 2, 0, 0 }, "Noted for the next message" },
	[REPLY_ETRN_NONE] = { 251, { 2, 0, 0 }, "No messages wait for %1" },
	[REPLY_ETRN_STARTED] = { 253, { 2, 0, 0 }, "OK, %2 waiting messages for %1 are tried now" },
	[REPLY_ATRN_TURNED] = { 250, { 2, 0, 0 }, "OK, you are the server now: greet" },
	[REPLY_GOODBYE] = { 221, { 2, 0, 0 }, "Goodbye" },

	[REPLY_LINE_DEFECT] = { 500, { 5, 5, 2 }, "The line holds %1; lines end with CR LF and hold no other control characters" },
	[REPLY_LINE_TOO_LONG] = { 500, { 5, 5, 2 }, "The line is too long: %1 octets are allowed" },
	[REPLY_LINE_ENDLESS] = { 500, { 5, 5, 2 }, "No end of the line after %1 octets; closing" },
	[REPLY_NOT_A_COMMAND] = { 500, { 5, 5, 2 }, "This is not an SMTP command; HELP lists those that are known" },
	[REPLY_UNKNOWN_COMMAND] = { 500, { 5, 5, 1 }, "The command %1 is not known here; HELP lists what is" },
	[REPLY_NOT_OFFERED] = { 502, { 5, 5, 1 }, "%1 is not offered to you here" },
	[REPLY_NO_ARGUMENTS] = { 501, { 5, 5, 4 }, "%1 takes no arguments" },
	[REPLY_BAD_HELLO] = { 501, { 5, 5, 4 }, "%1 needs a domain name or an address literal such as [192.0.2.1]" },
	[REPLY_USE_LHLO] = { 500, { 5, 5, 1 }, "This is an LMTP server; say LHLO (RFC 2033)" },
	[REPLY_USE_EHLO] = { 500, { 5, 5, 1 }, "This is an SMTP server; say EHLO" },
	[REPLY_BAD_BDAT] = { 501, { 5, 5, 4 }, "BDAT needs the number of octets that follow, and LAST or nothing; closing, because "
					       "where your next command begins can't be known" },
	[REPLY_VRFY_WHAT] = { 501, { 5, 5, 4 }, "VRFY needs an address or a name" },
	[REPLY_NOT_A_LIST] = { 550, { 5, 2, 4 }, "<%1> is a mailbox and no list" },
	[REPLY_ETRN_WHAT] = { 501, { 5, 5, 4 }, "ETRN needs the name of a domain, or @ and a domain for all below it" },
	[REPLY_ETRN_REFUSED] = { 459, { 4, 7, 1 }, "Mail for %1 can't be asked for here" },
	[REPLY_ETRN_FAILED] = { 458, { 4, 3, 0 }, "The queue can't be looked at for now; try again later" },
	[REPLY_ATRN_WHAT] = { 501, { 5, 5, 4 }, "ATRN takes the names of domains, separated by commas, or nothing for all of yours" },
	[REPLY_ATRN_LOGIN] = { 530, { 5, 7, 0 }, "Log in first; then ATRN gives you the mail of your domains" },
	[REPLY_ATRN_REFUSED] = { 450, { 4, 7, 1 }, "Mail for %1 is not yours to pick up" },
	[REPLY_ATRN_BUSY] = { 450, { 4, 3, 2 }, "Somebody is picking up this mail already; try again later" },
	[REPLY_ATRN_FAILED] = { 451, { 4, 3, 0 }, "The queue can't be looked at for now; try again later" },
	[REPLY_ATRN_NONE] = { 453, { 4, 3, 0 }, "You have no mail" },
	[REPLY_BAD_ATTRIBUTE] = { 501, { 5, 5, 4 }, "%1 is not understood; expected NAME=value with values as xtext" },
	[REPLY_FOREIGN] = { 554, { 5, 5, 1 }, "This is a mail server; it doesn't speak HTTP" },

	[REPLY_HELLO_FIRST] = { 503, { 5, 5, 1 }, "Introduce yourself with EHLO first" },
	[REPLY_TLS_FIRST] = { 530, { 5, 7, 0 }, "Say STARTTLS first" },
	[REPLY_AUTH_FIRST] = { 530, { 5, 7, 0 }, "Log in first; this port takes mail from users of this server only" },
	[REPLY_MAIL_FIRST] = { 503, { 5, 5, 1 }, "Say MAIL first" },
	[REPLY_NESTED_MAIL] = { 503, { 5, 5, 1 }, "A message was begun already; finish it, or say RSET" },
	[REPLY_RCPT_FIRST] = { 503, { 5, 5, 1 }, "Say RCPT first" },
	[REPLY_NO_VALID_RECIPIENTS] = { 554, { 5, 5, 1 }, "No recipient was accepted; the replies to RCPT say why" },
	[REPLY_CHUNKS_BEGUN] = { 503, { 5, 5, 1 }, "%1 can't follow BDAT; go on with BDAT, or say RSET" },
	[REPLY_BINARY_NEEDS_BDAT] = { 503, { 5, 5, 1 }, "A message with BODY=BINARYMIME comes by BDAT" },
	[REPLY_TLS_ALREADY] = { 503, { 5, 5, 1 }, "TLS is active already; go on with EHLO" },
	[REPLY_IN_TRANSACTION] = { 503, { 5, 5, 1 }, "%1 is not possible inside of a message; say RSET first" },
	[REPLY_OUT_OF_TURN] = { 554, { 5, 5, 0 }, "You sent more before %1; closing, because we are out of step (RFC 2920)" },

	[REPLY_AUTH_DONE] = { 235, { 2, 7, 0 }, "You are logged in" },
	[REPLY_AUTH_FAILED] = { 535, { 5, 7, 8 }, "Login failed: this user and this password (or key, or token) don't belong together" },
	[REPLY_AUTH_CANCELLED] = { 501, { 5, 7, 0 }, "Login cancelled, as you asked" },
	[REPLY_AUTH_ALREADY] = { 503, { 5, 5, 1 }, "You are logged in already" },
	[REPLY_AUTH_UNKNOWN] = { 504, { 5, 5, 4 }, "The mechanism %1 is not known here; the reply to EHLO lists those that are" },
	[REPLY_AUTH_TOO_WEAK] = { 534, { 5, 7, 9 }, "The mechanism %1 is switched off here; the reply to EHLO lists those that are not" },
	[REPLY_AUTH_NEEDS_TLS] = { 538, { 5, 7, 11 }, "Say STARTTLS first: nobody logs in by %1 over a connection that is not encrypted" },
	[REPLY_AUTH_WHAT] = { 501, { 5, 5, 4 }, "AUTH needs the name of a mechanism, and perhaps a response in base64" },
	[REPLY_AUTH_NOT_BASE64] = { 501, { 5, 5, 2 }, "This is not base64 (RFC 4648), and not the * that cancels" },
	[REPLY_AUTH_DEFECT] = { 501, { 5, 5, 2 }, "This is not a message of the mechanism %1" },
	[REPLY_AUTH_LINE_TOO_LONG] = { 500, { 5, 5, 6 }, "The line is too long: %1 octets are allowed for logging in" },
	[REPLY_AUTH_TEMPORARY] = { 454, { 4, 7, 0 }, "Your login can't be checked at the moment; try again later" },
	[REPLY_AUTH_ADDRESS_LOCKED] = { 454, { 4, 7, 0 }, "Too many logins from your address failed; try again in %1" },
	[REPLY_AUTH_ACCOUNT_LOCKED] = { 454, { 4, 7, 0 }, "Too many logins to this account failed; try again in %1" },
	[REPLY_NOT_YOUR_ADDRESS] = { 553, { 5, 7, 1 }, "<%1> is not an address that you may send as; yours: %2" },

	[REPLY_BAD_SENDER] = { 501, { 5, 1, 7 }, "The sender address is malformed; expected FROM:<local@domain>" },
	[REPLY_SENDER_TOO_LONG] = { 501, { 5, 1, 7 }, "The sender address is too long (240 octets before the @, 255 behind it)" },
	[REPLY_SENDER_NOT_UTF8] = { 501, { 5, 1, 7 }, "The sender address is not valid UTF-8" },
	[REPLY_BAD_RECIPIENT] = { 501, { 5, 1, 3 }, "The recipient address is malformed; expected TO:<local@domain>" },
	[REPLY_RECIPIENT_TOO_LONG] = { 501, { 5, 1, 3 }, "The recipient address is too long (240 octets before the @, 255 behind it)" },
	[REPLY_RECIPIENT_NOT_UTF8] = { 501, { 5, 1, 3 }, "The recipient address is not valid UTF-8" },
	[REPLY_BAD_PARAMETERS] = { 501, { 5, 5, 4 }, "The parameters are malformed; expected KEYWORD=value behind the address" },
	[REPLY_TOO_MANY_PARAMETERS] = { 501, { 5, 5, 4 }, "Too many parameters; leave out what this server did not offer in its reply to EHLO" },
	[REPLY_HOLD_TOO_LONG] = { 501, { 5, 5, 4 }, "A message can be held for %1 seconds at most" },
	[REPLY_HOLD_AND_BY] = { 501, { 5, 5, 4 }, "The message would be late before it is released: HOLDFOR or HOLDUNTIL reaches beyond BY" },
	[REPLY_SOLICITING] = { 550, { 5, 7, 1 }, "Advertisement of this class is refused here: SOLICIT=%1" },
	[REPLY_TOO_MANY_DOMAINS] = { 452, { 4, 5, 3 }, "Only %1 different domains are taken at a time; send this message now and the rest "
						       "in another" },
	[REPLY_NEEDS_SMTPUTF8] = { 553, { 5, 6, 7 }, "An address that is not ASCII needs SMTPUTF8 in the MAIL command" },
	[REPLY_TOO_MANY_RECIPIENTS] = { 452, { 4, 5, 3 }, "Only %1 recipients are taken at a time; send this message now and the rest "
							  "in another" },
	[REPLY_NO_SUCH_USER] = { 550, { 5, 1, 1 }, "<%1>: no such mailbox here" },
	[REPLY_RELAY_DENIED] = { 550, { 5, 7, 1 }, "<%1>: relaying denied; this server takes mail for its own domains only" },
	[REPLY_NO_POSTMASTER] = { 550, { 5, 1, 1 }, "<postmaster>: no domain ends at this server; use postmaster@domain" },

	[REPLY_SENDER_DOMAIN] = { 550, { 5, 1, 8 }, "<%1>: the domain of your address does not exist, or has no mail server: replies could "
						    "not reach you; check your address in your mail program" },
	[REPLY_SENDER_NULL_MX] = { 550, { 5, 7, 27 }, "<%1>: the domain of your address takes no mail (RFC 7505), so it can't send any" },
	[REPLY_RECIPIENT_DOMAIN] = { 550, { 5, 1, 2 }, "<%1>: this domain does not exist, or has no mail server; is it spelt right?" },
	[REPLY_RECIPIENT_NULL_MX] = { 556, { 5, 1, 10 }, "<%1>: this domain takes no mail (RFC 7505)" },
	[REPLY_SUPPRESSED] = { 550, { 5, 1, 1 }, "<%1>: not sent, because its server refused it for good on %2" },
	[REPLY_GATE_REFUSED] = { 550, { 5, 7, 1 }, "Refused by a rule of this server (%1); ask postmaster@{hostname} if you think that it is wrong" },
	[REPLY_GATE_DEFERRED] = { 450, { 4, 7, 1 }, "Put off by a rule of this server (%1); try again later" },
	[REPLY_LISTED] = { 550, { 5, 7, 1 }, "Your address {client} is listed at %1: %2. Have it removed there, then send again" },
	[REPLY_LISTED_FOR_NOW] = { 450, { 4, 7, 1 }, "Your address {client} is listed at %1: %2. Have it removed there; your message is "
						     "taken once it is" },
	/* RFC 7372 section 3.3 */
	[REPLY_NO_REVERSE] = { 550, { 5, 7, 25 }, "Your address {client} %1; have its operator set up a PTR record that leads back to it, or "
						  "send through a server that has one" },
	[REPLY_NO_REVERSE_FOR_NOW] = { 450, { 4, 7, 25 }, "Your address {client} %1; have its operator set up a PTR record that leads back "
							  "to it" },
	[REPLY_HELO_REFUSED] = { 550, { 5, 7, 1 }, "You introduced yourself as {helo}, %1" },
	/* RFC 7505 section 4.2 */
	[REPLY_NULL_MX_SENDER] = { 550, { 5, 7, 27 }, "The sender's domain %1 takes no mail at all (null MX), so nobody could answer; use an "
						      "address that takes mail" },
	[REPLY_NO_SENDER_DOMAIN] = { 550, { 5, 1, 8 }, "The sender's domain %1 has neither MX nor address records, so nobody could answer; use "
						       "an address that exists" },
	[REPLY_DNS_TROUBLE] = { 451, { 4, 4, 3 }, "The DNS could not be asked about %1; try again later" },
	[REPLY_TOO_FAST] = { 450, { 4, 7, 1 }, "Too many: %1; the next one is possible in %2" },
	[REPLY_TOO_FAST_CONNECTING] = { 421, { 4, 7, 0 }, "Too many connections: %1; come again in %2" },
	[REPLY_TOO_MANY_SESSIONS] = { 421, { 4, 7, 0 }, "Too many sessions %1: %2 are allowed at a time; close some first" },
	[REPLY_TOO_MANY_AT_ONCE] = { 450, { 4, 7, 1 }, "Too many messages %1 at a time: %2 are allowed; try again in a moment" },
	[REPLY_NO_SUCH_MAILBOX] = { 550, { 5, 1, 1 }, "<%1>: refused by the server that holds this mailbox: %2" },
	[REPLY_RECIPIENT_UNVERIFIED] = { 450, { 4, 4, 0 }, "<%1>: the server that holds this mailbox can't be asked now; try again later" },
	/* RFC 6647 section 5 */
	[REPLY_GREYLISTED] = { 450, { 4, 7, 1 }, "Your first message from this sender to this recipient; send it again in %1 (greylisting)" },
	/* RFC 9989 section 7.2, RFC 7372 section 3.4 */
	[REPLY_DMARC_REJECTED] = { 550, { 5, 7, 26 }, "From names %1, but neither SPF nor DKIM proves that it comes from there, and the DMARC policy of %2 "
						      "is to reject that; send through a server of that domain" },

	[REPLY_CONTENT_DEFECT] = { 550, { 5, 5, 2 }, "The message holds %1 at octet %2; lines must end with CR LF, and CR, LF and NUL "
						     "can't stand alone" },
	[REPLY_TOO_LARGE] = { 552, { 5, 3, 4 }, "The message is larger than the %1 octets that are taken here" },
	[REPLY_HEADER_TOO_LARGE] = { 552, { 5, 3, 4 }, "The header is larger than the %1 octets that are taken here" },
	[REPLY_NO_FROM] = { 550, { 5, 6, 0 }, "The message has no From field; set your address in your mail program (RFC 5322 section 3.6)" },
	[REPLY_TWO_FROM] = { 550, { 5, 6, 0 }, "The message has more than one From field; there must be one (RFC 5322 section 3.6)" },
	[REPLY_BAD_FROM] = { 550, { 5, 6, 0 }, "The From field holds no address; it should read: Name <local@domain>" },
	[REPLY_LOOP] = { 554, { 5, 4, 6 }, "The message has more than %1 Received fields: it is going round in a loop" },

	[REPLY_DISK_FULL] = { 452, { 4, 3, 1 }, "The mail storage is full; try again later" },
	[REPLY_STORAGE_FAILED] = { 451, { 4, 3, 0 }, "The message could not be stored; try again later" },
	[REPLY_SIGNING_FAILED] = { 451, { 4, 3, 0 }, "The message could not be signed; try again later" },
	[REPLY_OUT_OF_MEMORY] = { 452, { 4, 3, 0 }, "Out of memory; try again later" },
	[REPLY_TIMEOUT] = { 421, { 4, 4, 2 }, "Waited %1 for more from you; closing" },
	[REPLY_SESSION_TIMEOUT] = { 421, { 4, 4, 2 }, "No message was finished here for %1; closing" },
	[REPLY_STOPPING] = { 421, { 4, 3, 2 }, "The server is stopping; try again in a moment" },
	[REPLY_TOO_MANY_ERRORS] = { 421, { 4, 7, 0 }, "%1 commands were refused, and no more are allowed; closing" },
	[REPLY_TOO_MANY_COMMANDS] = { 421, { 4, 7, 0 }, "%1 commands without a message, and no more are allowed; closing" },
	[REPLY_TOO_MANY_MESSAGES] = { 421, { 4, 7, 0 }, "%1 messages are enough for one connection; make another one for the rest" },
	[REPLY_TOO_MANY_CONNECTIONS] = { 421, { 4, 3, 2 }, "Too many connections to this server: %1 are allowed; try again later" },
	[REPLY_TOO_MANY_FROM_ADDRESS] = { 421, { 4, 7, 0 }, "Too many connections from %2: %1 are allowed; close some first" },
	[REPLY_TOO_MANY_FROM_NETWORK] = { 421, { 4, 7, 0 }, "Too many connections from the network of %2: %1 are allowed; close some "
							    "first" },
	[REPLY_UNDER_PRESSURE] = { 421, { 4, 3, 2 }, "The server is short of memory or disk space; try again later" },
};

const struct reply *reply_of(enum reply_id id)
{
	assert(id < REPLY_COUNT);
	return &replies[id];
}

enum reply_id reply_from_name(struct slice name)
{
	unsigned id = 0;

	while (id < REPLY_COUNT && !slice_eq_str(name, reply_names[id]))
		id++;
	return (enum reply_id) id;
}

/* Characters that a terminal can show, everything else as "?". */
static void append_shown(struct slice s, struct buffer *out)
{
	size_t i = 0;

	while (i < s.len && i < SHOWN_MAX) {
		uint32_t c;
		size_t n = utf8_decode(slice_skip(s, i), &c);

		if (n > 0 && utf8_printable(c)) {
			buffer_append(out, s.data + i, n);
			i += n;
		} else {
			buffer_append_char(out, '?');
			i++;
		}
	}
	if (i < s.len)
		buffer_append_str(out, "...");
}

/* In the order of subject_of. */
static const char *const subjects[] = { "client", "client_name", "helo", "user", "hostname", "sender", "recipient" };

static struct slice subject_of(const struct reply_subjects *about, size_t which)
{
	switch (which) {
	case 0:
		return slice_from(about->client);
	case 1:
		return slice_from(about->client_name);
	case 2:
		return slice_from(about->helo);
	case 3:
		return slice_from(about->user);
	case 4:
		return slice_from(about->hostname);
	case 5:
		return about->sender;
	default:
		return about->recipient;
	}
}

/* The placeholder at the front of text: its octets, and which it is: 1 or 2 for %1 and %2, 3 + n for subjects[n].
 * 0 octets: it is none. */
static size_t placeholder(const char *text, size_t *ret_which)
{
	if (text[0] == '%' && (text[1] == '1' || text[1] == '2')) {
		*ret_which = (size_t) (text[1] - '0');
		return 2;
	}
	for (size_t i = 0; text[0] == '{' && i < ARRAY_LEN(subjects); i++) {
		size_t n = strlen(subjects[i]);

		if (strncmp(text + 1, subjects[i], n) == 0 && text[1 + n] == '}') {
			*ret_which = 3 + i;
			return n + 2;
		}
	}
	return 0;
}

void reply_fill(const char *text, struct slice first, struct slice second, const struct reply_subjects *about,
		struct buffer *out)
{
	const char *from = text, *at = text;

	while (*(at += strcspn(at, "%{"))) {
		size_t which, n = placeholder(at, &which);

		if (n == 0 || (which > 2 && !about)) {
			at++;
			continue;
		}
		buffer_append(out, from, (size_t) (at - from));
		append_shown(which == 1 ? first : which == 2 ? second : subject_of(about, which - 3), out);
		from = at += n;
	}
	buffer_append_str(out, from);
}

const char *reply_check_text(enum reply_id id, const char *text, char out[static 200])
{
	const char *original = id < REPLY_COUNT ? replies[id].text : "";

	if (!*text || strlen(text) > TEXT_MAX) {
		snprintf(out, 200, "a reply has 1 to %u octets of text", TEXT_MAX);
		return out;
	}
	for (const char *at = text; *at; at++) {
		size_t which, n = placeholder(at, &which), close = strcspn(at, "} ");

		if ((unsigned char) *at < 32 || *at == 127) {
			snprintf(out, 200, "a reply has no control characters and is one line");
			return out;
		}
		if (n > 0 && which <= 2 && !strstr(original, which == 1 ? "%1" : "%2")) {
			snprintf(out, 200, "%.2s stands for nothing in this reply", at);
			return out;
		}
		if (n == 0 && *at == '{' && at[close] == '}') {
			snprintf(out, 200, "%.*s is none of {client}, {client_name}, {helo}, {user}, {hostname}, {sender} and "
				 "{recipient}", (int) MIN(close + 1, (size_t) 40), at);
			return out;
		}
	}
	return NULL;
}
