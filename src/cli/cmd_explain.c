/* What the gate would say to somebody: the server's own code, with an observer that writes down what it looks at. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "deliver/verify.h"
#include "receive/access.h"
#include "receive/gate_checks.h"
#include "receive/verdicts.h"
#include "route/match.h"
#include "world/fiber.h"
#include "world/file.h"

enum { OPTION_CLIENT = 256, OPTION_HELO, OPTION_FROM, OPTION_TO, OPTION_USER, OPTION_TLS, OPTION_SIZE, OPTION_LISTENER, OPTION_MESSAGE };

struct explain_command {
	struct cli_options common;
	const char *client, *helo, *from, *to, *user, *listener, *message;
	bool tls;
	uint64_t size;
};

/* The parts of a server that the gate leans on. */
struct explaining {
	const struct explain_command *command;
	const struct config *config;
	struct arena *arena;
	struct gate_shared shared;
	struct gate *gate;
	struct gate_visit visit;
	struct address from, to;
	struct content *message; /* NULL: none is given */
	struct judge_result judged;
	json_t *steps;
	enum gate_stage stage;
};

/* --- what is looked at -------------------------------------------------------------------------------------- */

static void note_rule(void *context, const struct gate_rule *rule, bool matched, const char *because)
{
	struct explaining *e = context;
	char text[1000];
	json_t *step = json_pack("{s:s, s:s, s:s, s:s, s:b}", "stage", gate_stage_name(rule->stage), "kind", "rule", "name", rule->name, "text",
				 gate_rule_describe(rule, text, sizeof(text)), "matched", matched);

	if (because)
		json_object_set_new(step, "because", json_string(because));
	json_array_append_new(e->steps, step);
}

static void note_check(void *context, enum gate_stage stage, const char *name, const char *found)
{
	struct explaining *e = context;

	json_array_append_new(e->steps, json_pack("{s:s, s:s, s:s, s:s}", "stage", gate_stage_name(stage), "kind", "check", "name", name, "text", found));
}

static void note(struct explaining *e, const char *name, const char *found)
{
	note_check(e, e->stage, name, found);
}

/* --- the verdict ------------------------------------------------------------------------------------------------ */

static char *reply_line(struct explaining *e, const struct gate_answer *answer)
{
	const char *const *own = e->config->receive.replies;
	struct reply reply = answer->id == REPLY_COUNT ? answer->custom : *reply_of(answer->id);
	const struct gate_facts *f = &e->visit.facts;
	_cleanup_buffer_ struct buffer text = { 0 };
	struct reply_subjects about = {
		.client = e->command->client, .helo = f->helo, .user = f->user, .hostname = e->config->hostname,
		.client_name = f->reverse == GATE_REVERSE_CONFIRMED ? f->reverse_name : NULL, .sender = f->sender.text, .recipient = f->recipient.text,
	};

	if (answer->id != REPLY_COUNT && own && own[answer->id])
		reply.text = own[answer->id];
	reply_fill(reply.text, slice_from(answer->first), slice_from(answer->second), &about, &text);
	if (buffer_error(&text) < 0)
		return NULL;
	reply.text = text.data;
	return reply_to_line(&reply, e->arena);
}

static void set_verdict(struct explaining *e, json_t *result, const char *action, const char *by, const char *reply)
{
	json_t *verdict = json_pack("{s:s, s:s}", "action", action, "stage", gate_stage_name(e->stage));

	if (by)
		json_object_set_new(verdict, "by", json_string(by));
	if (reply)
		json_object_set_new(verdict, "reply", json_string(reply));
	json_object_set_new(result, "verdict", verdict);
}

/* 1 when the stage let it pass; 0 when the verdict is there; -errno. */
static int after_stage(struct explaining *e, int r, const struct gate_answer *answer, json_t *result)
{
	if (r == 0) {
		int code = answer->id == REPLY_COUNT ? answer->custom.code : reply_of(answer->id)->code;

		set_verdict(e, result, code / 100 == 5 ? "reject" : "defer", answer->by, reply_line(e, answer));
	}
	return r;
}

static int refused_by_access(struct explaining *e, enum reply_id id, const struct reply *custom, json_t *result)
{
	struct gate_answer answer = { .id = id, .custom = *custom, .first = e->command->to, .by = "access" };

	return after_stage(e, 0, &answer, result);
}

/* --- the stages ---------------------------------------------------------------------------------------------------- */

static int domain_of(struct explaining *e, const struct address *address, const char **ret)
{
	if (domain_to_ascii(e->arena, address->domain, ret) < 0)
		*ret = arena_slice(e->arena, address->domain);
	return *ret ? 0 : -ENOMEM;
}

static struct verdicts verdicts_of(const struct explaining *e)
{
	return (struct verdicts) { .client = &e->visit.facts.client, .helo = e->command->helo, .mail_from = e->command->from,
				   .result = &e->judged };
}

/* What SPF says is known before there is a message. */
static int explain_spf(struct explaining *e)
{
	const struct verdicts v = verdicts_of(e);
	const char *text;
	int r = gate_gather(&e->visit, GATE_NEEDS_SPF);

	if (r < 0 || !e->visit.spf)
		return r;
	e->judged.spf = *e->visit.spf;
	text = verdicts_spf_text(&v, e->arena);
	note(e, "identity.spf", text ? text : "");
	return text ? 0 : -ENOMEM;
}

/* The others need one, and become facts for the rules as in the server. */
static int explain_message(struct explaining *e)
{
	const struct judge_input in = { .client = &e->visit.facts.client, .helo = e->command->helo, .mail_from = e->command->from,
					.receiver = e->config->hostname, .now = world_wall(e->shared.world), .spf = e->visit.spf };
	const struct verdicts v = verdicts_of(e);
	struct gate_facts *f = &e->visit.facts;
	int r;

	if (!e->message || !e->visit.identity)
		return 0;
	r = judge_message(e->shared.resolver, e->message, &in, &e->visit.identity->judge, DEADLINE_NEVER, e->arena, &e->judged);
	if (r < 0)
		return r;
	f->dkim = verdicts_dkim_word(&e->judged);
	f->arc = arc_word_text(e->judged.arc.word);
	f->dmarc = dmarc_word_text(e->judged.dmarc.word);
	note(e, "identity.dkim", verdicts_dkim_text(&v, e->arena));
	note(e, "identity.arc", verdicts_arc_text(&v, e->arena));
	note(e, "identity.dmarc", verdicts_dmarc_text(&v, e->arena));
	return 0;
}

/* What is done about DMARC. As after_stage; 2: it would be held. */
static int decide(struct explaining *e, json_t *result)
{
	static const char *const actions[] = { "nothing is done", "a header field is added", "the message is held", "the message is refused" };
	struct gate_answer answer = { .id = REPLY_DMARC_REJECTED, .first = e->judged.dmarc.domain, .second = e->judged.dmarc.policy_domain,
				      .by = "identity.dmarc" };
	struct dmarc_decision d;

	if (!e->message || !e->visit.identity)
		return 1;
	verdicts_decide(&e->judged, e->message, e->visit.identity, e->visit.session.accepted || e->visit.message.accepted, e->arena, &d);
	note(e, "identity.dmarc", arena_printf(e->arena, "%s%s%s", actions[d.action], d.comment ? ": " : "", d.comment ? d.comment : ""));
	if (d.action == DMARC_ACTION_HOLD)
		e->visit.message.hold = "identity.dmarc";
	return d.action == DMARC_ACTION_REJECT ? after_stage(e, 0, &answer, result) : 1;
}

static int read_message(struct explaining *e)
{
	_cleanup_(freep) char *text = NULL;
	const struct receive_config *c = &e->config->receive;
	size_t len;
	int r;

	if (!e->command->message)
		return 0;
	r = file_read_all(e->shared.world, e->command->message, (size_t) c->limits.message_size, &text, &len);
	if (r < 0) {
		cli_failed("%s: %s", e->command->message, strerrordesc_np(-r));
		return -EINVAL;
	}
	r = content_new(e->arena, &c->identity.content, true, &e->message);
	if (r >= 0)
		r = content_feed(e->message, slice_new(text, len));
	return r < 0 ? r : content_end(e->message);
}

static bool is_judged(const struct explaining *e)
{
	const struct gate_facts *f = &e->visit.facts;

	return e->config->receive.identity.verify && !f->trusted && !f->user && strcmp(f->listener, "mx") == 0;
}

static int go_to_mail(struct explaining *e, json_t *result)
{
	struct gate_facts *f = &e->visit.facts;
	struct gate_answer answer;
	enum reply_id allowed;
	int r;

	e->stage = GATE_CONNECT;
	r = after_stage(e, gate_at_connect(&e->visit, &answer), &answer, result);
	if (r <= 0)
		return r;
	e->stage = GATE_HELO;
	f->helo = e->command->helo;
	f->tls = e->command->tls;
	f->tls_version = f->tls ? "TLSv1.3" : NULL;
	r = after_stage(e, gate_at_helo(&e->visit, &answer), &answer, result);
	if (r <= 0)
		return r;
	e->stage = GATE_MAIL;
	f->user = e->command->user;
	allowed = access_listener(strcmp(f->listener, "submission") == 0 ? ROLE_SUBMISSION : ROLE_MX, f->trusted || f->user);
	if (allowed != REPLY_SENDER_OK) {
		note(e, "access", "this port takes mail of users only");
		return refused_by_access(e, allowed, &(struct reply) { 0 }, result);
	}
	f->sender = e->from;
	f->size = e->command->size;
	e->visit.mail_arena = e->arena;
	e->visit.identity = is_judged(e) ? &e->config->receive.identity : NULL;
	r = domain_of(e, &e->from, &f->sender_domain);
	if (r >= 0)
		r = after_stage(e, gate_at_mail(&e->visit, &answer), &answer, result);
	if (r > 0) {
		int asked = explain_spf(e);

		r = asked < 0 ? asked : r;
	}
	return r;
}

static int go_on_from_mail(struct explaining *e, json_t *result)
{
	struct gate_facts *f = &e->visit.facts;
	const struct route_facts route = { .from = &e->from, .user = f->user, .content_unknown = true };
	struct reply custom = { 0 };
	struct gate_answer answer;
	enum reply_id allowed;
	bool discard;
	int r;

	e->stage = GATE_RCPT;
	f->recipient = e->to;
	allowed = access_address(e->shared.router, f->trusted || f->user, &e->to, &route, e->arena, &custom);
	note(e, "access", allowed == REPLY_RECIPIENT_OK ? "the recipient may be sent to" : "the recipient may not be sent to, whatever the gate says");
	if (allowed != REPLY_RECIPIENT_OK)
		return refused_by_access(e, allowed, &custom, result);
	r = domain_of(e, &e->to, &f->recipient_domain);
	if (r >= 0)
		r = after_stage(e, gate_at_rcpt(&e->visit, &answer, &discard), &answer, result);
	if (r <= 0)
		return r;
	e->stage = GATE_DATA;
	r = explain_message(e);
	if (r >= 0)
		r = after_stage(e, gate_at_data(&e->visit, &answer), &answer, result);
	if (r > 0)
		r = decide(e, result);
	if (r <= 0)
		return r;
	set_verdict(e, result, discard || e->visit.session.discard || e->visit.message.discard ? "discard"
			       : e->visit.session.hold || e->visit.message.hold		      ? "hold"
											      : "accept",
		    NULL, NULL);
	return 1;
}

static int walk(struct explaining *e, json_t *result)
{
	static const struct verifier none;
	const struct gate_observer observer = { .rule = note_rule, .check = note_check, .context = e };
	struct endpoint peer = { .kind = ENDPOINT_IP };
	int r;

	if (ip_parse(slice_from(e->command->client), &peer.ip) < 0)
		return cli_failed("\"%s\" is not an IP address", e->command->client), -EINVAL;
	gate_visit_init(&e->visit, e->gate, e->arena);
	e->visit.look_only = true;
	e->visit.observer = &observer;
	e->visit.facts.client = peer.ip;
	e->visit.facts.listener = e->command->listener;
	e->visit.facts.trusted = access_is_trusted(&e->config->receive, &peer);
	r = go_to_mail(e, result);
	if (r > 0)
		r = go_on_from_mail(e, result);
	e->shared.verifier = none;
	gate_visit_done(&e->visit);
	return r;
}

/* --- the command ------------------------------------------------------------------------------------------------------ */

static int explain(struct world *w, struct explaining *e, json_t *result)
{
	const struct config *c = e->config;
	_cleanup_(resolver_freep) struct resolver *resolver = NULL;
	_cleanup_(router_freep) struct router *router = NULL;
	_cleanup_(deliverer_freep) struct deliverer *deliverer = NULL;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	_cleanup_(freep) char *why = NULL;
	int r;

	r = arena_new(0, &arena);
	if (r >= 0)
		r = resolver_new(w, NULL, &c->dns, &resolver, &why);
	if (r >= 0)
		r = router_new(w, NULL, resolver, &c->route, &router);
	if (r >= 0)
		r = deliverer_new(w, NULL, NULL, &c->deliver, router, &deliverer, &why);
	if (r >= 0)
		r = gate_shared_init(&e->shared, w, NULL, resolver, router, &c->gate);
	if (r >= 0) {
		e->arena = arena;
		e->shared.verifier = deliverer_verifier(deliverer);
		r = gate_new(&e->shared, &c->gate, c->hostname, &e->gate, &why);
	}
	if (r >= 0)
		r = read_message(e);
	if (r >= 0)
		r = walk(e, result);
	content_free(e->message);
	if (r < 0 && r != -EINVAL)
		cli_failed("%s", why ? why : strerrordesc_np(-r));
	else if (r < 0 && why)
		cli_failed("%s", why);
	gate_free(e->gate);
	gate_shared_done(&e->shared);
	return r;
}

static void print_step(const json_t *step)
{
	const char *text = cli_text(step, "text"), *behind = strchr(text, ':');
	char shown[1200];

	printf("%-8s %-24s ", cli_text(step, "stage"), cli_text(step, "name"));
	if (strcmp(cli_text(step, "kind"), "rule") != 0) {
		printf("%s\n", cli_safe(text, shown, sizeof(shown)));
		return;
	}
	/* The stage stands in front already. */
	printf("%s:%s\n", json_is_true(json_object_get(step, "matched")) ? "matches" : "no match", cli_safe(behind ? behind + 1 : text, shown, sizeof(shown)));
	if (*cli_text(step, "because"))
		printf("%34sbecause %s\n", "", cli_safe(cli_text(step, "because"), shown, sizeof(shown)));
}

static void print_result(const json_t *result)
{
	const json_t *steps = json_object_get(result, "steps"), *verdict = json_object_get(result, "verdict");
	char shown[1200];

	for (size_t i = 0; i < json_array_size(steps); i++)
		print_step(json_array_get(steps, i));
	printf("verdict: %s", cli_text(verdict, "action"));
	if (*cli_text(verdict, "by"))
		printf(" at %s, by %s", cli_text(verdict, "stage"), cli_text(verdict, "by"));
	if (*cli_text(verdict, "reply"))
		printf(": %s", cli_safe(cli_text(verdict, "reply"), shown, sizeof(shown)));
	putchar('\n');
}

static int work(struct world *w, void *arg)
{
	const struct explain_command *command = arg;
	struct explaining e = { .command = command };
	_cleanup_(config_freep) struct config *config = NULL;
	json_t *result;
	int r;

	if (address_parse(slice_from(command->from), ADDRESS_OF_ENVELOPE, &e.from) < 0)
		return cli_failed("\"%s\" is not an address", command->from);
	if (address_parse(slice_from(command->to), ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_POSTMASTER, &e.to) < 0)
		return cli_failed("\"%s\" is not an address", command->to);
	r = cli_load_config(w, command->common.config, false, &config);
	if (r != CLI_YES)
		return r;
	e.config = config;
	e.steps = json_array();
	result = json_pack("{s:o}", "steps", e.steps);
	r = explain(w, &e, result);
	if (r >= 0 && command->common.json)
		cli_print_json(result);
	else if (r >= 0)
		print_result(result);
	json_decref(result);
	return r > 0 ? CLI_YES : CLI_NO;
}

static bool take_option(struct explain_command *c, int option)
{
	const char **const texts[] = {
		[OPTION_CLIENT - 256] = &c->client, [OPTION_HELO - 256] = &c->helo, [OPTION_FROM - 256] = &c->from,
		[OPTION_TO - 256] = &c->to, [OPTION_USER - 256] = &c->user, [OPTION_LISTENER - 256] = &c->listener,
		[OPTION_MESSAGE - 256] = &c->message,
	};

	if (option == OPTION_TLS)
		c->tls = true;
	else if (option == OPTION_SIZE)
		return config_size_parse(slice_from(optarg), &c->size) == 0;
	else
		*texts[option - 256] = optarg;
	return true;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS,
		{ "client", required_argument, NULL, OPTION_CLIENT },
		{ "helo", required_argument, NULL, OPTION_HELO },
		{ "from", required_argument, NULL, OPTION_FROM },
		{ "to", required_argument, NULL, OPTION_TO },
		{ "user", required_argument, NULL, OPTION_USER },
		{ "tls", no_argument, NULL, OPTION_TLS },
		{ "size", required_argument, NULL, OPTION_SIZE },
		{ "listener", required_argument, NULL, OPTION_LISTENER },
		{ "message", required_argument, NULL, OPTION_MESSAGE },
		{ 0 },
	};
	struct explain_command c = { .common.config = CLI_CONFIG, .helo = "client.invalid", .listener = "mx" };
	int option, status;

	while ((option = cli_next_option(self, argc, argv, options, &c.common, &status)) >= 0)
		if (!take_option(&c, option))
			return cli_wrong_usage(self, "\"%s\" is not a size", optarg);
	if (status >= 0)
		return status;
	if (optind < argc)
		return cli_wrong_usage(self, "what is \"%s\"?", argv[optind]);
	if (!c.client || !c.from || !c.to)
		return cli_wrong_usage(self, "--client, --from and --to are needed");
	if (strcmp(c.listener, "mx") != 0 && strcmp(c.listener, "submission") != 0 && strcmp(c.listener, "lmtp") != 0)
		return cli_wrong_usage(self, "--listener is mx, submission or lmtp");
	return cli_run(work, &c);
}

const struct cli_command cli_explain = {
	.name = "explain",
	.summary = "what the gate would say to a client, and which rule decides",
	.usage = "Usage: yizhan explain --client IP [--helo NAME] --from SENDER --to RECIPIENT [options]\n"
		 "\n"
		 "Goes through the rules of the gate and the checks as the server does for such a client, prints\n"
		 "each that is looked at, what SPF makes of it, and the one that decides. Asks the DNS, and the servers\n"
		 "of recipients where checks.recipients says so; no server need run. What only a running server knows\n"
		 "(how much of a rate is used up) is left out, and nothing is counted or remembered.\n"
		 "\n"
		 "      --client IP       the client's address\n"
		 "      --helo NAME       what it says in EHLO\n"
		 "      --from SENDER     \"\" is the null path\n"
		 "      --to RECIPIENT\n"
		 "      --user NAME       it has logged in\n"
		 "      --tls             the session is encrypted\n"
		 "      --size N          of the message, like 5M\n"
		 "      --listener ROLE   mx (default), submission or lmtp\n"
		 "      --message FILE    the content, for DKIM, ARC and DMARC; lines may end with LF\n"
		 "  -c, --config FILE     the configuration (default " CLI_CONFIG ")\n"
		 "      --json            as one JSON object\n"
		 "\n"
		 "Status 0: the message would be taken; 1: it would not.\n",
	.run = run,
};
