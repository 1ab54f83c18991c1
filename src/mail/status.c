#include "mail/status.h"

#include <stdio.h>

/* One number of a code: up to three digits (RFC 3463 section 2). */
static int take_number(struct slice *s, int *ret)
{
	int value = 0;
	size_t n = 0;

	while (n < s->len && n < 4 && ascii_is_digit(s->data[n]))
		value = value * 10 + (s->data[n++] - '0');
	if (n == 0 || n > 3)
		return -EINVAL;
	*s = slice_skip(*s, n);
	*ret = value;
	return 0;
}

static int take_dot(struct slice *s)
{
	if (s->len == 0 || s->data[0] != '.')
		return -EINVAL;
	*s = slice_skip(*s, 1);
	return 0;
}

int status_parse(struct slice *s, struct status *ret)
{
	struct slice rest = *s;
	struct status status;

	if (take_number(&rest, &status.class) < 0 || take_dot(&rest) < 0 || take_number(&rest, &status.subject) < 0 ||
	    take_dot(&rest) < 0 || take_number(&rest, &status.detail) < 0)
		return -EINVAL;
	if (status.class != 2 && status.class != 4 && status.class != 5)
		return -EINVAL;
	if (rest.len > 0 && rest.data[0] != ' ')
		return -EINVAL;
	*s = slice_skip(rest, 1);
	*ret = status;
	return 0;
}

const char *status_format(struct status s, char out[static STATUS_TEXT])
{
	snprintf(out, STATUS_TEXT, "%u.%u.%u", (unsigned) s.class % 10, (unsigned) s.subject % 1000,
		 (unsigned) s.detail % 1000);
	return out;
}

/* class 0: for temporary and permanent ones alike. */
static const struct {
	struct status status;
	const char *text;
} meanings[] = {
	{ { 5, 1, 0 }, "There is something wrong with the address." },
	{ { 5, 1, 1 }, "The address does not exist there. Please check it for typing errors." },
	{ { 4, 1, 1 }, "The other server can't say at the moment whether the address exists." },
	{ { 0, 1, 2 }, "The part of the address behind the @ is not known. Please check it for typing errors." },
	{ { 0, 1, 3 }, "The address is not written correctly." },
	{ { 0, 1, 4 }, "The address stands for more than one mailbox." },
	{ { 0, 1, 6 }, "The mailbox has moved, and no new address is known." },
	{ { 0, 1, 7 }, "The other server does not accept your address as the sender." },
	{ { 0, 1, 8 }, "The other server does not accept your address as the sender: it can't find your domain." },
	{ { 0, 1, 10 }, "The recipient's domain does not accept any mail." },
	{ { 0, 2, 0 }, "There is a problem with the recipient's mailbox." },
	{ { 0, 2, 1 }, "The recipient's mailbox is disabled and does not accept messages." },
	{ { 0, 2, 2 }, "The recipient's mailbox is full." },
	{ { 0, 2, 3 }, "The message is larger than the recipient's mailbox accepts." },
	{ { 0, 2, 4 }, "The mailing list could not be expanded." },
	{ { 0, 3, 0 }, "There is a problem with the other mail system." },
	{ { 0, 3, 1 }, "The other mail system has no space left." },
	{ { 0, 3, 2 }, "The other mail system does not accept messages at the moment." },
	{ { 0, 3, 3 }, "The other mail system can't do what this message needs." },
	{ { 0, 3, 4 }, "The message is larger than the other mail system accepts." },
	{ { 0, 4, 0 }, "The other mail system could not be reached." },
	{ { 0, 4, 1 }, "No server of the recipient's domain answered." },
	{ { 0, 4, 2 }, "The connection to the other mail system broke off." },
	{ { 0, 4, 3 }, "The other mail system could not be looked up." },
	{ { 0, 4, 4 }, "No way to the recipient's mail system was found." },
	{ { 0, 4, 5 }, "The other mail system is too busy." },
	{ { 0, 4, 6 }, "The message went in a circle between mail systems." },
	{ { 0, 4, 7 }, "The message could not be delivered for too long, and it was given up." },
	{ { 0, 5, 3 }, "The message has too many recipients for the other mail system." },
	{ { 0, 6, 1 }, "The other mail system does not support this kind of content." },
	{ { 0, 6, 7 }, "The other mail system does not support addresses with such characters." },
	{ { 0, 6, 11 }, "The message contains octets that mail systems must not pass on." },
	{ { 0, 7, 0 }, "The other mail system refused the message for reasons of security or policy." },
	{ { 0, 7, 1 }, "The other mail system does not let you send to this recipient, or its rules refused the message." },
	{ { 0, 7, 2 }, "You are not allowed to send to this mailing list." },
	{ { 0, 7, 4 }, "The connection could not be protected as it must be." },
	{ { 0, 7, 10 }, "The connection could not be encrypted as it must be." },
	{ { 0, 7, 20 }, "The other mail system could not verify a DKIM signature of the message." },
	{ { 0, 7, 21 }, "The other mail system did not accept the DKIM signatures of the message." },
	{ { 0, 7, 22 }, "The DKIM signature of the message does not belong to its author." },
	{ { 0, 7, 23 }, "The sender's domain does not allow this server to send its mail (SPF)." },
	{ { 0, 7, 24 }, "The sender's domain could not be checked (SPF)." },
	{ { 0, 7, 25 }, "The other mail system does not trust this server: its address has no proper name." },
	{ { 0, 7, 26 }, "The other mail system could not verify who sent the message." },
	{ { 0, 7, 27 }, "The sender's domain does not accept any mail, so that nothing is taken from it." },
	{ { 0, 7, 28 }, "Too many messages of this kind were sent in a short time." },
	{ { 0, 7, 30 }, "The message asked for encryption on its whole way, and the next mail system can't promise it." },
};

static const char *subject_meaning(int subject)
{
	switch (subject) {
	case 1:
		return "There is something wrong with an address.";
	case 2:
		return "There is a problem with the recipient's mailbox.";
	case 3:
		return "There is a problem with the other mail system.";
	case 4:
		return "The message could not be carried to the other mail system.";
	case 5:
		return "The mail systems did not understand each other.";
	case 6:
		return "The other mail system does not support this kind of content.";
	case 7:
		return "The other mail system refused the message for reasons of security or policy.";
	default:
		return "The other mail system did not say more precisely why.";
	}
}

const char *status_for_people(struct status s)
{
	for (size_t i = 0; i < ARRAY_LEN(meanings); i++) {
		struct status m = meanings[i].status;

		if (m.subject == s.subject && m.detail == s.detail && (m.class == 0 || m.class == s.class))
			return meanings[i].text;
	}
	return subject_meaning(s.subject);
}
