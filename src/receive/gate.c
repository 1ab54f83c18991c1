#include "receive/gate.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "receive/gate_checks.h"
#include "receive/gate_dns.h"
#include "route/match.h"
#include "world/fiber.h"

#define MINUTES_OF_A_DAY (24 * 60)

/* --- life ---------------------------------------------------------------------------------------------- */

int gate_shared_init(struct gate_shared *s, struct world *w, const struct log *log, struct resolver *resolver, struct router *router,
		     const struct gate_config *config)
{
	int r;

	*s = (struct gate_shared) { .world = w, .log = log, .resolver = resolver, .router = router };
	r = rates_new(w, config ? config->checks.rate_entries : 0, &s->rates);
	if (r >= 0)
		r = greylist_new(w, log, &s->greylist);
	if (r >= 0)
		r = recipient_memory_new(w, &s->recipients);
	return r;
}

void gate_shared_done(struct gate_shared *s)
{
	rates_free(TAKE_PTR(s->rates));
	greylist_free(TAKE_PTR(s->greylist));
	recipient_memory_free(TAKE_PTR(s->recipients));
}

int gate_new(struct gate_shared *shared, const struct gate_config *config, const char *hostname, struct gate **ret, char **ret_why)
{
	_cleanup_(gate_freep) struct gate *g = calloc(1, sizeof(*g));
	int r = 0;

	if (!g)
		return -ENOMEM;
	g->shared = shared;
	g->config = config;
	g->hostname = hostname;
	if (config->checks.n_lists)
		r = lists_new(shared->world, shared->log, config->checks.lists, config->checks.n_lists, &g->lists);
	if (r >= 0 && config->checks.country_file)
		r = country_open(config->checks.country_file, &g->country, ret_why);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(g);
	return 0;
}

void gate_free(struct gate *g)
{
	if (!g)
		return;
	lists_free(g->lists);
	country_close(g->country);
	free(g);
}

/* Local time, because office hours are; in a simulation UTC, because there is no place. */
static void set_time(struct gate_visit *v)
{
	struct world *w = v->gate->shared->world;
	struct gate_facts *f = &v->facts;
	struct civil c;
	struct tm local;
	time_t t;

	f->now = world_wall(w);
	t = (time_t) (f->now / (wall_t) USEC_SEC);
	if (!world_is_simulated(w) && localtime_r(&t, &local)) {
		f->minute = 60 * local.tm_hour + local.tm_min;
		f->weekday = local.tm_wday;
		return;
	}
	wall_to_civil(f->now, &c);
	f->minute = (60 * c.hour + c.minute) % MINUTES_OF_A_DAY;
	f->weekday = c.weekday;
}

void gate_visit_init(struct gate_visit *v, struct gate *g, struct arena *a)
{
	*v = (struct gate_visit) { .gate = g, .arena = a };
}

/* They lie in the message's arena. */
static void forget_verdicts(struct gate_visit *v)
{
	v->facts.known &= (unsigned) ~GATE_NEEDS_SPF;
	v->facts.spf = v->facts.dkim = v->facts.arc = v->facts.dmarc = NULL;
	v->spf = NULL;
}

void gate_message_done(struct gate_visit *v)
{
	for (; v->held; v->held = v->held->next)
		rates_leave(v->gate->shared->rates, v->held->place);
	v->message = (struct gate_effects) { 0 };
	forget_verdicts(v);
	v->facts.is_mail = v->facts.is_rcpt = false;
	v->mail_arena = NULL;
}

void gate_visit_done(struct gate_visit *v)
{
	gate_message_done(v);
	while (v->n_places > 0)
		rates_leave(v->gate->shared->rates, v->places[--v->n_places]);
}

bool gate_is_welcome(const struct gate_visit *v)
{
	unsigned welcome = v->gate->config->checks.welcome;

	return welcome && (v->facts.known & GATE_NEEDS_LISTS) && v->facts.score <= -(int) welcome;
}

bool gate_is_stranger(const struct gate_visit *v)
{
	const struct gate_facts *f = &v->facts;

	return f->client.family && !f->trusted && !f->user && strcmp(f->listener, "mx") == 0 && !v->session.accepted && !v->message.accepted;
}

bool gate_acts_early(const struct gate *g)
{
	const struct gate_checks *c = &g->config->checks;

	for (unsigned i = 0; i < g->config->rules.n; i++)
		if (g->config->rules.rules[i].stage <= GATE_HELO)
			return true;
	return c->n_rates || c->n_concurrency || c->greeting_delay || c->refuse_at == GATE_WHEN_CONNECT;
}

/* --- gathering -------------------------------------------------------------------------------------------- */

static int gather_lists(struct gate_visit *v, usec_t deadline)
{
	struct gate_facts *f = &v->facts;
	bool temporary;
	int r;

	if (!v->gate->lists || !f->client.family)
		return 0;
	r = lists_ask(v->gate->lists, v->gate->shared->resolver, &f->client, deadline, v->arena, &f->n_hits, &f->hits, &temporary);
	if (r < 0)
		return r;
	f->score = 0;
	for (unsigned i = 0; i < f->n_hits; i++)
		f->score += f->hits[i].weight;
	return 0;
}

static int gather_country(struct gate_visit *v)
{
	char *code;

	if (!v->gate->country)
		return 0;
	code = arena_zalloc(v->arena, 3);
	if (!code)
		return -ENOMEM;
	country_find(v->gate->country, &v->facts.client, code);
	v->facts.country = code[0] ? code : NULL;
	return 0;
}

/* Who says EHLO again and again must not fill the session's memory: only the verdict is kept. */
static int gather_helo(struct gate_visit *v, struct resolver *resolver, usec_t deadline)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	bool temporary;
	int r = arena_new(0, &a);

	return r < 0 ? r : gate_resolve_helo(resolver, deadline, a, &v->facts, &temporary);
}

/* It has a time of its own (identity.spf_time): it may need many answers. */
static int gather_spf(struct gate_visit *v)
{
	struct gate_facts *f = &v->facts;
	struct spf_result *result = arena_new_type(v->mail_arena, struct spf_result);
	struct spf_input in = { .client = &f->client, .helo = f->helo ? f->helo : "", .receiver = v->gate->hostname, .time = f->now };
	int r;

	in.mail_from = arena_slice(v->mail_arena, f->sender.text);
	if (!result || !in.mail_from)
		return -ENOMEM;
	r = spf_check(v->gate->shared->resolver, &in, &v->identity->judge.spf, DEADLINE_NEVER, v->mail_arena, result);
	if (r < 0)
		return r;
	v->spf = result;
	f->spf = spf_word_text(result->word);
	return 0;
}

int gate_gather(struct gate_visit *v, unsigned needs)
{
	struct gate_facts *f = &v->facts;
	struct resolver *resolver = v->gate->shared->resolver;
	usec_t deadline = deadline_after(now(), v->gate->config->checks.dns_timeout);
	int r = 0;

	needs &= ~f->known;
	if (needs & GATE_NEEDS_COUNTRY)
		r = gather_country(v);
	if (r >= 0 && (needs & GATE_NEEDS_LISTS))
		r = gather_lists(v, deadline);
	if (r >= 0 && (needs & GATE_NEEDS_REVERSE) && resolver && f->client.family)
		r = gate_find_reverse(resolver, deadline, v->arena, f);
	if (r >= 0 && (needs & GATE_NEEDS_HELO) && resolver)
		r = gather_helo(v, resolver, deadline);
	if (r >= 0 && (needs & GATE_NEEDS_SENDER_DOMAIN) && resolver)
		r = gate_find_sender_domain(resolver, deadline, v->mail_arena ? v->mail_arena : v->arena, f);
	if (r >= 0 && (needs & GATE_NEEDS_SPF) && resolver && f->client.family && v->identity && v->mail_arena)
		r = gather_spf(v);
	if (r < 0)
		return r;
	f->known |= needs; /* what could not be found out is not asked for again */
	return 0;
}

/* --- rules -------------------------------------------------------------------------------------------------- */

static void note_looked(void *context, const struct gate_rule *rule, bool matched, const struct gate_condition *because)
{
	const struct gate_visit *v = context;
	char text[400];

	snprintf(text, sizeof(text), "what stands under unless holds");
	if (because)
		gate_fact_describe(because->key, &v->facts, text, sizeof(text));
	v->observer->rule(v->observer->context, rule, matched, matched ? NULL : text);
}

static struct gate_effects *effects_at(struct gate_visit *v, enum gate_stage stage)
{
	return stage <= GATE_HELO ? &v->session : &v->message;
}

/* The rule doesn't decide: the list goes on. */
static void apply(struct gate_visit *v, const struct gate_rule *rule)
{
	struct gate_effects *e = effects_at(v, rule->stage);

	switch (rule->action) {
	case GATE_TARPIT:
		v->delay = MAX(v->delay, rule->delay);
		break;
	case GATE_HOLD:
		e->hold = rule->name;
		break;
	case GATE_ADD_HEADER:
		if (e->n_headers < GATE_HEADERS_MAX)
			e->headers[e->n_headers++] = rule->header;
		break;
	case GATE_LIMIT:
		e->recipients = rule->recipients ? rule->recipients : e->recipients;
		e->message_size = rule->message_size ? rule->message_size : e->message_size;
		break;
	default:
		break;
	}
	if (!v->look_only)
		LOG(v->gate->shared->log, rule->action == GATE_CONTINUE ? LOG_INFO : LOG_DEBUG, "a rule of the gate matched",
		    F_STR("rule", rule->name), F_STR("action", gate_action_words[rule->action]));
}

static void refuse_by_rule(const struct gate_rule *rule, struct gate_answer *ret)
{
	bool reject = rule->action == GATE_REJECT;

	*ret = (struct gate_answer) { .id = reject ? REPLY_GATE_REFUSED : REPLY_GATE_DEFERRED, .first = rule->name, .by = rule->name };
	if (rule->text || rule->code != (reject ? 550 : 450)) {
		ret->id = REPLY_COUNT;
		ret->custom = (struct reply) {
			.code = rule->code,
			.enhanced = { rule->enhanced[0], rule->enhanced[1], rule->enhanced[2] },
			.text = rule->text ? rule->text : reply_of(reject ? REPLY_GATE_REFUSED : REPLY_GATE_DEFERRED)->text,
		};
	}
	ret->close = rule->code == 421 || rule->code == 521;
}

/* 1: go on (a rule may have accepted: see the effects); 0: refused; -errno. *ret_rule: the rule that decided, or NULL. */
static int run_rules(struct gate_visit *v, enum gate_stage stage, struct gate_answer *ret, const struct gate_rule **ret_rule)
{
	const struct gate_rule_watch watch = { .looked = note_looked, .context = v };
	struct gate_walk walk = { .stage = stage, .watch = v->observer ? &watch : NULL };
	const struct gate_rule *rule;
	int r;

	*ret_rule = NULL;
	if (v->session.accepted || v->message.accepted)
		return 1;
	while ((r = gate_rules_next(&v->gate->config->rules, &walk, &v->facts, &rule)) != 0) {
		if (r == -EAGAIN) {
			r = gate_gather(v, walk.needs);
			if (r < 0)
				return r;
			continue;
		}
		if (!gate_action_decides(rule->action)) {
			apply(v, rule);
			continue;
		}
		*ret_rule = rule;
		if (rule->action == GATE_REJECT || rule->action == GATE_DEFER) {
			refuse_by_rule(rule, ret);
			return 0;
		}
		break;
	}
	return 1;
}

/* What accept and discard mean for what comes after. */
static void decide(struct gate_visit *v, enum gate_stage stage, const struct gate_rule *rule)
{
	struct gate_effects *e = effects_at(v, stage);

	if (!rule)
		return;
	e->accepted = true; /* what is thrown away needs no check */
	e->discard |= rule->action == GATE_DISCARD;
}

/* --- stages --------------------------------------------------------------------------------------------------- */

/* Has the time come to refuse for what the client is? */
static bool is_due(const struct gate_visit *v, enum gate_stage stage)
{
	static const enum gate_stage stages[] = { GATE_CONNECT, GATE_MAIL, GATE_RCPT };

	return stage == stages[v->gate->config->checks.refuse_at];
}

static int check_client(struct gate_visit *v, enum gate_stage stage, struct gate_answer *ret)
{
	int r;

	if (!gate_is_stranger(v))
		return 1;
	r = gate_check_lists(v, stage, ret);
	if (r > 0)
		r = gate_check_reverse(v, stage, ret);
	return r;
}

int gate_at_connect(struct gate_visit *v, struct gate_answer *ret)
{
	const struct gate_rule *rule;
	int r;

	set_time(v);
	v->began = true;
	r = run_rules(v, GATE_CONNECT, ret, &rule);
	if (r <= 0)
		return r;
	decide(v, GATE_CONNECT, rule);
	v->connect = v->session;
	if (v->session.accepted)
		return 1;
	r = gate_take_places(v, GATE_CONNECT, ret);
	if (r > 0)
		r = gate_count(v, GATE_CONNECT, RATE_CONNECTIONS, ret);
	if (r > 0 && is_due(v, GATE_CONNECT))
		r = check_client(v, GATE_CONNECT, ret);
	return r;
}

/* Our domains are names that only we may say, too. */
static unsigned add_own_domains(const struct gate_visit *v, unsigned faults)
{
	const struct route_config *routes = v->gate->shared->router ? router_config(v->gate->shared->router) : NULL;

	for (unsigned i = 0; routes && v->facts.helo && i < routes->n_domains; i++)
		if (slice_ieq_str(slice_from(v->facts.helo), routes->domains[i].name))
			faults |= GATE_HELO_OWN_NAME;
	return faults;
}

int gate_at_helo(struct gate_visit *v, struct gate_answer *ret)
{
	struct gate_facts *f = &v->facts;
	const struct gate_rule *rule;
	int r;

	f->known &= (unsigned) ~GATE_NEEDS_HELO; /* it may say another name */
	v->session = v->connect;
	f->helo_faults = add_own_domains(v, gate_helo_faults(f->helo, v->gate->hostname, &f->client));
	r = run_rules(v, GATE_HELO, ret, &rule);
	if (r <= 0)
		return r;
	decide(v, GATE_HELO, rule);
	if (v->gate->config->checks.refuse_at == GATE_WHEN_CONNECT && gate_is_stranger(v))
		return gate_check_helo(v, GATE_HELO, ret);
	return 1;
}

int gate_at_mail(struct gate_visit *v, struct gate_answer *ret)
{
	const struct gate_rule *rule;
	int r;

	set_time(v); /* a session may last */
	v->message = (struct gate_effects) { 0 };
	v->facts.known &= (unsigned) ~GATE_NEEDS_SENDER_DOMAIN;
	forget_verdicts(v);
	v->facts.is_mail = true;
	v->facts.is_rcpt = false;
	v->facts.recipients = 0;
	r = run_rules(v, GATE_MAIL, ret, &rule);
	if (r <= 0)
		return r;
	decide(v, GATE_MAIL, rule);
	if (v->session.accepted || v->message.accepted)
		return 1;
	r = gate_take_places(v, GATE_MAIL, ret);
	if (r > 0 && is_due(v, GATE_MAIL))
		r = check_client(v, GATE_MAIL, ret);
	if (r > 0 && is_due(v, GATE_MAIL) && gate_is_stranger(v))
		r = gate_check_helo(v, GATE_MAIL, ret);
	if (r > 0 && gate_is_stranger(v))
		r = gate_check_sender_domain(v, ret);
	return r > 0 ? gate_count(v, GATE_MAIL, RATE_MESSAGES, ret) : r;
}

/* RFC 5321 section 4.5.1: who is wronged must be able to tell somebody. */
static bool is_exempt(const struct gate_visit *v)
{
	const struct gate_checks *c = &v->gate->config->checks;

	return c->n_exempt && route_patterns_match(c->exempt, c->n_exempt, &v->facts.recipient,
						   v->facts.recipient_domain ? v->facts.recipient_domain : "");
}

static int check_recipient(struct gate_visit *v, struct gate_answer *ret)
{
	bool due = is_due(v, GATE_RCPT) && gate_is_stranger(v) && !is_exempt(v);
	int r = 1;

	if (due)
		r = check_client(v, GATE_RCPT, ret);
	if (r > 0 && due)
		r = gate_check_helo(v, GATE_RCPT, ret);
	if (r > 0)
		r = gate_check_recipient(v, ret);
	if (r > 0)
		r = gate_take_places(v, GATE_RCPT, ret);
	if (r > 0)
		r = gate_count(v, GATE_RCPT, RATE_RECIPIENTS, ret);
	if (r > 0 && gate_is_stranger(v))
		r = gate_check_greylist(v, ret);
	return r;
}

int gate_at_rcpt(struct gate_visit *v, struct gate_answer *ret, bool *ret_discard)
{
	struct gate_effects before = v->message;
	const struct gate_rule *rule;
	int r;

	*ret_discard = false;
	v->facts.is_rcpt = true;
	r = run_rules(v, GATE_RCPT, ret, &rule);
	if (r <= 0)
		return r;
	if (rule) { /* for this recipient only */
		*ret_discard = rule->action == GATE_DISCARD;
		return 1;
	}
	if (before.accepted || v->session.accepted)
		return 1;
	return check_recipient(v, ret);
}

int gate_at_data(struct gate_visit *v, struct gate_answer *ret)
{
	const struct gate_rule *rule;
	int r = run_rules(v, GATE_DATA, ret, &rule);

	if (r > 0)
		decide(v, GATE_DATA, rule);
	return r;
}
