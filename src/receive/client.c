/* Who the client is, when it isn't the one at the other end of the connection: the PROXY protocol, and the change that
 * it and XCLIENT bring about. */
#include <stdio.h>

#include "receive/access.h"
#include "receive/session.h"
#include "smtp/proxy_header.h"

#define V1_LEAST 15u /* "PROXY UNKNOWN" CRLF: so many octets are a header's in any case */
#define V2_HEAD 16u

bool client_is_listed(const struct cidr *list, unsigned n, const struct endpoint *peer)
{
	for (unsigned i = 0; peer->kind == ENDPOINT_IP && i < n; i++)
		if (cidr_contains(&list[i], &peer->ip))
			return true;
	return false;
}

int session_become(struct session *s, const struct endpoint *client, bool may_trust)
{
	struct receive_shared *shared = session_shared(s);
	bool trusted = may_trust && access_is_trusted(s->settings->config, client);
	struct client_place *place = NULL;

	if (!trusted && client->kind == ENDPOINT_IP) {
		int r = acceptor_enter_client(s->acceptor, client, &place);

		if (r < 0)
			return r;
	}
	clients_leave(shared->clients, s->place);
	s->place = place;
	s->trusted = trusted;
	s->unnamed = !may_trust;
	s->stream->peer = *client;
	s->client_name = NULL;
	s->looked_up = false;
	if (client->kind == ENDPOINT_UNIX)
		memcpy(s->client, "unix", sizeof("unix"));
	else
		ip_format(&client->ip, s->client);
	s->lines.accept_bare_lf = access_normalizes(s);
	return 0;
}

/* --- the header ---------------------------------------------------------------------------------------------- */

/* How many octets may be read without touching what comes behind the header: TLS may begin there, and reads for
 * itself. */
static size_t octets_wanted(struct slice so_far)
{
	const uint8_t *p = (const uint8_t *) so_far.data;

	if (so_far.len < V1_LEAST)
		return V1_LEAST - so_far.len;
	if (so_far.data[0] == 'P' || so_far.len < V2_HEAD)
		return 1;
	return V2_HEAD + ((size_t) p[14] << 8 | p[15]) - so_far.len;
}

static ssize_t read_octets(struct transport *t, char *data, size_t len, usec_t deadline)
{
	for (;;) {
		ssize_t n = t->ops->read(t, data, len);
		int r;

		if (n != -EAGAIN)
			return n;
		r = t->ops->wait(t, WAIT_READ, deadline);
		if (r < 0)
			return r;
	}
}

/* 0, or why there is no header. */
static int read_header(struct session *s, struct buffer *in, struct proxy_header *ret)
{
	usec_t deadline = deadline_after(now(), session_limits(s)->proxy_timeout);
	size_t len;
	int r;

	while ((r = proxy_header_parse(buffer_slice(in), ret, &len)) == 0) {
		size_t wanted = octets_wanted(buffer_slice(in));
		char *place = buffer_reserve(in, wanted);
		ssize_t n;

		if (!place)
			return -ENOMEM;
		n = read_octets(s->stream->transport, place, wanted, deadline);
		if (n <= 0)
			return n == 0 ? -ENODATA : (int) n;
		buffer_commit(in, (size_t) n);
	}
	return r < 0 ? r : 0;
}

static const char *what_is_wrong(int error)
{
	switch (error) {
	case -EBADMSG:
		return "it begins with something else, or the header is damaged";
	case -E2BIG:
		return "the header is too large";
	case -ETIMEDOUT:
		return "the header did not come in time";
	case -ENODATA:
	case -ECONNRESET:
		return "the connection ended before the header";
	default:
		return NULL;
	}
}

int session_refuse_client(struct session *s, const struct endpoint *client, int why)
{
	const struct receive_limits *l = session_limits(s);
	bool network = why == -EDQUOT;
	char address[IP_TEXT], limit[16];

	if (why != -EUSERS && !network)
		return session_close(s, REPLY_OUT_OF_MEMORY);
	ip_format(&client->ip, address);
	snprintf(limit, sizeof(limit), "%u", network ? l->connections_per_network : l->connections_per_ip);
	return session_close_with(s, network ? REPLY_TOO_MANY_FROM_NETWORK : REPLY_TOO_MANY_FROM_ADDRESS, slice_from(limit),
				  slice_from(address));
}

/* What the proxy may is not for its clients. */
static int stay_unnamed(struct session *s)
{
	s->unnamed = true;
	s->lines.accept_bare_lf = false;
	return 0;
}

static int take_over(struct session *s, const struct proxy_header *h)
{
	struct endpoint own = s->stream->peer;
	struct receive_shared *shared = session_shared(s);
	char proxy[IP_TEXT];
	int r;

	ip_format(&own.ip, proxy);
	/* Nobody is trusted because a trusted proxy can't say who it is: only the proxy itself, when it speaks for
	 * itself, and the client whose address is known. */
	if (h->kind == PROXY_CLIENT)
		r = session_become(s, &h->client, h->client.kind == ENDPOINT_IP);
	else if (h->kind == PROXY_LOCAL)
		r = session_become(s, &own, true);
	else
		r = stay_unnamed(s);
	s->may_xclient = !s->unnamed && client_is_listed(s->listener->xclient, s->listener->n_xclient, &s->stream->peer);
	LOG(shared->log, LOG_DEBUG, "a proxy said for whom it speaks", F_STR("proxy", proxy),
	    F_STR("client", h->kind == PROXY_UNKNOWN ? "unknown" : s->client), F_UINT("version", h->version));
	if (r == 0)
		return 0;
	if (s->implicit_tls)
		return r; /* plain text would not be understood */
	return session_refuse_client(s, &h->client, r);
}

int session_read_proxy_header(struct session *s)
{
	_cleanup_buffer_ struct buffer in = { 0 };
	struct proxy_header header;
	const char *why;
	int r;

	s->waiting = true;
	r = read_header(s, &in, &header);
	s->waiting = false;
	if (r == 0)
		return take_over(s, &header);
	why = what_is_wrong(r);
	/* A check whether the port is open ends without a header, every few seconds: that is nothing to tell. */
	LOG(session_shared(s)->log, why && r != -ENODATA ? LOG_NOTICE : LOG_DEBUG,
	    "a connection from a proxy is closed, because no PROXY header came; is it switched on there (send-proxy)?",
	    F_STR("proxy", s->client), F_STR("because", why), F_ERRNO("error", r));
	return r;
}
