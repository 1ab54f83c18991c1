#include "receive/verdicts.h"

#include "base/wildcard.h"
#include "mail/authres.h"

/* In a field: more than that is nobody's business. */
#define DKIM_SHOWN 32u
#define WHITE_LISTS_SHOWN 8u
#define OTHER_METHODS 6u /* auth, spf, dkim=none, arc, dmarc, iprev */

#define COMMENT_MAX 250u /* octets, so that no line gets too long */

/* --- Authentication-Results ------------------------------------------------------------------------------------ */

static struct slice comment_of(const char *reason)
{
	struct slice s = slice_from(reason);

	return slice_head(s, MIN(s.len, COMMENT_MAX));
}

/* RFC 8601 section 2.7.2. */
static void add_spf(const struct verdicts *v, struct authres_method *m)
{
	const struct spf_result *s = &v->result->spf;

	*m = (struct authres_method) { .method = SLICE("spf"), .result = slice_from(spf_word_text(s->word)), .comment = comment_of(s->reason) };
	if (s->helo)
		authres_add(m, "smtp", "helo", v->helo);
	else
		authres_add(m, "smtp", "mailfrom", v->mail_from);
}

/* Sections 2.7.1 and 4.1 of RFC 6008. */
static void add_dkim(const struct dkim_result *d, struct authres_method *m)
{
	*m = (struct authres_method) { .method = SLICE("dkim"), .result = slice_from(dkim_word_text(d->word)) };
	if (d->word != DKIM_PASS || d->weak || d->testing)
		m->comment = comment_of(d->reason);
	authres_add(m, "header", "d", d->domain);
	authres_add(m, "header", "i", d->identity);
	authres_add(m, "header", "s", d->selector);
	authres_add(m, "header", "a", d->algorithm);
	authres_add(m, "header", "b", d->start);
}

static unsigned add_signatures(const struct verdicts *v, struct authres_method *m)
{
	unsigned n = MIN(v->result->n_dkim, DKIM_SHOWN);

	for (unsigned i = 0; i < n; i++)
		add_dkim(&v->result->dkim[i], &m[i]);
	if (n > 0)
		return n;
	*m = (struct authres_method) { .method = SLICE("dkim"), .result = SLICE("none") };
	return 1;
}

static void add_dmarc(const struct verdicts *v, struct authres_method *m)
{
	const struct dmarc_result *d = &v->result->dmarc;

	*m = (struct authres_method) { .method = SLICE("dmarc"), .result = slice_from(dmarc_word_text(d->word)) };
	if (d->policy_domain[0])
		authres_add(m, "policy", "dmarc", dmarc_policy_text(d->policy));
	authres_add(m, "header", "from", d->domain);
}

/* RFC 8617 section 10. */
static void add_arc(const struct verdicts *v, const char *ip, struct authres_method *m)
{
	const struct arc_result *r = &v->result->arc;

	*m = (struct authres_method) { .method = SLICE("arc"), .result = slice_from(arc_word_text(r->word)), .comment = comment_of(r->reason) };
	authres_add(m, "smtp", "remote-ip", ip);
}

/* RFC 8904. */
static unsigned add_white_lists(const struct verdicts *v, struct authres_method *m, char (*ips)[IP_TEXT])
{
	unsigned n = 0;

	for (unsigned i = 0; i < v->n_hits && n < WHITE_LISTS_SHOWN; i++) {
		if (v->hits[i].weight >= 0)
			continue;
		m[n] = (struct authres_method) { .method = SLICE("dnswl"), .result = SLICE("pass") };
		authres_add(&m[n], "dns", "zone", v->hits[i].zone);
		authres_add(&m[n], "policy", "ip", ip_format(&v->hits[i].answer, ips[n]));
		authres_add(&m[n], "policy", "txt", v->hits[i].text);
		n++;
	}
	return n;
}

int verdicts_authentication_results(const struct verdicts *v, struct arena *a, struct buffer *out)
{
	unsigned n = 0, room = MIN(v->result ? v->result->n_dkim : 0, DKIM_SHOWN) + WHITE_LISTS_SHOWN + OTHER_METHODS;
	struct authres_method *methods = arena_new_array(a, struct authres_method, room);
	char ip[IP_TEXT] = "", ips[WHITE_LISTS_SHOWN][IP_TEXT];

	if (!methods)
		return -ENOMEM;
	if (v->client)
		ip_format(v->client, ip);
	if (v->user) {
		methods[n] = (struct authres_method) { .method = SLICE("auth"), .result = SLICE("pass") };
		authres_add(&methods[n++], "smtp", "auth", v->user);
	}
	if (v->result && v->client)
		add_spf(v, &methods[n++]);
	if (v->result)
		n += add_signatures(v, &methods[n]);
	if (v->result && v->result->arc.word != ARC_NONE)
		add_arc(v, ip, &methods[n++]);
	if (v->result)
		add_dmarc(v, &methods[n++]);
	if (v->iprev) {
		methods[n] = (struct authres_method) { .method = SLICE("iprev"), .result = slice_from(iprev_word_text(v->iprev->word)) };
		methods[n].comment = comment_of(v->iprev->name[0] ? v->iprev->name : v->iprev->reason);
		authres_add(&methods[n++], "policy", "iprev", ip);
	}
	n += add_white_lists(v, &methods[n], ips);
	authres_format(v->authserv_id, methods, n, out);
	return 0;
}

void verdicts_received_spf(const struct verdicts *v, struct buffer *out)
{
	const struct spf_result *s = &v->result->spf;
	char ip[IP_TEXT];

	if (!v->client)
		return;
	received_spf_format(
		&(struct received_spf) {
			.result = spf_word_text(s->word),
			.reason = s->reason,
			.receiver = v->authserv_id,
			.client_ip = ip_format(v->client, ip),
			.envelope_from = v->mail_from,
			.helo = v->helo,
			.identity = s->helo ? "helo" : "mailfrom",
		},
		out);
}

/* --- for people ---------------------------------------------------------------------------------------------------- */

const char *verdicts_spf_text(const struct verdicts *v, struct arena *a)
{
	const struct spf_result *s = &v->result->spf;

	return arena_printf(a, "%s%s%s: %s", spf_word_text(s->word), s->domain[0] ? " for " : "", s->domain, s->reason);
}

const char *verdicts_dkim_text(const struct verdicts *v, struct arena *a)
{
	const struct judge_result *r = v->result;
	const char *text = r->n_dkim ? "" : "none: the message has no signature";

	for (unsigned i = 0; i < MIN(r->n_dkim, DKIM_SHOWN) && text; i++) {
		const struct dkim_result *d = &r->dkim[i];

		text = arena_printf(a, "%s%s%s by %s (selector %s): %s", text, i ? "; " : "", dkim_word_text(d->word),
				    d->domain[0] ? d->domain : "nobody", d->selector[0] ? d->selector : "none", d->reason);
	}
	return text;
}

const char *verdicts_arc_text(const struct verdicts *v, struct arena *a)
{
	const struct arc_result *r = &v->result->arc;

	return arena_printf(a, "%s%s%s: %s", arc_word_text(r->word), r->domain[0] ? ", sealed last by " : "", r->domain, r->reason);
}

const char *verdicts_dmarc_text(const struct verdicts *v, struct arena *a)
{
	const struct dmarc_result *d = &v->result->dmarc;

	if (!d->policy_domain[0])
		return arena_printf(a, "%s%s%s: %s", dmarc_word_text(d->word), d->domain[0] ? " for " : "", d->domain, d->reason);
	return arena_printf(a, "%s for %s (%s asks for %s%s): %s", dmarc_word_text(d->word), d->domain, d->policy_domain,
			    dmarc_policy_text(d->policy), d->testing ? ", testing" : "", d->reason);
}

const char *verdicts_iprev_text(const struct verdicts *v, struct arena *a)
{
	return arena_printf(a, "%s%s%s: %s", iprev_word_text(v->iprev->word), v->iprev->name[0] ? " for " : "", v->iprev->name,
			    v->iprev->reason);
}

const char *verdicts_dkim_word(const struct judge_result *r)
{
	enum dkim_word word = r->n_dkim ? r->dkim[0].word : DKIM_NONE;

	for (unsigned i = 0; i < r->n_dkim; i++) {
		if (r->dkim[i].word == DKIM_PASS)
			return dkim_word_text(DKIM_PASS);
		if (r->dkim[i].word == DKIM_TEMPERROR)
			word = DKIM_TEMPERROR;
	}
	return dkim_word_text(word);
}

/* --- DMARC ----------------------------------------------------------------------------------------------------------- */

static bool is_sealer(const struct identity_config *config, const char *domain)
{
	for (unsigned i = 0; i < config->n_sealers; i++)
		if (wildcard_match(slice_from(config->sealers[i]), slice_from(domain)))
			return true;
	return false;
}

/* Does this set of the chain say that DMARC passed there? */
static bool says_pass(const struct arc_set *set, struct arena *a)
{
	struct slice value = set->results.value;
	ssize_t end = slice_find(value, ';'); /* behind the instance */
	struct authres results;

	if (end < 0 || authres_parse(a, slice_skip(value, (size_t) end + 1), &results) < 0)
		return false;
	for (unsigned i = 0; i < results.n_methods; i++)
		if (slice_ieq_str(results.methods[i].method, "dmarc") && slice_ieq_str(results.methods[i].result, "pass"))
			return true;
	return false;
}

/* RFC 8617 section 7.2.1: those who forwarded it, up to us without a gap, are believed, and one of them saw it pass. What
 * stands before a sealer whom we don't know may be invented. */
static bool is_excused(const struct judge_result *r, const struct content *message, const struct identity_config *config, struct arena *a)
{
	if (r->arc.word != ARC_PASS)
		return false;
	for (unsigned i = message->n_sets; i > 0 && is_sealer(config, message->sets[i - 1].seal.domain); i--)
		if (says_pass(&message->sets[i - 1], a))
			return true;
	return false;
}

static void enforce(enum dmarc_policy policy, const struct identity_config *config, struct dmarc_decision *d)
{
	if (config->dmarc == DMARC_MODE_OBSERVE) {
		d->override = DMARC_OVERRIDE_LOCAL_POLICY;
		d->comment = "policies are observed here, not enforced";
		return;
	}
	if (policy == DMARC_POLICY_REJECT && config->dmarc == DMARC_MODE_ENFORCE) {
		d->action = DMARC_ACTION_REJECT;
		d->disposition = DMARC_DONE_REJECT;
		return;
	}
	d->disposition = DMARC_DONE_QUARANTINE;
	d->action = config->dmarc == DMARC_MODE_ENFORCE && config->quarantine == DMARC_QUARANTINE_HOLD ? DMARC_ACTION_HOLD : DMARC_ACTION_MARK;
	if (policy == DMARC_POLICY_REJECT) {
		d->override = DMARC_OVERRIDE_LOCAL_POLICY;
		d->comment = "what was to be rejected is marked here";
	}
}

void verdicts_decide(const struct judge_result *r, const struct content *message, const struct identity_config *config, bool accepted,
		     struct arena *a, struct dmarc_decision *ret)
{
	enum dmarc_policy policy = r->dmarc.policy;

	*ret = (struct dmarc_decision) { .disposition = r->dmarc.word == DMARC_PASS ? DMARC_DONE_PASS : DMARC_DONE_NONE };
	/* RFC 9989 section 5.3.6: what could not be told is neither pass nor fail, and no policy applies. */
	if (r->dmarc.word != DMARC_FAIL || policy == DMARC_POLICY_NONE || policy == DMARC_POLICY_ABSENT)
		return;
	if (accepted) {
		ret->override = DMARC_OVERRIDE_LOCAL_POLICY;
		ret->comment = "a rule of the gate accepted it";
		return;
	}
	if (is_excused(r, message, config, a)) {
		ret->override = DMARC_OVERRIDE_TRUSTED_FORWARDER;
		ret->comment = "it passed where a sealer that is believed here saw it (arc=pass)";
		return;
	}
	/* RFC 9989 section 4.7: t=y asks for one step less. */
	if (r->dmarc.testing) {
		ret->override = DMARC_OVERRIDE_TEST_MODE;
		if (policy == DMARC_POLICY_QUARANTINE)
			return;
		policy = DMARC_POLICY_QUARANTINE;
	}
	enforce(policy, config, ret);
}

bool verdicts_are_doubtful(const struct judge_result *r)
{
	if (r->dmarc.word == DMARC_PASS)
		return false;
	return (r->spf.word == SPF_FAIL && !r->spf.helo) || (r->dmarc.word == DMARC_FAIL && r->spf.word != SPF_PASS);
}

void verdicts_quarantine(const struct dmarc_result *d, struct buffer *out)
{
	buffer_printf(out, "X-Yizhan-Quarantine: dmarc=fail; policy=%s; domain=%s\r\n", dmarc_policy_text(d->policy), d->domain);
}
