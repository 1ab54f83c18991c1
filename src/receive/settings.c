#include "receive/settings.h"

#include <stdlib.h>

#include "receive/sasl.h"

static const struct gate_config no_gate;

static void fill_limits(struct receive_limits *l)
{
	const struct receive_limits defaults = {
		.message_size = 50 * 1000 * 1000,
		.recipients = 1000,
		.connections = 10000,
		.connections_per_ip = 100,
		.connections_per_network = 300,
		.network_prefix4 = 24,
		.network_prefix6 = 64,
		.relief = 10,
		.errors = 20,
		.commands = 200,
		.messages = 10000,
		.received_hops = 50,
		.header_size = 256 * 1024,
		.command_timeout = 5 * USEC_MIN,
		.data_timeout = 3 * USEC_MIN,
		.session_timeout = USEC_HOUR,
		.hold = 30 * USEC_DAY,
		.proxy_timeout = 5 * USEC_SEC,
	};

#define FILL(field) l->field = l->field ? l->field : defaults.field
	FILL(message_size);
	FILL(recipients);
	FILL(connections);
	FILL(connections_per_ip);
	FILL(connections_per_network);
	FILL(network_prefix4);
	FILL(network_prefix6);
	FILL(relief);
	FILL(errors);
	FILL(commands);
	FILL(messages);
	FILL(received_hops);
	FILL(header_size);
	FILL(command_timeout);
	FILL(data_timeout);
	FILL(session_timeout);
	FILL(hold);
	FILL(proxy_timeout);
#undef FILL
}

/* The texts lie behind one another in one buffer that may move while it grows, so their places are kept as
 * offsets until it is complete. */
static void mark(struct receive_settings *s, struct slice *which, size_t from)
{
	*which = slice_new((const char *) from, s->text.len - from);
}

static void make_hello(struct receive_settings *s, bool lmtp)
{
	const char *host = s->config->hostname;
	size_t from = s->text.len;

	buffer_printf(&s->text, "220 %s %s Yizhan\r\n", host, lmtp ? "LMTP" : "ESMTP");
	mark(s, &s->wire[lmtp][WIRE_BANNER], from);

	from = s->text.len;
	buffer_printf(&s->text, "250 %s\r\n", host);
	mark(s, &s->wire[lmtp][WIRE_HELO], from);
}

const char *settings_reply_text(const struct receive_settings *s, enum reply_id id)
{
	const char *const *own = s->config->replies;

	return own && own[id] ? own[id] : reply_of(id)->text;
}

static int make_texts(struct receive_settings *s)
{
	make_hello(s, false);
	make_hello(s, true);
	for (unsigned i = 0; i < REPLY_COUNT; i++) {
		struct reply reply = *reply_of(i);
		size_t from = s->text.len;

		reply.text = settings_reply_text(s, i);
		if (strpbrk(reply.text, "%{"))
			continue;
		reply_format(&reply, &s->text);
		mark(s, &s->replies[i], from);
	}
	if (buffer_error(&s->text) < 0)
		return -ENOMEM;
	for (unsigned i = 0; i < 2; i++)
		for (unsigned k = 0; k < WIRE_COUNT; k++)
			s->wire[i][k].data = s->text.data + (size_t) s->wire[i][k].data;
	for (unsigned i = 0; i < REPLY_COUNT; i++)
		if (s->replies[i].len > 0)
			s->replies[i].data = s->text.data + (size_t) s->replies[i].data;
	return 0;
}

/* --- TLS ----------------------------------------------------------------------------------------------- */

static int watch_files(struct receive_settings *s, struct world *w)
{
	const struct tls_server_config *t = &s->config->tls;
	int r = file_watch_add(&s->tls_files, w, t->certificate);

	if (r >= 0)
		r = file_watch_add(&s->tls_files, w, t->key);
	if (r >= 0)
		r = file_watch_add(&s->tls_files, w, t->client_ca);
	for (unsigned i = 0; i < t->n_certificates && r >= 0; i++) {
		r = file_watch_add(&s->tls_files, w, t->certificates[i].certificate);
		if (r >= 0)
			r = file_watch_add(&s->tls_files, w, t->certificates[i].key);
	}
	for (unsigned i = 0; i < s->config->n_listeners && r >= 0; i++)
		r = file_watch_add(&s->tls_files, w, s->config->listeners[i].client_ca);
	return r;
}

/* What the listener says itself about client certificates goes before what holds for all. */
static struct tls_server_config rules_of(const struct receive_config *config, const struct receive_listener *l)
{
	struct tls_server_config t = config->tls;

	t.session_tickets = l->session_tickets;
	if (l->client_ca || l->client_asked || l->client_required) {
		t.client_ca = l->client_ca;
		t.client_asked = l->client_asked;
		t.client_required = l->client_required;
	}
	return t;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_rules(const struct tls_server_config *a, const struct tls_server_config *b)
{
	return a->session_tickets == b->session_tickets && a->client_asked == b->client_asked &&
	       a->client_required == b->client_required && same_text(a->client_ca, b->client_ca);
}

/* Listeners with the same rules share a context. */
static int make_listener_tls(struct receive_settings *s, unsigned which, char **ret_why)
{
	const struct receive_config *config = s->config;
	const struct tls_server_config rules = rules_of(config, &config->listeners[which]);

	if (same_rules(&rules, &config->tls)) {
		s->listener_tls[which] = tls_context_ref(s->tls);
		return 0;
	}
	for (unsigned i = 0; i < which; i++) {
		const struct tls_server_config other = rules_of(config, &config->listeners[i]);

		if (same_rules(&rules, &other)) {
			s->listener_tls[which] = tls_context_ref(s->listener_tls[i]);
			return 0;
		}
	}
	return tls_server_context_like(s->tls, &rules, &s->listener_tls[which], ret_why);
}

static int make_tls(struct receive_settings *s, struct world *w, char **ret_why)
{
	int r = watch_files(s, w);

	if (r >= 0)
		r = tls_server_context_new(w, &s->config->tls, &s->tls, ret_why);
	if (r < 0)
		return r;
	s->listener_tls = calloc(s->config->n_listeners + 1, sizeof(struct tls_context *));
	if (!s->listener_tls)
		return -ENOMEM;
	for (unsigned i = 0; i < s->config->n_listeners && r >= 0; i++)
		r = make_listener_tls(s, i, ret_why);
	return r;
}

struct tls_context *receive_settings_tls(const struct receive_settings *s, const struct receive_listener *l)
{
	return s->listener_tls ? s->listener_tls[l - s->config->listeners] : NULL;
}

/* --- life ----------------------------------------------------------------------------------------------- */

int receive_settings_new(struct world *w, const struct log *log, const struct receive_config *config, struct gate_shared *gate,
			 struct receive_settings **ret, char **ret_why)
{
	_cleanup_(receive_settings_unrefp) struct receive_settings *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->references = 1;
	s->config = config;
	s->made = world_now(w);
	s->limits = config->limits;
	fill_limits(&s->limits);
	if (config->has_tls) {
		r = make_tls(s, w, ret_why);
		if (r < 0)
			return r;
	}
	if (config->users) {
		r = users_new(w, log, config->users, &s->users);
		if (r >= 0)
			r = sasl_init(&s->sasl);
		if (r < 0)
			return r;
	}
	r = gate_new(gate, config->gate ? config->gate : &no_gate, config->hostname, &s->gate, ret_why);
	if (r < 0)
		return r;
	r = make_texts(s);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

struct receive_settings *receive_settings_ref(struct receive_settings *s)
{
	__atomic_add_fetch(&s->references, 1, __ATOMIC_RELAXED);
	return s;
}

void receive_settings_unref(struct receive_settings *s)
{
	if (!s || __atomic_sub_fetch(&s->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (unsigned i = 0; s->listener_tls && i < s->config->n_listeners; i++)
		tls_context_unref(s->listener_tls[i]);
	free(s->listener_tls);
	tls_context_unref(s->tls);
	file_watch_done(&s->tls_files);
	sasl_done(s->sasl);
	users_free(s->users);
	gate_free(s->gate);
	buffer_done(&s->text);
	free(s);
}
