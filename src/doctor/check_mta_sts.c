/* Does the domain tell senders that its mail hosts have TLS (RFC 8461)? The record, the policy as a sender would fetch it, and
 * whether the policy names the exchangers that there are. */
#include "doctor/check.h"

#define LATE (100 * USEC_MS)  /* so close to the deadline it was we who gave up */
#define AGE_SHORT 86400u /* seconds: RFC 8461 section 3.2 has weeks in mind */

struct policy_fetch {
	struct sts_fetch fetch;
	sts_fetcher fetcher;
	enum sts_trouble trouble;
};

static bool is_like_sts(struct slice s)
{
	char id[STS_ID_MAX + 1];

	return sts_record_parse(s, id) != 0;
}

/* "v=STSv1; id=20261125184500" */
static const char *new_record(struct checking *c)
{
	struct civil t;

	wall_to_civil(world_wall(c->doctor->world), &t);
	return txt_line(c, text(c, "_mta-sts.%s", c->doctor->in->domain),
			text(c, "v=STSv1; id=%04d%02d%02d%02d%02d%02d", t.year, t.month, t.day, t.hour, t.minute, t.second));
}

/* Where the policy is to be had, and its text as comments of a master file. */
static const char *policy_comment(struct checking *c, const struct mx_set *mx, const char *mode)
{
	const char *s = text(c, "; and this text at https://mta-sts.%s/.well-known/mta-sts.txt (text/plain):\n;\tversion: STSv1\n;\tmode: %s\n",
			     c->doctor->in->domain, mode);

	for (unsigned i = 0; i < mx->n_hosts && s; i++)
		s = text(c, "%s;\tmx: %s\n", s, mx->hosts[i].name);
	return s ? text(c, "%s;\tmax_age: 604800\n", s) : "";
}

/* All that is needed for one: the record, an address for the policy host where it has none, the policy. */
static int whole_policy(struct checking *c, const struct mx_set *mx, const char **ret)
{
	const char *host = text(c, "mta-sts.%s", c->doctor->in->domain), *record = new_record(c), *addresses = NULL;
	struct dns_address_list list;
	int r = host && record ? dns_addresses(c->doctor->resolver, host, DNS_IPV4_AND_IPV6, c->doctor->deadline, c->doctor->arena, &list)
			       : -ENOMEM;

	if (r < 0)
		return r;
	if (list.n_ips == 0 && !list.temporary)
		addresses = own_address_lines(c, host);
	*ret = text(c, "%s%s%s", record, addresses ? addresses : "", policy_comment(c, mx, "testing"));
	return 0;
}

static int judge_missing(struct checking *c, const struct one_record *one, const struct mx_set *mx)
{
	const char *domain = c->doctor->in->domain;
	struct doctor_finding *f;

	if (DNS_STATUS_TEMPORARY(one->status)) {
		say(c, domain, DOCTOR_UNKNOWN, "the record can't be had now: %s", one->why)->advice =
			"Ask again; if it stays so, look at the name servers of the domain.";
		return 0;
	}
	if (mx->n_hosts == 0) {
		say(c, domain, DOCTOR_SKIPPED, "no exchanger of the domain is known for which a policy could speak");
		return 0;
	}
	f = say(c, domain, DOCTOR_YELLOW, "there is no MTA-STS record: who stands in between can make senders do without TLS");
	f->advice = "Publish a policy by HTTPS, then the record; begin with mode: testing.";
	return whole_policy(c, mx, &f->publish);
}

/* The policy is there and well-formed. */
static void judge_policy(struct checking *c, const struct sts_policy *p, const struct mx_set *mx)
{
	const char *domain = c->doctor->in->domain;
	unsigned missing = 0;

	for (unsigned i = 0; i < mx->n_hosts; i++) {
		struct doctor_finding *f;

		if (sts_policy_names(p, mx->hosts[i].name) || p->mode == STS_NONE)
			continue;
		missing++;
		f = say(c, mx->hosts[i].name, p->mode == STS_ENFORCE ? DOCTOR_RED : DOCTOR_YELLOW,
			"the policy doesn't name this exchanger%s", p->mode == STS_ENFORCE ? ": senders won't bring mail to it" : "");
		f->advice = text(c, "Add the line \"mx: %s\" to the policy, and give the record a new id.", mx->hosts[i].name);
		f->publish = new_record(c);
	}
	if (p->mode != STS_ENFORCE)
		say(c, domain, DOCTOR_YELLOW, "there is a policy, but its mode is %s: it protects nothing", sts_mode_name(p->mode))->advice =
			"When the TLS reports show no failures, set mode: enforce and give the record a new id.";
	else if (p->max_age < AGE_SHORT)
		say(c, domain, DOCTOR_YELLOW, "senders may keep the policy for %u seconds only", p->max_age)->advice =
			"Let max_age be a week (604800) or more: a policy protects as long as it is remembered.";
	else if (missing == 0)
		say(c, domain, DOCTOR_GREEN, "the policy is enforced and names every exchanger");
}

static int fetch_on_worker(void *arg)
{
	struct policy_fetch *f = arg;

	f->trouble = f->fetcher(&f->fetch);
	return 0;
}

/* As a sender would: the addresses, the text, its meaning. */
static int fetch_policy(struct checking *c, const struct dns_address_list *list, const struct mx_set *mx)
{
	struct doctor *d = c->doctor;
	struct sts_config config = d->in->sts ? *d->in->sts : (struct sts_config) { 0 };
	struct policy_fetch f = { .fetcher = d->in->fetcher ? d->in->fetcher : sts_fetch_https };
	usec_t at = world_now(d->world);
	struct sts_policy policy;
	const char *why = "";
	int r;

	config.timeout = d->deadline > at + USEC_MS ? d->deadline - at : USEC_MS;
	f.fetch = (struct sts_fetch) { .domain = d->in->domain, .config = &config, .ips = list->ips, .n_ips = list->n_ips };
	r = world_offload(d->world, fetch_on_worker, &f);
	if (r >= 0)
		r = buffer_error(&f.fetch.body);
	if (r >= 0 && f.trouble != STS_FETCHED && world_now(d->world) + LATE > d->deadline) {
		say(c, d->in->domain, DOCTOR_UNKNOWN, "the policy didn't come in time: %s", f.fetch.why)->advice =
			"Look at the web server; or give it more time (--timeout).";
	} else if (r >= 0 && f.trouble != STS_FETCHED) {
		say(c, d->in->domain, DOCTOR_RED, "the policy can't be fetched: %s", f.fetch.why)->advice =
			text(c, "Serve the policy at https://mta-sts.%s/.well-known/mta-sts.txt as text/plain, with a certificate for that name.",
			     d->in->domain);
	} else if (r >= 0) {
		r = sts_policy_parse(buffer_slice(&f.fetch.body), d->arena, &policy, &why);
		if (r == -EINVAL)
			say(c, d->in->domain, DOCTOR_RED, "the policy is broken: %s", why)->advice =
				"Mend the policy, and give the record a new id.";
		else if (r >= 0)
			judge_policy(c, &policy, mx);
		r = r == -EINVAL ? 0 : r;
	}
	buffer_done(&f.fetch.body);
	return r;
}

static int judge_host(struct checking *c, const struct mx_set *mx)
{
	struct doctor *d = c->doctor;
	const char *host = text(c, "mta-sts.%s", d->in->domain);
	struct dns_address_list list;
	struct doctor_finding *f;
	int r = host ? dns_addresses(d->resolver, host, DNS_IPV4_AND_IPV6, d->deadline, d->arena, &list) : -ENOMEM;

	if (r < 0)
		return r;
	if (list.n_ips > 0)
		return fetch_policy(c, &list, mx);
	if (list.temporary) {
		say(c, host, DOCTOR_UNKNOWN, "the addresses of the policy host can't be had now: %s", list.why)->advice =
			"Ask again; if it stays so, look at the name servers of the domain.";
		return 0;
	}
	f = say(c, host, DOCTOR_RED, "the policy host has no address: the record is there, and the policy can't be fetched");
	f->advice = "Publish the address of the web server that has the policy.";
	f->publish = own_address_lines(c, host);
	if (!f->publish)
		f->publish = text(c, "%s. IN CNAME www.%s.\n", host, d->in->domain);
	return 0;
}

int check_mta_sts(struct checking *c)
{
	struct doctor *d = c->doctor;
	char id[STS_ID_MAX + 1];
	struct one_record one;
	struct doctor_finding *f;
	struct mx_set mx;
	int r = ask_txt(c, text(c, "_mta-sts.%s", d->in->domain), is_like_sts, &one);

	if (r >= 0)
		r = dns_mx(d->resolver, d->in->domain, d->deadline, d->arena, &mx);
	if (r < 0)
		return r;
	if (one.n == 0)
		return judge_missing(c, &one, &mx);
	if (one.n > 1 || sts_record_parse(one.data, id) < 0) {
		f = one.n > 1 ? say(c, d->in->domain, DOCTOR_RED, "there are %u MTA-STS records, which is the same as none", one.n)
			      : say(c, d->in->domain, DOCTOR_RED, "the record is broken: %.*s", SLICE_ARG(one.data));
		f->advice = "Leave one record, with v=STSv1 and an id of letters and digits.";
		f->publish = new_record(c);
		return 0;
	}
	if (mx.status == MX_TEMPORARY) {
		say(c, d->in->domain, DOCTOR_UNKNOWN, "the exchangers that the policy should name can't be had now: %s", mx.why)->advice =
			"Ask again; if it stays so, look at the name servers of the domain.";
		return 0;
	}
	return judge_host(c, &mx);
}
