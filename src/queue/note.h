/* The note that the spool keeps with a message: the state of each recipient, so that a restart goes on where we
 * were. The newest note replaces the older ones.
 *
 * The bytes: a version (1), the number of recipients as a varint, then for each in the order of the envelope
 * one byte of state, and only where something happened yet: flags, rung, attempts, the wall time of the next
 * try, the last reply. A recipient that waits for its first attempt costs one byte. */
#pragma once

#include "base/buffer.h"
#include "queue/recipient.h"

/* wall_offset: what must be added to monotonic time to have calendar time (both in microseconds). A posted
 * recipient is noted as waiting. Errors show in the buffer. */
void note_encode(const struct recipient *recipients, unsigned n, int64_t wall_offset, struct buffer *out);
/* Fills n zeroed recipients; their last replies are on the heap. An empty note leaves them as they are.
 * -EBADMSG when the bytes are no note, or one for another number of recipients: nothing is changed then; -ENOMEM. */
int note_decode(struct slice note, int64_t wall_offset, struct recipient *recipients, unsigned n);
