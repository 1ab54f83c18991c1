/* `listen`: where mail comes in, and which of our addresses that makes. */
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "main/config_keys.h"
#include "main/config_sections.h"
#include "receive/offers.h"
#include "smtp/parameters.h"
#include "world/file.h"

static bool is_any(const struct ip *ip)
{
	static const uint8_t zero[16];

	return memcmp(ip->bytes, zero, sizeof(zero)) == 0;
}

static void check_auth(struct config_reader *reader, const struct config_node *item, const struct listen_section *section,
		       const struct config *c, bool auth)
{
	if (auth && !c->receive.users)
		config_error(reader->errors, &item->mark, "listen: \"auth: true\" needs the section auth, which says who the users are");
	else if (auth && section->role == ROLE_LMTP)
		config_error(reader->errors, &item->mark, "listen: nobody logs in by LMTP");
	else if (section->auth_without_tls && !auth)
		config_error(reader->errors, &item->mark, "listen: auth_without_tls means nothing where nobody may log in");
	else if (auth && !c->receive.has_tls && !section->auth_without_tls)
		config_error(reader->errors, &item->mark, "listen: \"auth: true\" needs tls.certificate and tls.key, or auth_without_tls");
}

static void check_client_certificates(struct config_reader *reader, const struct config_node *item,
				      const struct listen_section *section, const struct config *c)
{
	const struct config_node *node = config_get(item, "client_certificates");

	if (node && !c->receive.has_tls)
		config_error(reader->errors, &node->mark, "client_certificates: there is no TLS without tls.certificate and tls.key");
	else if (node && section->client_mode == CLIENT_CERTIFICATES_REQUIRE && !section->client_ca)
		config_error(reader->errors, &node->mark, "client_certificates: \"mode: require\" needs \"ca\": the CAs that count");
}

/* The names of extensions as bits; what can't be chosen so is said. */
static unsigned read_keywords(struct config_reader *reader, const struct config_node *item, const char *key,
			      const char *const *words, unsigned n, unsigned possible)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned bit = extension_from_name(slice_from(words[i]));

		if (!bit)
			config_error(reader->errors, &item->mark, "%s: \"%.40s\" is no EHLO keyword that is known here", key, words[i]);
		else if (!(bit & possible))
			config_error(reader->errors, &item->mark, "%s: %s can't stand here; docs/EXTENSIONS.md says what decides about it",
				     key, extension_name(bit));
		else
			bits |= bit;
	}
	return bits;
}

static int read_classes(struct config_reader *reader, const struct config_node *item, const struct listen_section *section,
			const char **ret)
{
	const char *all = NULL;

	for (unsigned i = 0; i < section->n_no_soliciting; i++) {
		all = arena_printf(reader->arena, "%s%s%s", all ? all : "", all ? "," : "", section->no_soliciting[i]);
		if (!all)
			return -ENOMEM;
	}
	if (all && !solicit_is_valid(slice_from(all)))
		config_error(reader->errors, &item->mark,
			     "no_soliciting: classes look like org.example:ADV, all together with at most %u characters", SOLICIT_MAX);
	*ret = all;
	return 0;
}

static int read_extensions(struct config_reader *reader, const struct config_node *item, const struct listen_section *section,
			   struct receive_listener *ret)
{
	enum listen_role role = (enum listen_role) section->role;

	ret->offer = read_keywords(reader, item, "offer", section->offer, section->n_offer, offers_possible(role));
	ret->withhold = read_keywords(reader, item, "withhold", section->withhold, section->n_withhold, offers_optional(role));
	if (ret->offer & ret->withhold)
		config_error(reader->errors, &item->mark, "listen: an extension can't be both offered and withheld");
	return read_classes(reader, item, section, &ret->no_soliciting);
}

static int read_item(struct config_reader *reader, const struct config_node *item, struct config *c, unsigned capacity)
{
	struct receive_listener *listeners = (struct receive_listener *) c->receive.listeners;
	struct listen_section section = { 0 };
	struct receive_listener listener = { 0 };
	int r = config_fill(reader, "listen[]", item, &section);
	bool auth;

	if (r >= 0)
		r = read_extensions(reader, item, &section, &listener);
	if (r < 0)
		return r;
	auth = section.role == ROLE_SUBMISSION && c->receive.users;
	config_read_bool(reader, section.auth, "auth", &auth);
	if (!config_get(item, "session_tickets"))
		section.session_tickets = config_get(c->raw.tls, "session_tickets") ? c->receive.tls.session_tickets
										    : section.role == ROLE_SUBMISSION;
	check_client_certificates(reader, item, &section, c);
	listener.role = (enum listen_role) section.role;
	listener.implicit_tls = section.tls == LISTEN_TLS_IMPLICIT;
	listener.proxies = section.proxies;
	listener.n_proxies = section.n_proxies;
	listener.xclient = section.xclient;
	listener.n_xclient = section.n_xclient;
	listener.auth = auth;
	listener.auth_without_tls = section.auth_without_tls;
	listener.session_tickets = section.session_tickets;
	listener.client_ca = section.client_ca;
	listener.client_asked = config_get(item, "client_certificates") != NULL;
	listener.client_required = section.client_mode == CLIENT_CERTIFICATES_REQUIRE;
	for (unsigned i = 0; i < section.n_address && c->receive.n_listeners < capacity; i++) {
		for (unsigned k = 0; k < c->receive.n_listeners; k++)
			if (section.address[i].port && endpoint_equal(&listeners[k].address, &section.address[i])) {
				char text[ENDPOINT_TEXT];

				config_error(reader->errors, &item->mark, "listen: %s is given twice",
					     endpoint_format(&section.address[i], text));
			}
		listener.address = section.address[i];
		listeners[c->receive.n_listeners++] = listener;
	}
	check_auth(reader, item, &section, c, auth);
	if (section.tls == LISTEN_TLS_IMPLICIT && !c->receive.has_tls)
		config_error(reader->errors, &item->mark, "listen: \"tls: implicit\" needs tls.certificate and tls.key");
	else if (section.role == ROLE_SUBMISSION && !c->receive.has_tls && !section.auth_without_tls)
		config_error(reader->errors, &item->mark,
			     "listen: role submission needs tls.certificate and tls.key: nobody may log in without TLS");
	return 0;
}

/* Port 25 on everything; IPv6 where the machine has it. */
static int default_listeners(struct config_reader *reader, struct world *w, struct config *c)
{
	struct receive_listener *listeners = arena_new_array(reader->arena, struct receive_listener, 2);
	struct file_info info;

	if (!listeners)
		return -ENOMEM;
	endpoint_parse(SLICE("0.0.0.0:25"), &listeners[0].address);
	endpoint_parse(SLICE("[::]:25"), &listeners[1].address);
	c->receive.listeners = listeners;
	c->receive.n_listeners = path_info(w, "/proc/net/if_inet6", &info) == 0 ? 2 : 1;
	return 0;
}

int config_read_listen(struct config_reader *reader, struct world *w, struct config *c)
{
	const struct config_node *node = c->raw.listen;
	unsigned capacity = 0;

	if (!node)
		return default_listeners(reader, w, c);
	/* How many addresses there are is known when they are read; each is a node of the list. */
	for (unsigned i = 0; i < node->n; i++) {
		const struct config_node *address = config_get(node->items[i], "address");

		capacity += address && address->kind == CONFIG_LIST ? address->n : 1;
	}
	c->receive.listeners = arena_new_array(reader->arena, struct receive_listener, capacity ? capacity : 1);
	if (!c->receive.listeners)
		return -ENOMEM;
	for (unsigned i = 0; i < node->n; i++) {
		int r = read_item(reader, node->items[i], c, capacity);

		if (r < 0)
			return r;
	}
	return 0;
}

/* --- our own addresses ------------------------------------------------------------------------------- */

static int own_add(struct config *c, unsigned capacity, const struct ip *ip)
{
	struct ip *own = (struct ip *) c->route.own_addresses;

	for (unsigned i = 0; i < c->route.n_own_addresses; i++)
		if (ip_equal(&own[i], ip))
			return 0;
	if (c->route.n_own_addresses < capacity)
		own[c->route.n_own_addresses++] = *ip;
	return 0;
}

static bool ip_of_interface(const struct ifaddrs *i, struct ip *ret)
{
	if (!i->ifa_addr)
		return false;
	if (i->ifa_addr->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *) i->ifa_addr;

		*ret = ip_from_v4((const uint8_t *) &in->sin_addr);
		return true;
	}
	if (i->ifa_addr->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) i->ifa_addr;

		*ret = ip_from_v6(in6->sin6_addr.s6_addr);
		return true;
	}
	return false;
}

static int own_add_interfaces(struct config *c, unsigned capacity, unsigned family)
{
	struct ifaddrs *all;

	if (getifaddrs(&all) < 0)
		return 0; /* loops are then seen by the names and by Received fields only */
	for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
		struct ip ip;

		if (ip_of_interface(i, &ip) && ip.family == family)
			own_add(c, capacity, &ip);
	}
	freeifaddrs(all);
	return 0;
}

/* Mail that would go to the MX port of an address at which we listen would come back to us. */
int config_find_own_addresses(struct config_reader *reader, struct world *w, struct config *c)
{
	const struct ip *given = c->route.own_addresses;
	unsigned n_given = c->route.n_own_addresses;
	unsigned capacity = n_given + c->receive.n_listeners + 1024;

	c->route.own_addresses = arena_new_array(reader->arena, struct ip, capacity);
	if (!c->route.own_addresses)
		return -ENOMEM;
	c->route.n_own_addresses = 0;
	for (unsigned i = 0; i < n_given; i++)
		own_add(c, capacity, &given[i]);
	for (unsigned i = 0; i < c->receive.n_listeners; i++) {
		const struct endpoint *at = &c->receive.listeners[i].address;

		if (at->kind != ENDPOINT_IP || at->port != c->route.mx_port)
			continue;
		if (!is_any(&at->ip))
			own_add(c, capacity, &at->ip);
		else if (!world_is_simulated(w))
			own_add_interfaces(c, capacity, at->ip.family);
	}
	return 0;
}
