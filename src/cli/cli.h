/* The command line: a table of subcommands (main.c), one file for each (cmd_*.c), and what they share.
 *
 * A command gets argv from its own name on. Exit status: 0 yes, 1 no, 2 wrong usage. What a person reads goes to
 * standard output, what went wrong to standard error; --json gives one JSON value. */
#pragma once

#include <getopt.h>
#include <jansson.h>

#include "main/config.h"

#define CLI_YES 0
#define CLI_NO 1
#define CLI_USAGE 2
#define CLI_CONFIG "/etc/yizhan/yizhan.yaml"

struct cli_command {
	const char *name, *summary; /* summary NULL: not for people, and not in the list */
	const char *usage; /* the whole help text */
	int (*run)(const struct cli_command *self, int argc, char **argv);
};
extern const struct cli_command
	cli_serve,
	cli_check,
	cli_sandbox,
	cli_queue,
	cli_trace,
	cli_route,
	cli_verify,
	cli_doctor,
	cli_dkim,
	cli_dmarc,
	cli_tlsrpt,
	cli_explain,
	cli_classify,
	cli_simulate,
	cli_sites,
	cli_suppress,
	cli_status,
	cli_user,
	cli_exec_as,
	cli_version;

/* --- options: what every command takes ----------------------------------------------------------------- */

struct cli_options {
	const char *config; /* -c FILE */
	bool json;
};
/* The long options all have, to be followed by a command's own; their values are below 256. */
#define CLI_LONG_OPTIONS                                  \
	{ "config", required_argument, NULL, 'c' },       \
	{ "json", no_argument, NULL, 'j' },               \
	{ "help", no_argument, NULL, 'h' }
/* Next option of the command's own; -1: no more, operands begin at optind. The common ones are handled here. When
 * *ret_exit is set to a status, the command must return it (help was shown, or the usage is wrong). */
int cli_next_option(const struct cli_command *self, int argc, char **argv, const struct option *options,
		    struct cli_options *common, int *ret_exit);
/* "yizhan NAME: text" and where to find help; returns CLI_USAGE. */
int cli_wrong_usage(const struct cli_command *self, const char *format, ...) _printf_(2, 3);
/* "yizhan: text"; returns CLI_NO. */
int cli_failed(const char *format, ...) _printf_(1, 2);

/* --- running ---------------------------------------------------------------------------------------------- */

/* Runs fn(world, arg) in a fiber of a fresh world and returns what it returned; CLI_NO when there is no memory. */
int cli_run(int (*fn)(struct world *w, void *arg), void *arg);
/* Reads the configuration, with all errors (and with warn, what is merely doubtful) on standard error. CLI_YES or
 * CLI_NO. */
int cli_load_config(struct world *w, const char *path, bool warn, struct config **ret);
/* The same for the paths alone: what else may be wrong with it doesn't matter. */
int cli_load_places(struct world *w, const char *path, struct config **ret);

/* --- asking the server -------------------------------------------------------------------------------------- */

/* Sends one request to the control socket of the server with this configuration (from inside cli_run). row is
 * called for each row, it doesn't own it. *ret is the final object, which the caller frees. CLI_YES; CLI_NO when
 * the server says no or can't be asked, which is then said on standard error (unless quiet). */
int cli_ask(struct world *w, const struct config *config, const json_t *request, void (*row)(const json_t *row, void *context),
	    void *context, bool quiet, json_t **ret);

/* --- showing ------------------------------------------------------------------------------------------------ */

void cli_print_json(const json_t *o); /* indented, with a newline */
const char *cli_text(const json_t *o, const char *key); /* "" when it isn't there */
uint64_t cli_number(const json_t *o, const char *key);
/* "512B", "4.1K", "50M"; "3 h 20 min"; what a terminal may show of text from the network. */
const char *cli_size(uint64_t bytes, char out[static 16]);
const char *cli_ago(uint64_t seconds, char *out, size_t size);
const char *cli_safe(const char *text, char *out, size_t size);
/* Now minus an RFC 3339 time, negative for times to come; false when it is none. */
bool cli_seconds_since(const char *rfc3339, int64_t *ret);
/* Milliseconds since 1970 of an RFC 3339 time in UTC with milliseconds. */
bool cli_parse_time(const char *rfc3339, int64_t *ret_ms);

/* --- the story of a message (timeline.c) --------------------------------------------------------------------- */

/* Prints events of one message, as they come from the journal, as lines for people. *first_ms is the time of the
 * first event; 0 before it. */
void timeline_print(const json_t *event, int64_t *first_ms, const char *indent);
