#include "doctor/doctor.h"

#include <stdarg.h>
#include <stdio.h>

#include "doctor/check.h"

#define TIMEOUT_DEFAULT (20 * USEC_SEC)

static const struct {
	const char *name;
	doctor_check check;
} checks[] = {
	{ "mx", check_mx },
	{ "spf", check_spf },
	{ "dkim", check_dkim },
	{ "dmarc", check_dmarc },
	{ "mta-sts", check_mta_sts },
	{ "tlsrpt", check_tlsrpt },
	{ "dane", check_dane },
	{ "reverse", check_reverse },
	{ "ehlo", check_ehlo },
	{ "certificate", check_certificate },
	{ "lists", check_lists },
};

const char *doctor_state_name(enum doctor_state s)
{
	static const char *const names[] = { "green", "skipped", "yellow", "unknown", "red" };

	return names[s];
}

/* --- saying ----------------------------------------------------------------------------------------------------- */

static const char *vtext(struct checking *c, const char *format, va_list ap)
{
	_cleanup_(freep) char *s = NULL;
	const char *copy = vasprintf(&s, format, ap) < 0 ? NULL : arena_strdup(c->doctor->arena, s);

	if (!copy)
		c->result = -ENOMEM;
	return copy;
}

const char *text(struct checking *c, const char *format, ...)
{
	const char *s;
	va_list ap;

	va_start(ap, format);
	s = vtext(c, format, ap);
	va_end(ap);
	return s;
}

struct doctor_finding *say(struct checking *c, const char *subject, enum doctor_state state, const char *format, ...)
{
	/* The last place is the one for what is too much. */
	struct doctor_finding *f = &c->findings[MIN(c->n, DOCTOR_FINDINGS_MAX)];
	va_list ap;

	if (c->n < DOCTOR_FINDINGS_MAX)
		c->n++;
	*f = (struct doctor_finding) { .check = c->name, .subject = subject, .state = state };
	va_start(ap, format);
	f->found = vtext(c, format, ap);
	va_end(ap);
	return f;
}

/* What a text of the DNS may hold, as the inside of a quoted string (RFC 1035 section 5.1). */
static void append_quoted(struct buffer *b, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char ch = (unsigned char) s[i];

		if (ch == '"' || ch == '\\')
			buffer_printf(b, "\\%c", ch);
		else if (ch < ' ' || ch > '~')
			buffer_printf(b, "\\%03u", ch);
		else
			buffer_append_char(b, (char) ch);
	}
}

const char *txt_line(struct checking *c, const char *name, const char *record)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	size_t left = record ? strlen(record) : 0;

	if (!record)
		return NULL;
	buffer_printf(&b, "%s. IN TXT", name);
	do {
		size_t n = MIN(left, (size_t) 255);

		buffer_append_str(&b, " \"");
		append_quoted(&b, record, n);
		buffer_append_char(&b, '"');
		record += n;
		left -= n;
	} while (left > 0);
	return buffer_error(&b) < 0 ? text(c, "\n") : text(c, "%s\n", b.data);
}

const char *address_lines(struct checking *c, const char *name, const struct ip *ips, unsigned n)
{
	const char *lines = "";
	char ip[IP_TEXT];

	for (unsigned i = 0; i < n && lines; i++)
		lines = text(c, "%s%s. IN %s %s\n", lines, name, ips[i].family == 6 ? "AAAA" : "A", ip_format(&ips[i], ip));
	return lines;
}

const char *own_address_lines(struct checking *c, const char *name)
{
	const struct doctor_input *in = c->doctor->in;
	const char *lines = "";
	char ip[IP_TEXT];

	for (unsigned i = 0; i < in->n_own_addresses && lines; i++)
		if (ip_is_public(&in->own_addresses[i]))
			lines = text(c, "%s%s. IN %s %s\n", lines, name, in->own_addresses[i].family == 6 ? "AAAA" : "A",
				     ip_format(&in->own_addresses[i], ip));
	return lines && *lines ? lines : NULL;
}

/* --- asking ----------------------------------------------------------------------------------------------------- */

int at_once(void (*fn)(void *item), void *items, unsigned n, size_t size)
{
	struct fiber_group group;
	int r = 0;

	fiber_group_init(&group);
	for (unsigned i = 0; i < n; i++)
		if (fiber_group_spawn(&group, "doctor", fn, (char *) items + i * size) < 0)
			fn((char *) items + i * size);
	if (group.count > 0)
		r = fiber_group_wait(&group, DEADLINE_NEVER); /* each question has a deadline of its own */
	fiber_group_done(&group);
	return r;
}

int ask_txt(struct checking *c, const char *name, bool (*is_meant)(struct slice text), struct one_record *ret)
{
	struct one_record one = { .data = SLICE_NULL };
	struct dns_answer answer;
	int r = name ? dns_query(c->doctor->resolver, name, DNS_TXT, c->doctor->deadline, c->doctor->arena, &answer) : -ENOMEM;

	if (r < 0)
		return r;
	one.status = answer.status;
	one.why = answer.why ? answer.why : "the DNS could not say";
	for (unsigned i = 0; answer.status == DNS_OK && i < answer.n_records; i++) {
		if (!is_meant(answer.records[i].data))
			continue;
		if (one.n++ == 0)
			one.data = answer.records[i].data;
	}
	*ret = one;
	return 0;
}

static bool is_own_name(const struct doctor_input *in, const char *host)
{
	if (in->hostname && slice_ieq_str(slice_from(host), in->hostname))
		return true;
	for (unsigned i = 0; i < in->n_own_names; i++)
		if (slice_ieq_str(slice_from(host), in->own_names[i]))
			return true;
	return false;
}

int is_this_host(struct checking *c, const char *host)
{
	const struct doctor_input *in = c->doctor->in;
	struct dns_address_list list;
	int r;

	if (is_own_name(in, host))
		return 1;
	if (in->n_own_addresses == 0)
		return 0;
	r = dns_addresses(c->doctor->resolver, host, DNS_IPV4_AND_IPV6, c->doctor->deadline, c->doctor->arena, &list);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < list.n_ips; i++)
		for (unsigned k = 0; k < in->n_own_addresses; k++)
			if (ip_is_public(&list.ips[i]) && ip_equal(&list.ips[i], &in->own_addresses[k]))
				return 1;
	return list.temporary ? -EAGAIN : 0;
}

/* --- all of it -------------------------------------------------------------------------------------------------- */

struct running {
	struct checking checking;
	doctor_check check;
};

static void run_check(void *item)
{
	struct running *run = item;
	int r = run->check(&run->checking);

	if (r < 0)
		run->checking.result = r;
}

static int load_keyring(struct doctor *d, struct tls_keyring **ret)
{
	_cleanup_(freep) char *why = NULL;
	int r;

	if (!d->in->tls)
		return 0;
	r = tls_keyring_load(d->world, d->in->tls, ret, &why);
	if (r == -ENOMEM || r >= 0)
		return r;
	d->keyring_why = arena_strdup(d->arena, why ? why : strerrordesc_np(-r));
	return d->keyring_why ? 0 : -ENOMEM;
}

static int collect(struct doctor *d, const struct running *runs, struct doctor_report *ret)
{
	struct doctor_report report = { .worst = DOCTOR_GREEN };
	struct doctor_finding *all;

	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		if (runs[i].checking.result < 0)
			return runs[i].checking.result;
		report.n += runs[i].checking.n;
	}
	all = arena_new_array(d->arena, struct doctor_finding, MAX(report.n, 1u));
	if (!all)
		return -ENOMEM;
	report.findings = all;
	for (size_t i = 0; i < ARRAY_LEN(checks); i++)
		for (unsigned k = 0; k < runs[i].checking.n; k++) {
			*all = runs[i].checking.findings[k];
			if (all->state != DOCTOR_SKIPPED)
				report.worst = MAX(report.worst, all->state);
			all++;
		}
	*ret = report;
	return 0;
}

static int run_all(struct doctor *d, struct doctor_report *ret)
{
	struct running *runs = arena_new_array(d->arena, struct running, ARRAY_LEN(checks));
	int r;

	if (!runs)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		struct doctor_finding *room = arena_new_array(d->arena, struct doctor_finding, DOCTOR_FINDINGS_MAX + 1);

		if (!room)
			return -ENOMEM;
		runs[i] = (struct running) { .checking = { .doctor = d, .name = checks[i].name, .findings = room }, .check = checks[i].check };
	}
	r = at_once(run_check, runs, ARRAY_LEN(checks), sizeof(*runs));
	return r < 0 ? r : collect(d, runs, ret);
}

int doctor_examine(struct world *w, struct resolver *r, const struct doctor_input *in, struct arena *a, struct doctor_report *ret)
{
	_cleanup_(tls_keyring_unrefp) struct tls_keyring *keyring = NULL;
	struct doctor d = { .world = w, .resolver = r, .in = in, .arena = a };
	int error;

	d.deadline = deadline_after(world_now(w), in->timeout ? in->timeout : TIMEOUT_DEFAULT);
	error = load_keyring(&d, &keyring);
	if (error < 0)
		return error;
	d.keyring = keyring;
	sts_fetch_begin();
	error = run_all(&d, ret);
	sts_fetch_end();
	return error;
}
