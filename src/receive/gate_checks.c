#include "receive/gate_checks.h"

#include <stdio.h>

#include "receive/gate_dns.h"
#include "world/fiber.h"

void gate_found(const struct gate_visit *v, enum gate_stage stage, const char *check, const char *format, ...)
{
	char text[500];
	va_list args;

	if (!v->observer)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	v->observer->check(v->observer->context, stage, check, text);
}

static int refuse(struct gate_answer *ret, enum reply_id id, const char *by, const char *first, const char *second)
{
	if (!first || !second)
		return -ENOMEM;
	*ret = (struct gate_answer) { .id = id, .by = by, .first = first, .second = second };
	return 0;
}

static struct arena *scratch(struct gate_visit *v)
{
	return v->mail_arena ? v->mail_arena : v->arena;
}

/* --- limits by any key ------------------------------------------------------------------------------------ */

/* The stage from which on a key is there. */
static enum gate_stage stage_of_key(int key)
{
	switch (key) {
	case RATE_CLIENT:
	case RATE_NETWORK:
		return GATE_CONNECT;
	case RATE_RECIPIENT:
	case RATE_RECIPIENT_DOMAIN:
		return GATE_RCPT;
	default:
		return GATE_MAIL;
	}
}

/* What is counted, as text; empty: there is none, and nothing is counted. */
static struct slice key_text(const struct gate_visit *v, int key, char out[static CIDR_TEXT])
{
	const struct gate_facts *f = &v->facts;
	struct ip network = ip_network(&f->client, f->client.family == 6 ? 64 : 24);

	switch (key) {
	case RATE_CLIENT:
		return f->client.family ? slice_from(ip_format(&f->client, out)) : SLICE_NULL;
	case RATE_NETWORK:
		return f->client.family ? slice_from(ip_format(&network, out)) : SLICE_NULL;
	case RATE_USER:
		return slice_from(f->user);
	case RATE_SENDER:
		return f->sender.text;
	case RATE_SENDER_DOMAIN:
		return slice_from(f->sender_domain);
	case RATE_RECIPIENT:
		return f->recipient.text;
	default:
		return slice_from(f->recipient_domain);
	}
}

static const char *const key_phrases[] = { "from your address", "from your network", "of this user", "of this sender",
					   "from this domain", "to this recipient", "to this domain" };

static int too_fast(struct gate_visit *v, const struct rate_rule *rule, enum rate_unit unit, usec_t wait, struct gate_answer *ret)
{
	static const char *const names[] = { "limits.rate (connections)", "limits.rate (messages)", "limits.rate (recipients)" };
	char per[32], in[32];

	duration_for_people(rule->per, per, sizeof(per));
	duration_for_people(MAX(wait, USEC_SEC), in, sizeof(in));
	return refuse(ret, unit == RATE_CONNECTIONS ? REPLY_TOO_FAST_CONNECTING : REPLY_TOO_FAST, names[unit],
		      arena_printf(scratch(v), "%u %s in %s are allowed %s", rule->allowed[unit], rate_unit_words[unit], per, key_phrases[rule->key]),
		      arena_strdup(scratch(v), in));
}

int gate_count(struct gate_visit *v, enum gate_stage stage, enum rate_unit unit, struct gate_answer *ret)
{
	const struct gate_checks *c = &v->gate->config->checks;
	char text[CIDR_TEXT];

	for (unsigned i = 0; i < c->n_rates; i++) {
		const struct rate_rule *rule = &c->rates[i];
		usec_t wait = 0;
		int r;

		if (!rule->allowed[unit] || stage_of_key(rule->key) > stage || (v->facts.trusted && !rule->trusted))
			continue;
		if (key_text(v, rule->key, text).len == 0)
			continue;
		if (v->look_only) {
			gate_found(v, stage, "limits.rate", "%u %s %s; only the running server knows how many were used", rule->allowed[unit],
				   rate_unit_words[unit], key_phrases[rule->key]);
			continue;
		}
		r = rates_take(v->gate->shared->rates, rule, unit, key_text(v, rule->key, text), now(), &wait);
		if (r == -EBUSY) {
			r = too_fast(v, rule, unit, wait, ret);
			ret->close = r == 0 && unit == RATE_CONNECTIONS;
		}
		if (r < 0 || wait)
			return r;
	}
	return 1;
}

static int too_many(struct gate_visit *v, const struct concurrency_rule *rule, struct gate_answer *ret)
{
	bool of_session = stage_of_key(rule->key) == GATE_CONNECT || rule->key == RATE_USER;
	char number[16];
	int r;

	snprintf(number, sizeof(number), "%u", rule->sessions);
	r = refuse(ret, of_session ? REPLY_TOO_MANY_SESSIONS : REPLY_TOO_MANY_AT_ONCE, "limits.concurrent", key_phrases[rule->key],
		   arena_strdup(scratch(v), number));
	if (r == 0)
		ret->close = of_session;
	return r;
}

/* For as long as the session lasts. 1, 0 or -errno. */
static int take_for_session(struct gate_visit *v, const struct concurrency_rule *rule, struct slice key, struct gate_answer *ret)
{
	int r;

	if (v->n_places == GATE_PLACES_MAX || (rule->key == RATE_USER && v->places_of_user))
		return 1;
	r = rates_enter(v->gate->shared->rates, rule, key, &v->places[v->n_places]);
	if (r < 0)
		return r == -EUSERS ? too_many(v, rule, ret) : r;
	v->n_places++;
	return 1;
}

/* For as long as the message lasts; several recipients of one domain take one place. 1, 0 or -errno. */
static int take_for_message(struct gate_visit *v, const struct concurrency_rule *rule, struct slice key, struct gate_answer *ret)
{
	struct gate_held *h;
	int r;

	for (h = v->held; h; h = h->next)
		if (h->rule == rule && slice_ieq_str(key, h->key))
			return 1;
	h = arena_new_type(v->mail_arena, struct gate_held);
	if (!h || !(h->key = arena_slice(v->mail_arena, key)))
		return -ENOMEM;
	r = rates_enter(v->gate->shared->rates, rule, key, &h->place);
	if (r < 0)
		return r == -EUSERS ? too_many(v, rule, ret) : r;
	h->rule = rule;
	h->next = v->held;
	v->held = h;
	return 1;
}

int gate_take_places(struct gate_visit *v, enum gate_stage stage, struct gate_answer *ret)
{
	const struct gate_checks *c = &v->gate->config->checks;
	char text[CIDR_TEXT];
	int r = 1;

	for (unsigned i = 0; i < c->n_concurrency && r > 0 && !v->look_only; i++) {
		const struct concurrency_rule *rule = &c->concurrency[i];
		struct slice key;

		if (stage_of_key(rule->key) != stage || (v->facts.trusted && !rule->trusted))
			continue;
		key = key_text(v, rule->key, text);
		if (key.len && (stage == GATE_CONNECT || rule->key == RATE_USER))
			r = take_for_session(v, rule, key, ret);
		else if (key.len)
			r = take_for_message(v, rule, key, ret);
	}
	v->places_of_user |= stage == GATE_MAIL && v->facts.user && r > 0;
	return r;
}

/* --- what the client is ------------------------------------------------------------------------------------- */

struct list_watcher {
	const struct gate_visit *visit;
	enum gate_stage stage;
};

static void found_list_in_trouble(void *context, const char *text)
{
	struct list_watcher *w = context;

	gate_found(w->visit, w->stage, "checks.lists", "%s", text);
}

int gate_check_lists(struct gate_visit *v, enum gate_stage stage, struct gate_answer *ret)
{
	const struct gate_checks *c = &v->gate->config->checks;
	const struct gate_list_hit *worst = NULL;
	bool reject;
	int r;

	if (!v->gate->lists)
		return 1;
	r = gate_gather(v, GATE_NEEDS_LISTS);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < v->facts.n_hits; i++) {
		const struct gate_list_hit *h = &v->facts.hits[i];
		char ip[IP_TEXT];

		gate_found(v, stage, "checks.lists", "%s: %s, weight %d%s%s", h->zone, ip_format(&h->answer, ip), h->weight, h->text ? ": " : "",
			   h->text ? h->text : "");
		if (h->weight > 0 && (!worst || h->weight > worst->weight))
			worst = h;
	}
	if (v->observer)
		lists_report(v->gate->lists, found_list_in_trouble, &(struct list_watcher) { v, stage });
	gate_found(v, stage, "checks.lists", "score %d%s", v->facts.score, gate_is_welcome(v) ? ", welcome" : "");
	reject = c->lists_reject && v->facts.score >= (int) c->lists_reject;
	if (!worst || !(reject || (c->lists_defer && v->facts.score >= (int) c->lists_defer)))
		return 1;
	return refuse(ret, reject ? REPLY_LISTED : REPLY_LISTED_FOR_NOW, "checks.lists", worst->zone,
		      worst->text ? worst->text : "ask there for the reason");
}

int gate_check_reverse(struct gate_visit *v, enum gate_stage stage, struct gate_answer *ret)
{
	const struct gate_checks *c = &v->gate->config->checks;
	const struct gate_facts *f = &v->facts;
	bool wrong;
	int r;

	if (c->reverse == GATE_REVERSE_ANY || c->reverse_action == GATE_POLICY_OFF)
		return 1;
	r = gate_gather(v, GATE_NEEDS_REVERSE);
	if (r < 0)
		return r;
	if (f->reverse == GATE_REVERSE_TEMPORARY) {
		gate_found(v, stage, "checks.reverse", "the DNS could not say now");
		return c->dns_failure_defers ? refuse(ret, REPLY_DNS_TROUBLE, "checks.reverse", "the name of your address", "") : 1;
	}
	wrong = f->reverse == GATE_REVERSE_NONE || (f->reverse == GATE_REVERSE_UNCONFIRMED && c->reverse == GATE_REVERSE_MATCHING);
	gate_found(v, stage, "checks.reverse", "%s%s", f->reverse_name ? f->reverse_name : "no name",
		   f->reverse == GATE_REVERSE_CONFIRMED ? ", confirmed" : f->reverse == GATE_REVERSE_UNCONFIRMED ? ", which does not lead back" : "");
	if (!wrong)
		return 1;
	return refuse(ret, c->reverse_action == GATE_POLICY_REJECT ? REPLY_NO_REVERSE : REPLY_NO_REVERSE_FOR_NOW, "checks.reverse",
		      f->reverse == GATE_REVERSE_NONE ? "has no reverse name"
						      : arena_printf(v->arena, "has the reverse name %s, which does not lead back to it", f->reverse_name),
		      "");
}

static const char *helo_advice(unsigned faults)
{
	return faults & GATE_HELO_SYNTAX	    ? "which is neither a domain name nor an address literal like [192.0.2.1]"
	       : faults & GATE_HELO_OWN_NAME	    ? "which is this server's own name; give yours"
	       : faults & GATE_HELO_WRONG_LITERAL   ? "which is not your address"
	       : faults & GATE_HELO_BARE_ADDRESS    ? "which is an address without brackets; give your host's name"
	       : faults & GATE_HELO_NOT_FQDN	    ? "which is not a full domain name; give your host's name with its domain"
						    : "which has neither address nor MX records in the DNS; give a name that exists";
}

int gate_check_helo(struct gate_visit *v, enum gate_stage stage, struct gate_answer *ret)
{
	const struct gate_checks *c = &v->gate->config->checks;
	unsigned faults;
	int r;

	if (!c->helo || !v->facts.helo)
		return 1;
	faults = v->facts.helo_faults;
	if (!(faults & c->helo) && (c->helo & GATE_HELO_UNRESOLVED)) {
		r = gate_gather(v, GATE_NEEDS_HELO);
		if (r < 0)
			return r;
		faults = v->facts.helo_faults;
	}
	gate_found(v, stage, "checks.helo", "%s%s%s", v->facts.helo, faults & c->helo ? ", " : "", faults & c->helo ? helo_advice(faults & c->helo) : "");
	if (!(faults & c->helo))
		return 1;
	return refuse(ret, REPLY_HELO_REFUSED, "checks.helo", helo_advice(faults & c->helo), "");
}

/* --- sender and recipient ------------------------------------------------------------------------------------- */

int gate_check_sender_domain(struct gate_visit *v, struct gate_answer *ret)
{
	static const char *const words[] = { "not asked for", "can be answered", "does not exist", "takes no mail (null MX)", "the DNS could not say now" };
	const struct gate_checks *c = &v->gate->config->checks;
	enum gate_domain state;
	const char *domain = v->facts.sender_domain ? v->facts.sender_domain : "";
	int r;

	if (c->sender_domain == GATE_SENDER_ANY || !domain[0])
		return 1;
	r = gate_gather(v, GATE_NEEDS_SENDER_DOMAIN);
	if (r < 0)
		return r;
	state = v->facts.sender_domain_state;
	gate_found(v, GATE_MAIL, "checks.sender_domain", "%s: %s", domain, words[state]);
	/* RFC 7505 section 4.2 */
	if (state == GATE_DOMAIN_NULL_MX)
		return refuse(ret, REPLY_NULL_MX_SENDER, "checks.sender_domain", domain, "");
	if (c->sender_domain < GATE_SENDER_EXISTS)
		return 1;
	if (state == GATE_DOMAIN_MISSING)
		return refuse(ret, REPLY_NO_SENDER_DOMAIN, "checks.sender_domain", domain, "");
	if (state == GATE_DOMAIN_TEMPORARY && c->dns_failure_defers)
		return refuse(ret, REPLY_DNS_TROUBLE, "checks.sender_domain", domain, "");
	return 1;
}

static int refuse_recipient(struct gate_visit *v, const struct verify_result *result, struct gate_answer *ret)
{
	const char *address = arena_slice(scratch(v), v->facts.recipient.text);

	if (!result->reply.code) /* our own mailboxes: the path is nobody's business */
		return refuse(ret, REPLY_NO_SUCH_USER, "checks.recipients", address, "");
	return refuse(ret, REPLY_NO_SUCH_MAILBOX, "checks.recipients", address, result->reply.text);
}

static const struct hop *hop_to_verify(struct gate_visit *v, struct ladder *ladder)
{
	bool local = route_locality(v->gate->shared->router, &v->facts.recipient) == LOCALITY_HERE;
	const struct route_facts facts = { .from = &v->facts.sender, .user = v->facts.user, .content_unknown = true };
	const struct hop *hop;

	if (route_find(v->gate->shared->router, &v->facts.recipient, &facts, scratch(v), ladder) < 0 || ladder->n_hops == 0)
		return NULL;
	hop = &ladder->hops[0];
	if (hop->kind == HOP_MAILDIR || hop->kind == HOP_LMTP)
		return local || v->gate->config->checks.recipients.scope == RECIPIENTS_ALL ? hop : NULL;
	return (hop->kind == HOP_HOST || hop->kind == HOP_RELAY) && v->gate->config->checks.recipients.scope == RECIPIENTS_ALL ? hop : NULL;
}

int gate_check_recipient(struct gate_visit *v, struct gate_answer *ret)
{
	static const char *const words[] = { "exists", "does not exist", "could not be asked for now", "can't be asked for" };
	const struct recipient_check_config *c = &v->gate->config->checks.recipients;
	const char *address = arena_slice(scratch(v), v->facts.recipient.text);
	struct verify_result result;
	struct ladder ladder = { 0 };
	const struct hop *hop;
	bool remembered;
	int r;

	if (c->scope == RECIPIENTS_UNCHECKED || !v->gate->shared->router || slice_ieq_str(v->facts.recipient.local, "postmaster"))
		return 1;
	if (!address)
		return -ENOMEM;
	hop = hop_to_verify(v, &ladder);
	if (!hop)
		return 1;
	r = recipient_verify(v->gate->shared->recipients, c, &v->gate->shared->verifier, hop, address, scratch(v), &result, &remembered);
	if (r < 0)
		return r;
	gate_found(v, GATE_RCPT, "checks.recipients", "%s %s%s%s%s", address, words[result.status], result.by ? ", by " : "", result.by ? result.by : "",
		   remembered ? " (remembered)" : "");
	if (result.status == VERIFY_MISSING)
		return refuse_recipient(v, &result, ret);
	if (result.status == VERIFY_TEMPORARY && c->defer)
		return refuse(ret, REPLY_RECIPIENT_UNVERIFIED, "checks.recipients", address, "");
	return 1;
}

static bool passes_spf(const struct gate_visit *v)
{
	return v->facts.spf && strcmp(v->facts.spf, "pass") == 0;
}

/* Is the sender's domain that one, or below it? */
static bool is_of_domain(const char *sender, const char *domain)
{
	size_t n = strlen(sender), m = strlen(domain);

	return n == m ? strcasecmp(sender, domain) == 0 : n > m && sender[n - m - 1] == '.' && strcasecmp(sender + n - m, domain) == 0;
}

bool gate_remember_signer(struct gate_visit *v, const char *domain)
{
	const struct greylist_config *c = &v->gate->config->checks.greylist;
	const struct gate_facts *f = &v->facts;

	/* Whom SPF proves, the greylist doesn't ask. */
	if (!c->enabled || v->look_only || !gate_is_stranger(v) || passes_spf(v) || !f->sender_domain || !f->sender_domain[0] ||
	    !is_of_domain(f->sender_domain, domain))
		return false;
	greylist_note_signer(v->gate->shared->greylist, c, &f->client, f->sender_domain);
	return true;
}

int gate_check_greylist(struct gate_visit *v, struct gate_answer *ret)
{
	static const char *const words[] = { "came again", "the network is known", "first visit", "came again too early",
					     "the network has sent signed mail of this domain", "the file could not be asked" };
	const struct greylist_config *c = &v->gate->config->checks.greylist;
	const struct gate_facts *f = &v->facts;
	enum greylist_answer answer;
	char text[32];
	usec_t wait = 0;
	int r;

	if (!c->enabled)
		return 1;
	/* Who proved who he is can be held responsible otherwise, and many large senders come from a new address each time. */
	if (!gate_is_welcome(v)) {
		r = gate_gather(v, GATE_NEEDS_SPF);
		if (r < 0)
			return r;
	}
	if (gate_is_welcome(v) || passes_spf(v)) {
		gate_found(v, GATE_RCPT, "checks.greylist", "skipped: %s", gate_is_welcome(v) ? "on a white list" : "SPF proves the sender");
		return 1;
	}
	r = greylist_ask(v->gate->shared->greylist, c, &f->client, f->sender.text, f->recipient.text, v->look_only, &answer, &wait);
	if (r < 0)
		return r;
	gate_found(v, GATE_RCPT, "checks.greylist", "%s", words[answer]);
	if (answer != GREYLIST_NEW && answer != GREYLIST_EARLY)
		return 1;
	duration_for_people(wait, text, sizeof(text));
	return refuse(ret, REPLY_GREYLISTED, "checks.greylist", arena_strdup(scratch(v), text), "");
}
