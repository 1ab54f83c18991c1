#include "main/config.h"

#include <stdlib.h>

#include "main/config_sections.h"

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_dns(struct config_reader *reader, const struct config_node *root, const struct config *c)
{
	const struct config_node *dns = config_get(root, "dns");

	if (c->dns.zone && (c->dns.n_servers || c->dns.trust_anchor))
		config_error(reader->errors, &dns->mark, "dns: a zone is all the DNS there is; servers and trust_anchor mean nothing beside it");
}

static void check_admin(struct config_reader *reader, const struct config_node *root, const struct config *c)
{
	const struct config_node *listen = config_get(config_get(root, "admin"), "listen");

	if (listen && c->admin.listen.kind != ENDPOINT_NONE && (c->admin.listen.kind != ENDPOINT_IP || !c->admin.listen.port))
		config_error(reader->errors, &listen->mark, "listen: the HTTP API needs an address with a port, like 127.0.0.1:8025");
}

static void check_queue(struct config_reader *reader, const struct config_node *root, const struct config *c)
{
	const struct config_node *queue = config_get(root, "queue");

	if (config_get(queue, "retry") && !c->queue.n_retry && config_get(queue, "retry")->kind == CONFIG_LIST &&
	    !config_get(queue, "retry")->n)
		config_error(reader->errors, &config_get(queue, "retry")->mark, "retry: the list is empty");
	if ((c->queue.turns == TURNS_HEADER) != !!c->queue.tenant_header)
		config_error(reader->errors, &queue->mark, "queue: \"turns: header\" and tenant_header need each other");
	if (c->queue.site_initial > c->queue.site_connections && config_get(queue, "site_initial"))
		config_error(reader->errors, &config_get(queue, "site_initial")->mark,
			     "site_initial: %u is more than site_connections (%u)", c->queue.site_initial,
			     c->queue.site_connections);
}

/* What one key means to several rooms. */
static int connect_rooms(struct config *c)
{
	c->receive.hostname = c->hostname;
	c->route.hostname = c->hostname;
	c->queue.hostname = c->hostname;
	c->deliver.hostname = c->hostname;
	c->deliver.messages_per_connection = c->queue.messages_per_connection;
	c->receive.signing = &c->signing;
	c->queue.site_initial = MIN(c->queue.site_initial, c->queue.site_connections);
	if (c->spool.path) {
		c->queue.learned = arena_printf(c->arena, "%s/learned", c->spool.path);
		c->queue.held = arena_printf(c->arena, "%s/held-sites", c->spool.path);
		if (!c->queue.learned || !c->queue.held)
			return -ENOMEM;
	}
	return 0;
}

static int complete_suppression(struct config_reader *reader, struct config *c)
{
	if (c->queue.suppression.path || !c->spool.path)
		return 0;
	c->queue.suppression.path = arena_printf(reader->arena, "%s/suppression.db", c->spool.path);
	return c->queue.suppression.path ? 0 : -ENOMEM;
}

static void complete_pressure(const struct config_node *root, struct config *c)
{
	const struct config_node *given = config_get(root, "pressure");
	struct pressure_config *p = &c->receive.pressure;

	p->spool_path = c->spool.path;
	p->relief = c->receive.limits.relief;
	if (!config_get(given, "disk_high"))
		p->disk_high = c->spool.reserve;
	if (!config_get(given, "disk_critical"))
		p->disk_critical = p->disk_high / 2;
}

static int complete_sts(struct config_reader *reader, struct config *c)
{
	if (c->sts.path || !c->spool.path)
		return 0;
	c->sts.path = arena_printf(reader->arena, "%s/mta-sts.db", c->spool.path);
	return c->sts.path ? 0 : -ENOMEM;
}

static bool same_sts(const struct sts_config *a, const struct sts_config *b)
{
	return a->off == b->off && same_text(a->path, b->path) && same_text(a->ca_file, b->ca_file) && a->port == b->port &&
	       a->timeout == b->timeout && a->refresh == b->refresh && a->look == b->look && a->entries == b->entries;
}

static int read_sections(struct config_reader *reader, struct world *w, const struct config_node *root,
			 struct config *c)
{
	int r;

	r = config_fill(reader, "", root, c);
	if (r < 0)
		return r;
	check_dns(reader, root, c);
	check_queue(reader, root, c);
	check_admin(reader, root, c);
	r = connect_rooms(c);
	if (r < 0)
		return r;
	complete_pressure(root, c);
	r = complete_suppression(reader, c);
	if (r >= 0)
		r = complete_sts(reader, c);
	if (r >= 0)
		r = config_read_tls(reader, root, c);
	if (r < 0)
		return r;
	r = config_read_auth(reader, w, root, c);
	if (r < 0)
		return r;
	r = config_read_listen(reader, w, c);
	if (r >= 0)
		r = config_read_atrn(reader, c);
	if (r < 0)
		return r;
	r = config_find_own_addresses(reader, w, c);
	if (r < 0)
		return r;
	r = config_read_domains(reader, c);
	if (r < 0)
		return r;
	r = config_read_sources(reader, w, c);
	if (r < 0)
		return r;
	r = config_read_relays(reader, w, c);
	if (r < 0)
		return r;
	r = config_read_routes(reader, c);
	if (r < 0)
		return r;
	r = config_read_signing(reader, w, root, c);
	if (r < 0)
		return r;
	c->queue.signer = config_signer(c);
	r = config_read_reports(reader, root, c);
	if (r < 0)
		return r;
	r = config_read_shaping(reader, c);
	if (r < 0)
		return r;
	r = config_read_replies(reader, c);
	if (r < 0)
		return r;
	r = config_read_checks(reader, c);
	return r < 0 ? r : config_read_gate(reader, c);
}

static int config_new(struct config **ret)
{
	_cleanup_(config_freep) struct config *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	r = arena_new(16384, &c->arena);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

/* What could be read of a broken tree is read all the same, so that its other errors are seen, too. */
static int config_finish(struct config *c, struct world *w, const struct config_node *root,
			 struct config_errors *errors)
{
	struct config_reader reader = { .arena = c->arena, .errors = errors };
	int r;

	if (root->kind != CONFIG_MAP) {
		config_error(errors, &root->mark, "expected keys like \"hostname: mx1.example.org\", found %s",
			     config_kind_name(root->kind));
		return -EBADMSG;
	}
	r = read_sections(&reader, w, root, c);
	if (r < 0)
		return r;
	config_errors_sort(errors);
	if (buffer_error(&errors->text) < 0)
		return -ENOMEM;
	return errors->count ? -EBADMSG : 0;
}

int config_load(struct world *w, const char *path, struct config_errors *errors, struct config **ret)
{
	_cleanup_(config_freep) struct config *c = NULL;
	struct config_node *root;
	int r;

	r = config_new(&c);
	if (r < 0)
		return r;
	c->file = arena_strdup(c->arena, path);
	if (!c->file)
		return -ENOMEM;
	r = config_tree_load(w, path, c->arena, errors, &root);
	if (r < 0)
		return r;
	r = config_finish(c, w, root, errors);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

int config_load_places(struct world *w, const char *path, struct config_errors *errors, struct config **ret)
{
	_cleanup_(config_freep) struct config *c = NULL;
	_cleanup_config_errors_ struct config_errors ignored = { 0 };
	struct config_reader reader = { .errors = &ignored };
	struct config_node *root;
	int r;

	r = config_new(&c);
	if (r < 0)
		return r;
	c->file = arena_strdup(c->arena, path);
	if (!c->file)
		return -ENOMEM;
	r = config_tree_load(w, path, c->arena, errors, &root);
	if (r < 0)
		return r;
	reader.arena = c->arena;
	r = config_fill(&reader, "", root, c);
	if (r < 0)
		return r;
	c->receive.has_tls = c->receive.tls.certificate && c->receive.tls.key;
	r = config_read_reports(&reader, root, c);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

int config_parse(struct world *w, struct slice text, const char *file, struct config_errors *errors, struct config **ret)
{
	_cleanup_(config_freep) struct config *c = NULL;
	struct config_node *root;
	int r;

	r = config_new(&c);
	if (r < 0)
		return r;
	c->file = arena_strdup(c->arena, file);
	if (!c->file)
		return -ENOMEM;
	r = config_tree_parse(text, c->file, c->arena, errors, &root);
	if (r < 0)
		return r;
	r = config_finish(c, w, root, errors);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

static void wipe(const char *secret)
{
	if (secret)
		explicit_bzero((char *) secret, strlen(secret));
}

static void wipe_sources(const struct source_pool *pool)
{
	for (unsigned i = 0; pool && i < pool->n_sources; i++)
		if (pool->sources[i].proxy)
			wipe(pool->sources[i].proxy->password);
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->route.n_relays; i++) {
		wipe(c->route.relays[i].password);
		if (c->route.relays[i].oauth)
			wipe(c->route.relays[i].oauth->client_secret);
		wipe_sources(c->route.relays[i].source);
	}
	for (unsigned i = 0; i < c->route.n_sources; i++)
		wipe_sources(&c->route.sources[i]);
	wipe(c->users.oauth.client_secret);
	config_free_keys(c);
	arena_free(c->arena);
	free(c);
}

static bool same_dns(const struct dns_config *a, const struct dns_config *b)
{
	if (!same_text(a->zone, b->zone) || !same_text(a->trust_anchor, b->trust_anchor) || a->timeout != b->timeout ||
	    a->cache_entries != b->cache_entries || a->n_servers != b->n_servers)
		return false;
	for (unsigned i = 0; i < a->n_servers; i++)
		if (!same_text(a->servers[i], b->servers[i]))
			return false;
	return true;
}

const char *config_needs_restart(const struct config *old, const struct config *new)
{
	const struct spool_config *x = &old->spool, *y = &new->spool;

	if (!same_text(x->path, y->path) || x->segment_size != y->segment_size || x->reserve != y->reserve ||
	    x->lazy_sync != y->lazy_sync || x->compact_percent != y->compact_percent ||
	    x->compact_after != y->compact_after || x->no_sync != y->no_sync)
		return "spool";
	if (!same_dns(&old->dns, &new->dns))
		return "dns";
	if (!same_sts(&old->sts, &new->sts))
		return "mta_sts";
	if (old->receive.duplicate_entries != new->receive.duplicate_entries)
		return "duplicates.entries";
	if (old->deliver.remembered != new->deliver.remembered)
		return "deliver.remembered";
	if (old->threads != new->threads)
		return "threads";
	if (!same_text(old->user, new->user) || !same_text(old->group, new->group))
		return "user";
	if (old->journal.keep != new->journal.keep || old->journal.size != new->journal.size ||
	    old->journal.file_size != new->journal.file_size)
		return "journal";
	if (!same_text(old->admin.socket, new->admin.socket) || !endpoint_equal(&old->admin.listen, &new->admin.listen))
		return "admin";
	return NULL;
}
