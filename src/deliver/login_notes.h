/* Relays at which logging in does not work: said in the log once, when it begins, and once more when it is over. Every
 * attempt has the reason in its event anyway. From any thread. */
#pragma once

#include "base/log.h"

struct login_notes;
int login_notes_new(const struct log *log, struct login_notes **ret); /* -ENOMEM */
void login_notes_free(struct login_notes *n);                         /* NULL is fine */
void login_note_failed(struct login_notes *n, const char *relay, const char *host, const char *why);
void login_note_worked(struct login_notes *n, const char *relay, const char *host);
