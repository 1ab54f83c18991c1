/* Events as sentences: for each kind a template, in which {name} stands for a field and a part in brackets is
 * left out when one of its fields is missing. Fields that the template doesn't name follow as name=value. */
#include <stdio.h>

#include "cli/cli.h"

static const struct {
	const char *kind, *template, *hidden; /* hidden: fields that say nothing new to a person */
} templates[] = {
	{ EVENT_RECEIVED, "from <{from}> by {client}[ {client_name}][ (helo {helo})][ with {protocol}][ {tls}][, logged in as {user}][, {size} bytes][, {recipients} recipient(s)]", "" },
	{ EVENT_SIGNED, "by {by}", "" },
	{ EVENT_REPEATED, "once more from {client}[ (helo {helo})], which had not had our 250; not queued again", "" },
	{ EVENT_VERIFIED, "spf {spf}[; dkim {dkim}][; arc {arc}][; dmarc {dmarc}][; iprev {iprev}]", "" },
	{ EVENT_REFUSED, "[{to}: ][{reply}][, said at {stage}][ to {client}][, because of {rule}]", "" },
	{ EVENT_ROUTED, "{to} by {hop}[, because of {rule}][, site {site}]", "{ladder}{rung}" },
	{ EVENT_ATTEMPT, "{to}[ at {host}][ ({address})][ from {source}][ {tls}][: {outcome}][, {class}][: {reply}][; TLS wanted: {tls_wanted}, reached: {tls_reached}]", "{stage}{fault}{rule}{site}" },
	{ EVENT_DELIVERED, "{to}[ by {hop}][ to {host}][ ({address})][ from {source}][ {tls}][: {reply}][; TLS wanted: {tls_wanted}, reached: {tls_reached}]", "{relayed}" },
	{ EVENT_DEFERRED, "{to}[, {class}][: {reason}][, next attempt {next}]", "" },
	{ EVENT_FAILED, "{to}[, {class}][: {reason}][, after {attempts} attempt(s)]", "" },
	{ EVENT_STEPPED, "{to} from {from_hop} to {to_hop}[ because {because}]", "" },
	{ EVENT_BOUNCED, "the sender was told[ about {to}][ ({action})][ in message {dsn}]", "" },
	{ EVENT_HELD, "[{to}][, because of {rule}][, because of {reason}]", "" },
	{ EVENT_RELEASED, "[{to}][{reason}]", "" },
	{ EVENT_REMOVED, "[{to}][{reason}]", "" },
	{ EVENT_DONE, "nothing is left of it in the queue", "" },
};

static const char *field_text(const json_t *event, struct slice name, char *out, size_t size)
{
	char key[64], number[32];
	const json_t *value;

	slice_copy(name, key, sizeof(key));
	value = json_object_get(event, key);
	if (json_is_string(value))
		return cli_safe(json_string_value(value), out, size);
	if (json_is_integer(value))
		snprintf(number, sizeof(number), "%lld", (long long) json_integer_value(value));
	else if (json_is_boolean(value))
		snprintf(number, sizeof(number), "%s", json_is_true(value) ? "yes" : "no");
	else
		return NULL;
	snprintf(out, size, "%s", number);
	return out;
}

/* Appends a part without brackets. False when one of its fields is missing. */
static bool expand(const json_t *event, struct slice part, struct buffer *out)
{
	while (part.len) {
		struct slice rest, name, text = slice_cut(part, '{', &rest);
		char value[2048];

		buffer_append_slice(out, text);
		if (!rest.data)
			break;
		name = slice_cut(rest, '}', &part);
		if (!field_text(event, name, value, sizeof(value)))
			return false;
		buffer_append_str(out, value);
	}
	return true;
}

static void expand_template(const json_t *event, struct slice t, struct buffer *out)
{
	while (t.len) {
		ssize_t open = slice_find(t, '[');
		struct slice plain = slice_head(t, open < 0 ? t.len : (size_t) open);
		_cleanup_buffer_ struct buffer part = { 0 };
		struct slice inside;

		if (!expand(event, plain, out))
			buffer_append_str(out, "?");
		if (open < 0)
			break;
		inside = slice_cut(slice_skip(t, (size_t) open + 1), ']', &t);
		if (expand(event, inside, &part))
			buffer_append_slice(out, buffer_slice(&part));
	}
}

static bool names(const char *template, const char *name)
{
	char wanted[70];

	snprintf(wanted, sizeof(wanted), "{%s}", name);
	return strstr(template, wanted);
}

static void append_others(const json_t *event, const char *template, const char *hidden, struct buffer *out)
{
	static const char *const shown[] = { "time", "id", "event" };
	const char *key;
	json_t *value;

	json_object_foreach((json_t *) event, key, value) {
		char text[2048];
		bool skip = names(template, key) || names(hidden, key);

		for (size_t i = 0; i < ARRAY_LEN(shown); i++)
			skip |= strcmp(key, shown[i]) == 0;
		if (!skip && field_text(event, slice_from(key), text, sizeof(text)))
			buffer_printf(out, "%s%s=%s", out->len ? " " : "", key, text);
	}
}

static void format_elapsed(int64_t ms, char *out, size_t size)
{
	if (ms < 10000)
		snprintf(out, size, "+%lld ms", (long long) ms);
	else if (ms < 600000)
		snprintf(out, size, "+%lld s", (long long) (ms / 1000));
	else
		snprintf(out, size, "+%lld min", (long long) (ms / 60000));
}

void timeline_print(const json_t *event, int64_t *first_ms, const char *indent)
{
	const char *kind = cli_text(event, "event"), *template = "", *hidden = "";
	_cleanup_buffer_ struct buffer line = { 0 };
	char elapsed[32] = "";
	int64_t ms = 0;

	for (size_t i = 0; i < ARRAY_LEN(templates); i++)
		if (strcmp(templates[i].kind, kind) == 0) {
			template = templates[i].template;
			hidden = templates[i].hidden;
		}
	expand_template(event, slice_from(template), &line);
	append_others(event, template, hidden, &line);
	if (cli_parse_time(cli_text(event, "time"), &ms)) {
		if (!*first_ms) {
			*first_ms = ms;
			printf("%s%s\n", indent, cli_text(event, "time"));
		}
		format_elapsed(ms - *first_ms, elapsed, sizeof(elapsed));
	}
	printf("%s%9s  %-10s %s\n", indent, elapsed, kind, line.data ? line.data : "");
}
