/* The courier for Maildir: each message becomes a file of its own in the mailbox's directory.
 *
 *   tmp/NAME is written, with Return-Path and Delivered-To in front and lines ending in LF, and synced;
 *   it is renamed to new/NAME,S=size, and that directory is synced: only then it counts as delivered.
 *
 * A mailbox that isn't there is made (directories with mode 0700). What blocks runs on the worker pool; a message that
 * fits in one piece of 256 KiB costs one trip there. */
#pragma once

#include "deliver/deliverer.h"

void maildir_run(struct deliverer *d, const struct deliver_settings *settings, struct slot *slot);

/* The directory of a mailbox: the template with {domain}, {local} and {user} (local@domain) filled in for this
 * address. The local part is lower-cased, unquoted, and taken without its "+detail". -EINVAL: a part of the address
 * can't be used in a path (a slash, a leading dot, a control character...); -ENOMEM. In the arena. */
int maildir_path(const char *template, const char *address, struct arena *a, const char **ret);
