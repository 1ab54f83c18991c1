/* What the reports will say, kept in a SQLite file until it has been sent, so that a restart loses nothing.
 *
 * A row is what happened (as a line of JSON that report/rows.h makes), for one domain, and how often. It belongs to a period,
 * which is a day in UTC, or a part of one when reports were sent by hand in between: every such "cut" ends a period.
 * Rows leave the file when their report was handed over to all who want it, or when it is too old to be of use.
 *
 * Every call opens the file, does its work in one transaction, and closes it: they come every few seconds at most. All of
 * them block and need a deep stack: call them on a worker. A text that says what is wrong comes back in `error`. */
#pragma once

#include "base/arena.h"
#include "base/time.h"
#include "report/pack.h"

#define STORE_ERROR 200

struct report_note {
	enum report_kind kind;
	wall_t time;
	const char *domain; /* whom the report is for */
	const char *policy; /* DMARC: what it published and where it wants reports; NULL */
	const char *row;
	uint64_t count;
};
/* Adds them up. What would make more than rows_max rows is left out and counted in *ret_dropped. 0, -EIO, -ENOMEM. */
int report_store_add(const char *path, const struct report_note *const *notes, unsigned n, unsigned rows_max,
		     uint64_t *ret_dropped, char error[static STORE_ERROR]);
/* Ends the present period of a kind. at: in microseconds; what comes later belongs to the next. */
int report_store_cut(const char *path, enum report_kind kind, wall_t at, char error[static STORE_ERROR]);

/* One report, sent or to come. Strings lie in the arena. */
struct report_item {
	enum report_kind kind;
	const char *domain;
	wall_t begin, end;    /* the end is not part of the period */
	uint64_t rows, count;
	unsigned attempts;    /* so far */
	wall_t first, next;   /* the first attempt, the next one; 0: none yet */
	const char *done;     /* URIs that have it, each with LF behind it */
};
struct report_items {
	unsigned n;
	struct report_item *items;
};
/* In the order of periods and domains. ended_by: only those whose period had ended then (0: all). domain may be NULL. A file
 * that isn't there has none. 0, -EIO, -ENOMEM. */
int report_store_list(const char *path, enum report_kind kind, wall_t ended_by, const char *domain, struct arena *a,
		      struct report_items *ret, char error[static STORE_ERROR]);

struct report_data {
	const char *policy; /* NULL: none */
	unsigned n_rows;
	const char **rows;
	uint64_t *counts;
};
int report_store_load(const char *path, const struct report_item *item, struct arena *a, struct report_data *ret,
		      char error[static STORE_ERROR]);
/* It was sent, or is given up. */
int report_store_remove(const char *path, const struct report_item *item, char error[static STORE_ERROR]);
/* Keeps item's attempts, first, next and done. */
int report_store_later(const char *path, const struct report_item *item, char error[static STORE_ERROR]);
/* Takes away what ended before, with what is known about it: 0, -EIO. *ret_rows: how many rows. */
int report_store_forget(const char *path, wall_t before, uint64_t *ret_rows, char error[static STORE_ERROR]);
