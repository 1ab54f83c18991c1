/* `domains`: what ends here; and the mailboxes that routes may name, too. */
#include <stdlib.h>

#include "mail/address.h"
#include "main/config_keys.h"
#include "main/config_sections.h"

static int split_port(struct slice text, struct slice *ret_host, uint16_t *ret_port)
{
	struct slice port;
	uint64_t n;

	*ret_host = slice_cut(text, ':', &port);
	if (!port.data)
		return 0;
	if (slice_to_u64(port, &n) < 0 || n < 1 || n > UINT16_MAX)
		return -EINVAL;
	*ret_port = (uint16_t) n;
	return 0;
}

/* A host name with or without port, or one of the forms of an IP address. */
static int host_port_parse(struct config_reader *reader, struct slice text, uint16_t default_port, struct host_port *ret)
{
	struct endpoint at;
	struct host_port hp = { .port = default_port };
	struct slice host = text;
	int r;

	if (endpoint_parse(text, &at) == 0 && at.kind == ENDPOINT_IP) {
		hp.ip = at.ip;
		hp.port = at.port;
		if (!hp.port)
			return -EINVAL;
		*ret = hp;
		return 0;
	}
	if (text.len > 2 && text.data[0] == '[' && text.data[text.len - 1] == ']')
		host = slice_new(text.data + 1, text.len - 2);
	if (ip_parse(host, &hp.ip) == 0) {
		*ret = hp;
		return 0;
	}
	r = split_port(text, &host, &hp.port);
	if (r < 0)
		return r;
	r = domain_to_ascii(reader->arena, host, &hp.name);
	if (r < 0)
		return r;
	if (!domain_is_valid(slice_from(hp.name), false))
		return -EINVAL;
	*ret = hp;
	return 0;
}

int config_read_host_port(struct config_reader *reader, const struct config_node *node, uint16_t default_port,
			  struct host_port *ret)
{
	char shown[128];
	int r = -EINVAL;

	if (node->kind == CONFIG_SCALAR)
		r = host_port_parse(reader, node->text, default_port, ret);
	if (r == 0 || r == -ENOMEM)
		return r;
	config_error(reader->errors, &node->mark, "expected a host with port like \"mail.example.org:587\" or \"10.0.0.7:25\", found %s%s%s",
		     node->kind == CONFIG_SCALAR ? "\"" : config_kind_name(node->kind),
		     node->kind == CONFIG_SCALAR ? slice_escape(node->text, shown, sizeof(shown)) : "",
		     node->kind == CONFIG_SCALAR ? "\"" : "");
	return -EINVAL;
}

/* Only names that deliver knows may stand in braces. */
static int check_placeholders(struct config_reader *reader, const struct config_node *node, struct slice path)
{
	static const char *const known[] = { "domain", "local", "user" };
	struct slice rest = path;

	while (rest.len) {
		struct slice name;
		char suggestion[128];
		bool found = false;

		slice_cut(rest, '{', &rest);
		if (!rest.data)
			break;
		name = slice_cut(rest, '}', &rest);
		for (unsigned i = 0; i < ARRAY_LEN(known); i++)
			found |= slice_eq_str(name, known[i]);
		if (found && rest.data)
			continue;
		config_suggest(name, known, ARRAY_LEN(known), suggestion);
		config_error(reader->errors, &node->mark, "{%.*s} is none of {domain}, {local} and {user}%s", SLICE_ARG(name),
			     suggestion);
		return -EINVAL;
	}
	return 0;
}

static int read_maildir(struct config_reader *reader, const struct config_node *node, struct slice path, struct hop *ret)
{
	char *text = arena_slice(reader->arena, path);
	int r;

	if (!text)
		return -ENOMEM;
	if (!path.len) {
		config_error(reader->errors, &node->mark, "maildir: needs a path, like maildir:/var/mail/{domain}/{local}");
		return -EINVAL;
	}
	r = check_placeholders(reader, node, path);
	if (r < 0)
		return r;
	ret->kind = HOP_MAILDIR;
	ret->maildir = config_resolve_path(reader->arena, node->mark.file, text);
	return ret->maildir ? 0 : -ENOMEM;
}

static int read_lmtp(struct config_reader *reader, const struct config_node *node, struct slice where, struct hop *ret)
{
	struct config_node rest = *node;
	struct host_port hp;
	int r;

	ret->kind = HOP_LMTP;
	if (slice_istarts(where, "unix:")) {
		if (endpoint_parse(where, &ret->lmtp) == 0)
			return 0;
		config_error(reader->errors, &node->mark, "lmtp: expected unix: and an absolute path of at most 107 bytes, found \"%.*s\"",
			     SLICE_ARG(where));
		return -EINVAL;
	}
	rest.text = where;
	r = config_read_host_port(reader, &rest, 24, &hp); /* RFC 2033 names no port; 24 is the one for private mail systems */
	if (r < 0)
		return r;
	if (hp.name)
		ret->lmtp_host = hp;
	else
		ret->lmtp = (struct endpoint) { .kind = ENDPOINT_IP, .ip = hp.ip, .port = hp.port };
	return 0;
}

int config_read_mailbox(struct config_reader *reader, const struct config_node *node, struct hop *ret)
{
	static const char *const words[] = { "maildir:", "lmtp:", "pipe:", "hold", "discard" };
	char suggestion[128], shown[128];
	struct slice rest;

	if (node->kind == CONFIG_SCALAR) {
		if (slice_istarts(node->text, "maildir:"))
			return read_maildir(reader, node, slice_skip(node->text, 8), ret);
		if (slice_istarts(node->text, "lmtp:"))
			return read_lmtp(reader, node, slice_skip(node->text, 5), ret);
		if (slice_istarts(node->text, "pipe:"))
			return config_read_pipe(reader, node, slice_skip(node->text, 5), NULL, 0, ret);
		if (slice_eq_str(node->text, "hold") || slice_eq_str(node->text, "discard")) {
			ret->kind = node->text.data[0] == 'h' ? HOP_HOLD : HOP_DISCARD;
			return 0;
		}
		config_suggest(slice_cut(node->text, ':', &rest), words, ARRAY_LEN(words), suggestion);
		config_error(reader->errors, &node->mark,
			     "deliver: expected maildir:PATH, lmtp:unix:PATH, lmtp:HOST:PORT, pipe:COMMAND, hold or discard, found \"%s\"%s",
			     slice_escape(node->text, shown, sizeof(shown)), suggestion);
		return -EINVAL;
	}
	if (node->kind == CONFIG_MAP)
		return config_read_pipe_map(reader, node, ret);
	config_error(reader->errors, &node->mark, "deliver: expected a text like maildir:/var/mail/{domain}/{local}, found %s",
		     config_kind_name(node->kind));
	return -EINVAL;
}

/* "example.org", "*.example.org". */
static int read_name(struct config_reader *reader, const struct config_pair *pair, const char **ret)
{
	bool below = strncmp(pair->key, "*.", 2) == 0;
	const char *ascii;
	char shown[128];
	int r = domain_to_ascii(reader->arena, slice_from(pair->key + (below ? 2 : 0)), &ascii);

	if (r == -ENOMEM)
		return r;
	if (r < 0 || !domain_is_valid(slice_from(ascii), false)) {
		config_error(reader->errors, &pair->mark, "domains: \"%s\" is not a domain (example.org, or *.example.org for all below)",
			     slice_escape(slice_from(pair->key), shown, sizeof(shown)));
		return -EINVAL;
	}
	*ret = below ? arena_printf(reader->arena, "*.%s", ascii) : ascii;
	return *ret ? 0 : -ENOMEM;
}

static char *lowered(struct arena *a, const char *text)
{
	char *copy = arena_strdup(a, text);

	for (char *c = copy; c && *c; c++)
		*c = ascii_lower(*c);
	return copy;
}

struct given {
	const char *name;
	unsigned place;
};

static int compare_given(const void *a, const void *b)
{
	const struct given *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	return r ? r : x->place < y->place ? -1 : x->place > y->place;
}

static int compare_places(const void *a, const void *b)
{
	const struct given *x = a, *y = b;

	return x->place < y->place ? -1 : x->place > y->place;
}

/* Twice is once; but somebody else may have been meant. list: what d->recipients was read from. */
static int remark_same_recipients(struct config_reader *reader, const struct config_node *list, const struct route_domain *d)
{
	_cleanup_(freep) struct given *sorted = calloc(d->n_recipients + 1, sizeof(*sorted));
	unsigned again = 0;

	if (!sorted)
		return -ENOMEM;
	for (unsigned i = 0; i < d->n_recipients; i++)
		sorted[i] = (struct given) { d->recipients[i], i };
	qsort(sorted, d->n_recipients, sizeof(*sorted), compare_given);
	for (unsigned i = 1; i < d->n_recipients; i++)
		if (strcmp(sorted[i - 1].name, sorted[i].name) == 0)
			sorted[again++] = sorted[i];
	qsort(sorted, again, sizeof(*sorted), compare_places);
	for (unsigned i = 0; i < again; i++) {
		unsigned place = sorted[i].place;
		const struct config_mark *mark = list->n == d->n_recipients ? &list->items[place]->mark : &list->mark;

		config_warning(reader->errors, mark, "recipients: \"%s\" is there already", sorted[i].name);
	}
	return 0;
}

static int read_recipients(struct config_reader *reader, const struct config_pair *pair, const struct domain_section *section,
			   struct route_domain *d)
{
	const char **names;

	if (!config_get(pair->value, "recipients"))
		return 0; /* every one */
	names = arena_new_array(reader->arena, const char *, section->n_recipients + 1);
	if (!names)
		return -ENOMEM;
	for (unsigned i = 0; i < section->n_recipients; i++) {
		names[i] = lowered(reader->arena, section->recipients[i]);
		if (!names[i])
			return -ENOMEM;
		if (strchr(names[i], '@') && names[i][0] != '"')
			config_error(reader->errors, &config_get(pair->value, "recipients")->mark,
				     "recipients: \"%s\" has a domain; write the local part alone", names[i]);
	}
	d->recipients = names;
	d->n_recipients = section->n_recipients;
	return remark_same_recipients(reader, config_get(pair->value, "recipients"), d);
}

static int read_domain(struct config_reader *reader, const struct config_pair *pair, struct route_domain *d)
{
	struct domain_section section = { 0 };
	int r;

	r = read_name(reader, pair, &d->name);
	if (r == -ENOMEM)
		return r;
	r = config_fill(reader, "domains{}", pair->value, &section);
	if (r < 0)
		return r;
	if (section.deliver) {
		r = config_read_mailbox(reader, section.deliver, &d->deliver);
		if (r == -ENOMEM)
			return r;
	} else if (pair->value->kind == CONFIG_NULL) {
		config_error(reader->errors, &pair->mark, "domains: %s needs \"deliver\"", pair->key);
	}
	return read_recipients(reader, pair, &section, d);
}

static int compare_names(const void *a, const void *b)
{
	const struct route_domain *const *x = a, *const *y = b;

	return strcmp((*x)->name ? (*x)->name : "", (*y)->name ? (*y)->name : "");
}

/* YAML has seen to names that are written alike; "Example.org" and "example.org" are the same domain, too. */
static int refuse_same_domain(struct config_reader *reader, const struct config *c)
{
	_cleanup_(freep) const struct route_domain **sorted = calloc(c->route.n_domains + 1, sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	for (unsigned i = 0; i < c->route.n_domains; i++)
		sorted[i] = &c->route.domains[i];
	qsort(sorted, c->route.n_domains, sizeof(*sorted), compare_names);
	for (unsigned i = 1; i < c->route.n_domains; i++)
		if (sorted[i]->name && compare_names(&sorted[i - 1], &sorted[i]) == 0) {
			size_t at = (size_t) (MAX(sorted[i], sorted[i - 1]) - c->route.domains);

			config_error(reader->errors, &c->raw.domains->pairs[at].mark, "domains: %s is given twice", sorted[i]->name);
		}
	return 0;
}

int config_read_domains(struct config_reader *reader, struct config *c)
{
	const struct config_node *node = c->raw.domains;
	struct route_domain *domains;

	if (!node || !node->n)
		return 0;
	domains = arena_new_array(reader->arena, struct route_domain, node->n);
	if (!domains)
		return -ENOMEM;
	c->route.domains = domains;
	c->route.n_domains = node->n;
	for (unsigned i = 0; i < node->n; i++) {
		int r = read_domain(reader, &node->pairs[i], &domains[i]);

		if (r < 0)
			return r;
	}
	return refuse_same_domain(reader, c);
}
