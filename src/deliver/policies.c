#include "deliver/policies.h"

#include "deliver/protection.h"
#include "deliver/services.h"

struct slice policies_address_domain(const char *address)
{
	const char *at = strrchr(address, '@');

	return slice_from(at ? at + 1 : "");
}

enum policy_wish policies_wish(const struct hop *hop, const struct envelope *e)
{
	if (hop->kind == HOP_LMTP)
		return WISH_NONE;
	if (services_need_tls(e))
		return WISH_PROTECTED;
	return e->flags & ENVELOPE_TLS_OPTIONAL ? WISH_OPTIONAL : WISH_NONE;
}

static usec_t until(const struct deliver_settings *settings)
{
	return deadline_after(now(), settings->config.connect_timeout);
}

void policies_begin(struct policies *p, struct deliverer *d, const struct deliver_settings *settings, const struct slot_info *info,
		    const struct delivery *delivery, struct arena *a)
{
	*p = (struct policies) { .deliverer = d, .settings = settings, .info = info, .arena = a,
				 .wish = policies_wish(info->hop, delivery->envelope) };
	if (info->hop->kind == HOP_MX)
		p->recipients_domain = policies_address_domain(delivery->recipients[0].address);
	fiber_group_init(&p->askers);
}

static void ask_domain(void *arg)
{
	struct policies *p = arg;

	p->result = policy_of_domain(p->deliverer->router, p->info->hop, p->recipients_domain, until(p->settings), p->arena, p->domain);
}

int policies_ask(struct policies *p)
{
	int r;

	if (p->domain || p->info->hop->kind != HOP_MX)
		return 0;
	p->domain = arena_new_type(p->arena, struct domain_policy);
	if (!p->domain)
		return -ENOMEM;
	r = policy_of_domain_cached(p->deliverer->router, p->info->hop, p->recipients_domain, p->arena, p->domain);
	if (r == 0 && fiber_group_spawn(&p->askers, "policy", ask_domain, p) < 0)
		ask_domain(p);
	return r < 0 ? r : 0;
}

int policies_join(struct policies *p)
{
	int r = p->askers.count > 0 ? fiber_group_wait(&p->askers, DEADLINE_NEVER) : 0; /* the look-ups have deadlines */

	if (p->askers.count > 0)
		fiber_group_done(&p->askers);
	return r < 0 ? r : p->result;
}

/* The domain whose policy counts for this host. */
static int find_domain(struct policies *p, const struct target_host *host)
{
	int r = policies_ask(p);

	if (r >= 0 && p->info->hop->kind != HOP_MX) {
		/* RFC 8461 section 3.4: of a configured host, its own. */
		p->domain = arena_new_type(p->arena, struct domain_policy);
		r = p->domain ? policy_of_domain(p->deliverer->router, p->info->hop, slice_from(host->name ? host->name : ""),
						 until(p->settings), p->arena, p->domain)
			      : -ENOMEM;
	}
	return r < 0 ? r : policies_join(p);
}

int policies_of_host(struct policies *p, const struct target_host *host, const struct host_policy **ret)
{
	struct host_policy *policy = arena_new_type(p->arena, struct host_policy);
	int r = policy ? find_domain(p, host) : -ENOMEM;

	if (r >= 0)
		r = policy_of_host(p->deliverer->router, p->domain, hop_tls(p->info->hop), host, p->wish, until(p->settings), p->arena,
				   policy);
	if (r < 0)
		return r;
	if (!p->noted)
		protection_note_domain(p->deliverer, policy);
	p->noted = true;
	*ret = policy;
	return 0;
}

bool policies_differ(const struct delivery *d, struct deliverer *deliverer, const struct deliver_settings *settings,
		     const struct slot_info *info, struct arena *a)
{
	struct slice last = SLICE_NULL;

	arena_reset(a);
	for (unsigned i = 0; i < d->n_recipients; i++) {
		struct slice domain = policies_address_domain(d->recipients[i].address);
		struct domain_policy policy;

		if (slice_ieq(domain, last))
			continue;
		last = domain;
		if (policy_of_domain(deliverer->router, info->hop, domain, until(settings), a, &policy) < 0 || policy_is_special(&policy))
			return true;
	}
	return false;
}
