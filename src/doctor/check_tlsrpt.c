/* Do senders know whom to tell when TLS fails (RFC 8460)? */
#include "doctor/check.h"
#include "report/tlsrpt_record.h"
#include "report/uri.h"

struct reports_to {
	struct checking *checking;
	const struct report_uri *uri;
	bool there, temporary;
	const char *why;
	int result;
};

static void look(void *item)
{
	struct reports_to *t = item;
	struct doctor *d = t->checking->doctor;

	if (t->uri->scheme == REPORT_MAILTO) {
		struct mx_set mx = { .status = MX_TEMPORARY };

		t->result = dns_mx(d->resolver, t->uri->host, d->deadline, d->arena, &mx);
		t->there = mx.n_hosts > 0;
		t->temporary = mx.status == MX_TEMPORARY;
		t->why = mx.why;
	} else {
		struct dns_address_list list = { .temporary = true };

		t->result = dns_addresses(d->resolver, t->uri->host, DNS_IPV4_AND_IPV6, d->deadline, d->arena, &list);
		t->there = list.n_ips > 0;
		t->temporary = list.temporary;
		t->why = list.why;
	}
}

static void judge(struct checking *c, const struct reports_to *t)
{
	if (t->there)
		say(c, t->uri->text, DOCTOR_GREEN, "reports go there");
	else if (t->temporary)
		say(c, t->uri->text, DOCTOR_UNKNOWN, "whether reports can go there can't be told now: %s", t->why)->advice =
			"Ask again when the DNS answers.";
	else
		say(c, t->uri->text, DOCTOR_RED, "reports can't be brought there: %s", t->why)->advice =
			"Name an address in rua= that takes mail, or a web server that exists.";
}

static int judge_destinations(struct checking *c, struct slice rua)
{
	struct report_uri *uris = arena_new_array(c->doctor->arena, struct report_uri, REPORT_URIS_MAX);
	struct reports_to *all = arena_new_array(c->doctor->arena, struct reports_to, REPORT_URIS_MAX);
	unsigned n = 0;
	int r = uris && all ? report_uris_parse(c->doctor->arena, rua, REPORT_MAILTO | REPORT_HTTPS, uris, &n) : -ENOMEM;

	if (r < 0)
		return r;
	if (n == 0)
		say(c, c->doctor->in->domain, DOCTOR_RED, "rua= names nothing to which a report could go: %.*s", SLICE_ARG(rua))->advice =
			"Write it as rua=mailto:reports@example.org.";
	for (unsigned i = 0; i < n; i++)
		all[i] = (struct reports_to) { .checking = c, .uri = &uris[i] };
	r = at_once(look, all, n, sizeof(*all));
	for (unsigned i = 0; i < n && r >= 0; i++) {
		r = all[i].result;
		if (r >= 0)
			judge(c, &all[i]);
	}
	return r;
}

int check_tlsrpt(struct checking *c)
{
	const char *domain = c->doctor->in->domain, *name = text(c, "_smtp._tls.%s", domain);
	struct doctor_finding *f;
	struct one_record one;
	struct slice rua;
	int r = ask_txt(c, name, tlsrpt_record_is, &one);

	if (r < 0)
		return r;
	if (DNS_STATUS_TEMPORARY(one.status)) {
		say(c, domain, DOCTOR_UNKNOWN, "the record can't be had now: %s", one.why)->advice =
			"Ask again; if it stays so, look at the name servers of the domain.";
		return 0;
	}
	if (one.n == 1 && tlsrpt_record_parse(one.data, &rua) >= 0)
		return judge_destinations(c, rua);
	if (one.n > 1)
		f = say(c, domain, DOCTOR_RED, "there are %u TLSRPT records, which is the same as none", one.n);
	else if (one.n == 1)
		f = say(c, domain, DOCTOR_RED, "the TLSRPT record is broken, or has no rua=");
	else
		f = say(c, domain, DOCTOR_YELLOW, "there is no TLSRPT record: when TLS fails for senders, nobody is told");
	f->advice = one.n ? "Leave one record, of this form." : "Let reports come; `yizhan tlsrpt` reads them.";
	f->publish = txt_line(c, name, text(c, "v=TLSRPTv1; rua=mailto:postmaster@%s", domain));
	return 0;
}
