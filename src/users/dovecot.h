/* Asking Dovecot whether a password is right, through its auth socket, by the client side of its authentication protocol
 * (version 1.2, public documentation of Dovecot: "Authentication Protocol"): lines of fields separated by TABs.
 *
 * Each question has a connection of its own: handshake, one AUTH with mechanism PLAIN, one answer. */
#pragma once

#include "users/users.h"

/* In a fiber. 0 with the user's name as Dovecot has it; -EACCES; -EAGAIN (Dovecot can't be asked: logged); -ENOMEM;
 * -ECANCELED. */
int dovecot_check(const struct log *log, const struct users_backend_config *config, struct slice name, const char *password,
		  const struct login_context *context, struct user *ret);

/* What a line of Dovecot's means, for the question with this number. The slices lie in the line. */
enum dovecot_line { DOVECOT_OTHER, DOVECOT_MECH, DOVECOT_DONE, DOVECOT_OK, DOVECOT_FAIL, DOVECOT_TEMPORARY, DOVECOT_CONTINUE,
		    DOVECOT_WRONG_VERSION };
enum dovecot_line dovecot_parse(struct slice line, unsigned id, struct slice *ret_argument);
