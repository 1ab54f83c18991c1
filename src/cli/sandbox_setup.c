#include "cli/sandbox_setup.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "identity/own_key.h"
#include "world/linux.h"
#include "world/stream.h"

#define LOG_LINES 30
#define SANDBOX_SELECTOR "s1"

extern char **environ;

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), r = 0;
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

	if (!f)
		return -errno;
	if (fputs(text, f) < 0)
		r = -errno;
	if (fclose(f) != 0 && r == 0)
		r = -errno;
	return r;
}

/* A port that is free at both addresses. Somebody may take it before the servers do; then they say so. */
static int find_port(struct sandbox *s)
{
	const struct listen_options options = { 0 };
	struct world *w;
	int r = world_linux_new(NULL, &w);

	if (r < 0)
		return r;
	for (unsigned attempt = 0; attempt < 20; attempt++) {
		_cleanup_(listener_closep) struct listener *first = NULL, *second = NULL;
		struct endpoint at = { .kind = ENDPOINT_IP };

		ip_parse(slice_from(s->alpha.address), &at.ip);
		r = listener_open(w, &at, &options, &first);
		if (r < 0)
			break;
		at.port = listener_endpoint(first)->port;
		ip_parse(slice_from(s->beta.address), &at.ip);
		r = listener_open(w, &at, &options, &second);
		if (r >= 0) {
			s->port = at.port;
			break;
		}
	}
	world_free(w);
	return r;
}

/* Its mail is signed: the private key into its directory, the record into the zone. Ed25519, because it is made at once. */
static int make_signing_key(const struct sandbox_server *v, struct buffer *zone)
{
	_cleanup_(evp_pkey_freep) EVP_PKEY *key = NULL;
	_cleanup_(arena_freep) struct arena *a = NULL;
	_cleanup_(freep) char *pem = NULL;
	char path[SANDBOX_TEXT + 16], name[64];
	const char *record;
	int r = arena_new(0, &a);

	if (r >= 0)
		r = crypto_generate(true, 0, &key);
	if (r >= 0)
		r = crypto_private_pem(key, &pem);
	if (r >= 0)
		r = own_key_record(key, a, &record);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/dkim.pem", v->directory);
	snprintf(name, sizeof(name), SANDBOX_SELECTOR "._domainkey.%s.example", v->name);
	own_key_zone_line(name, record, zone);
	return write_file(path, pem);
}

static int write_zone(const struct sandbox *s)
{
	const struct sandbox_server *servers[] = { &s->alpha, &s->beta };
	struct buffer zone = { 0 };
	char path[SANDBOX_TEXT];
	int r = 0;

	buffer_append_str(&zone, "; all the DNS there is in this sandbox\n");
	for (unsigned i = 0; i < ARRAY_LEN(servers) && r >= 0; i++) {
		const struct sandbox_server *v = servers[i];

		r = make_signing_key(v, &zone);
		buffer_printf(&zone, "%s.example. 300 IN MX 10 mx.%s.example.\nmx.%s.example. 300 IN A %s\n", v->name, v->name, v->name,
			      v->address);
		buffer_printf(&zone, "%s.0.0.127.in-addr.arpa. 300 IN PTR mx.%s.example.\n", strrchr(v->address, '.') + 1, v->name);
	}
	snprintf(path, sizeof(path), "%s/zone", s->directory);
	if (r >= 0)
		r = buffer_error(&zone);
	if (r >= 0)
		r = write_file(path, zone.data);
	buffer_done(&zone);
	return r;
}

static int make_directory(const struct sandbox *s, struct sandbox_server *v)
{
	snprintf(v->directory, sizeof(v->directory), "%s/%s", s->directory, v->name);
	snprintf(v->config, sizeof(v->config), "%s/%s.yaml", s->directory, v->name);
	snprintf(v->log, sizeof(v->log), "%s/%s.log", s->directory, v->name);
	return mkdir(v->directory, 0700) < 0 ? -errno : 0;
}

static int prepare_server(const struct sandbox *s, struct sandbox_server *v)
{
	struct buffer config = { 0 };
	int r;

	buffer_printf(&config, "hostname: mx.%s.example\n"
			       "spool: {path: %s/spool, spare: 0}\n"
			       "threads: 1\n"
			       "trusted: [127.0.0.0/8]\n"
			       "listen:\n"
			       "  - address: \"%s:%u\"\n"
			       "domains:\n"
			       "  %s.example:\n"
			       "    deliver: maildir:%s/mail/{local}\n"
			       "dns: {zone: %s/zone}\n"
			       "deliver: {port: %u}\n"
			       "identity: {sign: [{domain: %s.example, keys: [{selector: " SANDBOX_SELECTOR ", file: %s/dkim.pem}]}]}\n"
			       "queue: {retry: [2s, 5s, 10s, 30s]}\n"
			       "log: {format: text, level: info}\n",
		      v->name, v->directory, v->address, s->port, v->name, v->directory, s->directory, s->port,
		      v->name, v->directory);
	r = buffer_error(&config);
	if (r >= 0)
		r = write_file(v->config, config.data);
	buffer_done(&config);
	return r;
}

int sandbox_prepare(struct sandbox *s)
{
	const char *base = getenv("TMPDIR");
	int r;

	snprintf(s->directory, sizeof(s->directory), "%.80s/yizhan-sandbox-XXXXXX", base && *base == '/' ? base : "/tmp");
	if (!mkdtemp(s->directory)) {
		r = -errno;
		cli_failed("cannot make %s: %s", s->directory, strerrordesc_np(-r));
		s->directory[0] = '\0';
		return r;
	}
	r = find_port(s);
	if (r >= 0)
		r = make_directory(s, &s->alpha);
	if (r >= 0)
		r = make_directory(s, &s->beta);
	if (r >= 0)
		r = write_zone(s);
	if (r >= 0)
		r = prepare_server(s, &s->alpha);
	if (r >= 0)
		r = prepare_server(s, &s->beta);
	if (r < 0)
		cli_failed("cannot prepare the sandbox in %s: %s", s->directory, strerrordesc_np(-r));
	return r;
}

/* --- processes ------------------------------------------------------------------------------------------------------ */

/* Its path, for /proc/self/exe would be Valgrind where this runs under Valgrind. When the file has been replaced
 * meanwhile, the running one. */
static const char *own_program(char *out, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", out, size - 1);

	if (n <= 0)
		return "/proc/self/exe";
	out[n] = '\0';
	return access(out, X_OK) == 0 ? out : "/proc/self/exe";
}

static int start_server(struct sandbox_server *v)
{
	char program[] = "yizhan", serve[] = "serve", option[] = "--exit-with-parent", dash_c[] = "-c";
	char *argv[] = { program, serve, option, dash_c, v->config, NULL }, exe[512];
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	sigemptyset(&none);
	/* Ctrl-C is for this process, which stops the servers itself. */
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setpgroup(&attributes, 0);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, v->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	r = posix_spawn(&v->pid, own_program(exe, sizeof(exe)), &actions, &attributes, argv, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	if (r != 0) {
		v->pid = 0;
		cli_failed("cannot start %s: %s", v->name, strerrordesc_np(r));
	}
	return -r;
}

int sandbox_start(struct sandbox *s)
{
	int r = start_server(&s->alpha);

	return r < 0 ? r : start_server(&s->beta);
}

bool sandbox_has_ended(struct sandbox_server *v)
{
	if (v->pid && waitpid(v->pid, NULL, WNOHANG) == v->pid)
		v->pid = 0;
	return !v->pid;
}

void sandbox_stop(struct sandbox *s)
{
	struct sandbox_server *servers[] = { &s->alpha, &s->beta };

	for (unsigned i = 0; i < ARRAY_LEN(servers); i++)
		if (servers[i]->pid)
			kill(servers[i]->pid, SIGTERM);
	for (unsigned i = 0; i < ARRAY_LEN(servers); i++)
		while (servers[i]->pid && waitpid(servers[i]->pid, NULL, 0) < 0 && errno == EINTR)
			;
	s->alpha.pid = s->beta.pid = 0;
}

/* --- afterwards ------------------------------------------------------------------------------------------------------ */

static void show_log(const struct sandbox_server *v)
{
	FILE *f = fopen(v->log, "re");
	char line[1024];
	unsigned lines = 0, skip;

	if (!f)
		return;
	fprintf(stderr, "--- %s ---\n", v->log);
	while (fgets(line, sizeof(line), f))
		lines++;
	rewind(f);
	skip = lines > LOG_LINES ? lines - LOG_LINES : 0;
	while (fgets(line, sizeof(line), f))
		if (skip)
			skip--;
		else
			fputs(line, stderr);
	fclose(f);
}

void sandbox_show_logs(const struct sandbox *s)
{
	show_log(&s->alpha);
	show_log(&s->beta);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *where)
{
	remove(path);
	return 0;
}

void sandbox_remove(const struct sandbox *s)
{
	if (s->directory[0])
		nftw(s->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
