/* What do others do with mail that only pretends to come from the domain, and who is told (RFC 9989, RFC 9990)? */
#include "doctor/check.h"
#include "identity/dmarc.h"
#include "report/destination.h"

/* One address for reports, asked beside the others. */
struct reports_to {
	struct checking *checking;
	const char *policy_domain;
	const struct report_uri *uri;
	struct destinations agreed;
	struct mx_set mx;
	int agreement, result;
};

static void look(void *item)
{
	struct reports_to *t = item;
	struct doctor *d = t->checking->doctor;

	t->agreement = destinations_of_dmarc(d->resolver, t->policy_domain, slice_from(t->uri->text), "rua", d->deadline, d->arena,
					     &t->agreed);
	t->result = t->agreement == -EAGAIN ? 0 : t->agreement;
	if (t->result >= 0)
		t->result = dns_mx(d->resolver, t->uri->host, d->deadline, d->arena, &t->mx);
}

static void judge_destination(struct checking *c, const struct reports_to *t)
{
	const char *subject = t->uri->text;
	struct doctor_finding *f;

	if (t->agreement == -EAGAIN || t->mx.status == MX_TEMPORARY) {
		say(c, subject, DOCTOR_UNKNOWN, "whether reports can go there can't be told now: %s",
		    t->mx.status == MX_TEMPORARY ? t->mx.why : "the DNS could not say whether it agrees")
			->advice = "Ask again when the DNS answers.";
	} else if (t->mx.n_hosts == 0) {
		say(c, subject, DOCTOR_RED, "reports can't be brought there: %s", t->mx.why)->advice =
			"Name an address in rua= that takes mail.";
	} else if (t->agreed.n == 0) {
		f = say(c, subject, DOCTOR_RED, "%s has not agreed to have reports about this domain, so that nobody sends any", t->uri->host);
		f->advice = "Have this record published in the domain that is to get the reports, or name an address in your own.";
		f->publish = txt_line(c, text(c, "%s._report._dmarc.%s", t->policy_domain, t->uri->host), "v=DMARC1");
	} else {
		say(c, subject, DOCTOR_GREEN, "reports go there");
	}
}

static int judge_destinations(struct checking *c, const struct dmarc_result *dmarc)
{
	struct report_uri *uris = arena_new_array(c->doctor->arena, struct report_uri, REPORT_URIS_MAX);
	struct reports_to *all = arena_new_array(c->doctor->arena, struct reports_to, REPORT_URIS_MAX);
	unsigned n = 0;
	int r = uris && all ? report_uris_parse(c->doctor->arena, dmarc->record.rua, REPORT_MAILTO, uris, &n) : -ENOMEM;

	if (r < 0)
		return r;
	if (n == 0)
		say(c, c->doctor->in->domain, DOCTOR_RED, "rua= names nothing to which a report could go: %.*s", SLICE_ARG(dmarc->record.rua))
			->advice = "Write it as rua=mailto:reports@example.org.";
	for (unsigned i = 0; i < n; i++)
		all[i] = (struct reports_to) { .checking = c, .policy_domain = dmarc->policy_domain, .uri = &uris[i] };
	r = at_once(look, all, n, sizeof(*all));
	for (unsigned i = 0; i < n && r >= 0; i++) {
		r = all[i].result;
		if (r >= 0)
			judge_destination(c, &all[i]);
	}
	return r;
}

static void judge_policy(struct checking *c, const struct dmarc_result *dmarc)
{
	const char *domain = c->doctor->in->domain, *policy = dmarc_policy_text(dmarc->policy);

	if (dmarc->policy == DMARC_POLICY_NONE)
		say(c, domain, DOCTOR_YELLOW, "the policy of %s is none: forged mail is let in", dmarc->policy_domain)->advice =
			"Read the reports; when all mail of your own passes, go on to p=quarantine and p=reject.";
	else if (dmarc->testing)
		say(c, domain, DOCTOR_YELLOW, "the policy of %s is %s, but it is being tested (t=y): a milder one holds",
		    dmarc->policy_domain, policy)
			->advice = "Take t=y out of the record when all mail of your own passes.";
	else
		say(c, domain, DOCTOR_GREEN, "the policy of %s is %s", dmarc->policy_domain, policy);
}

/* There is no policy that anybody would apply. */
static int judge_none(struct checking *c, const struct one_record *one, const struct dmarc_result *dmarc)
{
	const char *domain = c->doctor->in->domain;
	struct doctor_finding *f;

	f = one->n > 1 ? say(c, domain, DOCTOR_RED, "there are %u DMARC records, which is the same as none", one->n)
		       : say(c, domain, DOCTOR_RED, "%s", dmarc->reason);
	f->advice = one->n > 1	  ? "Leave one of them."
		    : one->n == 1 ? "Give the record a policy: p=none, p=quarantine or p=reject."
				  : "Publish one; p=none changes nothing for your mail and brings reports.";
	if (one->n == 0)
		f->publish = txt_line(c, text(c, "_dmarc.%s", domain), text(c, "v=DMARC1; p=none; rua=mailto:postmaster@%s", domain));
	return 0;
}

/* Nobody is told: the same record, with rua. */
static int judge_silence(struct checking *c, const struct dmarc_result *dmarc)
{
	const char *name = text(c, "_dmarc.%s", dmarc->policy_domain);
	struct one_record one = { 0 };
	struct doctor_finding *f;
	struct slice record;
	int r = ask_txt(c, name, dmarc_record_is, &one);

	if (r < 0)
		return r;
	record = slice_trim(one.data);
	while (record.len && (record.data[record.len - 1] == ';' || record.data[record.len - 1] == ' '))
		record.len--;
	f = say(c, c->doctor->in->domain, DOCTOR_YELLOW, "the record asks for no reports (rua=): what goes wrong is seen by nobody");
	f->advice = "Let reports come; `yizhan dmarc` reads them.";
	if (one.n == 1)
		f->publish = txt_line(c, name, text(c, "%.*s; rua=mailto:postmaster@%s", SLICE_ARG(record), dmarc->policy_domain));
	return 0;
}

int check_dmarc(struct checking *c)
{
	struct doctor *d = c->doctor;
	struct dmarc_input in = { .domains = &d->in->domain, .n_domains = 1 };
	struct dmarc_result dmarc;
	struct one_record one = { 0 };
	int r = dmarc_check(d->resolver, &in, d->deadline, d->arena, &dmarc);

	if (r >= 0)
		r = ask_txt(c, text(c, "_dmarc.%s", d->in->domain), dmarc_record_is, &one);
	if (r < 0)
		return r;
	if (dmarc.word == DMARC_TEMPERROR) {
		say(c, d->in->domain, DOCTOR_UNKNOWN, "%s", dmarc.reason)->advice =
			"Ask again; if it stays so, look at the name servers of the domain.";
		return 0;
	}
	if (!*dmarc.policy_domain || one.n > 1)
		return judge_none(c, &one, &dmarc);
	judge_policy(c, &dmarc);
	return dmarc.record.rua.len ? judge_destinations(c, &dmarc) : judge_silence(c, &dmarc);
}
