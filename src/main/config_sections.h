/* The sections that are more than single values, each in its own file: what the reader noted in config_raw
 * becomes the structs of the rooms. Errors are added to the reader's; 0 or -ENOMEM. */
#pragma once

#include "main/config.h"

/* Before the listeners: receive.users. */
int config_read_auth(struct config_reader *reader, struct world *w, const struct config_node *root, struct config *c);
/* Before the listeners: receive.tls, receive.has_tls. */
int config_read_tls(struct config_reader *reader, const struct config_node *root, struct config *c);
int config_read_listen(struct config_reader *reader, struct world *w, struct config *c);
/* After the listeners: route.own_addresses. */
int config_find_own_addresses(struct config_reader *reader, struct world *w, struct config *c);
int config_read_atrn(struct config_reader *reader, struct config *c);
int config_read_domains(struct config_reader *reader, struct config *c);
int config_read_sources(struct config_reader *reader, struct world *w, struct config *c); /* before the relays */
int config_read_relays(struct config_reader *reader, struct world *w, struct config *c);
/* What stands at `login` of a relay whose TLS is known; node NULL: nothing. */
struct relay_section;
int config_read_relay_login(struct config_reader *reader, struct world *w, const struct config_node *login,
			    const struct relay_section *section, struct relay *relay);
/* The client certificates of all relays: deliver.certificates. */
int config_collect_relay_certificates(struct config_reader *reader, struct config *c);
int config_read_routes(struct config_reader *reader, struct config *c); /* after the relays */
struct route_section;
/* The conditions of a route. */
int config_read_route_match(struct config_reader *reader, const struct config_node *node, const struct route_section *s,
			    struct route_rule *rule);
/* "routes[1]: to *.lan.example from news@example.org". NULL: memory. */
char *config_describe_rule(struct config_reader *reader, unsigned index, const struct route_section *s,
			   const struct route_rule *rule);
/* After all routes: route.headers. */
int config_collect_headers(struct config_reader *reader, struct config *c);
int config_read_shaping(struct config_reader *reader, struct config *c);
int config_read_replies(struct config_reader *reader, struct config *c);
int config_read_gate(struct config_reader *reader, struct config *c);
int config_read_reports(struct config_reader *reader, const struct config_node *root, struct config *c);
int config_read_checks(struct config_reader *reader, struct config *c);
/* The keys are freed by config_free. */
int config_read_signing(struct config_reader *reader, struct world *w, const struct config_node *root, struct config *c);
void config_free_keys(struct config *c);
/* Signs what we write ourselves with these keys; without keys it has no function. */
struct signer config_signer(const struct config *c);

/* Helpers that several of them need. */

/* "10.0.0.7:25", "[::1]:25", "mail.example.org:587", "mail.example.org", an address without port.
 * 0, or -EINVAL (said at the node). */
int config_read_host_port(struct config_reader *reader, const struct config_node *node, uint16_t default_port,
			  struct host_port *ret);
/* The command of a pipe: a list, or a text (text: the part of the node's that is the command). timeout 0: the usual one. 0,
 * -EINVAL (said), -ENOMEM. */
int config_read_pipe(struct config_reader *reader, const struct config_node *node, struct slice text, const char *user,
		     usec_t timeout, struct hop *hop);
int config_read_pipe_map(struct config_reader *reader, const struct config_node *node, struct hop *hop);
/* "_submission._tcp.example.org". 0, or -EINVAL (said at the node). */
int config_read_srv_name(struct config_reader *reader, const struct config_node *node, const char *name, const char **ret);
/* The first line of a secret's file, whose path is the value of this key of the node; it is never shown. 0 (what is wrong
 * is said, and *ret stays as it is) or -ENOMEM. */
int config_read_secret(struct config_reader *reader, struct world *w, const struct config_node *node, const char *key,
		       const char *path, const char **ret);
/* The pool of this name, which stands at the node; NULL when there is none (said). */
const struct source_pool *config_find_source(struct config_reader *reader, const struct config *c, const struct config_node *node,
					     const char *name);
/* The proxy that a section of sources or relays asks for; *ret stays as it is when it has none, or a wrong one (said). 0 or
 * -ENOMEM. */
int config_read_proxy(struct config_reader *reader, struct world *w, const struct config_node *section, const char *text,
		      const char *user, const char *password_file, const struct proxy **ret);
/* true or false; what else it is, is said and leaves *ret as it is. node NULL: nothing happens. */
void config_read_bool(struct config_reader *reader, const struct config_node *node, const char *key, bool *ret);
/* "maildir:PATH", "lmtp:unix:PATH", "lmtp:HOST:PORT", "pipe:COMMAND", "discard", "hold", or a map with pipe. 0 or -EINVAL (said). */
int config_read_mailbox(struct config_reader *reader, const struct config_node *node, struct hop *ret);
