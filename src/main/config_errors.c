#include "main/config_errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void config_errors_done(struct config_errors *e)
{
	buffer_done(&e->text);
	buffer_done(&e->warnings);
	free(TAKE_PTR(e->marks));
	e->count = 0;
}

static _printf_(3, 0) void add_line(struct buffer *to, const struct config_mark *at, const char *format, va_list ap)
{
	char text[1024];

	vsnprintf(text, sizeof(text), format, ap);
	for (char *c = text; *c; c++)
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			*c = '?'; /* what a message quotes must not forge another line */
	if (at->line)
		buffer_printf(to, "%s:%u:%u: %s\n", at->file, at->line, at->column, text);
	else
		buffer_printf(to, "%s: %s\n", at->file, text);
}

void config_error(struct config_errors *e, const struct config_mark *at, const char *format, ...)
{
	va_list ap;

	if (++e->count > CONFIG_ERRORS_MAX)
		return;
	if (e->count == 1) /* without memory for it, none of the lines has a mark */
		e->marks = calloc(CONFIG_ERRORS_MAX, sizeof(*e->marks));
	if (e->marks)
		e->marks[e->count - 1] = *at;
	va_start(ap, format);
	add_line(&e->text, at, format, ap);
	va_end(ap);
	if (e->count == CONFIG_ERRORS_MAX)
		buffer_append_str(&e->text, "(further errors are not shown)\n");
}

void config_warning(struct config_errors *e, const struct config_mark *at, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	add_line(&e->warnings, at, format, ap);
	va_end(ap);
}

/* --- in the order of their places ---------------------------------------------------------------------------- */

struct placed_line {
	struct slice text;
	unsigned file; /* the first of which the text tells is 0 */
	struct config_mark mark;
	unsigned order;
};

static int compare_places(const void *a, const void *b)
{
	const struct placed_line *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	if (x->mark.line != y->mark.line)
		return x->mark.line < y->mark.line ? -1 : 1;
	if (x->mark.column != y->mark.column)
		return x->mark.column < y->mark.column ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

void config_errors_sort(struct config_errors *e)
{
	_cleanup_(freep) struct placed_line *lines = calloc(CONFIG_ERRORS_MAX, sizeof(*lines));
	struct slice rest = buffer_slice(&e->text);
	struct buffer sorted = { 0 };
	unsigned n = MIN(e->count, CONFIG_ERRORS_MAX);

	if (!lines || !e->marks)
		return;
	for (unsigned i = 0; i < n; i++) {
		unsigned same = 0;

		lines[i] = (struct placed_line) { slice_cut(rest, '\n', &rest), i, e->marks[i], i };
		while (strcmp(lines[same].mark.file, lines[i].mark.file) != 0)
			same++;
		lines[i].file = lines[same].file;
	}
	qsort(lines, n, sizeof(*lines), compare_places);
	for (unsigned i = 0; i < n; i++) {
		buffer_append_slice(&sorted, lines[i].text);
		buffer_append_char(&sorted, '\n');
	}
	buffer_append_slice(&sorted, rest);
	if (buffer_error(&sorted) < 0) {
		buffer_done(&sorted);
		return;
	}
	buffer_done(&e->text);
	e->text = sorted;
	for (unsigned i = 0; i < n; i++)
		e->marks[i] = lines[i].mark;
}
