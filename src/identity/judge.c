#include "identity/judge.h"

#include "mail/from.h"

#define TIME (60 * USEC_SEC)

struct verification {
	struct resolver *resolver;
	const struct content *message;
	const struct judge_input *in;
	const struct judge_config *config;
	usec_t deadline;
	struct arena *arena;
	struct judge_result *result;
	int error;
};

static void note_error(struct verification *v, int r)
{
	if (r < 0 && v->error >= 0)
		v->error = r;
}

static void spf_fiber(void *arg)
{
	struct verification *v = arg;
	struct spf_input in = { .client = v->in->client, .helo = v->in->helo, .mail_from = v->in->mail_from,
				.receiver = v->in->receiver, .time = v->in->now };

	note_error(v, spf_check(v->resolver, &in, &v->config->spf, v->deadline, v->arena, &v->result->spf));
}

static const char *why_unreadable(int r)
{
	return r == -E2BIG ? "the From field has too many addresses" : "the From field can't be read";
}

/* Adds the domains of one From field. 0, -ENOMEM; what else is wrong is noted. */
static int add_domains(struct slice value, const char **domains, struct arena *a, struct dmarc_input *in)
{
	const char *const *more;
	const char *first, *at;
	unsigned n;
	int r = from_domains(a, value, &more, &n);

	if (r == -E2BIG && in->n_domains < FROM_DOMAINS_MAX && from_first(a, value, &first) >= 0) {
		at = strrchr(first, '@');
		domains[in->n_domains++] = at ? at + 1 : first;
	}
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		in->trouble = in->trouble ? in->trouble : why_unreadable(r);
		return 0;
	}
	for (unsigned i = 0; i < n && in->n_domains < FROM_DOMAINS_MAX; i++)
		domains[in->n_domains++] = more[i]; /* one that is there already is only asked twice */
	return 0;
}

/* RFC 9989 section 5.3.1: exactly one From field, whose addresses can be read. Section 11.5: what breaks this rule must not get
 * past the policies of those whom a reader may see, so all From fields are looked at that any reader could find. */
static int read_from(const struct content *m, struct arena *a, struct dmarc_input *ret)
{
	const char **domains = arena_new_array(a, const char *, FROM_DOMAINS_MAX);
	struct slice rest = buffer_slice(&m->header);
	struct header_field f;
	unsigned fields = 0;
	int r = domains ? 0 : -ENOMEM;

	ret->domains = domains;
	ret->trouble = m->malformed;
	while (r >= 0 && header_next_anyhow(&rest, &f)) {
		if (!slice_ieq_str(f.name, "From"))
			continue;
		if (++fields > 1 && !ret->trouble)
			ret->trouble = "the message has more than one From field";
		r = add_domains(f.value, domains, a, ret);
	}
	if (r >= 0 && !ret->trouble && ret->n_domains == 0)
		ret->trouble = fields ? "the From field has no address" : "the message has no From field";
	return r;
}

/* --- ahead of time ----------------------------------------------------------------------------------------------- */

struct question {
	struct resolver *resolver;
	usec_t deadline;
	const char *name;              /* of TXT records; NULL: the policy of these domains */
	struct dmarc_input policy_of;
};

static void question_fiber(void *arg)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	struct question *q = arg;
	struct dns_answer answer;
	struct dmarc_result result;

	if (arena_new(0, &a) < 0)
		return;
	if (q->name)
		(void) dns_query(q->resolver, q->name, DNS_TXT, q->deadline, a, &answer);
	else
		(void) dmarc_check(q->resolver, &q->policy_of, q->deadline, a, &result);
}

/* name NULL: memory was out. */
static void ask_ahead(const struct question *question, const char *name, struct arena *a, struct fiber_group *group)
{
	struct dns_answer known;
	struct question *q;

	if (!name || dns_query_cached(question->resolver, name, DNS_TXT, a, &known) != 0)
		return;
	q = arena_new_type(a, struct question);
	if (!q)
		return;
	*q = *question;
	(void) fiber_group_spawn(group, "ahead", question_fiber, q);
}

static void policy_ahead(struct resolver *r, const struct content *message, usec_t deadline, struct arena *a, struct fiber_group *group)
{
	struct question q = { .resolver = r, .deadline = deadline };

	if (r->cache && read_from(message, a, &q.policy_of) >= 0 && q.policy_of.n_domains > 0)
		ask_ahead(&q, arena_printf(a, "_dmarc.%s", q.policy_of.domains[0]), a, group);
}

void judge_ahead(struct resolver *r, const struct content *message, usec_t deadline, struct arena *a, struct fiber_group *group)
{
	struct question q = { .resolver = r, .deadline = deadline };

	if (!r->cache || !message->header_done || message->malformed)
		return;
	for (unsigned i = 0; i < message->n_signatures && i < message->limits.signatures; i++) {
		const struct signature *s = &message->signatures[i];

		if (s->error)
			continue;
		q.name = arena_printf(a, "%s._domainkey.%s", s->selector, s->domain);
		ask_ahead(&q, q.name, a, group);
	}
	policy_ahead(r, message, deadline, a, group);
}

/* --- at the end ------------------------------------------------------------------------------------------------------ */

static bool has_spf(const struct verification *v)
{
	return v->in->spf || v->in->client;
}

struct dkim_work {
	struct verification *v;
	unsigned n;
};

static void dkim_fiber(void *arg)
{
	struct dkim_work *work = arg;
	struct verification *v = work->v;

	note_error(v, dkim_verify(v->resolver, v->message, work->n, &v->config->dkim, v->in->now, v->deadline, v->arena,
				  &v->result->dkim[work->n]));
}

static void arc_fiber(void *arg)
{
	struct verification *v = arg;

	note_error(v, arc_verify(v->resolver, v->message, &v->config->dkim, v->config->arc_sets, v->in->now, v->deadline,
				 v->arena, &v->result->arc));
}

static int spawn_dkim(struct verification *v, struct fiber_group *group)
{
	struct dkim_work *work = arena_new_array(v->arena, struct dkim_work, v->message->n_signatures + 1);
	int r = 0;

	v->result->n_dkim = v->message->n_signatures;
	v->result->dkim = arena_new_array(v->arena, struct dkim_result, v->result->n_dkim + 1);
	if (!work || !v->result->dkim)
		return -ENOMEM;
	for (unsigned i = 0; i < v->result->n_dkim && r >= 0; i++) {
		work[i] = (struct dkim_work) { v, i };
		r = fiber_group_spawn(group, "dkim", dkim_fiber, &work[i]);
	}
	return r;
}

static bool has_arc(const struct content *m)
{
	return m->n_sets > 0 || m->arc_error;
}

static int ask_all(struct verification *v)
{
	struct fiber_group group;
	int r = 0;

	fiber_group_init(&group);
	if (v->message)
		policy_ahead(v->resolver, v->message, v->deadline, v->arena, &group); /* it depends on nothing but From */
	if (v->in->client && !v->in->spf)
		r = fiber_group_spawn(&group, "spf", spf_fiber, v);
	if (r >= 0 && v->message)
		r = spawn_dkim(v, &group);
	if (r >= 0 && v->message && has_arc(v->message))
		r = fiber_group_spawn(&group, "arc", arc_fiber, v);
	else if (r >= 0 && v->message)
		arc_fiber(v); /* it asks nobody */
	if (r >= 0)
		r = fiber_group_wait(&group, DEADLINE_NEVER); /* each has the deadline itself */
	fiber_group_done(&group);
	return r < 0 ? r : v->error;
}

static int check_dmarc(struct verification *v)
{
	struct dmarc_input in = { .spf = has_spf(v) ? &v->result->spf : NULL, .dkim = v->result->dkim, .n_dkim = v->result->n_dkim };
	int r = read_from(v->message, v->arena, &in);

	return r < 0 ? r : dmarc_check(v->resolver, &in, v->deadline, v->arena, &v->result->dmarc);
}

int judge_message(struct resolver *r, const struct content *message, const struct judge_input *in,
		   const struct judge_config *config, usec_t deadline, struct arena *a, struct judge_result *ret)
{
	static const struct judge_config defaults = { .time = TIME };
	struct judge_result result = {
		.spf = { .domain = "", .explanation = "", .reason = "the client's address is not known" },
		.arc = { .domain = "", .reason = "" },
		.dmarc = { .domain = "", .policy_domain = "", .reason = "" },
	};
	struct verification v = { .resolver = r, .message = message, .in = in, .config = config ? config : &defaults,
				  .arena = a, .result = &result };
	int error;

	v.deadline = MIN(deadline, deadline_after(world_now(r->world), v.config->time ? v.config->time : TIME));
	if (in->spf)
		result.spf = *in->spf;
	error = ask_all(&v);
	if (error >= 0 && message)
		error = check_dmarc(&v);
	if (error < 0)
		return error;
	*ret = result;
	return 0;
}
