#include "route/hop.h"

#include <stdio.h>

/* "[2001:db8::1]:25", "10.0.0.7:25", "mail.example.org:25". */
static void describe_host(const struct host_port *h, char *out, size_t size)
{
	if (h->name) {
		snprintf(out, size, "%s:%u", h->name, h->port);
	} else {
		struct endpoint e = { .kind = ENDPOINT_IP, .ip = h->ip, .port = h->port };
		char text[ENDPOINT_TEXT];

		snprintf(out, size, "%s", endpoint_format(&e, text));
	}
}

static void describe(const struct hop *h, char *out, size_t size)
{
	char text[ENDPOINT_TEXT + DOMAIN_TEXT];

	switch (h->kind) {
	case HOP_MX:
		snprintf(out, size, "mx");
		break;
	case HOP_HOST:
		describe_host(&h->host, text, sizeof(text));
		snprintf(out, size, "host %s", text);
		break;
	case HOP_RELAY:
		snprintf(out, size, "relay %s", h->relay->name);
		break;
	case HOP_LMTP:
		if (h->lmtp.kind == ENDPOINT_NONE)
			describe_host(&h->lmtp_host, text, sizeof(text));
		else
			endpoint_format(&h->lmtp, text);
		snprintf(out, size, "lmtp:%s", text);
		break;
	case HOP_MAILDIR:
		snprintf(out, size, "maildir:%s", h->maildir ? h->maildir : "");
		break;
	case HOP_SRV:
		snprintf(out, size, "srv %s", h->srv);
		break;
	case HOP_PIPE:
		snprintf(out, size, "pipe:%s", h->pipe->args[0]);
		break;
	case HOP_ATRN:
		snprintf(out, size, "atrn");
		break;
	case HOP_HOLD:
		snprintf(out, size, "hold");
		break;
	case HOP_DISCARD:
		snprintf(out, size, "discard");
		break;
	case HOP_REJECT:
		snprintf(out, size, "reject");
		break;
	}
}

const char *hop_describe(const struct hop *h, char *out, size_t size)
{
	size_t used;

	if (size == 0)
		return out;
	describe(h, out, size);
	used = strlen(out);
	if (h->source && !(h->kind == HOP_RELAY && h->source == h->relay->source))
		snprintf(out + used, size - used, " from %s", h->source->name);
	return out;
}

const char *tls_policy_name(enum tls_policy p)
{
	static const char *const names[] = {
		[TLS_MAY] = "may", [TLS_NONE] = "none", [TLS_REQUIRED] = "required", [TLS_VERIFY] = "verify",
		[TLS_DANE] = "dane",
	};

	return names[p];
}

const char *hop_when_describe(const struct hop *h, char *out, size_t size)
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = {
		{ WHEN_UNREACHABLE, "unreachable" }, { WHEN_BLOCKED, "blocked" }, { WHEN_TLS, "tls" },
		{ WHEN_THROTTLED, "throttled" }, { WHEN_DELAYED, "delayed" }, { WHEN_ANY, "any" },
	};
	size_t used = 0;

	if (size == 0)
		return out;
	out[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(names) && used < size; i++) {
		char duration[32] = "";
		int n;

		if (!(h->when & names[i].bit))
			continue;
		if (names[i].bit == WHEN_DELAYED)
			duration_format(h->delayed, duration, sizeof(duration));
		n = snprintf(out + used, size - used, "%s%s%s%s", used > 0 ? ", " : "", names[i].name,
			     duration[0] ? " " : "", duration);
		if (n < 0)
			break;
		used += (size_t) n;
	}
	return out;
}
