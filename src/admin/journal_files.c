#include "admin/journal_files.h"

#include <stdio.h>
#include <stdlib.h>

#define NUMBER_MAX 9999u /* of files in a day; the last one grows */
#define TIDY_MAX 4096u   /* files looked at in one go */

struct journal_files {
	struct world *world;
	char *directory;
	struct journal_config config;
	struct file *file; /* NULL: none is open */
	uint64_t number, size;
};

uint64_t journal_day(wall_t t)
{
	struct civil c;

	wall_to_civil(t, &c);
	return (((uint64_t) c.year * 100 + (unsigned) c.month) * 100 + (unsigned) c.day) * 10000;
}

const char *journal_name_format(uint64_t number, char out[static JOURNAL_NAME])
{
	snprintf(out, JOURNAL_NAME, "events-%08u-%04u.jsonl", (unsigned) (number / 10000 % 100000000),
		 (unsigned) (number % 10000));
	return out;
}

int journal_name_parse(const char *name, uint64_t *ret)
{
	uint64_t day, n;

	if (strlen(name) != 26 || strncmp(name, "events-", 7) != 0 || name[15] != '-' || strcmp(name + 20, ".jsonl") != 0)
		return -EINVAL;
	if (slice_to_u64(slice_new(name + 7, 8), &day) < 0 || slice_to_u64(slice_new(name + 16, 4), &n) < 0)
		return -EINVAL;
	*ret = day * 10000 + n;
	return 0;
}

static char *file_path(const char *directory, uint64_t number)
{
	char name[JOURNAL_NAME];
	char *path;

	if (asprintf(&path, "%s/%s", directory, journal_name_format(number, name)) < 0)
		return NULL;
	return path;
}

/* --- tidying up ------------------------------------------------------------------------------------------- */

struct tidy {
	uint64_t *numbers;
	unsigned n;
};

static int note_number(const char *name, void *context)
{
	struct tidy *t = context;
	uint64_t number;

	if (t->n < TIDY_MAX && journal_name_parse(name, &number) == 0)
		t->numbers[t->n++] = number;
	return 0;
}

/* Removes what is too old, then the oldest until the rest fits; the file in use always stays. */
static int tidy_up(struct journal_files *f, wall_t when)
{
	_cleanup_(freep) uint64_t *numbers = calloc(TIDY_MAX, sizeof(*numbers));
	struct tidy t = { .numbers = numbers };
	uint64_t oldest = journal_day(when - (wall_t) MIN(f->config.keep, 3650 * USEC_DAY)), total = f->size;
	int r;

	if (!numbers)
		return -ENOMEM;
	r = path_list(f->world, f->directory, note_number, &t);
	if (r < 0)
		return r;
	for (unsigned i = t.n; i-- > 0;) { /* from the newest */
		_cleanup_(freep) char *path = file_path(f->directory, t.numbers[i]);
		struct file_info info;

		if (!path)
			return -ENOMEM;
		if (t.numbers[i] == f->number || path_info(f->world, path, &info) < 0)
			continue;
		total += info.size;
		/* Room for the file that has just begun is left, so that the sum stays below the limit. */
		if (t.numbers[i] < oldest || total + f->config.file_size > MAX(f->config.size, f->config.file_size))
			path_unlink(f->world, path);
	}
	return 0;
}

/* --- opening ---------------------------------------------------------------------------------------------- */

struct newest {
	uint64_t day, number; /* number 0: none of that day */
};

static int note_newest(const char *name, void *context)
{
	struct newest *n = context;
	uint64_t number;

	if (journal_name_parse(name, &number) == 0 && number / 10000 == n->day / 10000)
		n->number = MAX(n->number, number);
	return 0;
}

/* After a crash the last line may be half. */
static int end_torn_line(struct journal_files *f, const char *path)
{
	_cleanup_(file_closep) struct file *reader = NULL;
	char last;
	int r;

	if (!f->size)
		return 0;
	r = file_open(f->world, path, FILE_READ, 0, &reader);
	if (r < 0)
		return r;
	if (file_pread(reader, &last, 1, f->size - 1) != 1 || last == '\n')
		return 0;
	r = file_append(f->file, SLICE("\n"));
	if (r >= 0)
		f->size++;
	return r;
}

static int open_number(struct journal_files *f, uint64_t number)
{
	_cleanup_(freep) char *path = file_path(f->directory, number);
	_cleanup_(file_closep) struct file *file = NULL;
	uint64_t size;
	int r;

	if (!path)
		return -ENOMEM;
	r = file_open(f->world, path, FILE_WRITE | FILE_CREATE | FILE_APPEND, 0600, &file);
	if (r < 0)
		return r;
	r = file_size(file, &size);
	if (r < 0)
		return r;
	f->file = TAKE_PTR(file);
	f->number = number;
	f->size = size;
	return end_torn_line(f, path);
}

static int open_next(struct journal_files *f, wall_t when)
{
	uint64_t day = journal_day(when), number = day + 1;
	int r;

	if (f->file && f->number >= day) {
		number = f->number + (f->number % 10000 < NUMBER_MAX);
	} else {
		struct newest n = { .day = day };

		r = path_list(f->world, f->directory, note_newest, &n);
		if (r < 0)
			return r;
		number = n.number ? n.number : day + 1;
	}
	journal_files_close(f);
	r = open_number(f, number);
	if (r < 0)
		return r;
	return tidy_up(f, when);
}

int journal_files_append(struct journal_files *f, wall_t when, struct slice lines)
{
	int r;

	if (!f->file || f->size >= f->config.file_size || f->number < journal_day(when)) {
		r = open_next(f, when);
		if (r < 0)
			return r;
	}
	r = file_append(f->file, lines);
	if (r < 0) {
		journal_files_close(f); /* a part may be there: the next opening ends the torn line */
		return r;
	}
	f->size += lines.len;
	return 0;
}

int journal_files_new(struct world *w, const char *directory, const struct journal_config *config, struct journal_files **ret)
{
	_cleanup_(journal_files_freep) struct journal_files *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->world = w;
	f->config = *config;
	f->directory = strdup(directory);
	if (!f->directory)
		return -ENOMEM;
	r = path_make_directories(w, directory, 0700);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(f);
	return 0;
}

void journal_files_close(struct journal_files *f)
{
	if (f && f->file)
		file_close(TAKE_PTR(f->file));
}

void journal_files_free(struct journal_files *f)
{
	if (!f)
		return;
	journal_files_close(f);
	free(f->directory);
	free(f);
}
