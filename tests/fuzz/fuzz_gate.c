/* What the gate's rules and lists are written in: any value of any key, and any filter of a list, is refused or means
 * something that can be matched and described. The first octet chooses the key. */
#include <stdlib.h>

#include "receive/dnslist.h"
#include "receive/gate_dns.h"
#include "receive/gate_rules.h"
#include "receive/replies.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fill(struct gate_facts *f, const char *text)
{
	*f = (struct gate_facts) { .known = ~0u, .listener = "mx", .minute = 100, .weekday = 2, .helo = text, .is_mail = true, .is_rcpt = true,
				   .reverse = GATE_REVERSE_CONFIRMED, .reverse_name = text, .size = 5000, .sender_domain = "list.example",
				   .recipient_domain = "example.org" };
	(void) ip_parse(SLICE("192.0.2.7"), &f->client);
	(void) address_parse(SLICE("a@list.example"), ADDRESS_OF_ENVELOPE, &f->sender);
	(void) address_parse(SLICE("bob@example.org"), ADDRESS_OF_ENVELOPE, &f->recipient);
	f->helo_faults = gate_helo_faults(text, "mx.example.org", &f->client);
}

static void try_value(const struct gate_key *key, const char *text)
{
	struct gate_value v = { .text = text };
	const struct gate_condition c = { .key = key, .n = 1, .values = &v };
	struct gate_rule rule = { .name = "x", .match = &c, .n_match = 1, .action = GATE_REJECT, .code = 550, .text = text };
	const struct gate_rules rules = { .n = 1, .rules = &rule };
	struct gate_walk walk = { .stage = GATE_CONNECT };
	const struct gate_rule *found;
	struct gate_facts f;
	char out[100];

	fill(&f, text);
	assert(strlen(gate_fact_describe(key, &f, out, sizeof(out))) < sizeof(out));
	if (gate_value_parse(key, slice_from(text), &v) < 0)
		return;
	assert(gate_rules_next(&rules, &walk, &f, &found) == gate_condition_holds(&c, &f));
	assert(strlen(gate_rule_describe(&rule, out, sizeof(out))) < sizeof(out));
}

static void try_filter(const char *text)
{
	struct list_reply filter;
	struct ip answer;
	unsigned n = 0;

	if (list_reply_parse(slice_from(text), &filter) < 0)
		return;
	for (unsigned i = 0; i < 256; i++) {
		const uint8_t bytes[] = { 127, 0, 0, (uint8_t) i };

		answer = ip_from_v4(bytes);
		n += list_reply_matches(&filter, &answer);
	}
	assert(n <= 256);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text, out[200];

	if (size == 0)
		return 0;
	text = slice_dup(slice_new((const char *) data + 1, size - 1));
	if (!text)
		return 0;
	try_value(&gate_keys[data[0] % gate_n_keys], text);
	try_filter(text);
	for (unsigned i = 0; i <= REPLY_COUNT; i++)
		if (!reply_check_text(i, text, out)) {
			_cleanup_buffer_ struct buffer filled = { 0 };

			reply_fill(text, SLICE("one"), SLICE("two"), &(struct reply_subjects) { .client = text }, &filled);
		}
	free(text);
	return 0;
}
