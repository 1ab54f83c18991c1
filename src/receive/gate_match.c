#include "receive/gate_match.h"

#include <stdio.h>

#include "base/wildcard.h"
#include "route/match.h"

static const char *const stage_names[GATE_STAGES] = { "connect", "helo", "mail", "rcpt", "data" };
static const char *const listener_words[] = { "mx", "submission", "lmtp", NULL };
static const char *const reverse_words[] = { "unknown", "none", "unconfirmed", "confirmed", "temporary", NULL }; /* enum gate_reverse */
static const char *const domain_words[] = { "unknown", "ok", "missing", "null_mx", "temporary", NULL };         /* enum gate_domain */
const char *const gate_helo_fault_words[] = { "syntax", "not_fqdn", "own_name", "bare_address", "wrong_literal", "unresolved", NULL };
static const char *const result_words[] = { "none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror", NULL };

const char *gate_stage_name(enum gate_stage s)
{
	return stage_names[s];
}

/* --- does it hold? ---------------------------------------------------------------------------------- */

static bool client_holds(const struct gate_condition *c, const struct gate_facts *f)
{
	for (unsigned i = 0; i < c->n; i++)
		if (f->client.family && cidr_contains(&c->values[i].cidr, &f->client))
			return true;
	return false;
}

/* text NULL: there is none, which "none" asks for. */
static bool text_matches(const struct gate_condition *c, const char *text)
{
	for (unsigned i = 0; i < c->n; i++) {
		const char *pattern = c->values[i].text;

		if (text ? wildcard_match(slice_from(pattern), slice_from(text)) : strcmp(pattern, "none") == 0)
			return true;
	}
	return false;
}

static bool word_matches(const struct gate_condition *c, unsigned word)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->values[i].word == word)
			return true;
	return false;
}

static bool yes_matches(const struct gate_condition *c, bool yes)
{
	return c->n > 0 && c->values[c->n - 1].yes == yes;
}

static bool number_matches(const struct gate_condition *c, int64_t number)
{
	for (unsigned i = 0; i < c->n; i++) {
		const struct gate_value *v = &c->values[i];

		if (v->least <= v->most ? number >= v->least && number <= v->most : number >= v->least || number <= v->most)
			return true;
	}
	return false;
}

static bool address_matches(const struct gate_condition *c, const struct address *address, const char *domain)
{
	for (unsigned i = 0; i < c->n; i++)
		if (route_pattern_matches(c->values[i].text, address, domain ? domain : ""))
			return true;
	return false;
}

/* Nothing verified is "none"; a word that isn't known is nothing at all. */
static bool result_matches(const struct gate_condition *c, const char *result)
{
	for (unsigned i = 0; i < c->n; i++)
		if (strcmp(result_words[c->values[i].word], result ? result : "none") == 0)
			return true;
	return false;
}

static bool listener_holds(const struct gate_condition *c, const struct gate_facts *f)
{
	for (unsigned i = 0; i < c->n; i++)
		if (f->listener && strcmp(listener_words[c->values[i].word], f->listener) == 0)
			return true;
	return false;
}
static bool trusted_holds(const struct gate_condition *c, const struct gate_facts *f) { return yes_matches(c, f->trusted); }
static bool time_holds(const struct gate_condition *c, const struct gate_facts *f) { return f->minute >= 0 && number_matches(c, f->minute); }
static bool weekday_holds(const struct gate_condition *c, const struct gate_facts *f) { return f->weekday >= 0 && number_matches(c, f->weekday); }
static bool country_holds(const struct gate_condition *c, const struct gate_facts *f) { return text_matches(c, f->country); }
static bool reverse_holds(const struct gate_condition *c, const struct gate_facts *f)
{
	/* A name that anybody may give to his address proves nothing; and without an answer nothing is known. */
	if (f->reverse == GATE_REVERSE_UNKNOWN || f->reverse == GATE_REVERSE_TEMPORARY)
		return false;
	return text_matches(c, f->reverse == GATE_REVERSE_CONFIRMED ? f->reverse_name : NULL);
}
static bool claimed_holds(const struct gate_condition *c, const struct gate_facts *f)
{
	if (f->reverse == GATE_REVERSE_UNKNOWN || f->reverse == GATE_REVERSE_TEMPORARY)
		return false;
	return text_matches(c, f->reverse_name);
}
static bool reverse_state_holds(const struct gate_condition *c, const struct gate_facts *f) { return f->reverse && word_matches(c, f->reverse); }
static bool list_holds(const struct gate_condition *c, const struct gate_facts *f)
{
	for (unsigned i = 0; i < f->n_hits; i++)
		if (text_matches(c, f->hits[i].zone))
			return true;
	return f->n_hits == 0 && (f->known & GATE_NEEDS_LISTS) && text_matches(c, NULL);
}
static bool score_holds(const struct gate_condition *c, const struct gate_facts *f) { return (f->known & GATE_NEEDS_LISTS) && number_matches(c, f->score); }
static bool helo_holds(const struct gate_condition *c, const struct gate_facts *f) { return text_matches(c, f->helo); }
static bool helo_fault_holds(const struct gate_condition *c, const struct gate_facts *f)
{
	for (unsigned i = 0; i < c->n; i++)
		if (f->helo_faults & (1u << c->values[i].word))
			return true;
	return false;
}
static bool tls_holds(const struct gate_condition *c, const struct gate_facts *f) { return yes_matches(c, f->tls); }
static bool tls_version_holds(const struct gate_condition *c, const struct gate_facts *f) { return text_matches(c, f->tls_version); }
static bool tls_cipher_holds(const struct gate_condition *c, const struct gate_facts *f) { return text_matches(c, f->tls_cipher); }
static bool certificate_holds(const struct gate_condition *c, const struct gate_facts *f) { return text_matches(c, f->certificate); }
static bool verified_holds(const struct gate_condition *c, const struct gate_facts *f) { return yes_matches(c, f->certificate_verified); }
static bool user_holds(const struct gate_condition *c, const struct gate_facts *f) { return text_matches(c, f->user); }
static bool sender_holds(const struct gate_condition *c, const struct gate_facts *f) { return f->is_mail && address_matches(c, &f->sender, f->sender_domain); }
static bool sender_domain_holds(const struct gate_condition *c, const struct gate_facts *f) { return f->sender_domain_state && word_matches(c, f->sender_domain_state); }
static bool spf_holds(const struct gate_condition *c, const struct gate_facts *f) { return result_matches(c, f->spf); }
static bool dkim_holds(const struct gate_condition *c, const struct gate_facts *f) { return result_matches(c, f->dkim); }
static bool arc_holds(const struct gate_condition *c, const struct gate_facts *f) { return result_matches(c, f->arc); }
static bool dmarc_holds(const struct gate_condition *c, const struct gate_facts *f) { return result_matches(c, f->dmarc); }
static bool size_holds(const struct gate_condition *c, const struct gate_facts *f) { return f->size && number_matches(c, (int64_t) MIN(f->size, (uint64_t) INT64_MAX)); }
static bool recipient_holds(const struct gate_condition *c, const struct gate_facts *f) { return f->is_rcpt && address_matches(c, &f->recipient, f->recipient_domain); }
static bool recipients_holds(const struct gate_condition *c, const struct gate_facts *f) { return number_matches(c, f->recipients); }

const struct gate_key gate_keys[] = {
	{ "client", GATE_KIND_CIDR, GATE_CONNECT, GATE_CONNECT, 0, NULL, client_holds, "the client's address" },
	{ "listener", GATE_KIND_WORD, GATE_CONNECT, GATE_CONNECT, 0, listener_words, listener_holds, "the role of the port it came to" },
	{ "trusted", GATE_KIND_BOOL, GATE_CONNECT, GATE_CONNECT, 0, NULL, trusted_holds, "is it in `trusted`?" },
	{ "time", GATE_KIND_TIME, GATE_CONNECT, GATE_CONNECT, 0, NULL, time_holds, "the time of the day, local time" },
	{ "weekday", GATE_KIND_WEEKDAY, GATE_CONNECT, GATE_CONNECT, 0, NULL, weekday_holds, "the day of the week, local time" },
	{ "country", GATE_KIND_PATTERN, GATE_CONNECT, GATE_CONNECT, GATE_NEEDS_COUNTRY, NULL, country_holds, "two letters, by checks.country_file" },
	{ "reverse", GATE_KIND_PATTERN, GATE_CONNECT, GATE_CONNECT, GATE_NEEDS_REVERSE, NULL, reverse_holds, "the client's confirmed reverse name; none: it has none" },
	{ "reverse_claimed", GATE_KIND_PATTERN, GATE_CONNECT, GATE_CONNECT, GATE_NEEDS_REVERSE, NULL, claimed_holds, "its reverse name, confirmed or not" },
	{ "reverse_state", GATE_KIND_WORD, GATE_CONNECT, GATE_CONNECT, GATE_NEEDS_REVERSE, reverse_words, reverse_state_holds, "what became of looking it up" },
	{ "list", GATE_KIND_PATTERN, GATE_CONNECT, GATE_CONNECT, GATE_NEEDS_LISTS, NULL, list_holds, "a zone of checks.lists that has the client" },
	{ "score", GATE_KIND_RANGE, GATE_CONNECT, GATE_CONNECT, GATE_NEEDS_LISTS, NULL, score_holds, "the weights of those zones together" },
	{ "helo", GATE_KIND_PATTERN, GATE_HELO, GATE_HELO, 0, NULL, helo_holds, "the name in EHLO" },
	{ "helo_fault", GATE_KIND_WORD, GATE_HELO, GATE_HELO, GATE_NEEDS_HELO, gate_helo_fault_words, helo_fault_holds, "what is wrong with it" },
	{ "tls", GATE_KIND_BOOL, GATE_MAIL, GATE_HELO, 0, NULL, tls_holds, "is the session encrypted?" },
	{ "tls_version", GATE_KIND_PATTERN, GATE_MAIL, GATE_HELO, 0, NULL, tls_version_holds, "like TLSv1.3" },
	{ "tls_cipher", GATE_KIND_PATTERN, GATE_MAIL, GATE_HELO, 0, NULL, tls_cipher_holds, "the cipher's name" },
	{ "certificate", GATE_KIND_PATTERN, GATE_MAIL, GATE_HELO, 0, NULL, certificate_holds, "the subject of the client's certificate" },
	{ "certificate_verified", GATE_KIND_BOOL, GATE_MAIL, GATE_HELO, 0, NULL, verified_holds, "does it hold, by tls.client_ca?" },
	{ "user", GATE_KIND_PATTERN, GATE_MAIL, GATE_MAIL, 0, NULL, user_holds, "who logged in; none: nobody" },
	{ "sender", GATE_KIND_ADDRESS, GATE_MAIL, GATE_MAIL, 0, NULL, sender_holds, "the envelope's sender" },
	{ "sender_domain_state", GATE_KIND_WORD, GATE_MAIL, GATE_MAIL, GATE_NEEDS_SENDER_DOMAIN, domain_words, sender_domain_holds, "could its domain be answered to?" },
	{ "spf", GATE_KIND_WORD, GATE_MAIL, GATE_MAIL, GATE_NEEDS_SPF, result_words, spf_holds, "the result of SPF" },
	{ "recipient", GATE_KIND_ADDRESS, GATE_RCPT, GATE_RCPT, 0, NULL, recipient_holds, "the envelope's recipient" },
	{ "recipients", GATE_KIND_RANGE, GATE_RCPT, GATE_RCPT, 0, NULL, recipients_holds, "how many were accepted before" },
	{ "size", GATE_KIND_RANGE, GATE_DATA, GATE_MAIL, 0, NULL, size_holds, "octets; before the end of the content those that MAIL announced" },
	{ "dkim", GATE_KIND_WORD, GATE_DATA, GATE_DATA, 0, result_words, dkim_holds, "the result of DKIM" },
	{ "arc", GATE_KIND_WORD, GATE_DATA, GATE_DATA, 0, result_words, arc_holds, "the result of ARC" },
	{ "dmarc", GATE_KIND_WORD, GATE_DATA, GATE_DATA, 0, result_words, dmarc_holds, "the result of DMARC" },
};
const size_t gate_n_keys = ARRAY_LEN(gate_keys);

const struct gate_key *gate_key_find(struct slice name)
{
	for (size_t i = 0; i < gate_n_keys; i++)
		if (slice_eq_str(name, gate_keys[i].name))
			return &gate_keys[i];
	return NULL;
}

bool gate_condition_holds(const struct gate_condition *c, const struct gate_facts *f)
{
	return c->key->holds(c, f);
}

/* --- how it is written --------------------------------------------------------------------------------- */

/* A number, with a unit of bytes where one stands: 10M. */
static int number_parse(struct slice text, int64_t *ret)
{
	static const char units[] = "KMGT";
	bool minus = text.len > 1 && text.data[0] == '-';
	const char *unit;
	unsigned shift = 0;
	uint64_t n;

	text = slice_skip(text, minus);
	if (text.len > 1 && text.data[text.len - 1] != '\0' && (unit = strchr(units, text.data[text.len - 1] & ~0x20))) {
		shift = 10 * (unsigned) (unit - units + 1);
		text.len--;
	}
	if (slice_to_u64(text, &n) < 0 || n > (uint64_t) INT64_MAX >> shift)
		return -EINVAL;
	*ret = minus ? -(int64_t) (n << shift) : (int64_t) (n << shift);
	return 0;
}

/* The comparison in front: how much of the number itself belongs to it. */
static int range_parse(struct slice text, struct gate_value *v)
{
	const char *dots = text.len > 2 ? memmem(text.data + 1, text.len - 1, "..", 2) : NULL;
	bool less = text.len && text.data[0] == '<', more = text.len && text.data[0] == '>';
	bool equal = (less || more) && text.len > 1 && text.data[1] == '=';
	int64_t n;

	if (dots) {
		if (number_parse(slice_head(text, (size_t) (dots - text.data)), &v->least) < 0 ||
		    number_parse(slice_skip(text, (size_t) (dots - text.data) + 2), &v->most) < 0 || v->least > v->most)
			return -EINVAL;
		return 0;
	}
	if (number_parse(slice_trim(slice_skip(text, (size_t) (less || more) + equal)), &n) < 0)
		return -EINVAL;
	if ((more && !equal && n == INT64_MAX) || (less && !equal && n == INT64_MIN))
		return -EINVAL;
	v->least = less ? INT64_MIN : n + (more && !equal);
	v->most = more ? INT64_MAX : n - (less && !equal);
	return 0;
}

static int clock_parse(struct slice text, int64_t *ret)
{
	struct slice minutes;
	struct slice hours = slice_cut(text, ':', &minutes);
	uint64_t h, m;

	if (!hours.len || hours.len > 2 || minutes.len != 2 || slice_to_u64(hours, &h) < 0 || slice_to_u64(minutes, &m) < 0 ||
	    h > 24 || m > 59 || (h == 24 && m))
		return -EINVAL;
	*ret = (int64_t) (60 * h + m);
	return 0;
}

/* The end is not included: "08:00-18:00" ends at 17:59. */
static int time_parse(struct slice text, struct gate_value *v)
{
	struct slice to;
	struct slice from = slice_cut(text, '-', &to);

	if (clock_parse(slice_trim(from), &v->least) < 0 || clock_parse(slice_trim(to), &v->most) < 0 || v->least == v->most ||
	    v->least == 24 * 60)
		return -EINVAL;
	v->most = v->most ? v->most - 1 : 24 * 60 - 1;
	return 0;
}

static int day_parse(struct slice text, int64_t *ret)
{
	static const char *const days[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };

	for (unsigned i = 0; i < ARRAY_LEN(days); i++)
		if (slice_ieq_str(text, days[i]) || slice_ieq(text, slice_new(days[i], 3))) {
			*ret = i;
			return 0;
		}
	return -EINVAL;
}

static int weekday_parse(struct slice text, struct gate_value *v)
{
	struct slice to;
	struct slice from = slice_cut(text, '-', &to);

	if (day_parse(slice_trim(from), &v->least) < 0)
		return -EINVAL;
	v->most = v->least;
	return to.data ? day_parse(slice_trim(to), &v->most) : 0;
}

static int word_parse(const struct gate_key *key, struct slice text, struct gate_value *v)
{
	for (unsigned i = 0; key->words[i]; i++)
		if (slice_ieq_str(text, key->words[i])) {
			v->word = i;
			return 0;
		}
	return -EINVAL;
}

static int bool_parse(struct slice text, struct gate_value *v)
{
	static const char *const words[] = { "false", "true", "no", "yes", "off", "on" };

	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		if (slice_ieq_str(text, words[i])) {
			v->yes = i & 1;
			return 0;
		}
	return -EINVAL;
}

int gate_value_parse(const struct gate_key *key, struct slice text, struct gate_value *v)
{
	switch (key->kind) {
	case GATE_KIND_CIDR:
		return cidr_parse(text, &v->cidr) < 0 ? -EINVAL : 0;
	case GATE_KIND_WORD:
		return word_parse(key, text, v);
	case GATE_KIND_BOOL:
		return bool_parse(text, v);
	case GATE_KIND_RANGE:
		return range_parse(slice_trim(text), v);
	case GATE_KIND_TIME:
		return time_parse(text, v);
	case GATE_KIND_WEEKDAY:
		return weekday_parse(text, v);
	case GATE_KIND_PATTERN:
		return text.len ? 0 : -EINVAL;
	case GATE_KIND_ADDRESS:
		return 0;
	}
	return -EINVAL;
}

/* --- for people ------------------------------------------------------------------------------------------- */

const char *gate_kind_describe(const struct gate_key *key, char *out, size_t size)
{
	static const char *const texts[] = {
		[GATE_KIND_CIDR] = "an address or network like 192.0.2.0/24",
		[GATE_KIND_PATTERN] = "a pattern like \"*.example.org\", or none",
		[GATE_KIND_ADDRESS] = "a pattern like \"example.org\" or \"news@*\"",
		[GATE_KIND_BOOL] = "true or false",
		[GATE_KIND_RANGE] = "a number like 5, >=5, <10M or 3..7",
		[GATE_KIND_TIME] = "a time like 08:00-18:00 or 22:00-06:00",
		[GATE_KIND_WEEKDAY] = "a day like Mon, or days like Mon-Fri",
	};
	int used;

	if (key->kind != GATE_KIND_WORD) {
		snprintf(out, size, "%s", texts[key->kind]);
		return out;
	}
	used = snprintf(out, size, "one of");
	for (unsigned i = 0; key->words[i] && (size_t) used < size; i++)
		used += snprintf(out + used, size - (size_t) used, "%s %s", i ? "," : "", key->words[i]);
	return out;
}

const char *gate_condition_describe(const struct gate_condition *c, char *out, size_t size)
{
	int used = snprintf(out, size, "%s", c->key->name);

	for (unsigned i = 0; i < c->n && (size_t) used < size; i++)
		used += snprintf(out + used, size - (size_t) used, "%s %s", i ? "," : c->key->kind == GATE_KIND_RANGE ? "" : " in",
				 c->values[i].text[0] ? c->values[i].text : "<>");
	return out;
}

static const char *hits_describe(const struct gate_facts *f, char *out, size_t size)
{
	int used = 0;

	snprintf(out, size, "none");
	for (unsigned i = 0; i < f->n_hits && (size_t) used < size; i++)
		used += snprintf(out + used, size - (size_t) used, "%s%s", i ? ", " : "", f->hits[i].zone);
	return out;
}

static const char *faults_describe(unsigned faults, char *out, size_t size)
{
	int used = 0;

	snprintf(out, size, "none");
	for (unsigned i = 0; gate_helo_fault_words[i] && (size_t) used < size; i++)
		if (faults & (1u << i))
			used += snprintf(out + used, size - (size_t) used, "%s%s", used ? ", " : "", gate_helo_fault_words[i]);
	return out;
}

/* The fact behind a key as text; NULL: there is none. scratch holds what must be made. */
static const char *fact_text(const struct gate_key *key, const struct gate_facts *f, char *scratch, size_t size)
{
	const struct gate_key *const k = key;

#define IS(fn) (k->holds == fn)
	if (IS(client_holds)) {
		char ip[IP_TEXT];

		snprintf(scratch, size, "%s", f->client.family ? ip_format(&f->client, ip) : "a unix socket");
		return scratch;
	}
	if (IS(sender_holds) || IS(recipient_holds)) {
		struct slice text = IS(sender_holds) ? f->sender.text : f->recipient.text;

		snprintf(scratch, size, "<%.*s>", SLICE_ARG(text));
		return (IS(sender_holds) ? f->is_mail : f->is_rcpt) ? scratch : NULL;
	}
	if (IS(list_holds))
		return hits_describe(f, scratch, size);
	if (IS(helo_fault_holds))
		return faults_describe(f->helo_faults, scratch, size);
	if (k->kind == GATE_KIND_BOOL)
		return (IS(trusted_holds) ? f->trusted : IS(tls_holds) ? f->tls : f->certificate_verified) ? "true" : "false";
	if (IS(time_holds)) {
		snprintf(scratch, size, "%02d:%02d", f->minute / 60, f->minute % 60);
		return f->minute >= 0 ? scratch : NULL;
	}
	if (IS(weekday_holds)) {
		static const char days[] = "SunMonTueWedThuFriSat";

		snprintf(scratch, size, "%.3s", days + 3 * MAX(f->weekday, 0));
		return f->weekday >= 0 ? scratch : NULL;
	}
	if (k->kind == GATE_KIND_RANGE) {
		snprintf(scratch, size, "%lld", (long long) (IS(score_holds) ? f->score : IS(size_holds) ? (int64_t) f->size : f->recipients));
		return IS(size_holds) && !f->size ? NULL : scratch;
	}
	return IS(listener_holds)	? f->listener
	       : IS(country_holds)	? f->country
	       : IS(reverse_holds)	? (f->reverse == GATE_REVERSE_CONFIRMED ? f->reverse_name : NULL)
	       : IS(claimed_holds)	? f->reverse_name
	       : IS(reverse_state_holds) ? reverse_words[f->reverse]
	       : IS(helo_holds)		? f->helo
	       : IS(tls_version_holds)	? f->tls_version
	       : IS(tls_cipher_holds)	? f->tls_cipher
	       : IS(certificate_holds)	? f->certificate
	       : IS(user_holds)		? f->user
	       : IS(sender_domain_holds) ? domain_words[f->sender_domain_state]
	       : IS(spf_holds)		? f->spf
	       : IS(dkim_holds)		? f->dkim
	       : IS(arc_holds)		? f->arc
					: f->dmarc;
#undef IS
}

const char *gate_fact_describe(const struct gate_key *key, const struct gate_facts *f, char *out, size_t size)
{
	char scratch[256], shown[300];
	const char *text = fact_text(key, f, scratch, sizeof(scratch));

	snprintf(out, size, "%s is %s", key->name, text ? slice_escape(slice_from(text), shown, sizeof(shown)) : "none");
	return out;
}
