#include "main/check.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "queue/classify.h"
#include "receive/settings.h"
#include "users/user_file.h"
#include "world/file.h"
#include "world/stream.h"

struct check {
	struct world *world;
	const struct config *config;
	struct config_errors *errors;
	struct config_mark mark; /* the file as a whole */
};

/* What a room says about its part; why is on the heap. */
static void complain(struct check *k, const char *part, int r, char *why)
{
	if (r < 0)
		config_error(k->errors, &k->mark, "%s: %s", part, why ? why : strerrordesc_np(-r));
	free(why);
}

static void check_tls(struct check *k)
{
	struct tls_client_config client = { .ca_file = k->config->deliver.ca_file };
	struct receive_config receive = k->config->receive;
	struct gate_shared gate = { .world = k->world };
	_cleanup_(receive_settings_unrefp) struct receive_settings *in = NULL;
	_cleanup_(tls_context_unrefp) struct tls_context *out = NULL;
	char *why = NULL;
	int r = 0;

	receive.gate = NULL; /* its files have a check of their own */
	if (k->config->receive.has_tls)
		r = receive_settings_new(k->world, NULL, &receive, &gate, &in, &why);
	complain(k, "tls", r, why);
	why = NULL;
	r = tls_client_context_new(k->world, &client, &out, &why);
	complain(k, "deliver", r, why);
	for (unsigned i = 0; i < k->config->deliver.n_certificates; i++) {
		_cleanup_(tls_context_unrefp) struct tls_context *shown = NULL;

		client.certificate = k->config->deliver.certificates[i].certificate;
		client.key = k->config->deliver.certificates[i].key;
		why = NULL;
		r = tls_client_context_new(k->world, &client, &shown, &why);
		complain(k, "relays", r, why);
	}
}

static void check_dns(struct check *k)
{
	_cleanup_(resolver_freep) struct resolver *resolver = NULL;
	char *why = NULL;
	int r = resolver_new(k->world, NULL, &k->config->dns, &resolver, &why);

	complain(k, "dns", r, why);
}

static void check_reply_classes(struct check *k)
{
	_cleanup_(classifier_freep) struct classifier *classifier = NULL;
	char *why = NULL;
	int r = classifier_new(k->world, k->config->queue.reply_classes, &classifier, &why);

	complain(k, "queue.reply_classes", r, why);
	if (r < 0)
		return;
	why = NULL;
	r = classifier_shape(classifier, &k->config->queue.shaping, &why);
	complain(k, "shaping.providers", r, why);
}

static void check_country_file(struct check *k)
{
	_cleanup_(country_closep) struct country *country = NULL;
	char *why = NULL;
	int r = 0;

	if (k->config->gate.checks.country_file)
		r = country_open(k->config->gate.checks.country_file, &country, &why);
	complain(k, "checks.country_file", r, why);
}

static bool user_exists(const struct config *c)
{
	return !c->user || getpwnam(c->user);
}

static void check_users(struct check *k)
{
	if (!user_exists(k->config))
		config_error(k->errors, &k->mark, "user: there is no user \"%s\"", k->config->user);
	if (k->config->group && !getgrnam(k->config->group))
		config_error(k->errors, &k->mark, "group: there is no group \"%s\"", k->config->group);
}

/* The nearest directory above (or at) path that exists: would we be able to make the rest of it there? */
static void check_directory(struct check *k, const char *what, const char *path)
{
	_cleanup_(freep) char *copy = strdup(path);
	struct file_info info;

	if (!copy)
		return;
	while (path_info(k->world, copy, &info) == -ENOENT) {
		char *slash = strrchr(copy, '/');

		if (!slash) {
			strcpy(copy, ".");
			break;
		}
		slash[slash == copy] = '\0'; /* "/a" becomes "/" */
	}
	if (path_info(k->world, copy, &info) < 0 || !info.is_directory)
		config_error(k->errors, &k->mark, "%s: %s is not a directory", what, copy);
	else if (access(copy, W_OK | X_OK) < 0 && geteuid() != 0)
		config_error(k->errors, &k->mark, "%s: no permission to write in %s", what, copy);
}

/* The part of a maildir path before the first placeholder. */
static void check_maildir(struct check *k, const char *domain, const char *path)
{
	_cleanup_(freep) char *fixed = strdup(path);
	char *brace, *slash;
	char what[300];

	if (!fixed)
		return;
	brace = strchr(fixed, '{');
	if (brace) {
		*brace = '\0';
		slash = strrchr(fixed, '/');
		if (slash)
			slash[slash == fixed] = '\0';
	}
	snprintf(what, sizeof(what), "domains: %s", domain);
	check_directory(k, what, fixed);
}

static void check_files(struct check *k)
{
	check_tls(k);
	check_dns(k);
	check_reply_classes(k);
	check_country_file(k);
}

int check_named_files(struct world *w, const struct config *c, struct config_errors *errors)
{
	struct check k = { .world = w, .config = c, .errors = errors, .mark = { c->file, 0, 0 } };

	check_files(&k);
	return buffer_error(&errors->text);
}

/* Every line of a password file that the server would pass over. */
static int check_password_file(struct check *k, const char *path)
{
	_cleanup_(freep) char *text = NULL;
	struct slice rest;
	size_t len;
	int r = file_read_all(k->world, path, USER_FILE_MAX, &text, &len);

	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		config_error(k->errors, &k->mark, "auth.backends: cannot read %s: %s", path, strerrordesc_np(-r));
		return 0;
	}
	rest = slice_new(text, len);
	for (unsigned number = 1; rest.len > 0; number++) {
		struct config_mark at = { path, number, 1 };
		struct user_line line;
		const char *why = NULL;

		r = user_line_parse(slice_cut(rest, '\n', &rest), &line, &why);
		if (r == -EINVAL)
			config_error(k->errors, &at, "%s", why);
		else if (r > 0)
			verifiers_done(&line.verifiers);
	}
	explicit_bzero(text, len);
	return 0;
}

static int check_password_files(struct check *k)
{
	int r = 0;

	for (unsigned i = 0; i < k->config->users.n_backends && r >= 0; i++)
		if (k->config->users.backends[i].kind == BACKEND_FILE)
			r = check_password_file(k, k->config->users.backends[i].place);
	return r;
}

/* An address may come to this machine later, with the other half of a pair of servers: so this is no error. */
static void check_source(struct check *k, const char *what, const struct ip *ip)
{
	struct endpoint at = { .kind = ENDPOINT_IP, .ip = *ip };
	_cleanup_(listener_closep) struct listener *l = NULL;
	char text[IP_TEXT];

	if (ip->family && listener_open(k->world, &at, NULL, &l) == -EADDRNOTAVAIL)
		config_warning(k->errors, &k->mark, "%s: this machine does not have the address %s; mail that is to leave from there waits", what,
			       ip_format(ip, text));
}

static void check_sources(struct check *k)
{
	const struct route_config *c = &k->config->route;
	char what[100];

	check_source(k, "deliver.source", &k->config->deliver.source);
	check_source(k, "deliver.source6", &k->config->deliver.source6);
	for (unsigned i = 0; i < c->n_sources; i++) {
		snprintf(what, sizeof(what), "sources.%s", c->sources[i].name);
		for (unsigned n = 0; n < c->sources[i].n_sources; n++)
			check_source(k, what, &c->sources[i].sources[n].ip);
	}
}

int check_surroundings(struct world *w, const struct config *c, struct config_errors *errors)
{
	struct check k = { .world = w, .config = c, .errors = errors, .mark = { c->file, 0, 0 } };
	struct endpoint socket;

	check_files(&k);
	check_users(&k);
	if (check_password_files(&k) < 0)
		return -ENOMEM;
	check_sources(&k);
	check_directory(&k, "spool", c->spool.path);
	for (unsigned i = 0; i < c->route.n_domains; i++)
		if (c->route.domains[i].deliver.kind == HOP_MAILDIR)
			check_maildir(&k, c->route.domains[i].name, c->route.domains[i].deliver.maildir);
	if (admin_socket_path(&c->admin, c->spool.path, &socket) < 0)
		config_error(errors, &k.mark, "admin.socket: the path is longer than 107 bytes");
	return buffer_error(&errors->text);
}
