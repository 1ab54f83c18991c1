/* What is wrong with a configuration: one line for each thing, with the place where it stands, so that one run
 * tells all of it. */
#pragma once

#include "base/buffer.h"

#define CONFIG_ERRORS_MAX 100u /* lines kept; the rest is counted */

struct config_mark {
	const char *file;
	unsigned line, column; /* from 1; 0: the file as a whole */
};

/* Zeroed: none yet. */
struct config_errors {
	struct buffer text; /* one line each, with its newline */
	unsigned count;
	struct config_mark *marks; /* of the lines in text; heap */
	struct buffer warnings;    /* the same for what is doubtful, but no reason to refuse the file */
};
void config_errors_done(struct config_errors *e);
#define _cleanup_config_errors_ _cleanup_(config_errors_done)
/* Adds "file:line:column: text". */
void config_error(struct config_errors *e, const struct config_mark *at, const char *format, ...) _printf_(3, 4);
void config_warning(struct config_errors *e, const struct config_mark *at, const char *format, ...) _printf_(3, 4);
/* Puts the lines into the order of their places, file by file as they came. The marks' files must still be there. */
void config_errors_sort(struct config_errors *e);
