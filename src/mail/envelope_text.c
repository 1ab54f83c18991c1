#include "mail/envelope.h"

static void put(struct buffer *out, const char *what)
{
	if (out->len > 0)
		buffer_append_str(out, ", ");
	buffer_append_str(out, what);
}

static void put_time(struct buffer *out, const char *what, wall_t when)
{
	char text[32];

	put(out, what);
	buffer_append_str(out, wall_format_seconds(when, text, sizeof(text)));
}

void envelope_asks(const struct envelope *e, struct buffer *out)
{
	if (e->flags & ENVELOPE_REQUIRETLS)
		put(out, "REQUIRETLS");
	if (e->flags & ENVELOPE_TLS_OPTIONAL)
		put(out, "TLS-Required: No");
	if (e->body == BODY_BINARYMIME)
		put(out, "BINARYMIME");
	if (e->hold_until)
		put_time(out, "held until ", e->hold_until);
	if (e->deliver_by)
		put_time(out, e->by_mode == 'R' ? "returned unless delivered by " : "told about unless delivered by ",
			 e->deliver_by);
	if (e->priority) {
		put(out, "priority ");
		buffer_printf(out, "%d", e->priority);
	}
	if (e->solicit) {
		put(out, "SOLICIT=");
		buffer_append_str(out, e->solicit);
	}
	for (unsigned i = 0; i < e->n_recipients; i++) {
		if (e->recipients[i].rrvs == RRVS_NONE)
			continue;
		put_time(out, "recipient valid since ", e->recipients[i].valid_since);
		break; /* one stands for all */
	}
	if (e->flags & ENVELOPE_RRVS_FIELD)
		put(out, "Require-Recipient-Valid-Since");
}
