/* The commands: one function each, in the file that bears its name. They return 0 when the session goes on (or has
 * had its last reply: session->over), or -errno when the connection is lost. */
#pragma once

#include "receive/session.h"

/* Looks the command up in the table (commands.c), checks what the table demands, and runs it. */
int command_run(struct session *s, const struct command *c);

/* The verbs that this session may use now, separated by spaces; appended. */
void commands_describe(const struct session *s, struct buffer *out);

int cmd_ehlo(struct session *s, const struct command *c); /* and HELO, LHLO */
int cmd_mail(struct session *s, const struct command *c);
int cmd_rcpt(struct session *s, const struct command *c);
int cmd_data(struct session *s, const struct command *c);
int cmd_bdat(struct session *s, const struct command *c);
int cmd_rset(struct session *s, const struct command *c);
int cmd_noop(struct session *s, const struct command *c);
int cmd_vrfy(struct session *s, const struct command *c);
int cmd_expn(struct session *s, const struct command *c);
int cmd_atrn(struct session *s, const struct command *c);
int cmd_etrn(struct session *s, const struct command *c);
int cmd_xclient(struct session *s, const struct command *c);
int cmd_xforward(struct session *s, const struct command *c);
int cmd_help(struct session *s, const struct command *c);
int cmd_quit(struct session *s, const struct command *c);
int cmd_auth(struct session *s, const struct command *c);
int cmd_starttls(struct session *s, const struct command *c);

/* The handshake, in cmd_starttls.c; also for ports where TLS comes first. -errno: the connection is lost. */
int session_start_tls(struct session *s);
