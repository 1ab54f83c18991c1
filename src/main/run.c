#include "main/run.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "main/log_writer.h"
#include "main/privileges.h"
#include "main/server.h"
#include "world/linux.h"

#define SIGNAL_STOPPED SIGUSR1 /* from the thread that stops the server, to the main thread */

struct run {
	const struct run_options *options;
	struct log_writer *writer;
	struct log log;
	struct world *world;
	struct server *server;
	pthread_t stopper;
	bool stopping;
	atomic_bool stopped; /* by the thread `stopper`: the server is gone */
	int status;
};

static wall_t log_now(void *context)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (wall_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static uint64_t count_lost_lines(void *context)
{
	struct run *run = context;

	return log_writer_dropped(run->writer);
}

/* The control socket asks as a signal would. */
static int take_request(enum admin_request what, char **ret_why, void *context)
{
	return kill(getpid(), what == ADMIN_RELOAD ? SIGHUP : SIGTERM) < 0 ? -errno : 0;
}

static void make_signal_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGNAL_STOPPED);
}

/* Every connection is a descriptor. */
static void raise_file_limit(const struct run *run)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		LOG(&run->log, LOG_WARNING, "the limit of open files cannot be raised", F_ERRNO("error", -errno));
}

static void set_log_style(struct run *run, const struct config *c)
{
	__atomic_store_n(&run->log.level, c->log_level, __ATOMIC_RELAXED);
	__atomic_store_n(&run->log.json, c->log_format == 1, __ATOMIC_RELAXED);
}

/* --- reading the configuration ------------------------------------------------------------------------------ */

static void log_lines(const struct run *run, enum log_level level, const char *what, const struct buffer *lines)
{
	struct slice rest = buffer_slice(lines);

	while (rest.len) {
		struct slice line = slice_cut(rest, '\n', &rest);

		LOG(&run->log, level, what, F_SLICE("at", line));
	}
}

/* The new style of the log holds from here on. */
static int read_config(struct run *run, struct config **ret)
{
	_cleanup_config_errors_ struct config_errors errors = { 0 };
	int r = config_load(run->world, run->options->config_path, &errors, ret);

	if (r >= 0)
		set_log_style(run, *ret);
	log_lines(run, LOG_ERROR, "the configuration is wrong", &errors.text);
	log_lines(run, LOG_WARNING, "the configuration is doubtful", &errors.warnings);
	if (r < 0 && !errors.text.len) /* none, or no memory for them */
		LOG(&run->log, LOG_ERROR, "the configuration cannot be read", F_STR("file", run->options->config_path),
		    F_ERRNO("error", r));
	return r;
}

static void reload(struct run *run)
{
	_cleanup_(freep) char *why = NULL;
	struct config *config;
	int r;

	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long) world_now(run->world));
	r = read_config(run, &config);
	if (r >= 0)
		r = server_reload(run->server, config, &why);
	if (r < 0)
		LOG(&run->log, LOG_ERROR, "the new configuration is refused, the old one stays in force", F_STR("why", why));
	else
		LOG(&run->log, LOG_NOTICE, "the new configuration is in force", F_STR("file", run->options->config_path));
	sd_notify(0, "READY=1");
}

/* --- starting ------------------------------------------------------------------------------------------------- */

static int fail(const struct run *run, const char *why)
{
	LOG(&run->log, LOG_CRITICAL, "the server cannot start", F_STR("why", why ? why : "out of memory"));
	return -EINVAL;
}

static int make_server(struct run *run)
{
	_cleanup_(freep) char *why = NULL;
	struct server_options options = {
		.threads = (unsigned) MAX(sysconf(_SC_NPROCESSORS_ONLN), 1L),
		.log_dropped = count_lost_lines,
		.request = take_request,
		.context = run,
	};
	struct identity id;
	struct config *config;
	int r;

	r = read_config(run, &config);
	if (r < 0)
		return r;
	r = privileges_find(config, &id, &why);
	if (r < 0) {
		config_free(config);
		return fail(run, why);
	}
	r = server_new(run->world, &run->log, &options, config, &run->server, &why);
	if (r < 0)
		return fail(run, why);
	r = privileges_prepare_spool(&id, config->spool.path, &why);
	if (r >= 0)
		r = privileges_drop(&id, &why);
	if (r >= 0 && !id.change && geteuid() == 0)
		LOG(&run->log, LOG_WARNING, "running as root; name a user in the configuration (user: yizhan)");
	if (r >= 0)
		r = server_start(run->server, &why);
	return r < 0 ? fail(run, why) : 0;
}

/* --- stopping ------------------------------------------------------------------------------------------------- */

static void *stop_server(void *arg)
{
	struct run *run = arg;
	usec_t grace = server_config(run->server)->stop_timeout;

	if (server_stop(run->server, deadline_after(world_now(run->world), grace)) < 0)
		LOG(&run->log, LOG_WARNING, "what was still under way after stop_timeout is cut off");
	server_free(TAKE_PTR(run->server));
	atomic_store(&run->stopped, true);
	kill(getpid(), SIGNAL_STOPPED);
	return NULL;
}

static void begin_stop(struct run *run, int signal)
{
	sd_notify(0, "STOPPING=1");
	LOG(&run->log, LOG_NOTICE, "stopping", F_STR("signal", sigabbrev_np(signal)));
	run->stopping = true;
	if (pthread_create(&run->stopper, NULL, stop_server, run) != 0) {
		stop_server(run);
		run->stopper = 0;
	}
}

static _noreturn_ void stop_at_once(struct run *run)
{
	LOG(&run->log, LOG_WARNING, "stopped at once; accepted mail is safe in the spool");
	log_writer_free(run->writer);
	_exit(1);
}

/* The next signal; meanwhile the files that a running server should notice are looked at. */
static int wait_for_signal(struct run *run, const sigset_t *set)
{
	for (;;) {
		usec_t pause = run->stopping ? USEC_HOUR : server_config(run->server)->check_files;
		struct timespec timeout = { .tv_sec = (time_t) (pause / USEC_SEC), .tv_nsec = (long) (pause % USEC_SEC) * 1000 };
		int signal = sigtimedwait(set, NULL, &timeout);

		if (signal >= 0)
			return signal;
		if (errno == EAGAIN && !run->stopping)
			server_look_at_files(run->server);
	}
}

static void handle_signals(struct run *run, const sigset_t *set)
{
	for (;;) {
		int signal = wait_for_signal(run, set);

		if (signal == SIGNAL_STOPPED && atomic_load(&run->stopped))
			break;
		if (signal == SIGHUP && !run->stopping)
			reload(run);
		if (signal != SIGTERM && signal != SIGINT)
			continue;
		if (run->stopping)
			stop_at_once(run);
		begin_stop(run, signal);
	}
	if (run->stopper)
		pthread_join(run->stopper, NULL);
}

/* --- all of it ------------------------------------------------------------------------------------------------- */

static int serve(struct run *run, const sigset_t *set)
{
	const struct linux_options linux_options = { .log = &run->log };
	int r;

	raise_file_limit(run);
	r = world_linux_new(&linux_options, &run->world);
	if (r < 0)
		return fail(run, strerrordesc_np(-r));
	r = make_server(run);
	if (r < 0)
		return r;
	LOG(&run->log, LOG_NOTICE, "ready", F_STR("version", YIZHAN_VERSION), F_STR("hostname", server_config(run->server)->hostname),
	    F_STR("configuration", run->options->config_path));
	sd_notify(0, "READY=1");
	handle_signals(run, set);
	LOG(&run->log, LOG_NOTICE, "stopped");
	return 0;
}

int run_server(const struct run_options *o)
{
	struct run run = { .options = o };
	pid_t parent = getppid();
	sigset_t set;
	int r;

	if (o->exit_with_parent) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			return 1;
	}
	umask(077);
	make_signal_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL); /* before any other thread exists */
	r = log_writer_new(STDERR_FILENO, &run.writer);
	if (r < 0) {
		fprintf(stderr, "yizhan: the log cannot be started: %s\n", strerrordesc_np(-r));
		return 1;
	}
	run.log = (struct log) { .level = LOG_INFO, .now = log_now, .write = log_writer_put, .context = run.writer };
	r = serve(&run, &set);
	server_free(run.server);
	if (run.world)
		world_free(run.world);
	log_writer_free(run.writer);
	return r < 0 ? 1 : 0;
}
