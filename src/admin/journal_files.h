/* The files of the journal: which one is written, when the next begins, which old ones go.
 *
 * Names are events-YYYYMMDD-NNNN.jsonl, so that their order is that of time. A file that exists is gone on
 * with after a start, behind a line that a crash may have cut. */
#pragma once

#include "admin/journal.h"

struct journal_files;
/* Makes the directory (mode 0700). Each call here may block. */
int journal_files_new(struct world *w, const char *directory, const struct journal_config *config, struct journal_files **ret);
/* Whole lines. Opens the next file and removes old ones when it is time. */
int journal_files_append(struct journal_files *f, wall_t when, struct slice lines);
void journal_files_close(struct journal_files *f);
void journal_files_free(struct journal_files *f); /* NULL is fine */
DEFINE_FREEP(struct journal_files, journal_files_free)

/* The number of a name: year * 10^8 + month * 10^6 + day * 10^4 + NNNN. -EINVAL when it is none of ours. */
int journal_name_parse(const char *name, uint64_t *ret);
/* The day of a time as the first part of such a number, times 10^4. */
uint64_t journal_day(wall_t t);
#define JOURNAL_NAME 32
const char *journal_name_format(uint64_t number, char out[static JOURNAL_NAME]);
