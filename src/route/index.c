#include "route/router.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t user_hash(const struct route_index *i, const struct route_domain *d, struct slice name)
{
	return hash_bytes(&i->key, name.data, name.len) ^ hash_u64((uintptr_t) d);
}

static int add_users(struct route_index *i, const struct route_domain *d, struct user_entry *entries)
{
	for (unsigned n = 0; n < d->n_recipients; n++) {
		struct user_entry *e = &entries[n];
		int r;

		e->domain = d;
		e->name = d->recipients[n];
		r = hash_insert(&i->by_user, &e->node, user_hash(i, d, slice_from(e->name)));
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_domain(struct route_index *i, const struct route_domain *d, struct domain_entry *e)
{
	e->domain = d;
	if (asprintf(&e->rule, "domains: %s", d->name) < 0) {
		e->rule = NULL;
		return -ENOMEM;
	}
	return hash_insert(&i->by_domain, &e->node, hash_bytes(&i->key, d->name, strlen(d->name)));
}

int route_index_new(struct router *r, const struct route_config *config, struct route_index **ret)
{
	_cleanup_(route_index_freep) struct route_index *i = calloc(1, sizeof(*i));
	size_t n_users = 0, used = 0;

	if (!i)
		return -ENOMEM;
	i->config = config;
	i->key = r->key;
	for (unsigned n = 0; n < config->n_domains; n++)
		n_users += config->domains[n].recipients ? config->domains[n].n_recipients : 0;
	i->domains = calloc(MAX(config->n_domains, 1u), sizeof(*i->domains));
	i->users = calloc(MAX(n_users, (size_t) 1), sizeof(*i->users));
	if (!i->domains || !i->users)
		return -ENOMEM;

	for (unsigned n = 0; n < config->n_domains; n++) {
		const struct route_domain *d = &config->domains[n];
		int error = add_domain(i, d, &i->domains[n]);

		if (error < 0)
			return error;
		if (!d->recipients)
			continue;
		error = add_users(i, d, i->users + used);
		if (error < 0)
			return error;
		used += d->n_recipients;
	}
	*ret = TAKE_PTR(i);
	return 0;
}

void route_index_free(struct route_index *i)
{
	if (!i)
		return;
	hash_done(&i->by_domain);
	hash_done(&i->by_user);
	for (unsigned n = 0; i->domains && n < i->config->n_domains; n++)
		free(i->domains[n].rule);
	free(i->domains);
	free(i->users);
	free(i);
}

static const struct domain_entry *find_domain(const struct route_index *i, struct slice name)
{
	for (struct hash_node *n = hash_find(&i->by_domain, hash_bytes(&i->key, name.data, name.len)); n;
	     n = hash_find_next(n)) {
		const struct domain_entry *e = container_of(n, struct domain_entry, node);

		if (slice_eq_str(name, e->domain->name))
			return e;
	}
	return NULL;
}

const struct domain_entry *route_index_domain(const struct route_index *i, struct slice name)
{
	const struct domain_entry *e = find_domain(i, name);
	char pattern[DOMAIN_MAX + 3] = "*.";

	/* Then the nearest "*.": of a.b.example.org first *.b.example.org, then *.example.org. */
	while (!e && name.len > 0) {
		slice_cut(name, '.', &name);
		if (name.len == 0 || name.len > DOMAIN_MAX)
			continue;
		memcpy(pattern + 2, name.data, name.len);
		e = find_domain(i, slice_new(pattern, name.len + 2));
	}
	return e;
}

bool route_index_has_user(const struct route_index *i, const struct route_domain *d, struct slice name)
{
	for (struct hash_node *n = hash_find(&i->by_user, user_hash(i, d, name)); n; n = hash_find_next(n)) {
		const struct user_entry *e = container_of(n, struct user_entry, node);

		if (e->domain == d && slice_eq_str(name, e->name))
			return true;
	}
	return false;
}
