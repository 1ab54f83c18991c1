/* The life of the serving process: logging, signals, privileges, readiness, reload and stop.
 *
 *	SIGTERM, SIGINT   finish what is under way, then end; the second one ends at once
 *	SIGHUP            read the configuration again; a bad one is refused, with all its errors in the log
 *
 * Signals are taken by the main thread with sigwaitinfo, so no handler ever runs on a fiber's stack. */
#pragma once

struct run_options {
	const char *config_path;
	int exit_with_parent; /* true: end when the parent process does (for tests and the sandbox) */
};

/* Runs until it is told to stop. Exit status for the process: 0, or 1 when it could not start or was cut off. */
int run_server(const struct run_options *o);
