#include "deliver/protection.h"

#include "base/buffer.h"

#define POLICY_TEXT_MAX 4000u /* of records in a report */

/* --- before ------------------------------------------------------------------------------------------------------ */

void protection_refusal(const struct host_policy *p, struct arena *a, struct outcome *ret)
{
	switch (p->refusal) {
	case REFUSED_INSECURE: /* RFC 8689 section 4.2.1 */
		failure_local(ret, STAGE_DNS, CLASS_POLICY, 550, 7, 10, p->why);
		break;
	case REFUSED_NO_DANE: /* RFC 7672 section 2.2: delayed */
	case REFUSED_STS:     /* RFC 8461 section 5: the policy may be another one next time */
		failure_local(ret, STAGE_DNS, CLASS_TLS, 451, 7, 5, p->why);
		break;
	case REFUSED_DNS:
	case REFUSED_NOT:
		failure_local(ret, STAGE_DNS, CLASS_UNREACHABLE, 451, 4, 3, p->why);
		break;
	}
	ret->host = p->host;
	ret->tls_wanted = p->wanted;
}

static int expect_records(const struct dane *dane, struct arena *a, struct tls_expected *e)
{
	struct tls_tlsa *records = arena_new_array(a, struct tls_tlsa, MAX(dane->n_records, 1u));

	if (!records)
		return -ENOMEM;
	for (unsigned i = 0; i < dane->n_records; i++) {
		const struct tlsa_record *r = &dane->records[i];

		records[i] = (struct tls_tlsa) { r->usage, r->selector, r->matching, r->data };
	}
	e->records = records;
	e->n_records = dane->n_records;
	return 0;
}

int protection_expect(const struct smtp_peer *peer, const char *address, struct arena *a, struct tls_expected *ret)
{
	const struct host_policy *p = peer->policy;
	struct tls_expected e = { .name = peer->host ? peer->host : address };
	int r = 0;

	if (peer->tls == TLS_VERIFY) {
		e.verify = TLS_VERIFY_NAME;
	} else if (peer->tls == TLS_DANE && p) {
		e.verify = TLS_VERIFY_DANE;
		e.name = p->dane.base;
		e.names = p->references;
		e.n_names = p->n_references;
		r = expect_records(&p->dane, a, &e);
	}
	if (r >= 0)
		*ret = e;
	return r;
}

/* --- afterwards --------------------------------------------------------------------------------------------------- */

static const char *describe_reached(struct smtp_client *c, const struct tls_info *info)
{
	if (info->dane)
		return arena_printf(c->arena, "dane (usage %u)", info->dane_usage);
	if (info->verified)
		return "verified";
	return arena_printf(c->arena, "unverified (%s)", info->peer_certificate ? info->verify_error : "no certificate");
}

int protection_reached(struct smtp_client *c, const struct tls_info *info, const char **ret_why)
{
	const struct host_policy *p = c->peer.policy;

	c->encrypted = true;
	c->verified = info->verified;
	c->dane = info->dane;
	c->remote.tls = arena_printf(c->arena, "%s %s", info->version, info->cipher);
	c->remote.tls_reached = describe_reached(c, info);
	if (!c->remote.tls || !c->remote.tls_reached)
		return -ENOMEM;
	if (info->dane && p) {
		c->dane_base = arena_strdup(c->arena, p->dane.base);
		c->dane_name = arena_strdup(c->arena, info->matched_name);
		return c->dane_base && c->dane_name ? 0 : -ENOMEM;
	}
	/* Records that seemed good, and of which OpenSSL could use none. */
	if (c->peer.tls != TLS_DANE || !p || p->without == TLS_REQUIRED || (p->without == TLS_VERIFY && info->verified))
		return 0;
	*ret_why = "none of the TLSA records can be used, and encryption alone is not enough here";
	return -EKEYREJECTED;
}

/* A wildcard of a certificate was matched by one name only; nothing is known of others. */
static bool is_proved_for(const struct smtp_client *c, const struct host_policy *p)
{
	if (!c->dane || !c->dane_base || strcmp(c->dane_base, p->dane.base) != 0)
		return false;
	if (c->dane_name[0] == '\0' || strcmp(c->dane_name, p->dane.base) == 0) /* the key itself, or the host's own name */
		return true;
	for (unsigned i = 0; i < p->n_references; i++)
		if (strcmp(c->dane_name, p->references[i]) == 0)
			return true;
	return false;
}

bool protection_holds(const struct smtp_client *c, const struct host_policy *p)
{
	if (p->refusal != REFUSED_NOT)
		return false;
	switch (p->tls) {
	case TLS_NONE:
	case TLS_MAY:
		return true;
	case TLS_REQUIRED:
		return c->encrypted;
	case TLS_VERIFY:
		return c->encrypted && c->verified;
	case TLS_DANE:
		return c->encrypted && is_proved_for(c, p);
	}
	return false;
}

/* --- reports --------------------------------------------------------------------------------------------------------- */

/* RFC 8460 section 4.5: the records as they stand in a zone. */
static const char *records_text(const struct dane *dane, struct buffer *out)
{
	char text[TLSA_TEXT];

	for (unsigned i = 0; i < dane->n_records && out->len < POLICY_TEXT_MAX; i++)
		buffer_printf(out, "%s%s", i ? "\n" : "", tlsa_format(&dane->records[i], text));
	return buffer_error(out) < 0 || out->len == 0 ? NULL : out->data;
}

/* What the administrator has arranged, and what the sender did not want to be held against the receiver, is nobody else's
 * business. */
static bool is_reported(const struct deliverer *d, const struct host_policy *p)
{
	return d->tls_sink.note && p && p->domain->by_mx && p->wish != WISH_OPTIONAL && p->tls != TLS_NONE;
}

static void fill_sts(const struct sts_answer *sts, struct buffer *patterns, struct tls_note *note)
{
	note->policy = TLS_REPORT_STS;
	if (!sts->found)
		return;
	for (unsigned i = 0; i < sts->policy.n_patterns; i++)
		buffer_printf(patterns, "%s%s", i ? "\n" : "", sts->policy.patterns[i]);
	note->policy_strings = sts->text;
	note->mx_patterns = buffer_error(patterns) < 0 ? NULL : patterns->data;
}

void protection_note(const struct deliverer *d, const struct host_policy *p, const struct remote *remote, const char *helo,
		     enum tls_report_result result, const char *reason)
{
	_cleanup_buffer_ struct buffer text = { 0 };
	struct tls_note note = { .result = result, .reason = reason, .helo = helo };

	if (!is_reported(d, p))
		return;
	note.domain = p->domain->domain;
	note.mx = p->host;
	note.remote = remote->ip;
	note.local = remote->local;
	note.time = world_wall(d->world);
	if (p->dane.status != DANE_NONE || result == TLS_REPORT_DANE_REQUIRED) {
		note.policy = TLS_REPORT_TLSA;
		note.domain = p->dane.base ? p->dane.base : p->domain->domain;
		note.recipient_domain = p->domain->domain;
		note.policy_strings = records_text(&p->dane, &text);
	} else if (p->domain->sts.found) {
		fill_sts(&p->domain->sts, &text, &note);
	}
	tls_sink_note(&d->tls_sink, &note);
}

void protection_note_domain(const struct deliverer *d, const struct host_policy *p)
{
	static const enum tls_report_result results[] = {
		[STS_UNREACHABLE] = TLS_REPORT_STS_POLICY_FETCH_ERROR,
		[STS_BAD_CERTIFICATE] = TLS_REPORT_STS_WEBPKI_INVALID,
		[STS_INVALID] = TLS_REPORT_STS_POLICY_INVALID,
	};
	const struct sts_answer *sts = &p->domain->sts;
	_cleanup_buffer_ struct buffer patterns = { 0 };
	struct tls_note note = { .domain = p->domain->domain, .reason = sts->why, .time = world_wall(d->world) };

	if (!is_reported(d, p) || sts->trouble == STS_FETCHED)
		return;
	note.result = results[sts->trouble];
	fill_sts(sts, &patterns, &note);
	tls_sink_note(&d->tls_sink, &note);
}

static enum tls_report_result result_of(enum tls_rejection rejection)
{
	switch (rejection) {
	case TLS_REJECTED_NAME:
		return TLS_REPORT_CERTIFICATE_HOST_MISMATCH;
	case TLS_REJECTED_EXPIRED:
		return TLS_REPORT_CERTIFICATE_EXPIRED;
	case TLS_REJECTED_UNTRUSTED:
		return TLS_REPORT_CERTIFICATE_NOT_TRUSTED;
	case TLS_REJECTED_TLSA:
		return TLS_REPORT_TLSA_INVALID;
	case TLS_REJECTED_NOT:
	case TLS_REJECTED_OTHER:
		break;
	}
	return TLS_REPORT_VALIDATION_FAILURE;
}

void protection_note_failure(const struct smtp_client *c, int error, const struct tls_failure *failure)
{
	if (error == -EPROTO || error == -EKEYREJECTED)
		protection_note(c->deliverer, c->peer.policy, &c->remote, c->greeting, result_of(failure->rejection), failure->why);
}

/* RFC 8461 section 5: in testing mode it is told what would have failed. */
static enum tls_report_result test_sts(const struct host_policy *p, const struct tls_info *info, const char **ret_reason)
{
	if (!sts_policy_names(&p->domain->sts.policy, p->host)) {
		*ret_reason = "the policy does not name this MX host";
		return TLS_REPORT_VALIDATION_FAILURE;
	}
	if (info->verified)
		return TLS_REPORT_SUCCESS;
	*ret_reason = info->verify_error;
	return result_of(info->rejection);
}

void protection_note_success(const struct smtp_client *c, const struct tls_info *info)
{
	const struct host_policy *p = c->peer.policy;
	enum tls_report_result result = TLS_REPORT_SUCCESS;
	const char *reason = NULL;

	if (p && p->host && p->dane.status == DANE_NONE && p->domain->sts.found)
		result = test_sts(p, info, &reason);
	protection_note(c->deliverer, p, &c->remote, c->greeting, result, reason);
}

void protection_note_refusal(const struct deliverer *d, const struct host_policy *p)
{
	const struct remote remote = { .host = p->host };

	if (p->refusal == REFUSED_NO_DANE)
		protection_note(d, p, &remote, NULL, TLS_REPORT_DANE_REQUIRED, p->why);
	else if (p->refusal == REFUSED_STS)
		protection_note(d, p, &remote, NULL, TLS_REPORT_VALIDATION_FAILURE, "the policy does not name this MX host");
	else if (p->dane.status == DANE_ERROR)
		protection_note(d, p, &remote, NULL, TLS_REPORT_DNSSEC_INVALID, p->why);
}
