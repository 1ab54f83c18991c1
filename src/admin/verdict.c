#include "admin/verdict.h"

#include "queue/ladder.h"

static const struct condition {
	unsigned bit;
	enum reply_class class;
	const char *words; /* what the site does */
} conditions[] = {
	{ WHEN_BLOCKED, CLASS_BLOCKED, "it refuses our address" },
	{ WHEN_TLS, CLASS_TLS, "it has no TLS, or none that is good enough" },
	{ WHEN_THROTTLED, CLASS_THROTTLED, "we are too fast for it" },
	{ WHEN_UNREACHABLE, CLASS_UNREACHABLE, "it can't be reached" },
};

static void say(struct rung_view *v, const char *verdict, const char *because)
{
	json_set_text(v->out, "verdict", verdict);
	if (because)
		json_set_text(v->out, "because", because);
	else
		v->out->error = -ENOMEM;
}

static bool is_final(enum target_status s)
{
	return s != TARGET_OK && s != TARGET_TEMPORARY;
}

/* The troubles for which a message would leave this rung. */
static unsigned troubles_of(const struct rung_view *v)
{
	if (!v->leads_out)
		return 0;
	return v->status == TARGET_TEMPORARY ? WHEN_UNREACHABLE : v->site.escapes;
}

/* The rung to which one of these troubles leads; NULL: none, and *ret stays as it is. */
static const struct condition *way_on(const struct ladder *l, unsigned at, unsigned troubles, unsigned *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(conditions); i++)
		if ((troubles & conditions[i].bit) && ladder_next(l, at, conditions[i].class, false, ret) >= 0)
			return &conditions[i];
	return NULL;
}

static const char *words_of(unsigned troubles)
{
	for (size_t i = 0; i < ARRAY_LEN(conditions); i++)
		if (troubles & conditions[i].bit)
			return conditions[i].words;
	return "it has trouble";
}

/* " until 2026-11-25T18:00:00Z", or nothing. */
static const char *until_text(const struct rung_view *v, char out[static 48])
{
	wall_t until = v->site.backs_off ? v->site.next : v->site.cool_until;

	out[0] = '\0';
	if (v->status == TARGET_OK && until > 0) {
		memcpy(out, " until ", 7);
		wall_format_rfc3339(until, out + 7, 40);
	}
	return out;
}

static const char *dns_text(const struct rung_view *v)
{
	return v->status != TARGET_OK && v->why ? v->why : NULL;
}

static void say_next(struct rung_view *v, const struct hop *hop, unsigned troubles, struct arena *a)
{
	if (hop->kind == HOP_REJECT)
		say(v, "bounces", "this rung refuses the mail");
	else if (hop->kind == HOP_HOLD)
		say(v, "next", "mail is kept here until somebody releases it");
	else if (hop->kind == HOP_ATRN)
		say(v, "next", "mail waits here until the customer picks it up (ATRN)");
	else if (hop->kind == HOP_DISCARD)
		say(v, "next", "mail is thrown away here");
	else if (troubles)
		say(v, "next", arena_printf(a, "%s, but no later rung is for that, so mail goes here all the same", words_of(troubles)));
	else if (v->site.cool)
		say(v, "next", arena_printf(a, "the next message goes here as a canary, which tests whether this is over: %s",
					    words_of(v->site.cool)));
	else
		say(v, "next", "the next message goes here");
}

static void say_passed(const struct ladder *l, struct rung_view *views, unsigned at, unsigned next, const struct condition *c,
		       struct arena *a)
{
	char when[128];

	for (unsigned i = at + 1; i < next; i++)
		say(&views[i], "passed", arena_printf(a, "it is for %s; the trouble is another: %s",
						      hop_when_describe(&l->hops[i], when, sizeof(when)), reply_class_name(c->class)));
}

static void say_later(const struct ladder *l, struct rung_view *views, unsigned at, struct arena *a)
{
	char when[128];

	for (unsigned i = at + 1; i < l->n_hops; i++)
		say(&views[i], "later", arena_printf(a, "mail stops at rung %u; this one is for %s", at + 1,
						     hop_when_describe(&l->hops[i], when, sizeof(when))));
}

void verdict_on_rungs(const struct ladder *l, struct rung_view *views, struct arena *a)
{
	unsigned at = 0, next = 0;

	for (; l->n_hops > 0; at = next) {
		struct rung_view *v = &views[at];
		unsigned troubles = troubles_of(v);
		const struct condition *c;
		char until[48];

		if (v->leads_out && is_final(v->status)) {
			say(v, "bounces", arena_printf(a, "mail would come back: %s", dns_text(v) ? dns_text(v) : "there is no way"));
			break;
		}
		if (v->leads_out && v->site.held) {
			say(v, "waits", "an administrator holds this site: mail waits here until `yizhan sites release`");
			break;
		}
		c = way_on(l, at, troubles, &next);
		if (!c && troubles && (v->site.backs_off || v->status != TARGET_OK)) {
			say(v, "waits", arena_printf(a, "%s%s, and no later rung is for that: mail waits here",
						     dns_text(v) ? dns_text(v) : words_of(troubles), until_text(v, until)));
			break;
		}
		if (!c) {
			say_next(v, &l->hops[at], troubles, a);
			break;
		}
		say(v, "skipped", arena_printf(a, "%s%s: mail moves on to rung %u", dns_text(v) ? dns_text(v) : c->words,
					       until_text(v, until), next + 1));
		say_passed(l, views, at, next, c, a);
	}
	say_later(l, views, at, a);
}
