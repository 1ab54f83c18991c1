/* Log lines on their way to standard error.
 *
 * Whoever logs puts a finished line into a bounded ring and goes on; a thread of its own writes what is
 * there. When standard error is slower than that (a terminal that stands still, a full pipe), lines are lost
 * and counted, and the next line says how many: a mail server doesn't wait for its log. */
#pragma once

#include "base/log.h"

struct log_writer;
/* fd stays the caller's. */
int log_writer_new(int fd, struct log_writer **ret);
/* The function for struct log's write; its context is the writer. Any thread. */
void log_writer_put(void *context, const char *line, size_t len);
uint64_t log_writer_dropped(struct log_writer *w);
/* Writes what is left, for a second at most, and ends the thread. */
void log_writer_free(struct log_writer *w);
DEFINE_FREEP(struct log_writer, log_writer_free)
