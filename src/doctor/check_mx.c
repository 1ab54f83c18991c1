/* Where mail for the domain goes: RFC 5321 section 5.1, RFC 7505, RFC 2181 section 10.3. */
#include "doctor/check.h"

/* One exchanger, asked beside the others. */
struct exchanger {
	struct checking *checking;
	const struct mx_host *host;
	struct dns_address_list addresses;
	int result, ours;
};

static void look(void *item)
{
	struct exchanger *x = item;
	struct doctor *d = x->checking->doctor;

	x->result = dns_addresses(d->resolver, x->host->name, DNS_IPV4_AND_IPV6, d->deadline, d->arena, &x->addresses);
	if (x->result >= 0)
		x->ours = is_this_host(x->checking, x->host->name);
	if (x->ours < 0 && x->ours != -EAGAIN)
		x->result = x->ours;
}

static unsigned count_public(const struct dns_address_list *list)
{
	unsigned n = 0;

	for (unsigned i = 0; i < list->n_ips; i++)
		n += ip_is_public(&list->ips[i]);
	return n;
}

static void judge(struct checking *c, const struct exchanger *x)
{
	const char *name = x->host->name;
	const struct dns_address_list *list = &x->addresses;
	struct doctor_finding *f;

	if (list->n_ips == 0 && list->temporary) {
		say(c, name, DOCTOR_UNKNOWN, "its addresses can't be had now: %s", list->why)->advice =
			"Ask again; if it stays so, look at the name servers of the host's domain.";
	} else if (list->n_ips == 0) {
		f = say(c, name, DOCTOR_RED, "it has no address: mail can't be brought there");
		f->publish = x->ours > 0 ? own_address_lines(c, name) : NULL;
		f->advice = f->publish ? "Publish the addresses of this host."
				       : "Publish an address for this host, or take it out of the MX records.";
	} else if (list->canonical && strcmp(list->canonical, name) != 0) {
		f = say(c, name, DOCTOR_RED, "it is an alias (CNAME) of %s, which an exchanger must not be", list->canonical);
		f->advice = "Replace the CNAME record by addresses, or name the real host in the MX record (RFC 2181 section 10.3).";
		f->publish = address_lines(c, name, list->ips, list->n_ips);
	} else if (count_public(list) == 0) {
		f = say(c, name, DOCTOR_RED, "it has only private addresses, which nobody outside can reach");
		f->publish = x->ours > 0 ? own_address_lines(c, name) : NULL;
		f->advice = "Publish the address at which the world reaches this host.";
	} else {
		say(c, name, DOCTOR_GREEN, "preference %u, %u address%s%s", x->host->preference, list->n_ips,
		    list->n_ips == 1 ? "" : "es", x->ours > 0 ? ", this host" : "");
	}
}

/* The configuration takes the domain's mail: does the world bring it here? */
static void judge_ours(struct checking *c, const struct exchanger *all, unsigned n)
{
	const struct doctor_input *in = c->doctor->in;
	struct doctor_finding *f;
	bool unknown = false;

	for (unsigned i = 0; i < n; i++) {
		if (all[i].ours > 0)
			return;
		unknown |= all[i].ours < 0;
	}
	if (unknown) {
		say(c, in->domain, DOCTOR_UNKNOWN, "whether this host is among the exchangers can't be told now")->advice =
			"Ask again when the DNS answers.";
		return;
	}
	f = say(c, in->domain, DOCTOR_YELLOW, "mail for this domain ends here (domains:), but none of its exchangers is this host");
	f->advice = "Publish this host as an exchanger, unless another one passes the mail on to it.";
	f->publish = text(c, "%s. IN MX 10 %s.\n", in->domain, in->hostname);
}

static int judge_hosts(struct checking *c, const struct mx_set *set)
{
	struct exchanger *all = arena_new_array(c->doctor->arena, struct exchanger, set->n_hosts + 1);
	int r;

	if (!all)
		return -ENOMEM;
	for (unsigned i = 0; i < set->n_hosts; i++)
		all[i] = (struct exchanger) { .checking = c, .host = &set->hosts[i] };
	r = at_once(look, all, set->n_hosts, sizeof(*all));
	for (unsigned i = 0; i < set->n_hosts && r >= 0; i++) {
		r = all[i].result;
		if (r >= 0)
			judge(c, &all[i]);
	}
	if (r >= 0 && c->doctor->in->local)
		judge_ours(c, all, set->n_hosts);
	return r;
}

/* Nobody to bring mail to. */
static void judge_nothing(struct checking *c, const struct mx_set *set)
{
	const struct doctor_input *in = c->doctor->in;
	struct doctor_finding *f;

	if (set->status == MX_TEMPORARY) {
		say(c, in->domain, DOCTOR_UNKNOWN, "the exchangers can't be had now: %s", set->why)->advice =
			"Ask again; if it stays so, look at the name servers of the domain.";
		return;
	}
	if (set->status == MX_NULL && !in->local) {
		say(c, in->domain, DOCTOR_GREEN, "it takes no mail, and says so with a null MX");
		return;
	}
	f = say(c, in->domain, DOCTOR_RED, "%s", set->why);
	f->publish = in->hostname ? text(c, "%s. IN MX 10 %s.\n", in->domain, in->hostname)
				  : text(c, "%s. IN MX 10 mail.%s.\n", in->domain, in->domain);
	f->advice = set->status == MX_NO_DOMAIN ? "Register the domain, or have its name servers told of it; then publish its exchanger."
		    : in->hostname		? "Publish an MX record that names the host that takes its mail."
						: "Publish an MX record, with the name of the host that takes its mail in place of this one.";
}

int check_mx(struct checking *c)
{
	const struct doctor_input *in = c->doctor->in;
	struct doctor_finding *f;
	struct mx_set set;
	int r = dns_mx(c->doctor->resolver, in->domain, c->doctor->deadline, c->doctor->arena, &set);

	if (r < 0)
		return r;
	if (set.n_hosts == 0) {
		judge_nothing(c, &set);
		return 0;
	}
	if (set.status == MX_IMPLICIT) {
		f = say(c, in->domain, DOCTOR_YELLOW, "there is no MX record: mail goes to the address of the domain itself");
		f->advice = "Publish an MX record; some senders insist on one.";
		f->publish = text(c, "%s. IN MX 10 %s.\n", in->domain, in->local ? in->hostname : in->domain);
	} else if (set.n_skipped > 0) {
		say(c, in->domain, DOCTOR_RED, "%u MX record%s no host: %s", set.n_skipped, set.n_skipped == 1 ? " names" : "s name",
		    set.note ? set.note : "")
			->advice = "Take these MX records away: an exchanger is the name of a host, not an address.";
	}
	return judge_hosts(c, &set);
}
