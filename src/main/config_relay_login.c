/* `login` of a relay: a password, access tokens, a certificate; and which of the mechanisms may be used. */
#include "base/utf8.h"
#include "main/config_keys.h"
#include "main/config_sections.h"
#include "smtp/extensions.h"
#include "world/file.h"

#define BY_PASSWORD                                                                                                    \
	(AUTH_PLAIN | AUTH_LOGIN | AUTH_SCRAM_SHA_1 | AUTH_SCRAM_SHA_1_PLUS | AUTH_SCRAM_SHA_256 | AUTH_SCRAM_SHA_256_PLUS)
#define BY_TOKEN (AUTH_OAUTHBEARER | AUTH_XOAUTH2)
#define REFRESH_MAX 8192u

static unsigned possible(const struct relay *relay)
{
	return (relay->password ? BY_PASSWORD : 0) | (relay->oauth ? BY_TOKEN : 0) | (relay->certificate ? AUTH_EXTERNAL : 0);
}

static void read_mechanisms(struct config_reader *reader, const struct config_node *node, const struct relay_section *section,
			    struct relay *relay)
{
	for (unsigned i = 0; i < section->n_mechanisms; i++) {
		unsigned m = auth_mechanism_from_name(slice_from(section->mechanisms[i]));

		if (!m || m == AUTH_CRAM_MD5)
			config_error(reader->errors, &node->mark, "mechanisms: \"%s\" is not known; there are PLAIN, LOGIN, SCRAM-SHA-256, "
								  "SCRAM-SHA-256-PLUS, SCRAM-SHA-1, SCRAM-SHA-1-PLUS, EXTERNAL, "
								  "OAUTHBEARER and XOAUTH2", section->mechanisms[i]);
		else if (!(m & possible(relay)))
			config_error(reader->errors, &node->mark, "mechanisms: %s needs %s", section->mechanisms[i],
				     m & BY_TOKEN ? "oauth" : m & AUTH_EXTERNAL ? "certificate and key" : "user and password_file");
		relay->mechanisms |= m;
	}
}

/* --- tokens ----------------------------------------------------------------------------------------------------- */

/* It is read when a token is fetched; whoever checks the configuration learns today that it can't be. */
static int check_refresh_token(struct config_reader *reader, struct world *w, const struct config_node *node, const char *path)
{
	const struct config_mark *mark = &config_get(node, "refresh_token_file")->mark;
	_cleanup_(freep) char *text = NULL;
	struct file_info info;
	size_t len;
	int r = file_read_all(w, path, REFRESH_MAX, &text, &len);

	if (r == -ENOMEM)
		return r;
	if (r < 0)
		config_error(reader->errors, mark, "refresh_token_file: cannot read %s: %s", path, strerrordesc_np(-r));
	else
		explicit_bzero(text, len);
	if (path_info(w, path, &info) == 0 && (info.mode & 07))
		config_warning(reader->errors, mark, "refresh_token_file: everybody on this machine may read %s; chmod 600 it", path);
	return 0;
}

static void choose_grant(struct config_reader *reader, const struct config_node *node, const struct relay_oauth_section *s,
			 struct relay_oauth *o)
{
	bool refresh = s->grant ? strcmp(s->grant, "refresh_token") == 0 : s->refresh_token_file != NULL;

	o->grant = refresh ? GRANT_REFRESH_TOKEN : GRANT_CLIENT_CREDENTIALS;
	if (refresh && !s->refresh_token_file)
		config_error(reader->errors, &node->mark, "oauth: the grant refresh_token needs refresh_token_file");
	else if (!refresh && !s->client_secret_file)
		config_error(reader->errors, &node->mark, "oauth: the grant client_credentials needs client_secret_file; for a refresh token "
							  "set refresh_token_file");
	else if (!refresh && s->refresh_token_file)
		config_error(reader->errors, &node->mark, "oauth: refresh_token_file is of no use with the grant client_credentials");
}

static int read_oauth(struct config_reader *reader, struct world *w, const struct config_node *node,
		      const struct relay_oauth_section *s, struct relay *relay)
{
	struct relay_oauth *o = arena_new_type(reader->arena, struct relay_oauth);
	int r = 0;

	if (!o)
		return -ENOMEM;
	if (!s->token_url || !s->client_id)
		return 0; /* which is said */
	if (!slice_istarts(slice_from(s->token_url), "https://"))
		config_error(reader->errors, &config_get(node, "token_url")->mark,
			     "token_url: expected a URL that begins with https://, because secrets are sent there");
	*o = (struct relay_oauth) {
		.token_url = s->token_url,
		.client_auth = (enum oauth_client_auth) s->client_auth,
		.client_id = s->client_id,
		.refresh_token_file = s->refresh_token_file,
		.scope = s->scope,
		.ca_file = s->ca_file,
		.timeout = s->timeout,
	};
	choose_grant(reader, node, s, o);
	relay->oauth = o;
	if (s->client_secret_file)
		r = config_read_secret(reader, w, node, "client_secret_file", s->client_secret_file, &o->client_secret);
	if (r >= 0 && s->refresh_token_file)
		r = check_refresh_token(reader, w, node, s->refresh_token_file);
	return r;
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static void check_means(struct config_reader *reader, const struct config_node *login, const struct relay_section *s,
			const struct relay *relay)
{
	bool oauth = config_get(login, "oauth") != NULL;

	if (s->user && !utf8_is_text(slice_from(s->user)))
		config_error(reader->errors, &login->mark, "login: the user's name has control characters in it, or is no UTF-8");
	if (!s->user != !(s->password_file || oauth))
		config_error(reader->errors, &login->mark, "login: needs user and password_file, or user and oauth, or certificate and key");
	else if (!s->user && !s->certificate && !s->key)
		config_error(reader->errors, &login->mark, "login: needs user and password_file, or user and oauth, or certificate and key");
	else if (s->password_file && oauth)
		config_error(reader->errors, &login->mark, "login: has either password_file or oauth");
	if (!s->certificate != !s->key)
		config_error(reader->errors, &login->mark, "login: needs both certificate and key");
	if (relay->tls == TLS_MAY || relay->tls == TLS_NONE)
		config_error(reader->errors, &login->mark, "login: %s; set \"tls: required\", \"tls: verify\" or \"tls: dane\" for this relay",
			     s->user ? "the password would travel in the clear" : "a certificate is shown in TLS only");
	else if (oauth && relay->tls == TLS_REQUIRED)
		config_warning(reader->errors, &login->mark, "login: with \"tls: required\" whoever stands in between can take the token; "
							     "set \"tls: verify\" or \"tls: dane\" for this relay");
}

int config_read_relay_login(struct config_reader *reader, struct world *w, const struct config_node *login,
			    const struct relay_section *section, struct relay *relay)
{
	const struct config_node *oauth = config_get(login, "oauth");
	int r = 0;

	if (!login)
		return 0;
	check_means(reader, login, section, relay);
	relay->user = section->user;
	if (section->certificate && section->key) {
		relay->certificate = section->certificate;
		relay->key = section->key;
	}
	if (section->password_file)
		r = config_read_secret(reader, w, login, "password_file", section->password_file, &relay->password);
	if (r >= 0 && oauth)
		r = read_oauth(reader, w, oauth, &section->oauth, relay);
	if (r < 0)
		return r;
	if (section->n_mechanisms)
		read_mechanisms(reader, config_get(login, "mechanisms"), section, relay);
	return 0;
}

int config_collect_relay_certificates(struct config_reader *reader, struct config *c)
{
	struct tls_certificate *list = arena_new_array(reader->arena, struct tls_certificate, c->route.n_relays + 1);

	if (!list)
		return -ENOMEM;
	c->deliver.certificates = list;
	for (unsigned i = 0; i < c->route.n_relays; i++) {
		const struct relay *relay = &c->route.relays[i];

		if (relay->certificate)
			list[c->deliver.n_certificates++] = (struct tls_certificate) { .certificate = relay->certificate, .key = relay->key };
	}
	return 0;
}
