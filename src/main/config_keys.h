/* What one item of the lists and named maps of the configuration is read into: the sections of config_keys.c
 * that are not parts of struct config itself. */
#pragma once

#include "main/config.h"

enum listen_tls { LISTEN_TLS_STARTTLS, LISTEN_TLS_IMPLICIT };
struct listen_section {
	const struct endpoint *address;
	unsigned n_address;
	int role; /* enum listen_role */
	int tls;  /* enum listen_tls */
	bool session_tickets;
	const char *client_ca;
	int client_mode; /* enum client_certificates */
	const char *const *offer, *const *withhold, *const *no_soliciting;
	unsigned n_offer, n_withhold, n_no_soliciting;
	const struct cidr *proxies, *xclient;
	unsigned n_proxies, n_xclient;
	const struct config_node *auth; /* NULL: by the role */
	bool auth_without_tls;
};
enum client_certificates { CLIENT_CERTIFICATES_REQUEST, CLIENT_CERTIFICATES_REQUIRE };
struct certificate_section {
	const char *certificate, *key;
	const char *const *names;
	unsigned n_names;
};
struct backend_section {
	const char *file, *dovecot, *sqlite, *postgresql, *query;
	usec_t timeout;
};
struct senders_section {
	const char *user;
	const char *const *addresses;
	unsigned n_addresses;
};
struct domain_section {
	const struct config_node *deliver;
	const char *const *recipients;
	unsigned n_recipients;
};
struct source_section {
	const struct config_node *address;
	const char *ehlo, *proxy, *proxy_user, *proxy_password_file;
	unsigned weight;
};
struct relay_host_section {
	const struct config_node *host;
	unsigned weight;
};
struct relay_oauth_section {
	const char *token_url, *client_id, *client_secret_file, *refresh_token_file, *scope, *ca_file;
	const char *grant; /* NULL: as the other keys say */
	int client_auth;   /* enum oauth_client_auth */
	usec_t timeout;
};
struct relay_section {
	const struct config_node *hosts;
	const char *srv;
	int tls; /* enum tls_policy */
	const struct config_node *implicit_tls; /* NULL: by the port */
	const char *user, *password_file, *certificate, *key;
	const char *const *mechanisms;
	unsigned n_mechanisms;
	struct relay_oauth_section oauth;
	const char *source, *proxy, *proxy_user, *proxy_password_file;
};
struct shaping_section {
	const char *const *hosts;
	unsigned n_hosts;
	struct shaping_limits limits; /* all but the rates */
	const char *rate, *all_rate;
};
struct route_section {
	const char *const *to, *const *from, *const *size;
	unsigned n_to, n_from, n_size;
	const struct config_node *user, *header;
	const struct config_node *via;
	const char *reject;
	usec_t deadline;
};
struct gate_section {
	const char *name, *text, *enhanced, *header;
	const struct config_node *match, *unless, *limit;
	int action; /* enum gate_action */
	int at;     /* enum gate_stage; GATE_STAGES: by what it matches on */
	unsigned code;
	usec_t delay;
};
struct gate_limit_section {
	unsigned recipients;
	uint64_t message_size;
};
struct list_section {
	const char *zone;
	const char *weight; /* a number with a sign */
	const char *const *replies;
	unsigned n_replies;
	bool test;
};
struct signing_section {
	const char *domain;
	const char *const *from, *const *headers, *const *oversign;
	unsigned n_from, n_headers, n_oversign;
	const struct config_node *keys;
	int canonicalization; /* bit 0: header simple, bit 1: body simple */
	usec_t expire;
};
struct signing_key_section {
	const char *selector, *file, *begin, *end;
};
struct pipe_section {
	const struct config_node *pipe;
	const char *user;
	usec_t timeout;
};
struct via_section {
	const struct config_node *mx, *host, *lmtp, *pipe;
	const char *relay, *srv, *maildir, *reject, *source, *user;
	usec_t timeout;
	const struct config_node *when;
	int tls; /* enum tls_policy */
};
