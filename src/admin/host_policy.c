#include "admin/host_policy.h"

static void add_sts(const struct sts_answer *answer, struct making *o)
{
	struct making sts = making_object(), hosts = making_list();

	if (answer->found) {
		json_set_text(&sts, "mode", sts_mode_name(answer->policy.mode));
		json_set_text(&sts, "id", answer->id);
		json_set_number(&sts, "max_age", answer->policy.max_age);
	}
	for (unsigned i = 0; answer->found && i < answer->policy.n_patterns; i++)
		json_append_text(&hosts, answer->policy.patterns[i]);
	json_put(&sts, "hosts", &hosts);
	json_set_text(&sts, "trouble", answer->why);
	json_put(o, "mta_sts", &sts);
}

static void add_dane(const struct dane *dane, struct making *o)
{
	struct making records = making_list();

	for (unsigned i = 0; i < dane->n_records; i++) {
		char text[TLSA_TEXT];

		json_append_text(&records, tlsa_format(&dane->records[i], text));
	}
	json_set_text(o, "dane", dane_status_name(dane->status));
	json_set_text(o, "dane_why", dane->why);
	json_put(o, "tlsa", &records);
}

int host_policy_add(struct router *r, const struct hop *hop, struct slice domain, const struct target_host *host, usec_t deadline,
		    struct arena *a, struct making *o)
{
	struct domain_policy d;
	struct host_policy p;
	int error;

	if (hop_tls(hop) == TLS_NONE)
		return 0;
	if (hop->kind != HOP_MX)
		domain = slice_from(host->name ? host->name : "");
	error = policy_of_domain(r, hop, domain, deadline, a, &d);
	if (error >= 0)
		error = policy_of_host(r, &d, hop_tls(hop), host, WISH_NONE, deadline, a, &p);
	if (error < 0)
		return error;
	json_set_text(o, "wanted", p.wanted);
	json_set_text(o, "refused", p.why);
	if (host->name)
		add_dane(&p.dane, o);
	if (d.sts.found || d.sts.why)
		add_sts(&d.sts, o);
	return 0;
}
