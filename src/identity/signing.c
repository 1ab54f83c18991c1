#include "identity/signing.h"

#include <stdlib.h>

#include "base/wildcard.h"
#include "mail/address.h"
#include "mail/from.h"

/* Signatures of one message: more than verifiers look at are of no use (RFC 6376 section 8.4). */
#define SIGNATURES_MAX 8u

struct chosen {
	const struct signing_domain *domain;
	const struct signing_key *key;
};

struct signing {
	const struct signing_config *config;
	const char *reverse_path;
	wall_t now;
	struct arena *arena;
	struct content *content;
	bool (*may)(void *context, const char *address); /* NULL: anybody as anybody */
	void *context;
	struct chosen chosen[SIGNATURES_MAX];
	unsigned n_chosen;
	const struct signing_domain *without_key;
};

/* --- who signs --------------------------------------------------------------------------------------------------- */

bool signing_key_is_valid(const struct signing_key *key, wall_t now)
{
	return key->begin <= now && (!key->end || now < key->end);
}

/* Is name the domain, or below it? */
static bool is_below(const char *name, const char *domain)
{
	size_t n = strlen(name), d = strlen(domain);

	return n == d ? strcmp(name, domain) == 0 : n > d && name[n - d - 1] == '.' && strcmp(name + n - d, domain) == 0;
}

bool signing_domain_matches(const struct signing_config *c, const struct signing_domain *d, const char *address)
{
	const char *domain = strrchr(address, '@');

	if (!domain)
		return false;
	domain++;
	for (unsigned i = 0; i < d->n_from; i++)
		if (wildcard_match(slice_from(d->from[i]), slice_from(strchr(d->from[i], '@') ? address : domain)))
			return true;
	if (d->n_from > 0 || !is_below(domain, d->domain))
		return false;
	for (unsigned i = 0; i < c->n_domains; i++) {
		const struct signing_domain *other = &c->domains[i];

		if (other->n_from == 0 && strlen(other->domain) > strlen(d->domain) && is_below(domain, other->domain))
			return false;
	}
	return true;
}

/* True when an entry is for this address, with or without a key for this time. */
static bool choose_for(struct signing *s, const char *address)
{
	bool any = false;

	for (unsigned i = 0; i < s->config->n_domains; i++) {
		const struct signing_domain *d = &s->config->domains[i];
		unsigned before = s->n_chosen;

		if (!signing_domain_matches(s->config, d, address))
			continue;
		any = true;
		for (unsigned k = 0; k < d->n_keys && s->n_chosen < SIGNATURES_MAX; k++)
			if (signing_key_is_valid(&d->keys[k], s->now))
				s->chosen[s->n_chosen++] = (struct chosen) { d, &d->keys[k] };
		if (s->n_chosen == before)
			s->without_key = d;
	}
	return any;
}

/* The reverse-path with its domain as A-labels. */
static int choose_for_sender(struct signing *s)
{
	struct address sender;
	const char *domain, *text;
	int r;

	if (address_parse(slice_from(s->reverse_path), ADDRESS_OF_ENVELOPE, &sender) < 0 || sender.domain.len == 0 || sender.literal)
		return 0;
	r = domain_to_ascii(s->arena, sender.domain, &domain);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	text = arena_printf(s->arena, "%.*s@%s", (int) sender.local.len, sender.local.data, domain);
	if (!text)
		return -ENOMEM;
	choose_for(s, text);
	return 0;
}

static int choose(struct content *m, void *context)
{
	const struct header_field *from = content_field(m, SLICE("From"), 0);
	struct signing *s = context;
	const char *author = NULL;
	int r = from ? from_first(s->arena, from->value, &author) : 0;

	if (r == -ENOMEM)
		return r;
	r = 0;
	if (author && s->may && !s->may(s->context, author))
		author = NULL;
	if (!author || !choose_for(s, author))
		r = choose_for_sender(s);
	for (unsigned i = 0; i < s->n_chosen && r >= 0; i++)
		r = content_want_hash(m, s->chosen[i].domain->body, BODY_ALL);
	return r;
}

/* --- one message ------------------------------------------------------------------------------------------------- */

int signing_begin(const struct signing_config *c, const char *reverse_path, wall_t now, struct arena *a, struct signing **ret)
{
	struct signing *s = arena_new_type(a, struct signing);
	struct content_config how = { .unverified = true, .header_ready = choose, .context = s };
	int r;

	if (!s)
		return -ENOMEM;
	s->config = c;
	s->reverse_path = reverse_path;
	s->now = now;
	s->arena = a;
	r = content_new(a, &how, false, &s->content);
	if (r < 0)
		return r;
	*ret = s;
	return 0;
}

void signing_restrict(struct signing *s, bool (*may)(void *context, const char *address), void *context)
{
	s->may = may;
	s->context = context;
}

int signing_feed(struct signing *s, struct slice piece)
{
	if (s->content->header_done && s->n_chosen == 0)
		return 0;
	return content_feed(s->content, piece);
}

const struct signing_domain *signing_without_key(const struct signing *s)
{
	return s->n_chosen > 0 ? NULL : s->without_key;
}

void signing_describe(const struct signing *s, struct buffer *out)
{
	const struct signing_domain *before = NULL;

	for (unsigned i = 0; i < s->n_chosen; i++) {
		const struct chosen *c = &s->chosen[i];

		if (c->domain != before)
			buffer_printf(out, "%s%s (%s", before ? "), " : "", c->domain->domain, c->key->selector);
		else
			buffer_printf(out, ", %s", c->key->selector);
		before = c->domain;
	}
	buffer_append_str(out, before ? ")" : "");
}

void signing_free(struct signing *s)
{
	if (s)
		content_free(TAKE_PTR(s->content)); /* the rest is the arena's */
}

/* --- the signatures ---------------------------------------------------------------------------------------------- */

struct work {
	const struct signing *signing;
	struct buffer *out;
};

/* On a worker. The newest signature stands on top; their order means nothing. */
static int sign_all(void *arg)
{
	const struct work *work = arg;
	const struct signing *s = work->signing;
	int r = 0;

	for (unsigned i = 0; i < s->n_chosen && r >= 0; i++) {
		const struct signing_domain *d = s->chosen[i].domain;
		const struct dkim_key key = { .key = s->chosen[i].key->key, .domain = d->domain,
					      .selector = s->chosen[i].key->selector };
		const struct dkim_signing how = { .fields = d->fields, .header = d->header, .body = d->body, .time = s->now,
						  .lifetime = d->expire };

		r = dkim_sign(s->content, &key, &how, s->arena, work->out);
	}
	return r;
}

static const char *why_not(const struct content *m)
{
	return m->malformed ? m->malformed : !content_field(m, SLICE("From"), 0) ? "it has no From field" : NULL;
}

int signing_finish(struct signing *s, struct world *w, struct slice front, struct buffer *out, unsigned *ret_n, const char **ret_why)
{
	struct work work = { .signing = s, .out = out };
	int r = content_end(s->content);

	if (r >= 0 && s->n_chosen > 0 && front.len > 0)
		r = content_front(s->content, front);
	if (r < 0)
		return r;
	if (s->n_chosen > 0) {
		*ret_why = why_not(s->content);
		if (*ret_why)
			return -EINVAL;
		r = world_offload(w, sign_all, &work);
		if (r == -EINVAL)
			*ret_why = "it has more fields to sign than verifiers read";
		if (r < 0)
			return r;
	}
	*ret_n = s->n_chosen;
	return 0;
}

int signing_sign(const struct signing_config *c, struct world *w, struct slice message, struct buffer *out, unsigned *ret_n)
{
	_cleanup_(arena_freep) struct arena *a = NULL; /* before what lies in it: it goes last */
	_cleanup_(signing_freep) struct signing *s = NULL;
	const char *why;
	int r;

	if (!signing_is_configured(c)) {
		*ret_n = 0;
		return 0;
	}
	r = arena_new(0, &a);
	if (r >= 0)
		r = signing_begin(c, "", world_wall(w), a, &s);
	if (r >= 0)
		r = signing_feed(s, message);
	return r < 0 ? r : signing_finish(s, w, SLICE_NULL, out, ret_n, &why);
}
