#include "queue/classify.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/suggest.h"
#include "queue/reply_classes.h"
#include "queue/rules.h"
#include "world/file.h"

#define SHIPPED "reply-classes.yaml"
#define RULE_FILE_MAX (4u << 20)
#define TEXT_MAX 2048         /* of a reply that the patterns look at */
#define PROVIDERS_SUGGESTED 100u
#define MATCH_LIMIT 100000    /* steps of one pattern: a text made to be slow just doesn't match */

struct classifier {
	struct ruleset rules;
	pcre2_match_context *context;
};

static int classifier_alloc(struct classifier **ret)
{
	struct classifier *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	ruleset_init(&c->rules);
	c->context = pcre2_match_context_create(NULL);
	if (!c->context) {
		free(c);
		return -ENOMEM;
	}
	pcre2_set_match_limit(c->context, MATCH_LIMIT);
	pcre2_set_heap_limit(c->context, 1024); /* KiB */
	*ret = c;
	return 0;
}

int classifier_from_text(const char *name, struct slice text, struct classifier **ret, char **ret_why)
{
	_cleanup_(classifier_freep) struct classifier *c = NULL;
	int r = classifier_alloc(&c);

	if (r < 0)
		return r;
	r = ruleset_read(&c->rules, name, text, ret_why);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

int classifier_new(struct world *w, const char *path, struct classifier **ret, char **ret_why)
{
	_cleanup_(classifier_freep) struct classifier *c = NULL;
	_cleanup_(freep) char *text = NULL;
	size_t len = 0;
	int r = classifier_alloc(&c);

	if (r < 0)
		return r;
	r = ruleset_read(&c->rules, SHIPPED, slice_new(reply_classes_builtin, reply_classes_builtin_len), ret_why);
	if (r < 0)
		return r;
	if (path) {
		r = file_read_all(w, path, RULE_FILE_MAX, &text, &len);
		if (r < 0) {
			if (asprintf(ret_why, "%s: can't be read: %s", path, strerror(-r)) < 0)
				*ret_why = NULL;
			return r;
		}
		/* Asked first, but read last: they may name the shipped providers. */
		ruleset_go_to_front(&c->rules);
		r = ruleset_read(&c->rules, path, slice_new(text, len), ret_why);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(c);
	return 0;
}

void classifier_free(struct classifier *c)
{
	if (!c)
		return;
	ruleset_done(&c->rules);
	pcre2_match_context_free(c->context);
	free(c);
}

unsigned classifier_rules(const struct classifier *c)
{
	return c->rules.n;
}

const char *classifier_provider(const struct classifier *c, unsigned i, const char **ret_ending)
{
	const struct provider *p = c->rules.providers;

	while (p && i-- > 0)
		p = p->next;
	if (!p)
		return NULL;
	*ret_ending = p->n_suffixes > 0 ? p->suffixes[0] : p->name;
	return p->name;
}

/* --- names ---------------------------------------------------------------------------------------------- */

static const char *const fault_names[] = {
	[FAULT_NONE] = "nobody",	   [FAULT_PATH] = "path",	[FAULT_SENDER] = "sender",
	[FAULT_RECIPIENT] = "recipient", [FAULT_CONTENT] = "content", [FAULT_SERVER] = "server",
};
static const char *const key_names[] = {
	[KEY_ADDRESS] = "address", [KEY_NETBLOCK] = "netblock",	  [KEY_DKIM] = "dkim",	   [KEY_SPF] = "spf",
	[KEY_URL] = "url",	   [KEY_RECIPIENT] = "recipient", [KEY_SENDER] = "sender",
};

const char *fault_name(enum fault f)
{
	return fault_names[f];
}

int fault_from_name(struct slice name, enum fault *ret)
{
	for (size_t i = FAULT_PATH; i < ARRAY_LEN(fault_names); i++) {
		if (!slice_eq_str(name, fault_names[i]))
			continue;
		*ret = (enum fault) i;
		return 0;
	}
	return -EINVAL;
}

const char *limit_key_name(enum limit_key k)
{
	return key_names[k];
}

int limit_key_from_name(struct slice name, enum limit_key *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(key_names); i++) {
		if (!slice_eq_str(name, key_names[i]))
			continue;
		*ret = (enum limit_key) i;
		return 0;
	}
	return -EINVAL;
}

/* --- asking --------------------------------------------------------------------------------------------- */

static bool in_range(const struct range *range, int v)
{
	return v >= range->from && v <= range->to;
}

static bool code_fits(const struct rule *rule, int code)
{
	for (unsigned i = 0; i < rule->n_codes; i++)
		if (in_range(&rule->codes[i], code))
			return true;
	return rule->n_codes == 0;
}

static bool enhanced_fits(const struct rule *rule, const int e[static 3])
{
	for (unsigned i = 0; i < rule->n_enhanced; i++) {
		const struct range *part = rule->enhanced[i].part;

		if (e[0] > 0 && in_range(&part[0], e[0]) && in_range(&part[1], e[1]) && in_range(&part[2], e[2]))
			return true;
	}
	return rule->n_enhanced == 0;
}

bool provider_has(const struct provider *p, const char *host)
{
	for (unsigned i = 0; host && i < p->n_suffixes; i++) {
		const char *suffix = p->suffixes[i];

		if (slice_iends(slice_from(host), suffix) ||
		    (suffix[0] == '.' && slice_ieq_str(slice_from(host), suffix + 1)))
			return true;
	}
	return false;
}

static bool text_fits(const struct classifier *c, const struct rule *rule, struct slice text)
{
	pcre2_match_data *match;
	bool fits;

	if (!rule->text)
		return true;
	match = pcre2_match_data_create(1, NULL);
	if (!match)
		return false;
	/* 0: matched, with more groups than we keep. Errors (the limits) count as no match. */
	fits = pcre2_match(rule->text, (PCRE2_SPTR) text.data, text.len, 0, 0, match, c->context) >= 0;
	pcre2_match_data_free(match);
	return fits;
}

static enum fault fault_of(enum reply_class class)
{
	static const enum fault faults[] = {
		[CLASS_BLOCKED] = FAULT_PATH,	      [CLASS_THROTTLED] = FAULT_PATH,
		[CLASS_TLS] = FAULT_PATH,	      [CLASS_UNREACHABLE] = FAULT_PATH,
		[CLASS_AUTH] = FAULT_SENDER,	      [CLASS_POLICY] = FAULT_SENDER,
		[CLASS_NO_SUCH_USER] = FAULT_RECIPIENT, [CLASS_MAILBOX_FULL] = FAULT_RECIPIENT,
		[CLASS_SPAM_CONTENT] = FAULT_CONTENT, [CLASS_TOO_BIG] = FAULT_CONTENT,
		[CLASS_GREYLISTED] = FAULT_SERVER,    [CLASS_OTHER] = FAULT_SERVER,
	};

	return faults[class];
}

static bool rule_fits(const struct classifier *c, const struct rule *rule, const struct reply *reply, enum stage stage,
		      const char *host, struct slice text)
{
	return code_fits(rule, reply->code) && enhanced_fits(rule, reply->enhanced) &&
	       (!rule->stages || (rule->stages & (1u << stage))) && (!rule->provider || provider_has(rule->provider, host)) &&
	       text_fits(c, rule, text);
}

/* RFC 5321 section 4.5.3.1.10: 552 in reply to RCPT once meant too many recipients, and is to be taken as 452. Who
 * does not exist, and what is too big, stays so. */
static bool counts_as_452(const struct reply *reply, enum stage stage, enum reply_class class)
{
	return reply->code == 552 && stage == STAGE_RCPT && class != CLASS_NO_SUCH_USER && class != CLASS_TOO_BIG;
}

/* Servers break their sentences into lines where it pleases them; patterns see the sentences. */
static struct slice join_lines(const char *text, char out[static TEXT_MAX])
{
	struct slice s = slice_head(slice_from(text ? text : ""), TEXT_MAX);

	for (size_t i = 0; i < s.len; i++)
		out[i] = s.data[i] == '\n' ? ' ' : s.data[i];
	return slice_new(out, s.len);
}

void classify(const struct classifier *c, const struct reply *reply, enum stage stage, const char *host,
	      struct classification *ret)
{
	char room[TEXT_MAX];
	struct slice text = join_lines(reply->text, room);
	struct classification found = { .class = reply->code > 0 ? CLASS_OTHER : CLASS_UNREACHABLE };
	const struct rule *rule = reply->code > 0 ? c->rules.first : NULL;

	while (rule && !rule_fits(c, rule, reply, stage, host, text))
		rule = rule->next;
	if (rule)
		found = (struct classification) {
			.class = rule->class, .treat = rule->treat, .fault = rule->fault, .key = rule->key,
			.rule = rule->name, .file = rule->file, .line = rule->line,
		};
	if (found.fault == FAULT_NONE)
		found.fault = fault_of(found.class);
	if (found.treat == TREAT_AS_SAID && counts_as_452(reply, stage, found.class))
		found.treat = TREAT_TEMPORARY;
	*ret = found;
}

/* --- providers --------------------------------------------------------------------------------- */

static struct provider *provider_named(struct ruleset *s, const char *name)
{
	for (struct provider *p = s->providers; p; p = p->next)
		if (strcmp(p->name, name) == 0)
			return p;
	return ruleset_add_provider(s, slice_from(name));
}

static int set_suffixes(struct provider *p, const struct shaping_rule *rule)
{
	if (rule->n_hosts == 0)
		return 0;
	while (p->n_suffixes > 0)
		free(p->suffixes[--p->n_suffixes]);
	for (unsigned i = 0; i < rule->n_hosts; i++) {
		int r = provider_add_suffix(p, slice_from(rule->hosts[i]));

		if (r < 0)
			return r;
	}
	return 0;
}

static int unknown_provider(const struct ruleset *s, const char *name, char **ret_why)
{
	const char *names[PROVIDERS_SUGGESTED], *near;
	size_t n = 0;

	for (const struct provider *p = s->providers; p && n < ARRAY_LEN(names); p = p->next)
		if (p->n_suffixes > 0)
			names[n++] = p->name;
	near = suggest_nearest(slice_from(name), names, n);
	if (asprintf(ret_why, "no provider is called \"%s\", and it has no hosts%s%s%s", name,
		     near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "") < 0)
		*ret_why = NULL;
	return -EINVAL;
}

int classifier_shape(struct classifier *c, const struct shaping_config *config, char **ret_why)
{
	for (unsigned i = 0; i < config->n_providers; i++) {
		const struct shaping_rule *rule = &config->providers[i];
		struct provider *p = provider_named(&c->rules, rule->name);
		struct shaping_limits limits = rule->limits;
		int r = p ? set_suffixes(p, rule) : -ENOMEM;

		if (r < 0)
			return r;
		if (p->n_suffixes == 0)
			return unknown_provider(&c->rules, rule->name, ret_why);
		shaping_limits_fill(&limits, &p->limits);
		p->limits = limits;
	}
	return 0;
}

const struct provider *classifier_provider_of(const struct classifier *c, const char *host)
{
	for (const struct provider *p = c->rules.providers; p && host; p = p->next)
		if (shaping_limits_any(&p->limits) && provider_has(p, host))
			return p;
	return NULL;
}
