#include "mail/status.h"
#include "simulate/simulator.h"

static void append_text(struct buffer *out, const char *key, const char *text)
{
	buffer_printf(out, "\"%s\": \"", key);
	buffer_append_json(out, slice_from(text));
	buffer_append_char(out, '"');
}

static void append_rules(const struct simulator *s, struct buffer *out)
{
	const char *separator = "";

	buffer_append_str(out, ", \"rules\": {");
	for (const struct behaviour *b = s->provider->rules; b; b = b->next) {
		buffer_printf(out, "%s\"", separator);
		buffer_append_json(out, slice_from(b->name));
		buffer_printf(out, "\": %llu", (unsigned long long) s->seen.rules[b->number]);
		separator = ", ";
	}
	buffer_append_char(out, '}');
}

static void append_clients(const struct simulator *s, struct buffer *out)
{
	const char *separator = "";
	char ip[IP_TEXT];

	buffer_append_str(out, ", \"clients\": [");
	for (const struct simulated_client *c = s->first_client; c; c = c->next) {
		buffer_printf(out, "%s{\"address\": \"%s\", \"connections\": %llu, \"open\": %u, \"widest\": %u, \"messages\": %llu, \"refusals\": %llu}",
			      separator, ip_format(&c->ip, ip), (unsigned long long) c->connections, c->open, c->widest,
			      (unsigned long long) c->messages, (unsigned long long) c->refusals);
		separator = ", ";
	}
	buffer_append_char(out, ']');
}

static void report_json(const struct simulator *s, struct buffer *out)
{
	const struct simulated_counters *n = &s->seen;

	buffer_append_char(out, '{');
	append_text(out, "as", s->provider->name);
	buffer_printf(out,
		      ", \"connections\": %llu, \"open\": %u, \"tls\": %llu, \"messages\": %llu, \"recipients\": %llu, \"octets\": %llu, "
		      "\"errors\": %llu, \"lost\": %llu",
		      (unsigned long long) n->connections, s->open, (unsigned long long) n->tls_sessions, (unsigned long long) n->messages,
		      (unsigned long long) n->recipients, (unsigned long long) n->octets, (unsigned long long) n->errors,
		      (unsigned long long) n->lost);
	append_rules(s, out);
	append_clients(s, out);
	buffer_append_str(out, "}\n");
}

/* "550 5.7.1 the beginning of its text" */
static void append_reply(const struct reply *reply, struct buffer *out)
{
	struct slice rest, text = slice_head(slice_cut(slice_from(reply->text), '\n', &rest), 70);
	char status[STATUS_TEXT];

	buffer_printf(out, " %d ", reply->code);
	if (reply->enhanced[0])
		buffer_printf(out, "%s ", status_format((struct status) { reply->enhanced[0], reply->enhanced[1], reply->enhanced[2] }, status));
	buffer_append_slice(out, text);
}

static void report_table(const struct simulator *s, struct buffer *out)
{
	const struct simulated_counters *n = &s->seen;
	char ip[IP_TEXT];

	buffer_printf(out, "%s: %llu messages to %llu recipients, %llu octets; %llu connections, %llu with TLS, %llu lost; %llu commands in error\n",
		      s->provider->name, (unsigned long long) n->messages, (unsigned long long) n->recipients, (unsigned long long) n->octets,
		      (unsigned long long) n->connections, (unsigned long long) n->tls_sessions, (unsigned long long) n->lost,
		      (unsigned long long) n->errors);
	if (s->first_client)
		buffer_printf(out, "%-24s %11s %6s %9s %8s\n", "client", "connections", "widest", "messages", "refusals");
	for (const struct simulated_client *c = s->first_client; c; c = c->next)
		buffer_printf(out, "%-24s %11llu %6u %9llu %8llu\n", ip_format(&c->ip, ip), (unsigned long long) c->connections, c->widest,
			      (unsigned long long) c->messages, (unsigned long long) c->refusals);
	for (const struct behaviour *b = s->provider->rules; b; b = b->next) {
		if (s->seen.rules[b->number] == 0)
			continue;
		buffer_printf(out, "%6llu  %-24s", (unsigned long long) s->seen.rules[b->number], b->name);
		if (b->say.code)
			append_reply(&b->say, out);
		buffer_append_char(out, '\n');
	}
}

void simulator_report(const struct simulator *s, bool json, struct buffer *out)
{
	if (json)
		report_json(s, out);
	else
		report_table(s, out);
}
