#include <stdio.h>

#include "base/wildcard.h"
#include "simulate/session.h"

/* --- texts -------------------------------------------------------------------------------------------------------- */

static struct slice domain_of(const char *address)
{
	const char *at = address ? strrchr(address, '@') : NULL;

	return slice_from(at ? at + 1 : "");
}

static void append_date(const struct simulated_session *x, struct buffer *out)
{
	char date[40];

	buffer_append_str(out, wall_format_rfc5322(world_wall(x->simulator->world), date, sizeof(date)));
}

static void append_placeholder(const struct simulated_session *x, struct slice name, struct buffer *out)
{
	const struct simulated_message *m = &x->message;
	const char *recipient = x->recipient ? x->recipient : m->n_recipients > 0 ? x->recipients[0] : "";

	if (slice_eq_str(name, "host"))
		buffer_append_str(out, x->provider->host);
	else if (slice_eq_str(name, "client"))
		buffer_append_str(out, x->address);
	else if (slice_eq_str(name, "id"))
		buffer_append_str(out, m->id);
	else if (slice_eq_str(name, "helo"))
		buffer_append_str(out, x->helo ? x->helo : "");
	else if (slice_eq_str(name, "sender"))
		buffer_append_str(out, m->sender ? m->sender : "");
	else if (slice_eq_str(name, "recipient"))
		buffer_append_str(out, recipient);
	else if (slice_eq_str(name, "domain"))
		buffer_append_slice(out, domain_of(m->sender));
	else if (slice_eq_str(name, "octets"))
		buffer_printf(out, "%llu", (unsigned long long) m->octets);
	else if (slice_eq_str(name, "message-id"))
		buffer_append_slice(out, slice_head(simulated_field(x, "Message-ID"), 200));
	else if (slice_eq_str(name, "date"))
		append_date(x, out);
	else
		buffer_printf(out, "{%.*s}", SLICE_ARG(name));
}

static void fill(const struct simulated_session *x, const char *text, struct buffer *out)
{
	struct slice rest = slice_from(text), inside;

	while (rest.len > 0) {
		ssize_t open = slice_find(rest, '{'), close;

		if (open < 0)
			break;
		buffer_append_slice(out, slice_head(rest, (size_t) open));
		inside = slice_skip(rest, (size_t) open + 1);
		close = slice_find(inside, '}');
		if (close < 0) {
			rest = slice_skip(rest, (size_t) open);
			break;
		}
		append_placeholder(x, slice_head(inside, (size_t) close), out);
		rest = slice_skip(inside, (size_t) close + 1);
	}
	buffer_append_slice(out, rest);
}

/* --- saying ------------------------------------------------------------------------------------------------------- */

static usec_t patience(void)
{
	return deadline_after(now(), 5 * USEC_MIN);
}

static int send_dripping(struct simulated_session *x, struct slice wire)
{
	int r = 0;

	for (size_t i = 0; i < wire.len && r >= 0; i++) {
		r = fiber_sleep_until(deadline_after(now(), x->drip));
		if (r >= 0)
			r = stream_put(x->stream, slice_new(wire.data + i, 1), patience());
		if (r >= 0)
			r = stream_flush(x->stream, patience());
	}
	return r;
}

int simulated_say(struct simulated_session *x, const struct reply *reply)
{
	_cleanup_buffer_ struct buffer text = { 0 }, wire = { 0 };
	struct reply filled = *reply;
	int r = 0;

	if (reply->code >= 400 && x->client) {
		x->errors++;
		x->client->refusals++;
	}
	fill(x, reply->text, &text);
	filled.text = text.len > 0 ? text.data : "";
	reply_format(&filled, &wire);
	if (buffer_error(&text) < 0 || buffer_error(&wire) < 0)
		return -ENOMEM;
	if (x->simulator->options.talk)
		(void) fprintf(stderr, "%s < %.*s", x->address, SLICE_ARG(buffer_slice(&wire)));
	if (reply->code >= 500 && x->provider->tarpit)
		r = fiber_sleep_until(deadline_after(now(), x->provider->tarpit));
	if (r < 0)
		return r;
	return x->drip ? send_dripping(x, buffer_slice(&wire)) : stream_put(x->stream, buffer_slice(&wire), patience());
}

/* --- conditions --------------------------------------------------------------------------------------------------- */

static bool on_list(const struct client_list *l, const struct ip *ip)
{
	for (unsigned i = 0; i < l->n; i++)
		if (cidr_contains(&l->networks[i], ip))
			return true;
	return false;
}

static bool patterns_fit(const struct patterns *p, const char *text)
{
	for (unsigned i = 0; i < p->n; i++)
		if (text && wildcard_match(slice_from(p->text[i]), slice_from(text)))
			return true;
	return p->n == 0;
}

/* After RCPT a rule about recipients fits when one of them does. */
static bool recipients_fit(const struct simulated_session *x, const struct behaviour *b, enum at at)
{
	if (b->to.n == 0)
		return true;
	if (at == AT_RCPT)
		return patterns_fit(&b->to, x->recipient);
	for (unsigned i = 0; i < x->message.n_recipients; i++)
		if (patterns_fit(&b->to, x->recipients[i]))
			return true;
	return false;
}

static bool is_another_domain(const struct simulated_session *x)
{
	const struct simulated_message *m = &x->message;

	return x->recipient && m->n_recipients > 0 && !slice_ieq(domain_of(x->recipient), domain_of(x->recipients[0]));
}

static bool numbers_fit(const struct simulated_session *x, const struct behaviour *b)
{
	const struct simulated_message *m = &x->message;

	return (b->connections_above == ABOVE_NOTHING || x->client->open > b->connections_above) &&
	       (b->messages_above == ABOVE_NOTHING || x->messages >= b->messages_above) &&
	       (b->recipients_above == ABOVE_NOTHING || m->n_recipients >= b->recipients_above) &&
	       (b->errors_above == ABOVE_NOTHING || x->errors > b->errors_above) &&
	       (b->in_progress_above == ABOVE_NOTHING || x->simulator->in_progress >= b->in_progress_above);
}

static bool content_fits(const struct simulated_session *x, const struct behaviour *b)
{
	const struct buffer *head = &x->message.head;

	if (b->missing && simulated_field(x, b->missing).data)
		return false;
	return !b->contains || (head->len > 0 && memmem(head->data, head->len, b->contains, strlen(b->contains)));
}

static void append_key(const struct simulated_session *x, enum rate_by by, struct buffer *key)
{
	struct ip network = ip_network(&x->ip, x->ip.family == 4 ? 24 : 64);
	char text[IP_TEXT];

	if (by == BY_CLIENT)
		buffer_append_str(key, x->address);
	else if (by == BY_NETWORK)
		buffer_append_str(key, ip_format(&network, text));
	else if (by == BY_SENDER)
		buffer_append_str(key, x->message.sender ? x->message.sender : "");
	else if (by == BY_DOMAIN)
		buffer_append_slice(key, domain_of(x->message.sender));
	else if (by == BY_RECIPIENT && x->recipient)
		buffer_append_str(key, x->recipient);
}

static bool is_above_rate(struct simulated_session *x, const struct behaviour *b)
{
	_cleanup_buffer_ struct buffer key = { 0 };

	buffer_printf(&key, "rate %u ", b->number);
	append_key(x, b->rate_by, &key);
	return buffer_error(&key) == 0 && memory_is_above(&x->simulator->memory, buffer_slice(&key), b->rate, b->rate_per, now());
}

static bool is_greylisted(struct simulated_session *x, const struct behaviour *b)
{
	_cleanup_buffer_ struct buffer key = { 0 };

	buffer_printf(&key, "grey %u ", b->number);
	append_key(x, BY_NETWORK, &key);
	buffer_append_char(&key, ' ');
	append_key(x, BY_SENDER, &key);
	buffer_append_char(&key, ' ');
	append_key(x, BY_RECIPIENT, &key);
	return buffer_error(&key) == 0 && memory_is_new(&x->simulator->memory, buffer_slice(&key), b->greylist, now());
}

/* What counts something comes last: it counts only what the other conditions let through. */
static bool fits(struct simulated_session *x, const struct behaviour *b, enum at at)
{
	if (!(b->at & (1u << at)) || (b->client && !on_list(b->client, &x->ip)) || (b->not_client && on_list(b->not_client, &x->ip)))
		return false;
	if ((b->clear && x->tls) || (b->another_domain && !is_another_domain(x)) || !numbers_fit(x, b))
		return false;
	if (!patterns_fit(&b->helo, x->helo) || !patterns_fit(&b->from, x->message.sender) || !recipients_fit(x, b, at) || !content_fits(x, b))
		return false;
	if (b->chance && !simulator_chance(x->simulator, b->chance))
		return false;
	if (b->greylist && !is_greylisted(x, b))
		return false;
	return !b->rate || is_above_rate(x, b);
}

int simulated_behave(struct simulated_session *x, enum at at, const struct behaviour **ret)
{
	for (const struct behaviour *b = x->provider->rules; b; b = b->next) {
		int r = 0;

		if (!fits(x, b, at))
			continue;
		x->simulator->seen.rules[b->number]++;
		if (b->delay)
			r = fiber_sleep_until(deadline_after(now(), b->delay));
		if (r < 0)
			return r;
		if (b->drip)
			x->drip = b->drip;
		if (!b->say.code && b->then == THEN_GO_ON)
			continue;
		*ret = b;
		return 1;
	}
	return 0;
}
