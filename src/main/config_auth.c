/* `auth`: who may log in, by what, and which addresses are whose. */
#include "main/config_keys.h"
#include "main/config_sections.h"
#include "smtp/extensions.h"
#include "world/file.h"

#define BY_PASSWORD (AUTH_PLAIN | AUTH_LOGIN)
#define BY_VERIFIER (AUTH_SCRAM_SHA_1 | AUTH_SCRAM_SHA_1_PLUS | AUTH_SCRAM_SHA_256 | AUTH_SCRAM_SHA_256_PLUS)
#define BY_TOKEN (AUTH_OAUTHBEARER | AUTH_XOAUTH2)

static void check_permissions(struct config_reader *reader, struct world *w, const struct config_node *node, const char *path)
{
	struct file_info info;

	if (path_info(w, path, &info) == 0 && (info.mode & 07))
		config_warning(reader->errors, &node->mark, "backends: everybody on this machine may read %s; chmod 600 it", path);
}

static int read_backend(struct config_reader *reader, struct world *w, const struct config_node *node,
			struct users_backend_config *ret)
{
	struct backend_section s = { 0 };
	int r = config_fill(reader, "auth.backends[]", node, &s);
	bool sql;

	if (r < 0 || node->kind != CONFIG_MAP)
		return r;
	sql = s.sqlite || s.postgresql;
	if (!!s.file + !!s.dovecot + !!s.sqlite + !!s.postgresql != 1)
		config_error(reader->errors, &node->mark, "backends: each is one of file, dovecot, sqlite, postgresql");
	else if (sql && !s.query)
		config_error(reader->errors, &node->mark, "backends: a database needs a query, like \"SELECT password FROM users WHERE name = $1\"");
	else if (!sql && s.query)
		config_error(reader->errors, &node->mark, "backends: only a database has a query");
	else if (sql && !strstr(s.query, "$1"))
		config_error(reader->errors, &node->mark, "backends: the query has no $1, which stands for the user's name");
	if (s.file)
		check_permissions(reader, w, node, s.file);
	*ret = (struct users_backend_config) {
		.kind = s.file ? BACKEND_FILE : s.dovecot ? BACKEND_DOVECOT : s.sqlite ? BACKEND_SQLITE : BACKEND_POSTGRESQL,
		.place = s.file ? s.file : s.dovecot ? s.dovecot : s.sqlite ? s.sqlite : s.postgresql,
		.query = s.query,
		.timeout = s.timeout,
	};
	return 0;
}

static int read_backends(struct config_reader *reader, struct world *w, struct config *c)
{
	const struct config_node *node = c->raw.auth_backends;
	struct users_backend_config *backends;

	if (!node)
		return 0;
	backends = arena_new_array(reader->arena, struct users_backend_config, node->n + 1);
	if (!backends)
		return -ENOMEM;
	c->users.backends = backends;
	c->users.n_backends = node->n;
	for (unsigned i = 0; i < node->n; i++) {
		int r = read_backend(reader, w, node->items[i], &backends[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static int read_senders(struct config_reader *reader, struct config *c)
{
	const struct config_node *node = c->raw.auth_senders;
	struct users_senders *senders;

	if (!node)
		return 0;
	senders = arena_new_array(reader->arena, struct users_senders, node->n + 1);
	if (!senders)
		return -ENOMEM;
	c->users.senders = senders;
	for (unsigned i = 0; i < node->n; i++) {
		struct senders_section s = { 0 };
		int r = config_fill(reader, "auth.senders[]", node->items[i], &s);

		if (r < 0)
			return r;
		if (s.user)
			senders[c->users.n_senders++] = (struct users_senders) { s.user, s.addresses, s.n_addresses };
	}
	return 0;
}

static int read_certificates(struct config_reader *reader, struct config *c)
{
	const struct config_node *node = c->raw.auth_certificates;
	struct users_certificate *certificates;

	if (!node)
		return 0;
	certificates = arena_new_array(reader->arena, struct users_certificate, node->n + 1);
	if (!certificates)
		return -ENOMEM;
	c->users.certificates = certificates;
	for (unsigned i = 0; i < node->n; i++) {
		struct users_certificate *one = &certificates[c->users.n_certificates];
		int r = config_fill(reader, "auth.certificates[]", node->items[i], one);

		if (r < 0)
			return r;
		if (!!one->fingerprint + !!one->subject + !!one->name != 1)
			config_error(reader->errors, &node->items[i]->mark, "certificates: each has one of fingerprint, subject, name");
		else if (one->user)
			c->users.n_certificates++;
	}
	return 0;
}

static int read_oauth(struct config_reader *reader, struct world *w, const struct config_node *oauth, struct config *c)
{
	struct users_oauth_config *o = &c->users.oauth;
	const struct config_node *url = config_get(oauth, "introspection");

	if (!oauth)
		return 0;
	if (!url)
		config_error(reader->errors, &oauth->mark, "oauth: needs introspection, the https URL of the server that knows the tokens");
	else if (o->introspection && !slice_istarts(slice_from(o->introspection), "https://"))
		config_error(reader->errors, &url->mark, "introspection: expected a URL that begins with https://, because tokens are secret");
	if (c->auth_client_secret_file)
		return config_read_secret(reader, w, oauth, "client_secret_file", c->auth_client_secret_file, &o->client_secret);
	return 0;
}

/* What the backends are able to do; *ret_default: what is offered when nothing is said. */
static unsigned find_possible(const struct config *c, unsigned *ret_default)
{
	unsigned possible = 0;
	bool files_only = true;

	for (unsigned i = 0; i < c->users.n_backends; i++) {
		enum users_backend_kind kind = c->users.backends[i].kind;

		possible |= BY_PASSWORD | (kind != BACKEND_DOVECOT ? BY_VERIFIER : 0);
		files_only &= kind == BACKEND_FILE;
	}
	if (c->users.oauth.introspection)
		possible |= BY_TOKEN;
	if (c->users.n_certificates || c->users.certificate_email)
		possible |= AUTH_EXTERNAL;
	/* A mail program takes the strongest that it is offered, and fails when there is no verifier for it: databases and
	 * Dovecot's users often have hashes only. */
	*ret_default = files_only ? possible : possible & ~(unsigned) BY_VERIFIER;
	return possible;
}

static void read_mechanisms(struct config_reader *reader, const struct config_node *node, struct config *c)
{
	unsigned possible = find_possible(c, &c->users.mechanisms);

	if (!node)
		return;
	c->users.mechanisms = 0;
	for (unsigned i = 0; i < c->n_auth_mechanisms; i++) {
		unsigned m = auth_mechanism_from_name(slice_from(c->auth_mechanisms[i]));

		if (!m)
			config_error(reader->errors, &node->mark, "mechanisms: \"%s\" is not known; there are PLAIN, LOGIN, SCRAM-SHA-256, "
								  "SCRAM-SHA-256-PLUS, SCRAM-SHA-1, SCRAM-SHA-1-PLUS, EXTERNAL, "
								  "OAUTHBEARER and XOAUTH2", c->auth_mechanisms[i]);
		else if (!(m & possible))
			config_error(reader->errors, &node->mark, "mechanisms: none of the backends can do %s", c->auth_mechanisms[i]);
		c->users.mechanisms |= m;
	}
}

int config_read_auth(struct config_reader *reader, struct world *w, const struct config_node *root, struct config *c)
{
	const struct config_node *auth = config_get(root, "auth");
	int r;

	if (!auth)
		return 0;
	r = read_backends(reader, w, c);
	if (r >= 0)
		r = read_senders(reader, c);
	if (r >= 0)
		r = read_certificates(reader, c);
	if (r >= 0)
		r = read_oauth(reader, w, config_get(auth, "oauth"), c);
	if (r < 0)
		return r;
	if (c->users.n_backends == 0 && !config_get(auth, "oauth") && !config_get(auth, "certificates") && !c->users.certificate_email)
		config_error(reader->errors, &auth->mark, "auth: needs backends, which say where the users are, or oauth, or certificates");
	read_mechanisms(reader, config_get(auth, "mechanisms"), c);
	c->receive.users = &c->users;
	return 0;
}
