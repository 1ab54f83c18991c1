/* What a receiver makes of its configuration, once, for all sessions: limits with their defaults filled in,
 * the TLS context, and the replies that are the same for everybody, ready for the wire.
 *
 * A settings object never changes. A reload makes a new one; sessions keep the one that they began with,
 * and the last of them frees it. */
#pragma once

#include "base/buffer.h"
#include "receive/file_watch.h"
#include "receive/gate.h"
#include "receive/receive.h"
#include "receive/replies.h"

/* Which texts a session uses, per listener role. What EHLO offers depends on more (offers.h). */
enum wire_text { WIRE_BANNER, WIRE_HELO, WIRE_COUNT };

struct receive_settings {
	int references; /* atomic */
	const struct receive_config *config;
	struct receive_limits limits;
	struct tls_context *tls;              /* NULL: none */
	struct tls_context **listener_tls;    /* the same certificates with the rules of each listener; NULL: no TLS */
	struct file_watch tls_files;          /* what they were read from */
	usec_t made;
	struct users *users;                  /* who may log in; NULL: nobody */
	struct Gsasl *sasl;                   /* NULL when there are no users */
	struct gate *gate;
	struct buffer text;      /* holds all of the following */
	struct slice wire[2][WIRE_COUNT];     /* [0] SMTP, [1] LMTP */
	struct slice replies[REPLY_COUNT];    /* those without placeholders; others have data == NULL */
};

int receive_settings_new(struct world *w, const struct log *log, const struct receive_config *config, struct gate_shared *gate,
			 struct receive_settings **ret, char **ret_why);
/* Of one of config->listeners; NULL without TLS. */
struct tls_context *receive_settings_tls(const struct receive_settings *s, const struct receive_listener *l);
/* The text of the configuration, or ours. */
const char *settings_reply_text(const struct receive_settings *s, enum reply_id id);
struct receive_settings *receive_settings_ref(struct receive_settings *s);
void receive_settings_unref(struct receive_settings *s);
DEFINE_FREEP(struct receive_settings, receive_settings_unref)
