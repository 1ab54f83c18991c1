/* May our addresses send for the domain (RFC 7208)? */
#include "doctor/check.h"
#include "identity/spf.h"

/* One of our addresses, judged as a receiver would. */
struct sender {
	struct checking *checking;
	const struct doctor_address *address;
	struct spf_result spf, helo; /* helo: of mail with the null reverse-path */
	int result;
};

/* RFC 7208 section 4.5. */
static bool is_spf(struct slice s)
{
	return slice_istarts(s, "v=spf1") && (s.len == 6 || s.data[6] == ' ');
}

static void look(void *item)
{
	struct sender *s = item;
	struct doctor *d = s->checking->doctor;
	const char *ehlo = s->address->ehlo ? s->address->ehlo : d->in->domain;
	const char *from = text(s->checking, "postmaster@%s", d->in->domain);
	struct spf_input in = { .client = &s->address->ip, .helo = ehlo, .mail_from = from, .receiver = d->in->hostname,
				.time = world_wall(d->world) };

	s->result = from ? spf_check(d->resolver, &in, NULL, d->deadline, d->arena, &s->spf) : -ENOMEM;
	in.mail_from = "";
	if (s->result >= 0 && s->address->ehlo)
		s->result = spf_check(d->resolver, &in, NULL, d->deadline, d->arena, &s->helo);
}

static bool is_refused(const struct sender *s)
{
	return s->spf.word == SPF_FAIL || s->spf.word == SPF_SOFTFAIL || s->spf.word == SPF_NEUTRAL || s->spf.word == SPF_NONE;
}

/* " ip4:192.0.2.1 ip6:2001:db8::1": all of ours, or those that don't pass. */
static const char *terms(struct checking *c, const struct sender *all, unsigned n, bool only_refused)
{
	const char *s = "";
	char ip[IP_TEXT];

	for (unsigned i = 0; i < n && s; i++)
		if (!only_refused || is_refused(&all[i]))
			s = text(c, "%s ip%u:%s", s, all[i].address->ip.family, ip_format(&all[i].address->ip, ip));
	return s ? s : "";
}

static void judge(struct checking *c, const struct sender *s, const char *mended)
{
	char ip[IP_TEXT];
	const char *subject = text(c, "%s", ip_format(&s->address->ip, ip));
	struct doctor_finding *f;

	if (s->spf.word == SPF_PASS) {
		say(c, subject, DOCTOR_GREEN, "pass: %s", s->spf.reason);
	} else if (is_refused(s)) {
		f = say(c, subject, s->spf.word == SPF_NEUTRAL ? DOCTOR_YELLOW : DOCTOR_RED, "%s: %s", spf_word_text(s->spf.word),
			s->spf.reason);
		f->advice = "Add this address to the SPF record: mail leaves from it.";
		f->publish = mended;
	} else {
		f = say(c, subject, s->spf.word == SPF_TEMPERROR ? DOCTOR_UNKNOWN : DOCTOR_RED, "%s: %s", spf_word_text(s->spf.word),
			s->spf.reason);
		f->advice = s->spf.word == SPF_TEMPERROR ? "Ask again; if it stays so, look at the name servers that are named."
							 : "Mend the SPF record: as it is, receivers treat it as broken.";
	}
}

/* Bounces have no sender: then it is the name in EHLO that is checked (RFC 7208 section 2.4). It needs no record, but one that
 * it has must not speak against us. */
static void judge_helo(struct checking *c, const struct sender *s)
{
	const char *name = s->address->ehlo;
	char ip[IP_TEXT];
	struct doctor_finding *f;

	if (s->helo.word != SPF_FAIL && s->helo.word != SPF_SOFTFAIL && s->helo.word != SPF_PERMERROR)
		return;
	if (slice_ieq_str(slice_from(name), c->doctor->in->domain)) /* judged already */
		return;
	f = say(c, name, DOCTOR_RED, "bounces from %s: %s for the name in EHLO: %s", ip_format(&s->address->ip, ip),
		spf_word_text(s->helo.word), s->helo.reason);
	f->advice = "Let the record of this name allow its own addresses, or take it away.";
	f->publish = txt_line(c, name, "v=spf1 a -all");
}

/* Does some term let everybody pass? */
static bool lets_all_pass(struct slice record)
{
	struct slice rest = record;

	while (rest.data) {
		struct slice term = slice_cut(rest, ' ', &rest);

		if (slice_ieq_str(term, "all") || slice_ieq_str(term, "+all"))
			return true;
	}
	return false;
}

/* There is a record; what does it say? */
static int judge_record(struct checking *c, struct slice record, struct sender *all, unsigned n)
{
	const struct doctor_input *in = c->doctor->in;
	const char *mended = NULL;
	struct doctor_finding *f;

	if (lets_all_pass(record)) {
		f = say(c, in->domain, DOCTOR_RED, "the record lets the whole world send (\"+all\")");
		f->advice = "End the record with ~all or -all, and name those who may send.";
		if (n > 0)
			f->publish = txt_line(c, in->domain, text(c, "v=spf1 mx%s ~all", terms(c, all, n, false)));
	}
	mended = txt_line(c, in->domain, text(c, "v=spf1%s%.*s", terms(c, all, n, true), SLICE_ARG(slice_skip(record, 6))));
	for (unsigned i = 0; i < n; i++)
		judge(c, &all[i], mended);
	for (unsigned i = 0; i < n; i++)
		judge_helo(c, &all[i]);
	return 0;
}

/* Without an address of ours the record is still read as a whole (RFC 7208 section 4.6), for some stranger. */
static int judge_alone(struct checking *c)
{
	static const struct doctor_address stranger = { .ip = { .family = 4, .bytes = { 192, 0, 2, 1 } } };
	struct sender s = { .checking = c, .address = &stranger };
	const char *domain = c->doctor->in->domain;

	look(&s);
	if (s.result < 0)
		return s.result;
	if (s.spf.word == SPF_PERMERROR)
		say(c, domain, DOCTOR_RED, "permerror: %s", s.spf.reason)->advice =
			"Mend the SPF record: as it is, receivers treat it as broken.";
	else if (s.spf.word == SPF_TEMPERROR)
		say(c, domain, DOCTOR_UNKNOWN, "temperror: %s", s.spf.reason)->advice =
			"Ask again; if it stays so, look at the name servers that are named.";
	else
		say(c, domain, DOCTOR_GREEN, "there is a record; none of our addresses is known, so none was tried (--address)");
	return 0;
}

/* No record, or too many. */
static int judge_none(struct checking *c, const struct one_record *one, const struct sender *all, unsigned n)
{
	const char *domain = c->doctor->in->domain;
	struct doctor_finding *f;

	if (DNS_STATUS_TEMPORARY(one->status)) {
		say(c, domain, DOCTOR_UNKNOWN, "the record can't be had now: %s", one->why)->advice =
			"Ask again; if it stays so, look at the name servers of the domain.";
		return 0;
	}
	f = one->n ? say(c, domain, DOCTOR_RED, "there are %u SPF records, which is the same as a broken one", one->n)
		   : say(c, domain, DOCTOR_RED, "there is no SPF record");
	f->advice = one->n ? "Leave one of them, with all who may send." : "Publish one that names all who send for the domain.";
	if (one->n == 0)
		f->publish = txt_line(c, domain, text(c, "v=spf1 mx%s ~all", terms(c, all, n, false)));
	return 0;
}

int check_spf(struct checking *c)
{
	const struct doctor_input *in = c->doctor->in;
	struct sender *all = arena_new_array(c->doctor->arena, struct sender, in->n_addresses + 1);
	struct one_record one;
	int r = all ? ask_txt(c, in->domain, is_spf, &one) : -ENOMEM;

	if (r < 0)
		return r;
	for (unsigned i = 0; i < in->n_addresses; i++)
		all[i] = (struct sender) { .checking = c, .address = &in->addresses[i] };
	if (one.n != 1)
		return judge_none(c, &one, all, in->n_addresses);
	if (in->n_addresses == 0)
		return lets_all_pass(one.data) ? judge_record(c, one.data, all, 0) : judge_alone(c);
	r = at_once(look, all, in->n_addresses, sizeof(*all));
	for (unsigned i = 0; i < in->n_addresses && r >= 0; i++)
		r = all[i].result;
	return r < 0 ? r : judge_record(c, one.data, all, in->n_addresses);
}
