/* The addresses from which our mail leaves, and the names that they give themselves: RFC 1912 section 2.1, RFC 5321
 * section 4.1.1.1, RFC 8601 section 3; and what block lists say of them. */
#include "doctor/check.h"
#include "identity/iprev.h"

struct look {
	struct checking *checking;
	const struct doctor_address *address;
	const char *subject;
	struct iprev_result iprev;
	int has;    /* the name has the address: 1, 0, -EAGAIN */
	struct lists *lists;
	unsigned n_lists, n_hits;
	const struct gate_list_hit *hits;
	bool temporary;
	int result;
};

/* What the three checks have in common. judge is called in the order of the addresses. */
static int look_at_all(struct checking *c, struct lists *lists, unsigned n_lists, void (*fn)(void *item),
		       void (*judge)(struct checking *c, const struct look *l))
{
	const struct doctor_input *in = c->doctor->in;
	struct look *all = arena_new_array(c->doctor->arena, struct look, in->n_addresses + 1);
	char ip[IP_TEXT];
	int r;

	if (!all)
		return -ENOMEM;
	if (in->n_addresses == 0)
		say(c, in->domain, DOCTOR_SKIPPED, "no address that the world can see is known from which mail leaves; name it with --address");
	for (unsigned i = 0; i < in->n_addresses; i++)
		all[i] = (struct look) { .checking = c, .address = &in->addresses[i], .lists = lists, .n_lists = n_lists,
					 .subject = text(c, "%s", ip_format(&in->addresses[i].ip, ip)) };
	r = at_once(fn, all, in->n_addresses, sizeof(*all));
	for (unsigned i = 0; i < in->n_addresses && r >= 0; i++) {
		r = all[i].result;
		if (r >= 0)
			judge(c, &all[i]);
	}
	return r;
}

/* --- forward-confirmed reverse DNS ------------------------------------------------------------------------------ */

static void look_reverse(void *item)
{
	struct look *l = item;
	struct doctor *d = l->checking->doctor;

	l->result = iprev_check(d->resolver, &l->address->ip, 0, d->deadline, d->arena, &l->iprev);
}

static void judge_reverse(struct checking *c, const struct look *l)
{
	const char *name = l->address->ehlo ? l->address->ehlo : c->doctor->in->hostname;
	const char *reverse = dns_reverse_name(c->doctor->arena, &l->address->ip, NULL);
	struct doctor_finding *f;

	if (l->iprev.word == IPREV_PASS) {
		say(c, l->subject, DOCTOR_GREEN, "its name %s has this address", l->iprev.name);
	} else if (l->iprev.word == IPREV_TEMPERROR) {
		say(c, l->subject, DOCTOR_UNKNOWN, "%s", l->iprev.reason)->advice =
			"Ask again; if it stays so, look at the name servers that are named.";
	} else {
		f = say(c, l->subject, DOCTOR_RED, "%s", l->iprev.reason);
		f->advice = "Have whoever gave you the address publish its name; that name must have the address. Many servers refuse mail without.";
		if (reverse)
			f->publish = text(c, "%s. IN PTR %s.\n", reverse, name ? name : text(c, "mail.%s", c->doctor->in->domain));
	}
}

int check_reverse(struct checking *c)
{
	return look_at_all(c, NULL, 0, look_reverse, judge_reverse);
}

/* --- the name in EHLO ------------------------------------------------------------------------------------------- */

static void look_ehlo(void *item)
{
	struct look *l = item;
	struct doctor *d = l->checking->doctor;

	if (!l->address->ehlo)
		return;
	l->has = dns_has_address(d->resolver, l->address->ehlo, &l->address->ip, d->deadline, d->arena);
	l->result = l->has < 0 && l->has != -EAGAIN ? l->has : 0;
}

static void judge_ehlo(struct checking *c, const struct look *l)
{
	const char *name = l->address->ehlo;
	struct doctor_finding *f;

	if (!name) {
		say(c, l->subject, DOCTOR_SKIPPED, "the name that is said in EHLO from here is not known");
	} else if (!strchr(name, '.')) {
		say(c, l->subject, DOCTOR_RED, "the name in EHLO is \"%s\", which is no complete host name", name)->advice =
			"Set hostname (or ehlo of this source) to a name with its domain, like mail.example.org.";
	} else if (l->has == -EAGAIN) {
		say(c, l->subject, DOCTOR_UNKNOWN, "whether %s, the name in EHLO, has this address can't be told now", name)->advice =
			"Ask again when the DNS answers.";
	} else if (l->has == 0) {
		f = say(c, l->subject, DOCTOR_RED, "%s, the name in EHLO, doesn't have this address", name);
		f->advice = "Publish the address for this name, or set hostname (or ehlo of this source) to one that has it.";
		f->publish = address_lines(c, name, &l->address->ip, 1);
	} else {
		say(c, l->subject, DOCTOR_GREEN, "%s, the name in EHLO, has this address", name);
	}
}

int check_ehlo(struct checking *c)
{
	return look_at_all(c, NULL, 0, look_ehlo, judge_ehlo);
}

/* --- block lists ------------------------------------------------------------------------------------------------ */

static void look_lists(void *item)
{
	struct look *l = item;
	struct doctor *d = l->checking->doctor;

	l->result = lists_ask(l->lists, d->resolver, &l->address->ip, d->deadline, d->arena, &l->n_hits, &l->hits, &l->temporary);
}

static void count_broken(void *context, const char *sentence)
{
	unsigned *n = context;

	(*n)++;
}

static void judge_lists(struct checking *c, const struct look *l)
{
	unsigned broken = 0;

	lists_report(l->lists, count_broken, &broken);
	for (unsigned i = 0; i < l->n_hits; i++)
		say(c, l->subject, DOCTOR_RED, "listed by %s%s%s", l->hits[i].zone, l->hits[i].text ? ": " : "",
		    l->hits[i].text ? l->hits[i].text : "")
			->advice = "Find out why (a machine that sends spam behind this address?), stop it, then ask the list to take the address out.";
	if (l->temporary)
		say(c, l->subject, DOCTOR_UNKNOWN, "some list could not be asked now")->advice = "Ask again when the DNS answers.";
	else if (l->n_hits == 0 && broken < l->n_lists)
		say(c, l->subject, DOCTOR_GREEN, broken ? "on none of the lists that work" : "on none of the lists");
}

static void say_broken(void *context, const char *sentence)
{
	struct checking *c = context;

	say(c, c->doctor->in->domain, DOCTOR_UNKNOWN, "%s", sentence)->advice =
		"Ask it through a resolver of your own, or take the list out of checks.lists.";
}

int check_lists(struct checking *c)
{
	const struct doctor_input *in = c->doctor->in;
	struct list_config *bad = arena_new_array(c->doctor->arena, struct list_config, in->n_lists + 1);
	_cleanup_(lists_freep) struct lists *lists = NULL;
	unsigned n = 0;
	int r;

	if (!bad)
		return -ENOMEM;
	for (unsigned i = 0; i < in->n_lists; i++)
		if (in->lists[i].weight >= 0) /* others speak for whom they name */
			bad[n++] = in->lists[i];
	if (n == 0) {
		say(c, in->domain, DOCTOR_SKIPPED, "no block list is named, by checks.lists or --list");
		return 0;
	}
	r = lists_new(c->doctor->world, NULL, bad, n, &lists);
	if (r >= 0)
		r = look_at_all(c, lists, n, look_lists, judge_lists);
	if (r >= 0)
		lists_report(lists, say_broken, c);
	return r;
}
