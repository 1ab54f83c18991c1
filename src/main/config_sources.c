/* `sources`: pools of our own addresses, and the proxies in front of them. */
#include "main/config_keys.h"
#include "main/config_sections.h"

#define SOCKS_PORT 1080u
#define SOCKS_TEXT_MAX 255u /* RFC 1929 section 2 */
#define NAME_MAX_LEN 64u

/* --- proxies --------------------------------------------------------------------------------------------- */

static int read_proxy_login(struct config_reader *reader, struct world *w, const struct config_node *section, const char *user,
			    const char *password_file, struct proxy *proxy)
{
	const struct config_mark *mark = &config_get(section, user ? "proxy_user" : "proxy_password_file")->mark;
	int r;

	if (!user || !password_file) {
		config_error(reader->errors, mark, "proxy: to log in there it needs both proxy_user and proxy_password_file");
		return 0;
	}
	r = config_read_secret(reader, w, section, "proxy_password_file", password_file, &proxy->password);
	if (r < 0)
		return r;
	if (!*user || strlen(user) > SOCKS_TEXT_MAX)
		config_error(reader->errors, mark, "proxy_user: a name of 1 to %u octets is possible (RFC 1929)", SOCKS_TEXT_MAX);
	else if (proxy->password && strlen(proxy->password) > SOCKS_TEXT_MAX)
		config_error(reader->errors, mark, "proxy_password_file: the password has more than %u octets (RFC 1929)",
			     SOCKS_TEXT_MAX);
	proxy->user = user;
	return 0;
}

int config_read_proxy(struct config_reader *reader, struct world *w, const struct config_node *section, const char *text,
		      const char *user, const char *password_file, const struct proxy **ret)
{
	struct config_node place;
	struct proxy *proxy;
	int r;

	if (!text) {
		if (user || password_file)
			config_error(reader->errors, &section->mark, "proxy_user and proxy_password_file mean nothing without proxy");
		return 0;
	}
	proxy = arena_new_type(reader->arena, struct proxy);
	if (!proxy)
		return -ENOMEM;
	proxy->text = text;
	place = *config_get(section, "proxy");
	if (!proxy_scheme(slice_from(text), &proxy->resolves, &place.text)) {
		config_error(reader->errors, &place.mark, "proxy: expected socks5://HOST:PORT or socks5h://HOST:PORT, found \"%s\"", text);
		return 0;
	}
	r = config_read_host_port(reader, &place, SOCKS_PORT, &proxy->at);
	if (r == -ENOMEM)
		return r;
	if (user || password_file) {
		r = read_proxy_login(reader, w, section, user, password_file, proxy);
		if (r < 0)
			return r;
	}
	*ret = proxy;
	return 0;
}

/* --- pools ------------------------------------------------------------------------------------------------ */

static void read_ip(struct config_reader *reader, const struct config_node *node, const char *key, struct ip *ret)
{
	char shown[96];

	if (node->kind != CONFIG_SCALAR)
		config_error(reader->errors, &node->mark, "%s: expected an IP address, found %s", key, config_kind_name(node->kind));
	else if (ip_parse(node->text, ret) < 0)
		config_error(reader->errors, &node->mark, "%s: expected an IP address like 192.0.2.1 or 2001:db8::1, found \"%s\"", key,
			     slice_escape(node->text, shown, sizeof(shown)));
}

static const char *describe(struct config_reader *reader, const struct source *s)
{
	char ip[IP_TEXT];

	if (!s->proxy)
		return arena_strdup(reader->arena, ip_format(&s->ip, ip));
	if (!s->ip.family)
		return s->proxy->text;
	return arena_printf(reader->arena, "%s through %s", ip_format(&s->ip, ip), s->proxy->text);
}

static int read_source(struct config_reader *reader, struct world *w, const struct config_node *node, struct source *source)
{
	struct source_section section = { 0 };
	int r;

	r = config_fill(reader, "sources{}[]", node, &section);
	if (r < 0 || node->kind != CONFIG_MAP)
		return r;
	source->ehlo = section.ehlo;
	source->weight = section.weight;
	if (section.address)
		read_ip(reader, section.address, "address", &source->ip);
	else if (!section.proxy)
		config_error(reader->errors, &node->mark, "sources: this one needs an address of this machine, or a proxy");
	r = config_read_proxy(reader, w, node, section.proxy, section.proxy_user, section.proxy_password_file, &source->proxy);
	if (r < 0)
		return r;
	source->text = describe(reader, source);
	return source->text ? 0 : -ENOMEM;
}

static bool name_is_good(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

	return n > 0 && n <= NAME_MAX_LEN && !name[n];
}

static int read_pool(struct config_reader *reader, struct world *w, const struct config_pair *pair, struct source_pool *pool)
{
	const struct config_node *node = pair->value;
	const struct config_node *const single[] = { node };
	const struct config_node *const *items = single;
	struct source *sources;
	unsigned n = 1, weight = 0;

	pool->name = pair->key;
	if (!name_is_good(pair->key))
		config_error(reader->errors, &pair->mark, "sources: a name is made of up to %u letters, digits, \"-\", \"_\" and \".\"",
			     NAME_MAX_LEN);
	if (node->kind == CONFIG_LIST) {
		items = (const struct config_node *const *) node->items;
		n = node->n;
	}
	sources = arena_new_array(reader->arena, struct source, n + 1);
	if (!sources)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		int r = read_source(reader, w, items[i], &sources[i]);

		if (r < 0)
			return r;
		weight += sources[i].weight;
	}
	if (!n)
		config_error(reader->errors, &pair->mark, "sources: %s is empty; give it at least one address", pair->key);
	else if (!weight && !reader->errors->count)
		config_error(reader->errors, &pair->mark, "sources: all weights of %s are 0, so that nothing could leave", pair->key);
	pool->sources = sources;
	pool->n_sources = n;
	return 0;
}

const struct source_pool *config_find_source(struct config_reader *reader, const struct config *c, const struct config_node *node,
					     const char *name)
{
	const char *names[64] = { NULL };
	char suggestion[128], shown[96];
	unsigned n = 0;

	for (unsigned i = 0; i < c->route.n_sources; i++) {
		if (strcmp(c->route.sources[i].name, name) == 0)
			return &c->route.sources[i];
		if (n < ARRAY_LEN(names))
			names[n++] = c->route.sources[i].name;
	}
	config_suggest(slice_from(name), names, n, suggestion);
	config_error(reader->errors, &node->mark, "source: there is no \"%s\" under sources%s",
		     slice_escape(slice_from(name), shown, sizeof(shown)), suggestion);
	return NULL;
}

/* --- where everything else comes from --------------------------------------------------------------------- */

static void read_usual(struct config_reader *reader, const struct config_node *node, const char *key, unsigned family, struct ip *ret)
{
	struct ip ip = { 0 };

	if (!node)
		return;
	read_ip(reader, node, key, &ip);
	if (ip.family && ip.family != family)
		config_error(reader->errors, &node->mark, "%s: this is no IPv%u address; the other key is deliver.%s", key, family,
			     family == 4 ? "source6" : "source");
	else
		*ret = ip;
}

int config_read_sources(struct config_reader *reader, struct world *w, struct config *c)
{
	const struct config_node *node = c->raw.sources;
	struct source_pool *pools;

	read_usual(reader, c->raw.source, "source", 4, &c->deliver.source);
	read_usual(reader, c->raw.source6, "source6", 6, &c->deliver.source6);
	if (!node)
		return 0;
	if (node->kind != CONFIG_MAP) {
		config_error(reader->errors, &node->mark, "sources: expected names with lists of addresses, found %s",
			     config_kind_name(node->kind));
		return 0;
	}
	pools = arena_new_array(reader->arena, struct source_pool, node->n + 1);
	if (!pools)
		return -ENOMEM;
	c->route.sources = pools;
	c->route.n_sources = node->n;
	for (unsigned i = 0; i < node->n; i++) {
		int r = read_pool(reader, w, &node->pairs[i], &pools[i]);

		if (r < 0)
			return r;
	}
	return 0;
}
