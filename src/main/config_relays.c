/* `relays`: servers that routes can name, with how to log in there. */
#include "main/config_keys.h"
#include "main/config_sections.h"
#include "world/file.h"

#define SECRET_MAX 4096u

/* It is never shown: messages name the file. */
int config_read_secret(struct config_reader *reader, struct world *w, const struct config_node *node, const char *key,
		       const char *path, const char **ret)
{
	const struct config_mark *mark = &config_get(node, key)->mark;
	_cleanup_(freep) char *text = NULL;
	struct file_info info;
	struct slice rest, line;
	size_t len;
	int r;

	r = file_read_all(w, path, SECRET_MAX, &text, &len);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		config_error(reader->errors, mark, "%s: cannot read %s: %s", key, path, strerrordesc_np(-r));
		return 0;
	}
	line = slice_cut(slice_new(text, len), '\n', &rest);
	if (line.len && line.data[line.len - 1] == '\r')
		line.len--;
	if (!line.len)
		config_error(reader->errors, mark, "%s: the first line of %s is empty", key, path);
	else if (!(*ret = arena_slice(reader->arena, line)))
		r = -ENOMEM;
	explicit_bzero(text, len);
	if (path_info(w, path, &info) == 0 && (info.mode & 07))
		config_warning(reader->errors, mark, "%s: everybody on this machine may read %s; chmod 600 it", key, path);
	return r;
}

void config_read_bool(struct config_reader *reader, const struct config_node *node, const char *key, bool *ret)
{
	bool yes;

	if (!node)
		return;
	yes = node->kind == CONFIG_SCALAR && (slice_ieq_str(node->text, "true") || slice_ieq_str(node->text, "yes"));
	if (yes || (node->kind == CONFIG_SCALAR && (slice_ieq_str(node->text, "false") || slice_ieq_str(node->text, "no"))))
		*ret = yes;
	else
		config_error(reader->errors, &node->mark, "%s: expected true or false", key);
}

/* "smtp.example.org:587", or {host: "smtp.example.org:587", weight: 3}. *ret_weight 0: none. -EINVAL (said), -ENOMEM. */
static int read_host(struct config_reader *reader, const struct config_node *node, struct host_port *ret, uint16_t *ret_weight)
{
	struct relay_host_section section = { 0 };
	int r;

	if (node->kind != CONFIG_MAP)
		return config_read_host_port(reader, node, 25, ret);
	r = config_fill(reader, "relays{}.hosts[]", node, &section);
	if (r < 0)
		return r;
	*ret_weight = (uint16_t) section.weight;
	return section.host ? config_read_host_port(reader, section.host, 25, ret) : -EINVAL;
}

static int read_hosts(struct config_reader *reader, const struct config_node *node, struct relay *relay)
{
	const struct config_node *const single[] = { node };
	const struct config_node *const *items = single;
	struct host_port *hosts;
	uint16_t *weights;
	unsigned n = 1;

	if (node->kind == CONFIG_LIST) {
		items = (const struct config_node *const *) node->items;
		n = node->n;
	}
	if (!n)
		config_error(reader->errors, &node->mark, "hosts: at least one host is needed");
	hosts = arena_new_array(reader->arena, struct host_port, n + 1);
	weights = arena_new_array(reader->arena, uint16_t, n + 1);
	if (!hosts || !weights)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		if (read_host(reader, items[i], &hosts[i], &weights[i]) == -ENOMEM)
			return -ENOMEM;
	relay->hosts = hosts;
	relay->weights = weights;
	relay->n_hosts = n;
	return 0;
}

/* Where it is: hosts, or an SRV name. */
static int read_place(struct config_reader *reader, const struct config_pair *pair, const struct relay_section *section,
		      struct relay *relay)
{
	if (section->hosts && section->srv)
		config_error(reader->errors, &config_get(pair->value, "srv")->mark, "relays: %s has either hosts or srv", pair->key);
	else if (section->srv)
		(void) config_read_srv_name(reader, config_get(pair->value, "srv"), section->srv, &relay->srv);
	else if (!section->hosts)
		config_error(reader->errors, &pair->mark, "relays: %s needs \"hosts\", or \"srv\"", pair->key);
	else
		return read_hosts(reader, section->hosts, relay);
	return 0;
}

static void read_implicit_tls(struct config_reader *reader, const struct config_node *node, struct relay *relay)
{
	/* RFC 8314 section 7.3: port 465, or in the DNS "submissions". */
	relay->implicit_tls = !node && ((relay->n_hosts > 0 && relay->hosts[0].port == 465) ||
					(relay->srv && slice_istarts(slice_from(relay->srv), "_submissions.")));
	config_read_bool(reader, node, "implicit_tls", &relay->implicit_tls);
}

/* A relay's own proxy is a pool with one member. */
static int pool_of_proxy(struct config_reader *reader, const struct relay *relay, const struct proxy *proxy,
			 const struct source_pool **ret)
{
	struct source_pool *pool = arena_new_type(reader->arena, struct source_pool);
	struct source *source = arena_new_type(reader->arena, struct source);

	if (!pool || !source)
		return -ENOMEM;
	*source = (struct source) { .weight = 1, .proxy = proxy, .text = proxy->text };
	*pool = (struct source_pool) { .name = relay->name, .n_sources = 1, .sources = source };
	*ret = pool;
	return 0;
}

static int read_source(struct config_reader *reader, struct world *w, const struct config *c, const struct config_node *node,
		       const struct relay_section *section, struct relay *relay)
{
	const struct proxy *proxy = NULL;
	int r;

	r = config_read_proxy(reader, w, node, section->proxy, section->proxy_user, section->proxy_password_file, &proxy);
	if (r < 0)
		return r;
	if (section->source && section->proxy)
		config_error(reader->errors, &config_get(node, "proxy")->mark,
			     "proxy: this relay has a source; the proxy belongs there, under sources");
	else if (section->source)
		relay->source = config_find_source(reader, c, config_get(node, "source"), section->source);
	return proxy && !section->source ? pool_of_proxy(reader, relay, proxy, &relay->source) : 0;
}

static int read_relay(struct config_reader *reader, struct world *w, const struct config *c, const struct config_pair *pair,
		      struct relay *relay)
{
	struct relay_section section = { 0 };
	int r;

	relay->name = pair->key;
	r = config_fill(reader, "relays{}", pair->value, &section);
	if (r < 0)
		return r;
	relay->tls = (enum tls_policy) section.tls;
	r = read_place(reader, pair, &section, relay);
	if (r < 0)
		return r;
	read_implicit_tls(reader, section.implicit_tls, relay);
	r = read_source(reader, w, c, pair->value, &section, relay);
	if (r < 0)
		return r;
	return config_read_relay_login(reader, w, config_get(pair->value, "login"), &section, relay);
}

int config_read_relays(struct config_reader *reader, struct world *w, struct config *c)
{
	const struct config_node *node = c->raw.relays;
	struct relay *relays;

	if (!node || !node->n)
		return 0;
	relays = arena_new_array(reader->arena, struct relay, node->n);
	if (!relays)
		return -ENOMEM;
	c->route.relays = relays;
	c->route.n_relays = node->n;
	for (unsigned i = 0; i < node->n; i++) {
		int r = read_relay(reader, w, c, &node->pairs[i], &relays[i]);

		if (r < 0)
			return r;
	}
	return config_collect_relay_certificates(reader, c);
}
