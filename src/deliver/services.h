/* What a message asks of the next server beside taking it, each by an extension: binary content (RFC 3030), protection
 * on the whole way (RFC 8689), a time (RFC 2852), a priority (RFC 6710), the same owner of the mailbox (RFC 7293), the
 * classes of advertisement (RFC 3865). Where the server doesn't have the extension, the RFC says whether the message
 * goes on without, or not at all. */
#pragma once

#include "mail/envelope.h"
#include "smtp/extensions.h"

struct next_server {
	const struct extensions *extensions;
	bool lmtp;        /* it keeps the mailboxes: the way ends there */
	bool may_chunk;   /* BDAT is not switched off */
	wall_t now;
};

/* RFC 8689 section 4.2.1: it may go over verified TLS only, to a server that offers REQUIRETLS. Not so a notification
 * (section 5). */
static inline bool services_need_tls(const struct envelope *e)
{
	return (e->flags & ENVELOPE_REQUIRETLS) && e->reverse_path[0] != '\0';
}

/* Why the message can't go there. */
struct refusal {
	int code, subject, detail;
	const char *what; /* goes on behind the server's name */
};
bool services_are_missing(const struct envelope *e, const struct next_server *to, struct arena *a, struct refusal *ret);

/* The parameters for MAIL and RCPT, each with a space in front; appended. */
void services_write_mail(const struct envelope *e, const struct next_server *to, struct buffer *out);
void services_write_rcpt(const struct envelope_recipient *r, const struct next_server *to, struct buffer *out);
/* May this recipient's wish be dropped there? If not, it fails with 550 5.7.19. */
bool services_allow_recipient(const struct envelope_recipient *r, const struct next_server *to);
/* The NOTIFY that is passed on (RFC 2852 section 4.1.4.2). */
unsigned services_notify(const struct envelope *e, const struct envelope_recipient *r, const struct next_server *to);
